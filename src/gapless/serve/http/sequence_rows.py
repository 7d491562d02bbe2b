"""One line of the table of sequences: what a person looks at before opening one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, Field

from gapless.serve.http.health_badge import Health, health_of
from gapless.serve.http.nanoseconds import Nanoseconds, NanosecondsBetween
from gapless.serve.http.open_figures import OpenFigures

if TYPE_CHECKING:
    from gapless.catalog.answer import AnswerItem
    from gapless.catalog.catalog import SequenceRow
    from gapless.catalog.page import Entry

SPANS_SHOWN: Final = 5
OPEN_FIGURES: Final = OpenFigures()  # of this process


class FoundSpan(BaseModel):
    """A run of rows for which the query holds: first and last time, both included."""

    model_config = ConfigDict(extra="forbid")

    topic: str
    start_ns: Nanoseconds
    end_ns: Nanoseconds


class Row(BaseModel):
    """What is known of one sequence. Figures of an open one are those that are durable at this moment."""

    model_config = ConfigDict(extra="forbid")

    name: str
    group: str | None
    status: str = Field(
        description="the state in words: `open, owner gone`, `open, client away`; an unsealed layer is named"
    )
    state: str = Field(description="open, pending or sealed")
    outcome: str | None = Field(description="how the recording ended; null until it is sealed")
    live: bool = Field(description="a living process is recording it")
    created_ns: Nanoseconds
    start_ns: Nanoseconds | None = Field(description="the first row; null until sealed, or without rows")
    end_ns: Nanoseconds | None
    duration_ns: NanosecondsBetween | None
    rows: int
    bytes: int
    topics: int
    labels: int
    health: Health
    spans: list[FoundSpan] | None = Field(
        description=f"the first {SPANS_SHOWN} spans that a query about rows found; else null"
    )
    spans_total: int | None


def row_of(entry: Entry) -> Row:
    """Return the line of a sequence."""
    row = entry.row
    live = row.state == "open" and row.owner_alive
    figures = OPEN_FIGURES.of(row.path) if row.state != "sealed" and row.problem is None else None
    ledger = row.ledger if figures is None else figures.ledger
    spans = None if entry.found is None else found_spans(entry.found)
    return Row(
        name=row.name,
        group=row.group,
        status=row.status,
        state=row.state,
        outcome=row.outcome,
        live=live,
        created_ns=row.created_ns,
        start_ns=row.start_ns,
        end_ns=row.end_ns,
        duration_ns=row.duration_ns,
        rows=row.rows if figures is None else figures.rows,
        bytes=row.size_bytes if figures is None else figures.size_bytes,
        topics=row.topics if figures is None else figures.topics,
        labels=entry.labels,
        health=row_health(row, ledger, live=live),
        spans=None if spans is None else spans[:SPANS_SHOWN],
        spans_total=None if spans is None else len(spans),
    )


def row_health(row: SequenceRow, ledger: dict[str, int], *, live: bool) -> Health:
    """Return the badge of a row with the ledger that holds now."""
    return health_of(
        row.name,
        state=row.state,
        live=live,
        outcome=row.outcome,
        ledger=ledger,
        awaited=row.awaited_until_ns is not None,
        problem=row.problem,
        unsealed_layers=bool(row.unsealed_layers),
    )


def found_spans(item: AnswerItem) -> list[FoundSpan] | None:
    """Return the spans of a query's answer in order of time; None for a query that asks about no rows."""
    topics = [topic for topic in item.topics if topic.spans]
    if not topics:
        return None
    spans = [
        FoundSpan(topic=topic.name, start_ns=start_ns, end_ns=end_ns)
        for topic in topics
        for start_ns, end_ns in topic.spans
    ]
    return sorted(spans, key=lambda span: (span.start_ns, span.topic, span.end_ns))
