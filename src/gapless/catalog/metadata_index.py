"""Metadata of any shape, flattened so that every path is indexed without being declared.

Each value becomes one row (path, type, value, owner). An element of a list stands at the list's own
path, so ``tags == "x"`` means that the list holds it. Numbers stay exact: integers as integers, floats
as floats, an integer beyond 64 bits as text with a type of its own; ``true`` is never 1. Null is no
value. Counting rows of the index says which of several predicates is the rarest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from gapless.catalog.sqlite import Database
from gapless.model.evaluate import kind_of
from gapless.model.expression import Predicate, Scalar, join_path
from gapless.model.glob import is_prefix, literal_prefix

_INT64 = range(-(2**63), 2**63)
_ROUND = {"lt": "<", "leq": "<=", "gt": ">", "geq": ">=", "eq": "="}


@dataclass(frozen=True, slots=True)
class Clause:
    """A piece of SQL with the parameters of its question marks, in order."""

    sql: str
    parameters: tuple[object, ...] = ()

    def __and__(self, other: Clause) -> Clause:
        return Clause(f"({self.sql}) AND ({other.sql})", self.parameters + other.parameters)


NEVER = Clause("0")


def flatten(document: object, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, str, object]]:
    """Yield (path, type, value) for every value in a JSON document."""
    if isinstance(document, Mapping):
        if keys:
            yield join_path(keys), "o", 0
        for key, item in document.items():
            yield from flatten(item, (*keys, key))
    elif isinstance(document, list):
        yield join_path(keys), "o", 0
        for item in document:
            yield from flatten(item, keys)
    elif isinstance(document, bool):
        yield join_path(keys), "b", int(document)
    elif isinstance(document, int) and document not in _INT64:
        yield join_path(keys), "N", str(document)
    elif document is not None:
        yield join_path(keys), "s" if isinstance(document, str) else "n", document


def add_metadata(database: Database, scope: str, owner: int, document: object) -> None:
    """Index the metadata of one owner; inside a transaction, after :func:`remove_metadata`."""
    entries = list(dict.fromkeys(flatten(document)))
    if not entries:
        return
    database.many(
        "INSERT OR IGNORE INTO metadata_path (scope, path) VALUES (?, ?)",
        [(scope, path) for path in dict.fromkeys(path for path, _, _ in entries)],
    )
    database.many(
        "INSERT OR IGNORE INTO metadata_value (path_id, type, value, owner)"
        " SELECT id, ?, ?, ? FROM metadata_path WHERE scope=? AND path=?",
        [(kind, value, owner, scope, path) for path, kind, value in entries],
    )


def remove_metadata(database: Database, scope: str, owners: str, parameters: tuple[object, ...]) -> None:
    """Drop the index rows of the owners that a subquery names; inside a transaction."""
    database.rows(
        f"DELETE FROM metadata_value WHERE owner IN ({owners})"
        " AND path_id IN (SELECT id FROM metadata_path WHERE scope=?)",
        (*parameters, scope),
    )


def path_id(scope: str, path: str) -> Clause:
    """Return the SQL for the id of a metadata path; NULL when no document has it."""
    return Clause("(SELECT id FROM metadata_path WHERE scope=? AND path=?)", (scope, path))


def branches(predicate: Predicate) -> list[Clause]:
    """Return conditions on type and value, one range of the index each, that together mean the predicate."""
    op, operand = predicate.op, predicate.value
    if op == "exists":
        return [Clause("1")]
    if op == "is_nan":
        return []  # JSON has no NaN
    if op == "in":
        values = cast("tuple[Scalar, ...]", operand)
        return [
            clause
            for _, value in dict.fromkeys((kind_of(v), v) for v in values)
            for clause in _one("eq", value)
        ]
    if op == "between":
        low, high = cast("tuple[Scalar, Scalar]", operand)
        return list(_pair(low, high))
    if op == "outside":
        low, high = cast("tuple[Scalar, Scalar]", operand)
        return [*_one("lt", low), *_one("gt", high)]
    if op == "match":
        return [Clause("type='s'") & text_match("value", cast("str", operand))]
    return _one(op, cast("Scalar", operand))


def text_match(column: str, pattern: str) -> Clause:
    """Return the SQL for a glob over a text column; its fixed beginning becomes a range of the index."""
    prefix = literal_prefix(pattern)
    if prefix == pattern:
        return Clause(f"{column}=?", (pattern,))
    exact = Clause(f"glob_match(?, {column})", (pattern,))
    after = text_after(prefix)
    if after is None:
        return exact
    span = Clause(f"{column}>=? AND {column}<?", (prefix, after))
    return span if is_prefix(pattern) else span & exact


def text_after(prefix: str) -> str | None:
    """Return the smallest text greater than every text with the prefix, or None if there is none simple."""
    if not prefix:
        return None
    last = ord(prefix[-1]) + 1
    if last > 0x10FFFF or 0xD800 <= last <= 0xDFFF:
        return None
    return prefix[:-1] + chr(last)


def _one(op: str, value: Scalar) -> list[Clause]:
    kind = kind_of(value)
    if isinstance(value, bool | str):
        return [Clause(f"type=? AND value{_ROUND[op]}?", (kind, value))]
    if value != value:  # NaN compares with nothing
        return []
    big = Clause("type='N' AND integer_holds(?, value, ?)", (op, repr(value)))
    if isinstance(value, int) and value not in _INT64:
        return [big, *_beyond(op, value)]
    if op == "eq" and abs(value) < 2**63:
        return [Clause("type='n' AND value=?", (value,))]
    return [Clause(f"type='n' AND value{_ROUND[op]}?", (value,)), big]


def _beyond(op: str, value: int) -> list[Clause]:
    """Compare stored 64-bit integers and floats with an integer that SQLite cannot hold."""
    return [Clause("type='n' AND number_holds(?, value, ?)", (op, str(value)))]


def _pair(low: Scalar, high: Scalar) -> Iterator[Clause]:
    lows, highs = _one("geq", low), _one("leq", high)
    for left in lows:
        for right in highs:
            if left.sql[:8] == right.sql[:8]:  # the same type: one range with two ends
                yield left & right
