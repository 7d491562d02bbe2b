"""Conditions on the sequences of a listing: on metadata at a path, on any text, on the name.

What is asked of metadata begins as a *source*: a subquery of the ids of the sequences for which it holds,
read from the index of their values. :func:`within` makes a condition of one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from math import isfinite

from gapless.catalog.metadata_index import Clause, branches, path_id
from gapless.errors import QueryRefused
from gapless.model.expression import METADATA, Predicate, Scalar, join_path

ALL = Clause("1")
NONE = Clause("0")
_ANY = Clause("1")
_GREATEST = int(sys.float_info.max)
_INT64 = range(-(2**63), 2**63)
_MOST_VALUES = 10_000  # a few times this is what SQLite takes as parameters of one statement
_PLAIN = frozenset(map(chr, range(32, 127))) - set('"\\')  # these stand in JSON as they are


def dotted(path: str) -> str:
    """Return the index's path for keys joined by dots; a key with a dot of its own cannot be meant."""
    return join_path(path.split("."))


# -- sources -----------------------------------------------------------------------------------


def compares(path: str, op: str, value: Scalar) -> Clause:
    """Return who has a value at the path that compares: ``op`` is eq, lt, leq, gt, geq. NaN never does.

    An element of a list stands at the list's own path, so ``eq`` also means that a list holds the value.
    """
    return _owners(path, branches(Predicate("sequence", METADATA + path, op, value)))


def among(path: str, values: Iterable[Scalar]) -> Clause:
    """Return who has one of the values at the path; QueryRefused for more than 10,000 of them."""
    kinds: dict[str, set[object]] = {"s": set(), "b": set(), "n": set(), "N": set()}
    for value in values:
        for kind, stored in _stored(value):
            kinds[kind].add(stored)
    count = sum(map(len, kinds.values()))
    if count > _MOST_VALUES:
        raise QueryRefused("too many values to look for", found=count, expected=f"at most {_MOST_VALUES}")
    return _owners(
        path,
        [
            Clause(f"type='{kind}' AND value IN ({', '.join('?' * len(found))})", tuple(found))
            for kind, found in kinds.items()
            if found
        ],
    )


def _stored(value: Scalar) -> Iterator[tuple[str, object]]:
    """Yield type and value of what is stored in the index and equals a value."""
    if isinstance(value, str):
        yield "s", value
    elif isinstance(value, bool):
        yield "b", int(value)
    elif isinstance(value, int) and value in _INT64:
        yield "n", value
    elif isinstance(value, int):
        yield "N", str(value)
        if abs(value) <= _GREATEST and float(value) == value:
            yield "n", float(value)
    elif isfinite(value):
        yield "n", value
        if abs(value) >= 2**63:  # such a float is a whole number
            yield "N", str(int(value))


def has(path: str) -> Clause:
    """Return who has anything at the path but null."""
    return _owners(path, [_ANY])


def like(path: str, pattern: str) -> Clause:
    """Return who has a text at the path like the pattern: ``%`` any characters, ``_`` one; any ASCII case."""
    return _owners(path, [Clause("type='s' AND value LIKE ?", (pattern,))])


def one_of(path: str, texts: Iterable[str]) -> Clause:
    """Return who has one of any number of texts at the path."""
    listed = json.dumps(list(texts))
    return _owners(path, [Clause("type='s' AND value IN (SELECT value FROM json_each(?))", (listed,))])


def lists(path: str, values: Sequence[object]) -> Clause:
    """Return who has exactly this list at the path; no index helps with that."""
    where = "$" + "".join(f'."{key}"' for key in path.replace('"', "").split("."))
    return Clause(
        "SELECT x.id AS owner FROM sequence x WHERE json_extract(x.metadata, ?)=json(?)",
        (where, json.dumps(values)),
    )


def united(sources: Sequence[Clause]) -> Clause:
    """Return who is in at least one source."""
    sql = " UNION ALL ".join(source.sql for source in sources)
    return Clause(sql, tuple(p for source in sources for p in source.parameters))


def lacking(source: Clause, path: str) -> Clause:
    """Return who is in a source and has nothing at the path."""
    place = path_id("sequence", path)
    return Clause(
        f"SELECT y.owner FROM ({source.sql}) y WHERE NOT EXISTS (SELECT 1 FROM metadata_value m"
        f" INDEXED BY metadata_by_owner WHERE m.owner=y.owner AND m.path_id={place.sql})",
        source.parameters + place.parameters,
    )


# -- conditions --------------------------------------------------------------------------------


def within(source: Clause) -> Clause:
    """Return that a sequence is in a source."""
    return Clause(f"s.id IN ({source.sql})", source.parameters)


def mentions(word: str) -> Clause:
    """Return that a text of the metadata, the name or the group contains the word, whatever its case."""
    text = contains("value", word)
    held = Clause(
        "EXISTS (SELECT 1 FROM metadata_value INDEXED BY metadata_by_owner WHERE owner=s.id AND type='s'"
        f" AND path_id IN (SELECT id FROM metadata_path WHERE scope='sequence') AND {text.sql})",
        text.parameters,
    )
    if set(word) <= _PLAIN:  # most documents do not hold it: one look at their text tells
        held = contains("s.metadata", word) & held
    return any_of([held, contains("s.name", word), contains("coalesce(s.grp, '')", word)])


def named(names: Iterable[str]) -> Clause:
    """Return that the sequence has one of the names."""
    return Clause("s.name IN (SELECT value FROM json_each(?))", (json.dumps(list(names)),))


def name_like(pattern: str) -> Clause:
    """Return that the name matches a LIKE pattern."""
    return Clause("s.name LIKE ?", (pattern,))


def any_of(conditions: Sequence[Clause]) -> Clause:
    """Return that at least one holds."""
    sql = " OR ".join(f"({condition.sql})" for condition in conditions) or NONE.sql
    return Clause(sql, tuple(p for condition in conditions for p in condition.parameters))


def negated(condition: Clause) -> Clause:
    """Return that it does not hold."""
    return Clause(f"NOT coalesce(({condition.sql}), 0)", condition.parameters)


def contains(column: str, word: str) -> Clause:
    """Return that the text of a column contains the word, whatever its case."""
    if word.isascii():
        escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return Clause(f"{column} LIKE ? ESCAPE '\\'", (f"%{escaped}%",))
    return Clause(f"text_holds(?, {column})", (word,))


def _owners(path: str, conditions: Sequence[Clause]) -> Clause:
    place = path_id("sequence", path)
    sources = [
        Clause(
            f"SELECT owner FROM metadata_value WHERE path_id={place.sql} AND {condition.sql}",
            place.parameters + condition.parameters,
        )
        for condition in conditions
    ]
    return united(sources or [Clause("SELECT 0 AS owner WHERE 0")])
