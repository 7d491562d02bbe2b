"""The table of sequences, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gapless.catalog.page import LIVE_FIRST, read_page
from gapless.errors import QueryRefused
from gapless.serve.http.asking import Asking
from gapless.serve.http.search import (
    Cursor,
    GroupName,
    OrderWord,
    OutcomeName,
    PageRows,
    QueryText,
    StateWord,
    Words,
    wanted,
)
from gapless.serve.http.sequence_rows import Row, row_of
from gapless.serve.native.reading_runs import BoundedRuns
from gapless.serve.rights import Right
from gapless.serve.visible import looked_at

if TYPE_CHECKING:
    from gapless.catalog.page import Page, Wanted
    from gapless.serve.http.asking import HttpCall

router = APIRouter(tags=["sequences"])


class Rows(BaseModel):
    """One page. ``warnings`` say why nothing was found where something was probably meant otherwise."""

    model_config = ConfigDict(extra="forbid")

    sequences: list[Row]
    next_cursor: str | None = Field(description="asks for the next page; null on the last one")
    total: int | None = Field(description="of all pages; null where counting would mean reading rows")
    warnings: list[str]


@router.get("/sequences")
def list_sequences(
    call: Asking,
    query: QueryText = None,
    text: Words = None,
    state: StateWord = None,
    group: GroupName = None,
    outcome: OutcomeName = None,
    order: OrderWord = LIVE_FIRST,
    limit: PageRows = 100,
    cursor: Cursor = None,
) -> Rows:
    """List the sequences that the caller sees; words, query and properties must all fit.

    A query about rows adds the spans in which it holds.
    """
    call.require(Right.READ)
    asked = wanted(call.access.groups, query, text, state, group, outcome)
    page = _page(call, asked, order, limit, cursor)
    rows = [row_of(entry) for entry in page.entries]
    return Rows(sequences=rows, next_cursor=page.next_cursor, total=page.total, warnings=page.warnings)


def _page(call: HttpCall, asked: Wanted, order: str, limit: int, cursor: str | None) -> Page:
    try:
        return read_page(
            looked_at(call.served),
            asked,
            order=order,
            limit=limit,
            cursor=cursor,
            builder=BoundedRuns(call.cancelled),
        )
    except RecursionError as error:
        raise QueryRefused("the query is nested too deeply", field="query") from error
