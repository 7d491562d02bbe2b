"""One run on its way to a Tiled server: documents in, confirmed nodes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import httpx
import numpy as np

from gapless.bluesky.document import Document
from gapless.bluesky.json_safe import json_safe
from gapless.bluesky.tiled_sink.json_loss import loss_in
from gapless.bluesky.tiled_sink.node_key import stream_key
from gapless.bluesky.tiled_sink.node_options import NodeOptions
from gapless.bluesky.tiled_sink.server import child, is_conflict, plain
from gapless.bluesky.tiled_sink.stream_node import StreamNode
from gapless.errors import DeliveryFailed, DocumentRefused

_ABOUT_US = ("tiled_access_tags", "tiled_specs")  # of the start document, for the writer only


class RunDelivery:
    """Takes the normalised documents of one run, ``start`` first, and brings them to the server.

    Calling it remembers, :meth:`send` sends, :meth:`confirm` sends the rest, checks that the server holds
    each row once, and writes the stop document last: a run with a stop document on the server is whole.
    Both may raise what ``httpx`` raises and may then be called again. ``look``: the run may be there already,
    wholly or in part.
    """

    def __init__(self, start: Mapping[str, Any], options: NodeOptions, *, look: bool = False) -> None:
        self.uid = str(start["uid"])
        self._start, self._options, self._look = start, options, look
        tags = start.get("tiled_access_tags")
        options.access_tags = list(tags) if tags is not None else None
        self._node: Any = None
        self.streams: dict[str, StreamNode] = {}
        self._descriptors: dict[str, Mapping[str, Any]] = {}
        self._stream_of: dict[str, StreamNode] = {}
        self._resources: dict[str, Mapping[str, Any]] = {}
        self.stop: Mapping[str, Any] | None = None
        self.is_confirmed = False
        self._found = loss_in("start document", start)
        self._take = {
            "start": lambda _: None,
            "descriptor": self._descriptor,
            "event": lambda doc: self._stream(doc).add_events([doc]),
            "event_page": self._event_page,
            "stream_resource": lambda doc: self._resources.setdefault(doc["uid"], doc),
            "stream_datum": self._stream_datum,
            "stop": self._stop,
        }

    # -- documents -----------------------------------------------------------------------------

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take one document."""
        take = self._take.get(name)
        if take is None:
            raise DocumentRefused("no such document goes to a Tiled server", found=name)
        take(doc)

    def _descriptor(self, doc: Mapping[str, Any]) -> None:
        if doc["uid"] in self._stream_of:
            return
        name = str(doc["name"])
        self.find(loss_in(f"descriptor of stream {name!r}", doc))
        stream = self.streams.get(name)
        if stream is None:
            key = stream_key(name)
            stream = self.streams[name] = StreamNode(doc, self._options, key=key, look=self._look)
        else:
            stream.add_descriptor(doc)
        self._stream_of[doc["uid"]] = stream

    def _event_page(self, page: Mapping[str, Any]) -> None:
        self._stream(page).add_events(_events_of(page))

    def _stream_datum(self, doc: Mapping[str, Any]) -> None:
        resource = self._resources.get(doc["stream_resource"])
        if resource is None:
            raise DocumentRefused(
                "a stream_datum names a stream_resource that has not come", found=doc["stream_resource"]
            )
        self._stream(doc).add_datum(resource, doc)

    def _stop(self, doc: Mapping[str, Any]) -> None:
        self.find(loss_in("stop document", doc))
        self.stop = doc

    def _stream(self, doc: Mapping[str, Any]) -> StreamNode:
        stream = self._stream_of.get(doc["descriptor"])
        if stream is None:
            raise DocumentRefused(
                "the document names a descriptor that has not come", found=doc["descriptor"]
            )
        return stream

    # -- the server ----------------------------------------------------------------------------

    def send(self) -> None:
        """Send what has come; frames of external files may wait a little."""
        self._open()
        for stream in self.streams.values():
            stream.send(self._node)

    def _open(self) -> None:
        if self._node is not None:
            return
        root = self._options.server.root
        found = child(root, self.uid) if self._look else None
        if found is None:
            found = self._create(root)
        self._node = plain(found)
        self._check_same()

    def _create(self, root: Any) -> Any:
        words = {key: value for key, value in self._start.items() if key not in _ABOUT_US}
        try:
            return root.create_container(
                key=self.uid,
                metadata={"start": json_safe(words)},
                specs=self._options.run_specs(self._start.get("tiled_specs") or []),
                access_tags=self._options.access_tags,
            )
        except httpx.HTTPStatusError as error:
            if not is_conflict(error):
                raise
            return root[self.uid]

    def _check_same(self) -> None:
        """Make sure that what the server has under this uid is this run and not more than it."""
        found = self._node.metadata.get("start", {}).get("uid")
        if found != self.uid:
            raise DeliveryFailed(
                "the server has something else under the run's uid", sequence=self.uid, found=found
            )

    def confirm(self, *, end: Document | None = None) -> None:
        """Send the rest and write the stop document; ``end`` is said of the run beside it.

        Without a stop document none is written, only ``end``. Raises RowsDiffer where the server holds other
        rows, DeliveryFailed where it has another stop document.
        """
        self._open()
        there = self._node.metadata.get("stop")
        if there is not None and self.stop is not None and there.get("uid") != self.stop["uid"]:
            raise DeliveryFailed(
                "the server has another stop document of the run",
                sequence=self.uid,
                found=there.get("uid"),
                expected=self.stop["uid"],
            )
        for stream in self.streams.values():
            stream.confirm(self._node)
        self._node.update_metadata(metadata=self._last_words(end), drop_revision=True)
        self.is_confirmed = True

    def _last_words(self, end: Document | None) -> Document:
        for note in self.findings:
            self._options.note(note)
        words: Document = {}
        if self.stop is not None:
            words["stop"] = json_safe(self.stop)
        if self._options.notes:
            words["notes"] = json_safe(self._options.notes)
        if end is not None:
            words["gapless"] = self._said(end)
        return words

    def held_marks(self, stream: str) -> np.ndarray[Any, Any]:
        """Return (seq_num, time) of all rows of a stream that the server holds."""
        return self.streams[stream].held_marks(self._node)

    def clear(self, stream: str) -> None:
        """Delete a stream's rows on the server."""
        self.streams[stream].clear(self._node)

    def say(self, end: Document) -> None:
        """Write what is said of the run beside its documents, once it is confirmed."""
        self._node.update_metadata(metadata=self._last_words(end), drop_revision=True)

    def _said(self, end: Document) -> Document:
        said: Document = json_safe(end | {"rows": self.rows, "findings": len(self.findings)})
        return said

    def end_streaming(self) -> None:
        """Tell those who follow the run live on the server that nothing more will come."""
        nodes = [node for stream in self.streams.values() for node in stream.nodes()]
        for node in (*nodes, self._node):
            node.close_stream()

    @property
    def waiting_rows(self) -> int:
        """How many events wait to be sent."""
        return sum(stream.waiting_rows for stream in self.streams.values())

    @property
    def rows(self) -> int:
        """How many events came, each once."""
        return sum(stream.rows for stream in self.streams.values())

    @property
    def findings(self) -> list[str]:
        """What of the run the server does not hold as it came."""
        return [*self._found, *(text for stream in self.streams.values() for text in stream.findings())]

    def find(self, findings: Iterable[str]) -> None:
        """Add what is found outside the streams that the server does not hold."""
        self._found += [text for text in findings if text not in self._found]


def _events_of(page: Mapping[str, Any]) -> list[Document]:
    """Return the events of a page."""
    return [
        {
            "uid": uid,
            "seq_num": page["seq_num"][n],
            "time": page["time"][n],
            "descriptor": page["descriptor"],
            "data": {key: values[n] for key, values in page["data"].items()},
            "timestamps": {key: values[n] for key, values in page["timestamps"].items()},
        }
        for n, uid in enumerate(page["uid"])
    ]
