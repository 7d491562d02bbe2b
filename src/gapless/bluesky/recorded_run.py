"""What a store holds of a run, as far as documents that come later need it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow.compute as pc

from gapless.bluesky.kept_documents import KeptDocument, kept_documents
from gapless.bluesky.legacy_datum import RecordedFrames, first_uid
from gapless.bluesky.legacy_event import Reference
from gapless.bluesky.lossless import decode
from gapless.bluesky.part_reader import parts_of
from gapless.bluesky.stream_rows import StreamRows
from gapless.bluesky.stream_schema import DOCUMENTS, EXTERNAL, VIOLATIONS

if TYPE_CHECKING:
    from gapless.client.sequence_handler import SequenceHandler
    from gapless.store.reader import BundleReader

Doc = Mapping[str, Any]

_DATUMS: Final = ("datum", "datum_page", "bulk_datum")
# What the base recorded is told to the normalizer in this order, whatever the order of the rows.
_PRIMERS: Final = ("start", "descriptor", "stream_resource", "resource", *_DATUMS)


def known_uids(handler: SequenceHandler) -> set[str]:
    """Return the uid of every document that a sequence and its layers hold, external references included."""
    known, originals = _known_uids(handler)
    return known | originals


def _known_uids(handler: SequenceHandler) -> tuple[set[str], set[str]]:
    """Return the uids of what was recorded, and those of legacy documents that only became part of others.

    The uid of a stream_datum is the datum_id of what it was made of: the datum alone does not make it known.
    """
    known: set[str] = set()
    originals: set[str] = set()
    for name in handler.topics:
        topic = handler.topic(name)
        if name == VIOLATIONS or "uid" not in topic.schema.names:
            continue
        if name == DOCUMENTS:
            for chosen, found in ((True, known), (False, originals)):
                is_there = pc.field("document").is_valid()
                for batch in topic.scan(columns=["uid"], filter=is_there if chosen else ~is_there):
                    found.update(uid for uid in batch.column("uid").to_pylist() if uid)
            continue
        for batch in topic.scan(columns=["uid"]):
            known.update(uid for uid in batch.column("uid").to_pylist() if uid)
    return known, originals


def recorded_documents(
    handler: SequenceHandler, names: Iterable[str], *, as_they_came: bool = False
) -> Iterator[tuple[str, Doc]]:
    """Yield what a sequence and its layers hold under these names in ``bluesky/documents``, kind after kind.

    Those of a kind are in order of arrival. A legacy document comes as it came, others as they were recorded, or
    ``as_they_came`` as well.
    """
    for kept in _kept(parts_of(handler.reader), list(names)):
        found = _as_it_came(kept) if as_they_came else kept.document or kept.original
        if found is not None:
            yield kept.name, found


def _kept(parts: Sequence[BundleReader], names: list[str]) -> list[KeptDocument]:
    return sorted(kept_documents(parts, names), key=lambda kept: names.index(kept.name))


def _as_it_came(kept: KeptDocument) -> Doc | None:
    return kept.original or kept.document


def recorded_headers(handler: SequenceHandler) -> list[tuple[str, Doc]]:
    """Return start, descriptors and resources of a recorded run as they came."""
    names = ("start", "descriptor", "resource", "stream_resource")
    return list(recorded_documents(handler, names, as_they_came=True))


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run in a store.

    ``known``: the uids of what was recorded; ``originals``: those of legacy documents that became part of others.
    ``primers``: what a normalizer needs of the run, as it came. ``descriptors`` and ``resources``, which are
    stream_resources, as they were recorded, in order of arrival. ``frames``: what was made of datums;
    ``unresolved``: the references to datums that never came before the run ended.
    """

    known: set[str]
    originals: set[str]
    primers: list[tuple[str, Doc]]
    descriptors: list[Doc]
    resources: list[Doc]
    frames: list[RecordedFrames]
    unresolved: list[Reference]
    has_stop: bool

    @classmethod
    def of(cls, handler: SequenceHandler) -> RecordedRun:
        """Read what a sequence and its layers hold."""
        parts = parts_of(handler.reader)
        kept = _kept(parts, [*_PRIMERS, "stop"])
        descriptors = _recorded(kept, "descriptor")
        resources = _recorded(kept, "stream_resource")
        has_datums = any(each.name in _DATUMS for each in kept)
        made = _made_of_resources(kept, descriptors, resources)
        return cls(
            *_known_uids(handler),
            [
                (each.name, doc)
                for each in kept
                if each.name != "stop" and each.uid not in made and (doc := _as_it_came(each)) is not None
            ],
            descriptors,
            resources,
            list(_frames(parts, descriptors)) if has_datums else [],
            list(_unresolved(parts, descriptors)),
            "stop" in handler.metadata or any(each.name == "stop" for each in kept),
        )


def _recorded(kept: Iterable[KeptDocument], name: str) -> list[Doc]:
    return [each.document for each in kept if each.name == name and each.document is not None]


def _made_of_resources(
    kept: Iterable[KeptDocument], descriptors: Iterable[Doc], resources: Iterable[Doc]
) -> set[str]:
    """Return the uids of the stream_resources that were made of resources: these never came to a normalizer."""
    legacy = {each.uid for each in kept if each.name == "resource"}
    made = set()
    for doc in resources if legacy else ():
        first = first_uid(dict(doc)) or ""
        ends = (f"-{descriptor['uid']}-{doc['data_key']}" for descriptor in descriptors)
        if any(first.endswith(end) and first.removesuffix(end) in legacy for end in ends):
            made.add(str(doc["uid"]))
    return made


def _by_stream(descriptors: Iterable[Doc]) -> dict[str, list[str]]:
    """Return the uids of the descriptors of each stream; rows name them by their place."""
    by_stream: dict[str, list[str]] = {}
    for descriptor in descriptors:
        by_stream.setdefault(str(descriptor.get("name", "primary")), []).append(descriptor["uid"])
    return by_stream


def _frames(parts: Sequence[BundleReader], descriptors: Iterable[Doc]) -> Iterator[RecordedFrames]:
    """Yield what is recorded of external frames, each stream's in order of arrival."""
    by_stream = _by_stream(descriptors)
    topics: dict[str, dict[int, Any]] = {}
    for number, part in enumerate(parts):
        for topic in part.topics.values():
            if topic.name.endswith(EXTERNAL):
                topics.setdefault(str(topic.metadata.get("stream")), {})[number] = topic
    for stream, readers in topics.items():
        uids = by_stream.get(stream, [])
        for batch in StreamRows(readers).by_arrival():
            for row in batch.to_pylist():
                if row["descriptor"] < len(uids):
                    yield RecordedFrames(
                        row["uid"],
                        uids[row["descriptor"]],
                        stream,
                        row["data_key"],
                        row["seq_start"],
                        row["index_start"],
                        row["index_stop"],
                    )


def _unresolved(parts: Sequence[BundleReader], descriptors: Iterable[Doc]) -> Iterator[Reference]:
    """Yield the references to datums that never came before the run ended."""
    by_stream = _by_stream(descriptors)
    ordinals: dict[str, dict[str, int]] = {}
    columns = ["stream", "uid", "seq_num", "key", "value"]
    for part in parts:
        if VIOLATIONS not in part.topics:
            continue
        for batch in part.topic(VIOLATIONS).scan(columns=columns, filter=pc.field("kind") == "unresolved"):
            for row in batch.to_pylist():
                stream, uid, seq_num, key, value = (row[column] for column in columns)
                if stream not in ordinals:
                    ordinals[stream] = _ordinals(parts, stream)
                ordinal = ordinals[stream].get(uid)
                if ordinal is not None and ordinal < len(by_stream.get(stream, ())):
                    yield Reference(decode(value), key, by_stream[stream][ordinal], stream, seq_num, uid)


def _ordinals(parts: Sequence[BundleReader], stream: str) -> dict[str, int]:
    """Return the ordinal of each event's descriptor, by the event's uid."""
    ordinals: dict[str, int] = {}
    for part in parts:
        for topic in part.topics.values():
            words = topic.metadata.get("bluesky")
            if isinstance(words, dict) and words.get("stream") == stream:
                for batch in topic.scan(columns=["uid", "descriptor"]):
                    columns = (batch.column(key).to_pylist() for key in ("uid", "descriptor"))
                    ordinals.update(zip(*columns, strict=True))
    return ordinals
