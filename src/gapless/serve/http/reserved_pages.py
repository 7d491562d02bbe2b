"""Rows of the reserved topics, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from fastapi import Query

from gapless.serve.http.data_page import end_of, taken_of
from gapless.serve.http.data_rows import Window, rows_of
from gapless.serve.http.nanoseconds import check_window
from gapless.serve.http.row_place import Place
from gapless.serve.visible import opened

if TYPE_CHECKING:
    from gapless.serve.http.asking import HttpCall

PageRows: TypeAlias = Annotated[int, Query(ge=1, le=10_000, description="at most this many")]


@dataclass(frozen=True, slots=True)
class ReservedPage:
    """Some rows as Python values, and where to go on."""

    rows: list[dict[str, Any]]
    next: str | None


def read_reserved(
    call: HttpCall,
    name: str,
    topic: str,
    start_ns: int | None,
    end_ns: int | None,
    limit: int,
    after: str | None,
) -> ReservedPage:
    """Return at most ``limit`` rows of a reserved topic of a sequence that the caller sees."""
    check_window(start_ns, end_ns)
    reader = opened(call.served, call, name).reader.topic(topic)
    place = None if after is None else Place.read(after)
    rows = rows_of(reader, Window(None, start_ns, end_ns, limit + 1, place), call.cancelled)
    taken, more = taken_of(rows.batches, limit)
    found = [row for batch in taken for row in batch.to_pylist()]
    return ReservedPage(found, str(end_of(taken, place)) if more else None)
