"""What is looked for among the sequences: words, a query, properties; in the words of a request."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from fastapi import Query

from gapless.catalog.page import LIVE_FIRST, Wanted
from gapless.model.query_text import parse

LONGEST: Final = 4_000  # characters of a query or of words
MOST_ROWS: Final = 1_000
State = Literal["open", "pending", "sealed", "live"]
OutcomeWord = Literal["completed", "aborted", "failed", "interrupted", "crashed", "crashed_but_sealed"]
_COLUMNS: Final = (
    "name", "group", "state", "outcome", "created", "start", "end", "duration",
    "rows", "bytes", "topics", "labels", "sealed",
)  # fmt: skip
_ORDER: Final = f"^({LIVE_FIRST}|-?({'|'.join(_COLUMNS)}))$"

QueryText: TypeAlias = Annotated[
    str | None,
    Query(
        max_length=LONGEST, description="a query, as docs/query.md says", examples=["IMU.acceleration.z > 20"]
    ),
]
Words: TypeAlias = Annotated[
    str | None,
    Query(
        max_length=LONGEST,
        description="words that each stand in name, group, metadata, topic names or labels, in any case",
    ),
]
StateWord: TypeAlias = Annotated[State | None, Query(description="live: open, and being recorded")]
GroupName: TypeAlias = Annotated[
    str | None, Query(max_length=1_000, description="exactly this group; empty: without a group")
]
OutcomeName: TypeAlias = Annotated[OutcomeWord | None, Query()]
OrderWord: TypeAlias = Annotated[
    str,
    Query(
        pattern=_ORDER,
        description="live: live ones first, then the newest; or a column, with - before it the greatest first",
    ),
]
PageRows: TypeAlias = Annotated[int, Query(ge=1, le=MOST_ROWS, description="at most this many")]
Cursor: TypeAlias = Annotated[
    str | None, Query(max_length=8_000, description="the next_cursor of the page before")
]


def wanted(
    groups: frozenset[str] | None,
    query: str | None,
    text: str | None,
    state: str | None,
    group: str | None,
    outcome: str | None,
) -> Wanted:
    """Return which sequences are wanted by a caller of these groups.

    Raises QueryRefused, naming the column, for a query that means nothing. One of blanks only asks nothing.
    """
    expression = parse(query) if query is not None and query.strip() else None
    words = tuple(dict.fromkeys((text or "").split()))
    return Wanted(groups, state, group, outcome, words, expression)
