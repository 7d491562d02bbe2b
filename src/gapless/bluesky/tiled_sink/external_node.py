"""External frames of one data key, registered with the server: what is registered is the whole list of files."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gapless.bluesky.sequence_numbers import SeenRanges
from gapless.bluesky.tiled_sink.node_key import array_key
from gapless.bluesky.tiled_sink.node_options import NodeOptions
from gapless.bluesky.tiled_sink.server import child, is_conflict

_LAYOUT = ("template", "chunk_shape")
_READING = (
    "filename",
    "dataset",
    "slice",
    "squeeze",
    "join_method",
    "join_chunks",
    "multiplier",
    "files_per_datum",
)
_AT_MOST_EVERY_S = 1.0
_SHARE = 20  # telling the server takes at most one part of so many of the time


class ExternalNode:
    """One external data key of a stream, on the server.

    The server takes no addition, only the whole list of files again, so the first frames are told at once
    and later ones at most each second and for at most a twentieth of the time: n frames cost O(n), not
    O(n²). :meth:`tell` is idempotent.
    """

    def __init__(
        self, descriptor: Mapping[str, Any], resource: Mapping[str, Any], options: NodeOptions
    ) -> None:
        from bluesky_tiled_plugins.writing.consolidators import consolidator_factory

        self._first = copy.deepcopy(dict(resource))  # the consolidator of NPY files adds parameters to it
        self._consolidator = consolidator_factory(self._first, descriptor)
        self._access_tags, self._clock = options.access_tags, options.clock
        self.key = array_key(str(resource["data_key"]))
        self._resources = {resource["uid"]}
        self._seen: dict[str, SeenRanges] = {}
        self.node: Any = None
        self._patch: Any = None  # the part of the array that the server has not been told of
        self._told_at_s, self._cost_s = 0.0, 0.0
        self.requests = 0
        self.failures = 0  # requests since the last one that was answered
        self.rows = 0

    def consume(self, resource: Mapping[str, Any], datum: Mapping[str, Any]) -> None:
        """Take a range of frames; one that came before changes nothing."""
        indices, uid = datum["indices"], resource["uid"]
        seen = self._seen.setdefault(uid, SeenRanges())
        if not seen.is_new(indices["start"], indices["stop"], datum["uid"]):
            return
        if uid not in self._resources:
            self._add_resource(resource)
        patch = self._consolidator.consume_stream_datum(dict(datum))
        self.rows = self._consolidator.structure().shape[0] if hasattr(self._consolidator, "structure") else 0
        self._patch = patch if self._patch is None else type(patch).combine_patches([self._patch, patch])

    def _add_resource(self, resource: Mapping[str, Any]) -> None:
        """Take another resource: other files, or the same ones under words that do not matter for reading."""
        self._resources.add(resource["uid"])
        if _files_of(resource) == _files_of(self._first):
            return
        known = {
            name: self._first["parameters"][name] for name in _LAYOUT if name in self._first["parameters"]
        }
        words = copy.deepcopy(dict(resource))
        self._consolidator.update_from_stream_resource(words | {"parameters": known | words["parameters"]})

    def is_due(self) -> bool:
        """Tell whether there are frames that the server should learn of now."""
        if self._patch is None:
            return False
        pause_s = max(_AT_MOST_EVERY_S, _SHARE * self._cost_s)
        return self.node is None or self._clock() - self._told_at_s >= pause_s

    def tell(self, stream: Any, *, look: bool) -> None:
        """Tell the server of all frames so far; ``look`` where the node may be there already."""
        if self._patch is None:
            return
        began_s = self._clock()
        self.failures += 1
        if self.node is None:
            self.node = (child(stream, self.key) if look else None) or self._create(stream)
        if self._patch is not None:
            self._put()
        self.failures = 0
        self._told_at_s = self._clock()
        self._cost_s = self._told_at_s - began_s

    def _create(self, stream: Any) -> Any:
        import httpx

        source = self._source()
        self.requests += 1
        try:
            node = stream.new(
                structure_family=source.structure_family,
                data_sources=[source],
                key=self.key,
                metadata={},
                specs=[],
                access_tags=self._access_tags,
            )
        except httpx.HTTPStatusError as error:
            if not is_conflict(error):
                raise
            return stream[self.key]
        self._patch = None
        return node

    def _source(self) -> Any:
        """Return what the server should know; a file that is only listed, not read, is listed once."""
        source = self._consolidator.get_data_source()
        if source.structure_family == "bytes":
            once = {asset.data_uri: asset for asset in source.assets}
            source.assets = [replace(asset, num=n) for n, asset in enumerate(once.values())]
        return source

    def _put(self) -> None:
        from tiled.client.utils import handle_error
        from tiled.utils import safe_json_dump

        source = self._source()
        source.id = self.node.data_sources()[0].id
        patch = self._patch
        self.requests += 1
        handle_error(
            self.node.context.http_client.put(
                self.node.uri.replace("/metadata/", "/data_source/", 1),
                content=safe_json_dump({"data_source": source}),
                params={
                    "patch_shape": ",".join(map(str, patch.shape)),
                    "patch_offset": ",".join(map(str, patch.offset)),
                },
            )
        )
        self._patch = None

    def finish(self) -> None:
        """Tell the server what is known of the files beyond their list."""
        if self.node is not None and self._consolidator.metadata:
            self.node.update_metadata(metadata=self._consolidator.metadata, drop_revision=True)


def _files_of(resource: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what tells which files a resource is and how they are read."""
    parameters = resource["parameters"]
    return (resource["uri"], resource["mimetype"], *(parameters.get(name) for name in _READING))
