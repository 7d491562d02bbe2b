"""The words that the sequences a caller sees are described with: metadata, topics, fields, labels, names.

Each question is one statement with a bounded answer and takes a bounded time, else QueryRefused is raised.
What only sequences of other groups have is never told.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

from gapless.catalog.listing_filter import contains
from gapless.catalog.metadata_index import Clause, path_id
from gapless.catalog.sqlite import Database, Row
from gapless.model.expression import Scalar

MOST_TOPICS: Final = 2_000
_PATIENCE_S = 2.0
_SINGLE = "v.type IN ('s', 'n', 'N', 'b')"  # not the mark that an object or a list stands at a path
_PROPERTIES = {"name": "s.name", "group": "s.grp", "state": "s.state", "outcome": "s.outcome"}
Scope = Literal["sequence", "topic"]


@dataclass(frozen=True, slots=True)
class KnownTopic:
    """A topic as some sequences have it; ``component`` is the folder of one that does."""

    name: str
    tag: str | None
    fields: dict[str, str]
    component: str


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words in use among the sequences of some groups; ``groups`` None: of all."""

    database: Database
    groups: Collection[str] | None = None

    def metadata_paths(self, scope: Scope, typed: str, limit: int) -> list[tuple[str, Scalar]]:
        """Return paths that contain what was typed, each with a value that it has somewhere."""
        held, seen = contains("p.path", typed), self._owned_by(scope)
        rows = self._rows(
            Clause(
                "SELECT path, substr(example, 1, 1), substr(example, 2) FROM (SELECT p.path AS path,"
                f" (SELECT v.type || v.value FROM metadata_value v{seen.sql} AND v.path_id=p.id AND {_SINGLE}"
                f" LIMIT 1) AS example FROM metadata_path p WHERE p.scope=? AND {held.sql})"
                " WHERE example IS NOT NULL ORDER BY instr(lower(path), lower(?)), length(path), path LIMIT ?",
                (*seen.parameters, scope, *held.parameters, typed, limit),
            )
        )
        return [(path, _value(kind, text)) for path, kind, text in rows]

    def metadata_values(self, scope: Scope, path: str, typed: str, limit: int) -> list[Scalar]:
        """Return values at a metadata path that contain what was typed."""
        place, seen, held = path_id(scope, path), self._owned_by(scope), contains("v.value", typed)
        rows = self._rows(
            Clause(
                f"SELECT DISTINCT v.type, v.value FROM metadata_value v{seen.sql} AND v.path_id={place.sql}"
                f" AND {_SINGLE} AND {held.sql} LIMIT ?",
                (*seen.parameters, *place.parameters, *held.parameters, limit),
            )
        )
        return [_value(kind, value) for kind, value in rows]

    def property_values(self, name: str, typed: str, limit: int) -> list[str]:
        """Return values of ``name``, ``group``, ``state`` or ``outcome`` of sequences."""
        column = _PROPERTIES[name]
        held, seen = contains(column, typed), self._seen
        rows = self._rows(
            Clause(
                f"SELECT DISTINCT {column} FROM sequence s WHERE {column} IS NOT NULL AND {held.sql}"
                f" AND {seen.sql} ORDER BY {column} LIMIT ?",
                (*held.parameters, *seen.parameters, limit),
            )
        )
        return [str(value) for (value,) in rows]

    def labels(self, typed: str, limit: int) -> list[str]:
        """Return names of annotations, those that are used most first."""
        held, seen = contains("a.name", typed), self._seen
        rows = self._rows(
            Clause(
                "SELECT a.name FROM annotation a JOIN sequence s ON s.id=a.sequence_id"
                f" WHERE {held.sql} AND {seen.sql} GROUP BY a.name ORDER BY count(*) DESC, a.name LIMIT ?",
                (*held.parameters, *seen.parameters, limit),
            )
        )
        return [str(name) for (name,) in rows]

    def topics(self) -> list[KnownTopic]:
        """Return the topics of sealed sequences, once for each name, type and set of fields."""
        seen = self._seen
        rows = self._rows(
            Clause(
                "SELECT t.name, t.ontology_tag, t.fields, max(t.id), s.component FROM topic t"
                f" JOIN sequence s ON s.id=t.sequence_id WHERE NOT t.reserved AND {seen.sql}"
                " GROUP BY t.name, t.ontology_tag, t.fields LIMIT ?",
                (*seen.parameters, MOST_TOPICS),
            )
        )
        return [KnownTopic(name, tag, json.loads(fields), place) for name, tag, fields, _, place in rows]

    def _rows(self, statement: Clause) -> list[Row]:
        return self.database.rows(statement.sql, statement.parameters, patience_s=_PATIENCE_S)

    @property
    def _seen(self) -> Clause:
        """That the caller sees the sequence s."""
        if self.groups is None:
            return Clause("1")
        return Clause("s.grp IN (SELECT value FROM json_each(?))", (json.dumps(sorted(self.groups)),))

    def _owned_by(self, scope: Scope) -> Clause:
        """The rest of a FROM and the beginning of a WHERE: that the caller sees what a value v belongs to."""
        if self.groups is None:
            return Clause(" WHERE 1")
        join = " JOIN topic t ON t.id=v.owner JOIN sequence s ON s.id=t.sequence_id"
        if scope == "sequence":
            join = " JOIN sequence s ON s.id=v.owner"
        return Clause(f"{join} WHERE {self._seen.sql}", self._seen.parameters)


def _value(kind: str, value: Any) -> Scalar:
    """Return a stored value as it was given; numbers may come as text."""
    if kind == "b":
        return bool(int(value))
    if kind == "s":
        return str(value)
    if kind == "N" or isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return float(value) if set(value) & set(".eEnN") else int(value)
    return float(value)
