"""The documents of a run that are kept as they were: all but events and stream_datums."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from gapless.bluesky.lossless import decode
from gapless.bluesky.stream_schema import DOCUMENTS
from gapless.errors import IntegrityError

if TYPE_CHECKING:
    from gapless.store.reader import BundleReader


@dataclass(frozen=True, slots=True)
class KeptDocument:
    """One document: normalised, and as it came where that differed (``original``).

    ``document`` is None for a legacy document that only became part of others. ``part`` is 0 for the base,
    then counts the layers.
    """

    timestamp_ns: int
    name: str
    uid: str
    stream: str | None
    document: dict[str, Any] | None
    original: dict[str, Any] | None
    part: int


def kept_documents(parts: Sequence[BundleReader], names: Collection[str] | None = None) -> list[KeptDocument]:
    """Return the kept documents of a run in order of arrival, each once; nothing for another sequence.

    ``names``: those of these names only.
    """
    found: dict[tuple[str, str, bool], KeptDocument] = {}
    for number, part in enumerate(parts):
        if DOCUMENTS not in part.topics:
            continue
        for row in _in_order(part, names):
            kept = KeptDocument(
                row["timestamp_ns"],
                row["name"],
                row["uid"],
                row["stream"],
                _decoded(row["document"], part.name),
                _decoded(row["original"], part.name),
                number,
            )
            identity = kept.uid or row["original"] or ""  # a bulk has no uid
            found.setdefault((kept.name, identity, kept.document is None), kept)
    return list(found.values())


def _in_order(part: BundleReader, names: Collection[str] | None) -> Iterator[dict[str, Any]]:
    wanted = None if names is None else reduce(operator.or_, (pc.field("name") == name for name in names))
    batches = part.topic(DOCUMENTS).scan(with_seq=True, filter=wanted)
    rows = [row for batch in batches for row in batch.to_pylist()]
    yield from sorted(rows, key=lambda row: row["_seq"])


def _decoded(text: str | None, sequence: str) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = decode(text)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(
            "a kept document is not what was written", sequence=sequence, topic=DOCUMENTS, found=str(error)
        ) from error
    if not isinstance(value, dict):
        raise IntegrityError("a kept document is no object", sequence=sequence, topic=DOCUMENTS, found=text)
    return value
