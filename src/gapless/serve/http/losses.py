"""What was recorded, and what was not: the ledger of each topic and the gaps in time."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gapless.serve.http.asking import Asking
from gapless.serve.http.names import Name
from gapless.serve.http.nanoseconds import EndNs, Nanoseconds, StartNs
from gapless.serve.http.reserved_pages import PageRows, read_reserved
from gapless.serve.http.row_place import After
from gapless.serve.http.topics import LedgerWords, ledger_words
from gapless.serve.visible import opened

router = APIRouter(tags=["sequences"])


class TopicLedger(LedgerWords):
    """The ledger of one topic."""

    topic: str


class Ledger(BaseModel):
    """Messages of the whole sequence and of each of its topics."""

    model_config = ConfigDict(extra="forbid")

    ledger: LedgerWords
    topics: list[TopicLedger]


class Gap(BaseModel):
    """Messages of a topic that are not there. ``topic`` ``*``: of any topic; null where nobody can know."""

    model_config = ConfigDict(extra="forbid")

    topic: str
    start_ns: Nanoseconds
    end_ns: Nanoseconds | None
    first_seq: int | None
    count: int | None
    cause: str


class Gaps(BaseModel):
    """Some gaps in order of time."""

    model_config = ConfigDict(extra="forbid")

    gaps: list[Gap]
    next: str | None = Field(description="give it as `after` for those that follow; null at the end")


@router.get("/sequences/{name}/ledger")
def show_ledger(call: Asking, name: Name) -> Ledger:
    """Tell how many messages were produced, and what became of them."""
    reader = opened(call.served, call, name).reader
    topics = [
        TopicLedger(topic=topic, **ledger_words(known.ledger).model_dump())
        for topic, known in reader.topics.items()
    ]
    return Ledger(ledger=ledger_words(reader.ledger), topics=topics)


@router.get("/sequences/{name}/gaps")
def list_gaps(
    call: Asking,
    name: Name,
    start_ns: StartNs = None,
    end_ns: EndNs = None,
    limit: PageRows = 1_000,
    after: After = None,
) -> Gaps:
    """List the gaps that begin in ``[start_ns, end_ns)``."""
    page = read_reserved(call, name, "_gaps", start_ns, end_ns, limit, after)
    gaps = [
        Gap(
            topic=row["topic"],
            start_ns=row["timestamp_ns"],
            end_ns=row["end_ns"],
            first_seq=row["first_seq"],
            count=row["count"],
            cause=row["cause"],
        )
        for row in page.rows
    ]
    return Gaps(gaps=gaps, next=page.next)
