"""A Bluesky run as it is stored: its documents, its streams and what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gapless.bluesky.external.check import check_key
from gapless.bluesky.kept_documents import KeptDocument, kept_documents
from gapless.bluesky.part_reader import parts_of
from gapless.bluesky.run_report import RunReport
from gapless.bluesky.stored_stream import StoredStream
from gapless.bluesky.stream_schema import DOCUMENTS, EXTERNAL
from gapless.client.remote.remote_bundle import RemoteBundle
from gapless.errors import ArgumentRefused, NotFound
from gapless.store.reader import BundleReader

if TYPE_CHECKING:
    from gapless.client.client import Client
    from gapless.client.sequence_handler import SequenceHandler
    from gapless.store.verify import Finding


class StoredRun:
    """Reads one run, whatever its state; an open one as far as it is durable, see :meth:`reload`.

    ``StoredRun(handler)``, ``StoredRun(client, name)`` or ``StoredRun(url, name)``. Raises NotFound for a
    sequence that was not recorded from documents.
    """

    def __init__(
        self, source: SequenceHandler | BundleReader | Client | str, name: str | None = None
    ) -> None:
        self.reader = _reader_of(source, name)
        self._read()

    def __repr__(self) -> str:
        return f"<StoredRun {self.name} {self.outcome or self.state} streams={list(self.streams)}>"

    def reload(self) -> None:
        """Look at the run again: more documents, a seal or a layer may have come."""
        self.reader.reload()
        self._read()

    def _read(self) -> None:
        self.parts = parts_of(self.reader)
        if not is_run(self.reader):
            raise NotFound(
                "the sequence was not recorded from Bluesky documents",
                sequence=self.reader.name,
                next_step="read it with client.sequence_handler(name), or as documents with documents(handler)",
            )
        self.kept = kept_documents(self.parts)
        self.stream_resources = _by_uid(self.kept, "stream_resource")
        self.streams = {name: self._stream(name) for name in self._stream_names()}

    # -- what it is ----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name of the sequence."""
        return self.reader.name

    @property
    def state(self) -> str:
        """``open``, ``pending`` or ``sealed``."""
        return self.reader.state

    @property
    def outcome(self) -> str | None:
        """How it ended, None until it is sealed; ``interrupted`` without a stop document."""
        return self.reader.outcome

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the sequence: start, stop and report as JSON."""
        return self.reader.metadata

    @property
    def start(self) -> dict[str, Any]:
        """The start document; of an open run whose first rows are not durable yet, as its metadata has it."""
        found = self._last("start")
        return dict(found if found is not None else self.metadata.get("start") or {})

    @property
    def uid(self) -> str:
        """The uid of the run."""
        return str(self.start["uid"])

    @property
    def stop(self) -> dict[str, Any] | None:
        """The stop document, also one that came late; None for a run that has none."""
        return self._last("stop")

    @property
    def report(self) -> dict[str, Any]:
        """What became of its documents, in numbers; empty until it is sealed by its writer."""
        return RunReport.read(self.metadata.get("bluesky") or {})

    @property
    def descriptors(self) -> list[dict[str, Any]]:
        """All descriptors in order of arrival."""
        return [k.document for k in self.kept if k.name == "descriptor" and k.document is not None]

    def _last(self, name: str) -> dict[str, Any] | None:
        found = [kept.document for kept in self.kept if kept.name == name and kept.document is not None]
        return found[-1] if found else None

    # -- its streams ---------------------------------------------------------------------------

    def __getitem__(self, stream: str) -> StoredStream:
        if stream not in self.streams:
            raise NotFound(
                "the run has no such stream",
                sequence=self.name,
                topic=stream,
                expected=f"one of {', '.join(self.streams)}",
                next_step="run.streams has them by name",
            )
        return self.streams[stream]

    def __iter__(self) -> Iterator[str]:
        return iter(self.streams)

    def __len__(self) -> int:
        return len(self.streams)

    def __contains__(self, stream: object) -> bool:
        return stream in self.streams

    def _stream_names(self) -> list[str]:
        return list(
            dict.fromkeys(kept.stream or "primary" for kept in self.kept if kept.name == "descriptor")
        )

    def _stream(self, name: str) -> StoredStream:
        kept = [k for k in self.kept if k.name == "descriptor" and (k.stream or "primary") == name]
        topics, external = {}, {}
        for number, part in enumerate(self.parts):
            for topic in part.topics.values():
                if topic.name.endswith(EXTERNAL):
                    if topic.metadata.get("stream") == name:
                        external[number] = topic
                elif (topic.metadata.get("bluesky") or {}).get("stream") == name:
                    topics[number] = topic
        return StoredStream(name, kept, self.stream_resources, self.parts, topics, external)

    def stream_of(self, descriptor_uid: str) -> str:
        """Return the name of the stream that a descriptor belongs to."""
        for kept in self.kept:
            if kept.name == "descriptor" and kept.uid == descriptor_uid:
                return kept.stream or "primary"
        raise NotFound("the run has no such descriptor", sequence=self.name, found=descriptor_uid)

    # -- external data -------------------------------------------------------------------------

    def check_external(self, *, deep: bool = False) -> list[Finding]:
        """Return what is wrong with the external files; ``deep`` opens each of them."""
        return [
            finding
            for stream in self.streams.values()
            for key in stream.external.values()
            for finding in check_key(key, f"{stream.name}/{key.name}", deep=deep)
        ]


def is_run(reader: BundleReader) -> bool:
    """Tell whether a sequence was recorded from documents.

    One that was killed before its first document was durable has nothing but its start, in the metadata.
    """
    start = reader.metadata.get("start")
    return DOCUMENTS in reader.topics or (
        not reader.topics and isinstance(start, dict) and isinstance(start.get("uid"), str)
    )


def check_external(source: SequenceHandler | BundleReader, *, deep: bool = False) -> list[Finding]:
    """Return what is wrong with the external files of a sequence; nothing for one without documents."""
    reader = _reader_of(source, None)
    return StoredRun(reader).check_external(deep=deep) if is_run(reader) else []


def _reader_of(source: Any, name: str | None) -> BundleReader:
    if isinstance(source, BundleReader):
        return source
    if name is None:
        if not hasattr(source, "reader"):
            raise ArgumentRefused("a run in a store is opened by its name", found=repr(source))
        reader: BundleReader = source.reader
        return reader
    if isinstance(source, str):
        from gapless.client.client import connect

        client = connect(source)
        found = client.sequence_handler(name).reader
        if not isinstance(found, RemoteBundle):  # which is read through its client's connection
            client.close()
        return found
    handler: SequenceHandler = source.sequence_handler(name)
    return handler.reader


def _by_uid(kept: list[KeptDocument], name: str) -> dict[str, dict[str, Any]]:
    return {one.uid: one.document for one in kept if one.name == name and one.document is not None}
