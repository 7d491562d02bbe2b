"""Field statistics per topic and part, so that a query on contents opens only files that can answer it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gapless.catalog.bundle_facts import TopicFacts
from gapless.catalog.metadata_index import NEVER, Clause, text_after, text_match
from gapless.catalog.ranges import FieldRange, kind_of_type, storable
from gapless.catalog.sqlite import Database
from gapless.errors import IntegrityError
from gapless.model.evaluate import kind_of
from gapless.model.expression import Scalar
from gapless.model.glob import literal_prefix
from gapless.model.normal_form import Condition, RowGroup

PartStats = Mapping[str, Mapping[str, Any]]
_NO_STATS = "{}"
_UNREAD = (
    "SELECT p.id, s.component, p.folder, p.entry, t.name FROM part p JOIN topic t ON t.id=p.topic_id"
    " JOIN sequence s ON s.id=t.sequence_id WHERE p.stats IS NULL"
)


def add_topic(
    database: Database,
    sequence_id: int,
    position: int,
    topic: TopicFacts,
    stats: Sequence[PartStats] | None,
) -> int:
    """Add a topic with its parts and return its id; ``stats`` are one mapping per part, in their order."""
    if stats is not None and len(stats) != len(topic.parts):
        stats = None  # they describe other parts: the footers will tell
    [(topic_id,)] = database.rows(
        "INSERT INTO topic (sequence_id, position, name, ontology_tag, created_ns, rows, start_ns, end_ns,"
        " metadata, fields, reserved) VALUES (?,?,?,?,?,?,?,?,?,?,?) RETURNING id",
        (sequence_id, position, topic.name, topic.ontology_tag, topic.created_ns, topic.rows, topic.start_ns,
         topic.end_ns, json.dumps(topic.metadata), json.dumps(topic.fields), topic.reserved),
    )  # fmt: skip
    database.many(
        "INSERT INTO part (topic_id, position, folder, entry, stats) VALUES (?,?,?,?,?)",
        [
            (topic_id, place, folder, json.dumps(entry), None if stats is None else json.dumps(stats[place]))
            for place, (folder, entry) in enumerate(topic.parts)
        ],
    )
    if stats is not None:
        _add_ranges(
            database,
            topic_id,
            topic.fields,
            [(e["rows"], s) for (_, e), s in zip(topic.parts, stats, strict=True)],
        )
    return int(topic_id)


def complete_statistics(database: Database, sequences: Path) -> int:
    """Read the footers of all parts whose statistics are not known yet; return how many were read.

    A footer that cannot be read leaves its topic a candidate of every query: the query then says which
    file is damaged instead of leaving it out.
    """
    read = 0
    while unread := database.rows(_UNREAD):  # again: others add parts while footers are read
        read += len(unread)
        footers = [
            (_read_footer(sequences / component / folder, json.loads(entry), topic), part_id, entry)
            for part_id, component, folder, entry, topic in unread
        ]
        with database.transaction():
            _keep(database, footers)
    return read


def _keep(database: Database, footers: Sequence[tuple[str, int, str]]) -> None:
    """Keep (statistics, part, entry) and what follows for their topics, of the parts that are still the same.

    Others may have replaced a topic with its parts since their footers were read.
    """
    database.many("UPDATE part SET stats=? WHERE id=? AND entry=? AND stats IS NULL", footers)
    parts = json.dumps([part_id for _, part_id, _ in footers])
    grouped: dict[int, tuple[dict[str, str], list[tuple[int, PartStats]]]] = {}
    for topic_id, fields, entry, stats in database.rows(
        "SELECT t.id, t.fields, p.entry, p.stats FROM topic t JOIN part p ON p.topic_id=t.id"
        " WHERE t.id IN (SELECT topic_id FROM part WHERE id IN (SELECT value FROM json_each(?)))"
        " AND NOT EXISTS (SELECT 1 FROM part u WHERE u.topic_id=t.id AND u.stats IS NULL)"
        " ORDER BY t.id, p.position",
        (parts,),
    ):
        known = grouped.setdefault(topic_id, (json.loads(fields), []))
        known[1].append((int(json.loads(entry)["rows"]), json.loads(stats)))
    for topic_id, (fields, of_parts) in grouped.items():
        database.rows("DELETE FROM topic_range WHERE topic_id=?", (topic_id,))
        _add_ranges(database, topic_id, fields, of_parts)


def part_ranges(
    fields: Mapping[str, str], rows: int, stats: PartStats, paths: Sequence[str]
) -> dict[str, FieldRange | None]:
    """Return the ranges of the columns that a topic has, None where the statistics do not say."""
    return {
        path: FieldRange.of(fields[path], rows, stats[path]) if path in stats else None
        for path in paths
        if path in fields
    }


def _read_footer(folder: Path, entry: Mapping[str, Any], topic: str) -> str:
    from gapless.store.part_reader import Part  # Arrow is loaded only when a footer must be read

    try:
        return json.dumps(Part.of(folder, entry, topic).stats)
    except (IntegrityError, ValueError):
        return _NO_STATS


def _add_ranges(
    database: Database, topic_id: int, fields: Mapping[str, str], parts: Sequence[tuple[int, PartStats]]
) -> None:
    comparable = {path: kind for path, kind in fields.items() if kind_of_type(kind) != "o"}
    whole: dict[str, FieldRange] = {}
    complete = True
    for rows, stats in parts:
        if rows == 0:
            continue
        for path, arrow_type in comparable.items():
            if path not in stats:
                complete = False
                continue
            found = FieldRange.of(arrow_type, rows, stats[path])
            whole[path] = whole[path].joined(found) if path in whole else found
    if not complete:
        database.rows("UPDATE topic SET unpruned=1 WHERE id=?", (topic_id,))
    database.many("INSERT OR IGNORE INTO field (path) VALUES (?)", [(path,) for path in whole])
    database.many(
        "INSERT OR REPLACE INTO topic_range (field_id, kind, low, high, wide, nulls, nans, topic_id)"
        " SELECT id,?,?,?,?,?,?,? FROM field WHERE path=?",
        [
            (r.kind, storable(r.low, upwards=False), storable(r.high, upwards=True), r.wide, r.nulls, r.nans,
             topic_id, path)
            for path, r in whole.items()
        ],
    )  # fmt: skip


def candidate_ranges(condition: Condition) -> list[Clause]:
    """Return conditions on ``topic_range x``, one index range each; a topic outside all has no such row.

    An empty list: statistics cannot exclude any topic.
    """
    if not condition.wanted:
        return []
    op, operand = condition.predicate.op, condition.predicate.value
    operands = operand if isinstance(operand, tuple) else (operand,)
    if op == "exists" or any(isinstance(v, int) and not -(2**63) <= v < 2**63 for v in operands):
        return []
    field = Clause("x.field_id=(SELECT id FROM field WHERE path=?)", (condition.predicate.path,))
    if op == "is_nan":
        return [field & Clause("x.nans>0")]
    found = [field & clause for clause in _bounds(op, operands)]
    if any(kind_of(value) == "s" for value in operands):
        found.append(field & Clause("x.wide"))
    return found or [NEVER]


def _bounds(op: str, operands: tuple[Scalar, ...]) -> list[Clause]:
    first = operands[0] if operands else 0
    kind = Clause("x.kind=?", (kind_of(first),))
    if op == "in":
        return [clause for value in operands for clause in _bounds("eq", (value,))]
    if first != first:
        return []
    bound = int(first) if isinstance(first, bool) else first
    if op == "eq":
        return [kind & Clause("x.low<=? AND x.high>=?", (bound, bound))]
    if op in ("lt", "leq"):
        return [kind & Clause(f"x.low{'<' if op == 'lt' else '<='}?", (bound,))]
    if op in ("gt", "geq"):
        return [kind & Clause(f"x.high{'>' if op == 'gt' else '>='}?", (bound,))]
    if op == "match":
        return [kind & _match_bounds(first)] if isinstance(first, str) else []
    second = operands[1]
    if second != second:
        return []
    if op == "between":
        return [kind & Clause("x.low<=? AND x.high>=?", (second, first))]
    return [kind & Clause("x.low<?", (first,)), kind & Clause("x.high>?", (second,))]


def _match_bounds(pattern: str) -> Clause:
    prefix = literal_prefix(pattern)
    after = text_after(prefix)
    if after is None:
        return Clause("x.high>=?", (prefix,))
    return Clause("x.high>=? AND x.low<?", (prefix, after))


def topic_matches_group(group: RowGroup) -> Clause:
    """Return the condition on ``topic t`` that it belongs to the group."""
    if group.tag is not None:
        return Clause("t.ontology_tag=? AND NOT t.reserved", (group.tag,))
    named = text_match("t.name", group.topic_glob)
    if not group.topic_glob.startswith("_"):  # a reserved topic is meant only when it is named as one
        named = named & Clause("NOT t.reserved")
    for path in group.paths:
        named = named & Clause("EXISTS (SELECT 1 FROM json_each(t.fields) f WHERE f.key=?)", (path,))
    return named
