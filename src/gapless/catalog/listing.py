"""The sequences of a store page by page: chosen by conditions, put in order, counted, all of it by SQL.

What it costs depends on the page and not on the store: a page of 100 out of 100,000 sequences is one
statement that returns 100 rows, and a count is one that returns a number. Whatever somebody asks for, an
answer takes a bounded time: QueryRefused is raised for what would take longer, and for what SQLite cannot
hold or understand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gapless.catalog.metadata_index import Clause, path_id
from gapless.catalog.regex import found_in
from gapless.catalog.sqlite import Database, Row
from gapless.errors import QueryRefused

_COLUMNS = (
    "s.id, s.name, s.component, s.state, s.outcome, s.grp, s.created_ns, s.sealed_ns, s.start_ns, s.end_ns,"
    " s.rows, s.bytes, s.topics, s.layers, s.content_digest, s.metadata"
)
_PROPERTIES = {
    "name": "s.name",
    "group": "s.grp",
    "state": "s.state",
    "outcome": "s.outcome",
    "created_ns": "s.created_ns",
    "sealed_ns": "s.sealed_ns",
    "rows": "s.rows",
    "bytes": "s.bytes",
}
_PATIENCE_S = 10.0
_SINGLE = "type IN ('s', 'n', 'N', 'b')"  # not the mark that an object or a list stands at a path


@dataclass(frozen=True, slots=True)
class Listed:
    """One sequence of a page; times in ns since 1970, ``rows`` and ``size_bytes`` 0 until it is sealed."""

    id: int
    name: str
    component: str
    state: str
    outcome: str | None
    group: str | None
    created_ns: int
    sealed_ns: int | None
    start_ns: int | None
    end_ns: int | None
    rows: int
    size_bytes: int
    topics: int
    layers: int
    content_digest: str | None
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SortKey:
    """One term of an order: a property of sequences or, with ``is_metadata``, a metadata path."""

    name: str
    is_metadata: bool
    descending: bool = False

    @property
    def clause(self) -> Clause:
        """The ORDER BY term; what has no value comes first, and last when descending."""
        way = " DESC" if self.descending else ""
        if not self.is_metadata:
            return Clause(_PROPERTIES[self.name] + way)
        place = path_id("sequence", self.name)
        value = (
            "(SELECT value FROM metadata_value INDEXED BY metadata_by_owner"
            f" WHERE owner=s.id AND path_id={place.sql} AND {_SINGLE} LIMIT 1)"
        )
        return Clause(value + way, place.parameters)


@dataclass(frozen=True, slots=True)
class Listing:
    """Some of a store's sequences in an order; each method that narrows or sorts returns a new one."""

    database: Database
    conditions: tuple[Clause, ...] = ()
    order: tuple[SortKey, ...] = ()
    descending: bool = False

    def where(self, condition: Clause) -> Listing:
        """Return the sequences of this listing for which the condition holds too (``s`` is the sequence)."""
        return replace(self, conditions=(*self.conditions, condition))

    def ordered(self, order: Sequence[SortKey], *, descending: bool = False) -> Listing:
        """Return them in another order; ``descending`` turns the creation order of equal ones round."""
        return replace(self, order=tuple(order), descending=descending)

    def count(self) -> int:
        """Return how many there are."""
        where = self._where
        [(count,)] = self._rows(f"SELECT count(*) FROM sequence s WHERE {where.sql}", where.parameters)
        return int(count)

    def page(self, offset: int = 0, limit: int | None = None) -> list[Listed]:
        """Return at most ``limit`` of them after the first ``offset``."""
        where, order = self._where, self._order
        rows = self._rows(  # the inner one skips ids in an index, without the rows that they are of
            f"SELECT {_COLUMNS} FROM (SELECT s.id FROM sequence s WHERE {where.sql} ORDER BY {order.sql}"
            f" LIMIT ? OFFSET ?) p JOIN sequence s ON s.id=p.id ORDER BY {order.sql}",
            (*where.parameters, *order.parameters, -1 if limit is None else limit, offset, *order.parameters),
        )
        return [Listed(*(*row[:-1], json.loads(row[-1]))) for row in rows]

    def values(self, path: str) -> list[tuple[Any, int]]:
        """Return each value that their metadata have at a path and how many have it, most frequent first."""
        place, where = path_id("sequence", path), self._where
        rows = self._rows(
            f"SELECT type, value, count(*) FROM metadata_value WHERE path_id={place.sql} AND {_SINGLE}"
            f" AND owner IN (SELECT s.id FROM sequence s WHERE {where.sql})"
            " GROUP BY type, value ORDER BY count(*) DESC, type, value",
            (*place.parameters, *where.parameters),
        )
        return [(_value(kind, value), count) for kind, value, count in rows]

    def matching(self, path: str, pattern: str, *, ignore_case: bool) -> list[str]:
        """Return the texts at a metadata path, of any sequence, in which a regular expression is found.

        Raises QueryRefused for one that :mod:`gapless.catalog.regex` does not take.
        """
        place = path_id("sequence", path)
        rows = self._rows(
            f"SELECT DISTINCT value FROM metadata_value WHERE path_id={place.sql} AND type='s'",
            place.parameters,
        )
        return found_in(pattern, [text for (text,) in rows], ignore_case=ignore_case, patience_s=_PATIENCE_S)

    def topics(self, listed: Sequence[Listed]) -> dict[int, list[tuple[str, dict[str, Any]]]]:
        """Return name and metadata of the topics of sealed sequences, by sequence id, in one statement."""
        found: dict[int, list[tuple[str, dict[str, Any]]]] = {item.id: [] for item in listed}
        rows = self._rows(
            "SELECT sequence_id, name, metadata FROM topic WHERE NOT reserved AND feature IS NULL"
            " AND sequence_id IN (SELECT value FROM json_each(?)) ORDER BY sequence_id, position",
            (json.dumps(list(found)),),
        )
        for sequence_id, name, metadata in rows:
            found[sequence_id].append((name, json.loads(metadata)))
        return found

    def _rows(self, sql: str, parameters: tuple[object, ...]) -> list[Row]:
        try:
            return self.database.rows(sql, parameters, patience_s=_PATIENCE_S)
        except (OverflowError, UnicodeEncodeError) as error:
            raise QueryRefused("a number or text that no metadata can hold", found=str(error)) from error

    @property
    def _where(self) -> Clause:
        sql = " AND ".join(f"({condition.sql})" for condition in self.conditions) or "1"
        return Clause(sql, tuple(p for condition in self.conditions for p in condition.parameters))

    @property
    def _order(self) -> Clause:
        way = " DESC" if self.descending else ""
        terms = [*(key.clause for key in self.order), Clause(f"s.created_ns{way}, s.name{way}")]
        return Clause(", ".join(t.sql for t in terms), tuple(p for t in terms for p in t.parameters))


def _value(kind: str, value: Any) -> Any:
    if kind == "b":
        return bool(value)
    return int(value) if kind == "N" else value
