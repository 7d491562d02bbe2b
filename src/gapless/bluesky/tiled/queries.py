"""Tiled's queries as conditions on a listing of sequences.

A sequence that no Bluesky run was recorded into has no start document: for it a path ``start.<key>`` means
its own metadata, because the client of a catalog of runs puts ``start.`` before every path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tiled import queries as asked
from tiled.queries import QueryValueError
from tiled.structures.core import StructureFamily

from gapless.bluesky.tiled.run_key import IS_RUN, keyed, uid_like
from gapless.catalog import listing_filter as sql
from gapless.catalog.listing import Listing
from gapless.catalog.metadata_index import Clause
from gapless.errors import QueryRefused

_START = "start."
_MOST_WORDS = 100
_COMPARISONS = {"lt": "lt", "le": "leq", "gt": "gt", "ge": "geq"}


def condition(query: Any, specs_of: Callable[[bool], list[str]], listing: Callable[[], Listing]) -> Clause:
    """Return what a query demands of a sequence; ``specs_of`` tells the specs of runs and of the others.

    ``listing``: where the texts are in which a regular expression is looked for. Raises Tiled's
    QueryValueError, which its server answers with 400, for a query that means nothing here or asks for too
    much.
    """
    try:
        if isinstance(query, asked.SpecsQuery):
            return _has_specs(query, specs_of)
        if isinstance(query, asked.Regex):
            return _regex(query, listing())
        for kind, answer in _ANSWERS.items():
            if isinstance(query, kind):
                return answer(query)
    except (QueryRefused, TypeError, ValueError, RecursionError) as error:
        raise QueryValueError(str(error)) from error
    raise QueryValueError(f"{type(query).__name__} is no query that this server answers")


def _has_specs(query: Any, specs_of: Callable[[bool], list[str]]) -> Clause:
    include, exclude = set(query.include), set(query.exclude)
    fits = [include <= set(specs) and not exclude & set(specs) for specs in map(specs_of, (True, False))]
    if all(fits):
        return sql.ALL
    if not any(fits):
        return sql.NONE
    return IS_RUN if fits[0] else sql.negated(IS_RUN)


def _at(key: str, source_at: Callable[[str], Clause]) -> Clause:
    """Return a condition on the value that a path means."""
    sources = [source_at(sql.dotted(key))]
    if key.startswith(_START):
        bare = source_at(sql.dotted(key.removeprefix(_START)))
        sources.append(sql.lacking(bare, "start.uid"))
    return sql.within(sql.united(sources))


def _equal(key: str, value: Any) -> Clause:
    if isinstance(value, list):
        return _at(key, lambda path: sql.lists(path, value))
    if value is None or isinstance(value, dict):
        raise QueryValueError("a value to compare with is a text, a number, a truth value or a list of them")
    return _at(key, lambda path: sql.compares(path, "eq", value))


def _among(key: str, values: list[Any]) -> Clause:
    if not values:
        return sql.NONE
    if not all(isinstance(value, str | int | float) for value in values):
        raise QueryValueError("values to look for are texts, numbers or truth values")
    return _at(key, lambda path: sql.among(path, values))


def _like(query: Any) -> Clause:
    held = _at(query.key, lambda path: sql.like(path, query.pattern))
    return sql.any_of([held, uid_like(query.pattern)]) if query.key == "start.uid" else held


def _regex(query: Any, listing: Listing) -> Clause:
    def holding(path: str) -> Clause:
        return sql.one_of(path, listing.matching(path, query.pattern, ignore_case=not query.case_sensitive))

    return _at(query.key, holding)


def _words(query: Any) -> Clause:
    words = list(dict.fromkeys(query.text.split()))
    if len(words) > _MOST_WORDS:
        raise QueryValueError(f"{len(words)} words are too many; {_MOST_WORDS} are looked for at once")
    held = sql.ALL
    for word in words:
        held = held & sql.mentions(word)
    return held


_ANSWERS: dict[type, Callable[[Any], Clause]] = {
    asked.Eq: lambda q: _equal(q.key, q.value),
    asked.NotEq: lambda q: _at(q.key, sql.has) & sql.negated(_equal(q.key, q.value)),
    asked.Comparison: lambda q: _at(
        q.key, lambda path: sql.compares(path, _COMPARISONS[q.operator.value], q.value)
    ),
    asked.Contains: lambda q: _equal(q.key, q.value),
    asked.In: lambda q: _among(q.key, q.value),
    asked.NotIn: lambda q: _at(q.key, sql.has) & sql.negated(_among(q.key, q.value)) if q.value else sql.ALL,
    asked.Like: _like,
    asked.FullText: _words,
    asked.KeyPresent: lambda q: (
        _at(q.key, sql.has) if getattr(q, "exists", True) else sql.negated(_at(q.key, sql.has))
    ),
    asked.KeysFilter: lambda q: keyed(q.keys),
    asked.KeyLookup: lambda q: keyed([q.key]),
    asked.StructureFamilyQuery: lambda q: sql.ALL if q.value == StructureFamily.container else sql.NONE,
}
