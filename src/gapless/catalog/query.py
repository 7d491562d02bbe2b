"""A query from expression to answer: SQL narrows down, statistics prove, rows decide."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gapless.catalog.answer import AnswerItem, AnswerTopic, QueryAnswer
from gapless.catalog.content_index import complete_statistics
from gapless.catalog.derived_index import index_derived
from gapless.catalog.metadata_index import Clause
from gapless.catalog.plan import Order, candidates, found_by_itself, topic_rows
from gapless.catalog.ranges import kind_of_type
from gapless.catalog.sqlite import Database, Row
from gapless.catalog.unknown_topic import unknown_topics
from gapless.errors import QueryRefused
from gapless.model.expression import METADATA, Expression, Predicate, closest, to_json, walk
from gapless.model.glob import has_wildcard
from gapless.model.normal_form import normal_form

if TYPE_CHECKING:
    from gapless.catalog.confirm import MakeBuilder, Matches

_CHUNKS = (64, 1024)  # sequences confirmed at once: few before a limit is reached, then many


@dataclass(slots=True)
class _Candidate:
    """A sequence that may match, and the alternatives by which it may."""

    row: Row
    alternatives: list[int] = field(default_factory=list)
    topics: Matches = field(default_factory=dict)

    @property
    def id(self) -> int:
        return int(self.row[0])

    @property
    def sealed(self) -> bool:
        return bool(self.row[3] == "sealed")


class Query:
    """One query being answered, for one caller.

    ``among``: conditions in SQL that every sequence of the answer fulfils, too; ``s`` is the sequence there.
    """

    def __init__(
        self,
        database: Database,
        sequences: Path,
        expression: Expression,
        builder: MakeBuilder | None = None,
        among: Sequence[Clause] = (),
    ) -> None:
        self._database = database
        self._builder = builder
        self._among = among
        self._sequences = sequences
        self._expression = expression
        self._alternatives = normal_form(expression)

    def answer(self, order: str | None, limit: int | None, cursor: str | None) -> QueryAnswer:
        """Return the answer, at most ``limit`` sequences of it after ``cursor``."""
        if limit is not None and limit < 1:
            raise QueryRefused("a limit is at least 1", found=limit)
        for predicate in dict.fromkeys(walk(self._expression)):
            self._check_type(predicate)
        wanted = Order.of(order)
        after = read_cursor(cursor, wanted, self._expression)
        answer = QueryAnswer(self._load_topics)
        more = None if limit is None else limit + 1
        if self._is_plain:
            return self._plain_answer(answer, self._rows(0, wanted, after, more), wanted, limit, cursor)
        found = self._matches(wanted, after, more)
        if limit is not None and len(found) > limit:
            found = found[:limit]
            answer.next_cursor = write_cursor(found[-1].row, wanted, self._expression)
        answer._items = [self._item(candidate, answer) for candidate in found]
        if not found and cursor is None:
            answer.warnings = self._warnings()
        return answer

    @property
    def _is_plain(self) -> bool:
        """True when SQL alone answers the query: one alternative with conditions on sequences only."""
        return len(self._alternatives) == 1 and not self._needs_reader(0)

    def _plain_answer(
        self, answer: QueryAnswer, rows: list[Row], order: Order, limit: int | None, cursor: str | None
    ) -> QueryAnswer:
        if limit is not None and len(rows) > limit:
            rows = rows[:limit]
            answer.next_cursor = write_cursor(rows[-1], order, self._expression)
        answer._waiting = rows
        if not rows and cursor is None:
            answer.warnings = self._warnings()
        return answer

    def count(self) -> int | None:
        """Return how many sequences match, None where finding out could mean reading rows."""
        places = range(len(self._alternatives))
        if any(self._needs_reader(p) or self._alternatives[p].exclusions for p in places):
            return None
        return len(self.components())

    def components(self) -> list[str]:
        """Return the folders' names of all sequences that match."""
        return [str(candidate.row[2]) for candidate in self._matches(Order.of("name"), None, None)]

    def _matches(self, order: Order, after: tuple[object, str] | None, limit: int | None) -> list[_Candidate]:
        if any(self._needs_reader(place) for place in range(len(self._alternatives))):
            index_derived(self._database)
        if any(alternative.groups for alternative in self._alternatives):
            complete_statistics(self._database, self._sequences)
        held: dict[int, _Candidate] = {}
        for place in range(len(self._alternatives)):
            for row in self._rows(place, order, after, None if self._needs_reader(place) else limit):
                held.setdefault(row[0], _Candidate(row)).alternatives.append(place)
        ordered = list(held.values())
        if len(self._alternatives) > 1:
            ordered.sort(key=lambda c: (c.row[4], c.row[1]), reverse=order.descending)
        return self._confirmed(ordered, limit)

    def _rows(
        self, place: int, order: Order, after: tuple[object, str] | None, limit: int | None
    ) -> list[Row]:
        alternative = self._alternatives[place]
        exclusions = [self._exclusion(e.item, wanted=e.wanted) for e in alternative.exclusions]
        return candidates(self._database, alternative, [*self._among, *exclusions], order, after, limit)

    def _exclusion(self, item: Expression, *, wanted: bool) -> Clause:
        inner = Query(self._database, self._sequences, item, self._builder, self._among)
        components = json.dumps(inner.components())
        word = "IN" if wanted else "NOT IN"
        return Clause(f"s.component {word} (SELECT value FROM json_each(?))", (components,))

    def _confirmed(self, ordered: list[_Candidate], limit: int | None) -> list[_Candidate]:
        found: list[_Candidate] = []
        start = 0
        while start < len(ordered) and (limit is None or len(found) < limit):
            size = len(ordered) if limit is None else _CHUNKS[min(1, start)]
            chunk = ordered[start : start + size]
            self._confirm(chunk)
            found += [candidate for candidate in chunk if candidate.alternatives]
            start += size
        return found if limit is None else found[:limit]

    def _confirm(self, chunk: list[_Candidate]) -> None:
        """Leave each candidate only the alternatives it really matches, with the runs that show it."""
        unsealed = [c for c in chunk if not c.sealed and any(self._needs_reader(p) for p in c.alternatives)]
        with_rows = [p for p, a in enumerate(self._alternatives) if a.groups]
        if not unsealed and not with_rows:
            return
        from gapless.catalog.confirm import SealedSequence, UnsealedSequence
        from gapless.catalog.runs import RunBuilder

        make = self._builder or RunBuilder
        sealed = {c.id: SealedSequence(self._sequences / c.row[2], make) for c in chunk if c.sealed}
        for place in with_rows:
            ids = [c.id for c in chunk if c.sealed and place in c.alternatives]
            alternative = self._alternatives[place]
            for number, group in enumerate(alternative.groups):
                for row in topic_rows(self._database, ids, group, alternative.topic):
                    sealed[row[0]].add(place, number, group, row)
        for candidate in chunk:
            if candidate.sealed:
                settled = sealed[candidate.id].settle(self._alternatives, candidate.alternatives)
            elif candidate in unsealed:
                place_of = self._sequences / candidate.row[2]
                reader = UnsealedSequence(place_of, self._created_ns(candidate), make)
                settled = reader.settle(self._alternatives, candidate.alternatives)
            else:
                continue
            candidate.alternatives, candidate.topics = settled.places, settled.topics

    def _needs_reader(self, place: int) -> bool:
        return bool(self._alternatives[place].groups or self._alternatives[place].topic)

    def _created_ns(self, candidate: _Candidate) -> int:
        rows = self._database.rows("SELECT created_ns FROM sequence WHERE id=?", (candidate.id,))
        return int(rows[0][0]) if rows else 0

    def _item(self, candidate: _Candidate, answer: QueryAnswer) -> AnswerItem:
        identity, name, component, state, _ = candidate.row
        item = AnswerItem(identity, name, component, state, answer)
        item._plain = tuple(
            place
            for place in candidate.alternatives
            if not (self._needs_reader(place) if state != "sealed" else self._alternatives[place].groups)
        )
        if candidate.topics:
            from gapless.catalog.runs import union

            item._found = tuple(
                AnswerTopic(name, topic, tag, union(runs)) for topic, (tag, runs) in candidate.topics.items()
            )
        return item

    def _load_topics(self, items: Sequence[AnswerItem]) -> None:
        """Give the items that match without a condition on rows their other topics, all in one go.

        The catalog may have been made anew since the answer, with other ids; the folders' names stay.
        """
        wanted = [item.component for item in items if item._plain]
        sql = "SELECT id, component FROM sequence WHERE component IN (SELECT value FROM json_each(?))"
        components: dict[int, str] = dict(self._database.rows(sql, (json.dumps(wanted),))) if wanted else {}
        names: dict[str, dict[str, str | None]] = {item.component: {} for item in items}
        for place, alternative in enumerate(self._alternatives):
            plain = {item.component for item in items if place in item._plain}
            ids = [i for i, component in components.items() if component in plain]
            if ids:
                for sequence_id, _, name, tag, *_ in topic_rows(self._database, ids, None, alternative.topic):
                    names[components[sequence_id]].setdefault(name, tag)
        for item in items:
            if item._plain and item.state != "sealed":
                from gapless.catalog.confirm import unsealed_topics

                names[item.component] = unsealed_topics(self._sequences / item.component)
            known = {topic.name for topic in item._found}
            others = names[item.component].items()
            item._topics = (
                *item._found,
                *(AnswerTopic(item.name, n, tag) for n, tag in others if n not in known),
            )

    def _warnings(self) -> list[str]:
        """Return why nothing may have been found: globs without a wildcard, and what nobody has.

        That is metadata, fields, and names and types of topics.
        """
        found: list[str] = []
        for predicate in dict.fromkeys(walk(self._expression)):
            is_property = predicate.target in ("sequence", "topic")
            if predicate.op == "match" and not has_wildcard(str(predicate.value)):
                if not is_property or not found_by_itself(self._database, predicate):
                    found.append(
                        f"match {predicate.value!r} has no wildcard and found nothing;"
                        f" did you mean '{predicate.value}*'?"
                    )
            elif is_property and predicate.path.startswith(METADATA):
                found += self._unknown_path(predicate)
            if not is_property:
                found += self._unknown_field(predicate)
            found += unknown_topics(self._database, self._sequences, predicate)
        return list(dict.fromkeys(found))

    def _check_type(self, predicate: Predicate) -> None:
        """Refuse a type that no topic has where metadata, or a topic, of that name was meant: it finds nothing."""
        kind, _, tag = predicate.target.partition(":")
        if kind != "ontology" or self._has("topic t", "t.ontology_tag=?", tag):
            return
        path = f"{tag}.{predicate.path}"
        value = "metadata_path p JOIN metadata_value v ON v.path_id=p.id JOIN sequence s ON s.id=v.owner"
        if self._has(value, "p.scope='sequence' AND p.path=?", path, self._among):
            meant, written = "metadata of sequences", f"metadata.{path}"
        elif self._has("topic t JOIN sequence s ON s.id=t.sequence_id", "t.name=?", tag, self._among):
            meant, written = "a topic", f"{tag}:{predicate.path}"
        else:
            return
        if not self._is_unsealed_type(tag):
            raise QueryRefused(
                f"no topic is of the type {tag!r}, which is the name of {meant}",
                found=path,
                next_step=f"write {written}",
            )

    def _has(self, tables: str, condition: str, name: str, among: Sequence[Clause] = ()) -> bool:
        """Tell whether a row of the tables, and a sequence ``s`` among those meant, fulfils the condition."""
        where = " AND ".join([condition, *(f"({clause.sql})" for clause in among)])
        parameters = [name, *(p for clause in among for p in clause.parameters)]
        return bool(self._database.rows(f"SELECT 1 FROM {tables} WHERE {where} LIMIT 1", parameters))

    def _is_unsealed_type(self, tag: str) -> bool:
        """Return whether a topic that the catalog does not hold yet is of a type."""
        from gapless.catalog.confirm import unsealed_topics

        unsealed = self._database.rows("SELECT component FROM sequence WHERE state<>'sealed'")
        return any(tag in unsealed_topics(self._sequences / row[0]).values() for row in unsealed)

    def _unknown_field(self, predicate: Predicate) -> list[str]:
        """Return that no sealed topic of the target has the field, or only one whose values are never compared.

        Nothing when there is no such topic.
        """
        kind, _, name = predicate.target.partition(":")
        meant = "ontology_tag=?" if kind == "ontology" else "glob_match(?, name)"
        if kind != "ontology" and not name.startswith("_"):
            meant += " AND NOT reserved"
        rows = self._database.rows(f"SELECT DISTINCT fields FROM topic WHERE {meant}", (name,))
        known = list(dict.fromkeys(pair for (text,) in rows for pair in json.loads(text).items()))
        means = [(column, kind) for column, kind in known if _is_field(predicate.path, column)]
        if not known or any(_is_compared(predicate, column, kind) for column, kind in means):
            return []
        if means:
            column, kind = means[0]
            return [f"a query compares columns of numbers, true/false and text; {column!r} is a {kind}"]
        what = f"topic of type {name!r}" if kind == "ontology" else f"topic {name!r}"
        return [
            f"no sealed {what} has a field {predicate.path!r}; there is {closest(predicate.path, dict(known))}"
        ]

    def _unknown_path(self, predicate: Predicate) -> list[str]:
        path = predicate.path.removeprefix(METADATA)
        known = [
            row[0]
            for row in self._database.rows(
                "SELECT path FROM metadata_path WHERE scope=?", (predicate.target,)
            )
        ]
        if not known or path in known:
            return []
        return [f"no {predicate.target} has metadata {path!r}; there is {closest(path, known)}"]


def _is_field(path: str, field: str) -> bool:
    """Tell whether a path means a column, or a column that lies below the path or holds it as a struct."""
    return path == field or path.startswith(f"{field}.") or field.startswith(f"{path}.")


def _is_compared(predicate: Predicate, column: str, kind: str) -> bool:
    """Tell whether values of a column that a predicate means are looked at; a struct's members are not."""
    if column != predicate.path:
        return column.startswith(f"{predicate.path}.")
    return predicate.op == "exists" or kind_of_type(kind) != "o"


def write_cursor(row: Row, order: Order, expression: Expression) -> str:
    """Return the text that says where an answer goes on: after a row of (id, name, component, state, key)."""
    text = json.dumps([order.key, order.descending, row[4], row[1], _fingerprint(expression)])
    return base64.urlsafe_b64encode(text.encode()).decode()


def read_cursor(cursor: str | None, order: Order, expression: Expression) -> tuple[object, str] | None:
    """Return order key and name of the sequence that a cursor stands at, None without one.

    Raises QueryRefused for what is no cursor, or one of another query or order.
    """
    if cursor is None:
        return None
    try:
        key, descending, value, name, query = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (ValueError, TypeError, RecursionError) as error:  # also JSON that holds something else
        raise _no_cursor(cursor) from error
    if (key, descending, query) != (order.key, order.descending, _fingerprint(expression)):
        raise QueryRefused("the cursor belongs to another query or order", next_step="start again without it")
    if not isinstance(name, str) or not all(map(_is_storable, (name, value))):
        raise _no_cursor(cursor)
    return value, name


def _is_storable(value: object) -> bool:
    """Tell whether the database can take a value of a cursor, which may have been made by anybody."""
    if isinstance(value, str):
        return not any("\ud800" <= char <= "\udfff" for char in value)
    return isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63)


def _no_cursor(cursor: str) -> QueryRefused:
    return QueryRefused("this is not a cursor of an answer", found=cursor)


def _fingerprint(expression: Expression) -> str:
    import hashlib

    return hashlib.sha256(json.dumps(to_json(expression), sort_keys=True).encode()).hexdigest()[:16]


def answer_query(
    database: Database, sequences: Path, expression: Expression, *,
    order: str | None = None, limit: int | None = None, cursor: str | None = None,
    builder: MakeBuilder | None = None, among: Sequence[Clause] = (),
) -> QueryAnswer:  # fmt: skip
    """Return the sequences that match an expression, in order; ``among`` as for :class:`Query`."""
    return Query(database, sequences, expression, builder, among).answer(order, limit, cursor)
