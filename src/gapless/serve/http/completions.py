"""What the end of a query may go on with: metadata paths, fields with their units, operators, known values."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from gapless.catalog.vocabulary import Vocabulary
from gapless.model.query_caret import caret_of
from gapless.serve.http.asking import Asking
from gapless.serve.http.completion_words import Offered, offers
from gapless.serve.http.search import LONGEST
from gapless.serve.rights import Right
from gapless.serve.visible import looked_at

router = APIRouter(tags=["sequences"])
MOST = 50


class Completion(BaseModel):
    """One way to go on: ``text`` takes the place of what was typed since ``start``."""

    model_config = ConfigDict(extra="forbid")

    text: str
    kind: Literal["metadata", "field", "word", "function", "value"]
    hint: str = Field(description="a value it has, its unit and type, or what it means")


class Completions(BaseModel):
    """``start`` counts UTF-16 units, as JavaScript does."""

    model_config = ConfigDict(extra="forbid")

    start: int
    completions: list[Completion]


@router.get("/completions")
def complete(
    call: Asking,
    at: Annotated[str, Query(max_length=LONGEST, description="the text of a query up to the caret")] = "",
) -> Completions:
    """Tell what may come next in a query that is being typed; only of sequences that the caller sees."""
    call.require(Right.READ)
    caret = caret_of(at)
    catalog = looked_at(call.served)
    vocabulary = Vocabulary(catalog.database, call.access.groups)
    found = offers(caret, vocabulary, catalog.sequences_path, MOST)
    start = len(at[: caret.start].encode("utf-16-le")) // 2
    return Completions(start=start, completions=[_told(offered) for offered in found])


def _told(offered: Offered) -> Completion:
    return Completion(text=offered.text, kind=offered.kind, hint=offered.hint)
