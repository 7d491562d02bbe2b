"""Pages and bulks as single documents: what they hold is the same, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

from gapless.bluesky.document import Document


def events_of(page: Mapping[str, Any]) -> Iterator[Document]:
    """Yield the events of an event_page in their order. The columns must be of one length."""
    filled = page.get("filled")
    rows = zip(
        page["uid"],
        page["seq_num"],
        page["time"],
        _rows(page["data"]),
        _rows(page["timestamps"]),
        _rows(filled or {}),
        strict=False,
    )
    for uid, seq_num, time, data, timestamps, flags in rows:
        event = {
            "descriptor": page["descriptor"],
            "uid": uid,
            "seq_num": seq_num,
            "time": time,
            "data": data,
            "timestamps": timestamps,
        }
        if filled is not None:
            event["filled"] = flags
        yield event


def datums_of(page: Mapping[str, Any]) -> Iterator[Document]:
    """Yield the datums of a datum_page in their order."""
    for datum_id, kwargs in zip(page["datum_id"], _rows(page["datum_kwargs"]), strict=False):
        yield {"datum_id": datum_id, "resource": page["resource"], "datum_kwargs": kwargs}


def events_of_bulk(bulk: Mapping[str, Sequence[Document]]) -> Iterator[Document]:
    """Yield the events of a bulk_events document, one descriptor after the other."""
    for events in bulk.values():
        yield from events


def datums_of_bulk(bulk: Mapping[str, Any]) -> Iterator[Document]:
    """Yield the datums of a bulk_datum document in their order."""
    for datum_id, kwargs in zip(bulk["datum_ids"], bulk["datum_kwarg_list"], strict=True):
        yield {"datum_id": datum_id, "resource": bulk["resource"], "datum_kwargs": kwargs}


def _rows(columns: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Yield one dict for each row; empty ones without end where there is no column."""
    if not columns:
        return map(dict, repeat(()))
    keys = tuple(columns)
    return (dict(zip(keys, row, strict=True)) for row in zip(*columns.values(), strict=True))
