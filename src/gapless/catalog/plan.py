"""The part of a query that SQL answers: which sequences can match, rarest condition first."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from gapless.catalog.content_index import candidate_ranges, topic_matches_group
from gapless.catalog.metadata_index import NEVER, Clause, branches, path_id, text_match
from gapless.catalog.sqlite import Database, Row
from gapless.errors import QueryRefused
from gapless.model.evaluate import kind_of
from gapless.model.expression import METADATA, Predicate, Scalar, closest
from gapless.model.glob import literal_prefix
from gapless.model.normal_form import Alternative, Condition, RowGroup

_CAPS = (64, 4096)  # counting stops here: whether a million or two rows match does not change the plan
_UNSEALED = Clause("SELECT id FROM sequence WHERE state<>'sealed'")
_UNPRUNED = Clause("SELECT sequence_id FROM topic WHERE unpruned")
_ORDERS = {  # none of them is ever NULL, which no cursor could go on from
    "name": "s.name",
    "created": "s.created_ns",
    "created_ns": "s.created_ns",
    "rows": "s.rows",
    "start_ns": "coalesce(s.start_ns, s.created_ns)",
    "start": "coalesce(s.start_ns, s.created_ns)",
    "end": "coalesce(s.end_ns, s.created_ns)",
    "duration": "coalesce(s.end_ns - s.start_ns, -1)",
    "sealed": "coalesce(s.sealed_ns, -1)",
    "group": "coalesce(s.grp, '')",
    "state": "s.state",
    "outcome": "coalesce(s.outcome, '')",
    "bytes": "s.bytes",
    "topics": "s.topics",
    "labels": "(SELECT count(*) FROM annotation a WHERE a.sequence_id=s.id)",
}


@dataclass(frozen=True, slots=True)
class Order:
    """The order of an answer: a property, then the name; both descending when ``descending``."""

    key: str
    descending: bool

    @classmethod
    def of(cls, text: str | None) -> Order:
        """Return the order that a text such as ``created`` or ``-rows`` names."""
        name = (text or "created").removeprefix("-")
        if name not in _ORDERS:
            raise QueryRefused(
                "answers cannot be ordered by this", found=text, expected=closest(name, _ORDERS)
            )
        return cls(name, (text or "").startswith("-"))

    @property
    def column(self) -> str:
        """The SQL expression of the key."""
        return _ORDERS[self.key]

    @property
    def sql(self) -> str:
        """The ORDER BY terms."""
        way = " DESC" if self.descending else ""
        return f"{self.column}{way}, s.name{way}"

    def after(self, cursor: tuple[object, str] | None) -> list[Clause]:
        """Return the condition that a sequence comes after the one a cursor stands at."""
        if cursor is None:
            return []
        return [Clause(f"({self.column}, s.name) {'<' if self.descending else '>'} (?, ?)", cursor)]


def candidates(
    database: Database, alternative: Alternative, conditions: Iterable[Clause], order: Order,
    cursor: tuple[object, str] | None, limit: int | None,
) -> list[Row]:  # fmt: skip
    """Return (id, name, component, state, order key) of the sequences that may match, in order.

    Conditions on sequences and on topics of sealed ones are exact, as are the further ``conditions``, where
    ``s`` is the sequence; row groups are only narrowed down.
    """
    driver = _rarest(database, _drivers(alternative))
    held = [Clause(f"s.id IN ({driver.ids.sql})", driver.ids.parameters)] if driver is not None else []
    held += [
        _wanted(_sequence_clause(c.predicate), c.wanted)
        for c in alternative.sequence
        if driver is None or c is not driver.condition
    ]
    held += conditions
    held += order.after(cursor)
    held += [_some_topic(group, alternative.topic) for group in alternative.groups]
    if alternative.topic and not alternative.groups:
        held.append(_some_topic(None, alternative.topic))
    where = " AND ".join(f"({c.sql})" for c in held) or "1"
    parameters = [p for c in held for p in c.parameters]
    sql = (
        f"SELECT s.id, s.name, s.component, s.state, {order.column} FROM sequence s"
        f" WHERE {where} ORDER BY {order.sql}"
    )
    if limit is not None:
        sql += f" LIMIT {int(limit)}"
    return database.rows(sql, parameters)


def topic_rows(
    database: Database, ids: Iterable[int], group: RowGroup | None, topic: tuple[Condition, ...]
) -> list[Row]:
    """Return (sequence, topic, name, tag, fields, folder, part, stats) of the topics that a group means.

    Without a group and conditions: all of the sequences' own, not those that feature runs made.
    """
    where = Clause("t.rows>0") & topic_matches_group(group) if group is not None else Clause("NOT t.reserved")
    if group is None and not topic:
        where = where & Clause("t.feature IS NULL")
    for condition in topic:
        where = where & _wanted(_topic_clause(condition.predicate), condition.wanted)
    parts = "p.folder, p.entry, p.stats" if group is not None else "NULL, NULL, NULL"
    join = "JOIN part p ON p.topic_id=t.id" if group is not None else ""
    last = ", p.position" if group is not None else ""
    return database.rows(
        f"SELECT t.sequence_id, t.id, t.name, t.ontology_tag, t.fields, {parts} FROM topic t {join}"
        f" WHERE t.sequence_id IN (SELECT value FROM json_each(?)) AND {where.sql}"
        f" ORDER BY t.sequence_id, t.position{last}",
        (json.dumps(list(ids)), *where.parameters),
    )


def found_by_itself(database: Database, predicate: Predicate) -> bool:
    """Return whether a condition on metadata or a property is true of anything at all."""
    if predicate.target == "sequence":
        clause = _sequence_clause(predicate)
        return bool(database.rows(f"SELECT 1 FROM sequence s WHERE {clause.sql} LIMIT 1", clause.parameters))
    clause = _topic_clause(predicate)
    return bool(database.rows(f"SELECT 1 FROM topic t WHERE {clause.sql} LIMIT 1", clause.parameters))


# -- clauses -----------------------------------------------------------------------------------


def _wanted(clause: Clause, wanted: bool) -> Clause:
    return clause if wanted else Clause(f"NOT coalesce(({clause.sql}), 0)", clause.parameters)


def _either(clauses: list[Clause]) -> Clause:
    if not clauses:
        return NEVER
    return Clause(" OR ".join(f"({c.sql})" for c in clauses), tuple(p for c in clauses for p in c.parameters))


def _sequence_clause(predicate: Predicate) -> Clause:
    if predicate.path.startswith(METADATA):
        return _metadata_exists("sequence", "s.id", predicate)
    if predicate.path == "annotation":
        named = _column("a.name", predicate, numeric=False)
        return Clause(
            f"EXISTS (SELECT 1 FROM annotation a WHERE a.sequence_id=s.id AND ({named.sql}))",
            named.parameters,
        )
    column = "s.grp" if predicate.path == "group" else f"s.{predicate.path}"
    return _column(column, predicate, numeric=_is_numeric(predicate.path))


def _topic_clause(predicate: Predicate) -> Clause:
    if predicate.path.startswith(METADATA):
        return _metadata_exists("topic", "t.id", predicate)
    return _column(f"t.{predicate.path}", predicate, numeric=_is_numeric(predicate.path))


def _metadata_exists(scope: str, owner: str, predicate: Predicate) -> Clause:
    place = path_id(scope, predicate.path.removeprefix(METADATA))
    values = _either(branches(predicate))
    return Clause(
        "EXISTS (SELECT 1 FROM metadata_value INDEXED BY metadata_by_owner"
        f" WHERE owner={owner} AND path_id={place.sql} AND ({values.sql}))",
        place.parameters + values.parameters,
    )


def _some_topic(group: RowGroup | None, topic: tuple[Condition, ...]) -> Clause:
    """Say that the sequence has a topic that may match; what an unsealed one holds only its reader knows."""
    where = Clause("NOT t.reserved") if group is None else Clause("t.rows>0") & topic_matches_group(group)
    for condition in topic:
        where = where & _wanted(_topic_clause(condition.predicate), condition.wanted)
    for condition in group.conditions if group is not None else ():
        ranges = candidate_ranges(condition)
        if ranges:
            each = _either(ranges)
            held = f"EXISTS (SELECT 1 FROM topic_range x WHERE x.topic_id=t.id AND ({each.sql}))"
            where = where & Clause(f"t.unpruned OR {held}", each.parameters)
    return Clause(
        f"s.state<>'sealed' OR EXISTS (SELECT 1 FROM topic t WHERE t.sequence_id=s.id AND {where.sql})",
        where.parameters,
    )


def _is_numeric(path: str) -> bool:
    return path in ("created_ns", "rows", "start_ns", "end_ns")


def _column(column: str, predicate: Predicate, *, numeric: bool) -> Clause:
    """Return one comparison of a property column; its type decides which operands can match."""
    op, operand = predicate.op, predicate.value
    if op == "exists":
        return Clause(f"{column} IS NOT NULL")
    if op == "in":
        return _either(
            [_compare(column, "eq", v, numeric=numeric) for v in cast("tuple[Scalar, ...]", operand)]
        )
    if op in ("between", "outside"):
        low, high = cast("tuple[Scalar, Scalar]", operand)
        left = _compare(column, "geq" if op == "between" else "lt", low, numeric=numeric)
        right = _compare(column, "leq" if op == "between" else "gt", high, numeric=numeric)
        return left & right if op == "between" else _either([left, right])
    return _compare(column, op, cast("Scalar", operand), numeric=numeric)


def _compare(column: str, op: str, operand: Scalar, *, numeric: bool) -> Clause:
    if op == "is_nan" or kind_of(operand) != ("n" if numeric else "s") or operand != operand:
        return NEVER
    if op == "match":
        return text_match(column, cast("str", operand))
    if isinstance(operand, int) and not -(2**63) <= operand < 2**63:
        return Clause(f"number_holds(?, {column}, ?)", (op, str(operand)))
    sign = {"eq": "=", "lt": "<", "leq": "<=", "gt": ">", "geq": ">="}[op]
    return Clause(f"{column}{sign}?", (operand,))


# -- where to begin ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Driver:
    """A subquery of sequence ids that an index answers; ``condition`` is the one it replaces, if any."""

    ids: Clause
    condition: Condition | None = None


def _drivers(alternative: Alternative) -> list[_Driver]:
    """Return places to begin: each is implied by one condition of the alternative."""
    sources = [(_sequence_driver(c.predicate), c) for c in alternative.sequence if c.wanted]
    found = [_Driver(_union(clauses), condition) for clauses, condition in sources if clauses]
    implied = [_topic_driver(c.predicate) for c in alternative.topic if c.wanted]
    for group in alternative.groups:
        if group.tag is not None:
            tagged = Clause("SELECT sequence_id FROM topic WHERE ontology_tag=?", (group.tag,))
            implied.append([tagged, _UNSEALED])
        implied += [_range_driver(condition) for condition in group.conditions]
    return found + [_Driver(_union(clauses)) for clauses in implied if clauses]


def _range_driver(condition: Condition) -> list[Clause]:
    head = "SELECT t.sequence_id FROM topic_range x JOIN topic t ON t.id=x.topic_id WHERE"
    ranges = [Clause(f"{head} {r.sql}", r.parameters) for r in candidate_ranges(condition)]
    return [*ranges, _UNPRUNED, _UNSEALED] if ranges else []


def _union(sources: list[Clause]) -> Clause:
    return Clause(" UNION ALL ".join(s.sql for s in sources), tuple(p for s in sources for p in s.parameters))


def _sequence_driver(predicate: Predicate) -> list[Clause]:
    if predicate.path.startswith(METADATA):
        return _metadata_sources("sequence", predicate, "SELECT owner FROM metadata_value WHERE")
    if predicate.path == "annotation":
        named = _column("name", predicate, numeric=False)
        return [Clause(f"SELECT sequence_id FROM annotation WHERE {named.sql}", named.parameters)]
    if predicate.path in ("name", "group") and _is_selective(predicate):
        clause = _sequence_clause(predicate)
        return [Clause(f"SELECT s.id FROM sequence s WHERE {clause.sql}", clause.parameters)]
    return []


def _topic_driver(predicate: Predicate) -> list[Clause]:
    if predicate.path.startswith(METADATA):
        head = "SELECT t.sequence_id FROM metadata_value JOIN topic t ON t.id=owner WHERE"
        return [*_metadata_sources("topic", predicate, head), _UNSEALED]
    if predicate.path in ("name", "ontology_tag") and _is_selective(predicate):
        clause = _topic_clause(predicate)
        return [Clause(f"SELECT t.sequence_id FROM topic t WHERE {clause.sql}", clause.parameters), _UNSEALED]
    return []


def _is_selective(predicate: Predicate) -> bool:
    return predicate.op in ("eq", "in") or (
        predicate.op == "match" and bool(literal_prefix(str(predicate.value)))
    )


def _metadata_sources(scope: str, predicate: Predicate, head: str) -> list[Clause]:
    place = path_id(scope, predicate.path.removeprefix(METADATA))
    sources = [
        Clause(f"{head} path_id={place.sql} AND {branch.sql}", place.parameters + branch.parameters)
        for branch in branches(predicate)
    ]
    return sources or [Clause("SELECT 0 WHERE 0")]


def _rarest(database: Database, drivers: list[_Driver]) -> _Driver | None:
    if len(drivers) < 2:
        return drivers[0] if drivers else None
    for cap in _CAPS:
        each = ", ".join(f"(SELECT count(*) FROM (SELECT 1 FROM ({d.ids.sql}) LIMIT {cap}))" for d in drivers)
        [counts] = database.rows(f"SELECT {each}", [p for d in drivers for p in d.ids.parameters])
        if min(counts) < cap:
            break
    return drivers[counts.index(min(counts))]
