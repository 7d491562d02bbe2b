"""A naive evaluator: every row of every sequence, plain Python, by the definition in docs/query.md."""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tests.catalog.bundle_files import Row, TopicSpec

from gapless.model.expression import And, Expression, Not, Or, Predicate, Without

Literal = tuple[Predicate | Without, bool]
Spans = dict[str, list[tuple[int, int]]]


@dataclass
class Recorded:
    """A sequence as the oracle knows it: all rows of each topic in time order."""

    name: str
    group: str | None
    outcome: str
    opened_ns: int
    metadata: dict[str, Any]
    topics: dict[str, TopicSpec]
    layer: dict[str, TopicSpec] = field(default_factory=dict)

    def rows(self, topic: str) -> list[Row]:
        """Return the rows of base and layer, sorted by time, then by origin."""
        specs = [s for s in (self.topics.get(topic), self.layer.get(topic)) if s is not None]
        return sorted(
            (row for s in specs for part in s.parts for row in part), key=lambda row: row["timestamp_ns"]
        )

    @property
    def all_topics(self) -> dict[str, TopicSpec]:
        """Return every topic of base and layer."""
        return {**self.layer, **self.topics}


def matches(recorded: Recorded, expression: Expression) -> Spans | None:
    """Return the matching spans of each topic, or None when the sequence does not match."""
    found: dict[str, set[int]] = {}
    matched = False
    for literals in alternatives(expression, wanted=True):
        rows = _alternative(recorded, literals)
        if rows is not None:
            matched = True
            for topic, numbers in rows.items():
                found.setdefault(topic, set()).update(numbers)
    if not matched:
        return None
    return {topic: _spans(recorded.rows(topic), numbers) for topic, numbers in found.items()}


def alternatives(expression: Expression, *, wanted: bool) -> list[list[Literal]]:
    """Return the alternatives of an expression, each a list of literals."""
    if isinstance(expression, Not):
        return alternatives(expression.item, wanted=not wanted)
    if isinstance(expression, Predicate | Without):
        return [[(expression, wanted)]]
    assert isinstance(expression, And | Or)
    if isinstance(expression, Or) == wanted:
        return [each for item in expression.items for each in alternatives(item, wanted=wanted)]
    result: list[list[Literal]] = [[]]
    for item in expression.items:
        result = [left + right for left in result for right in alternatives(item, wanted=wanted)]
    return result


def _alternative(recorded: Recorded, literals: list[Literal]) -> dict[str, set[int]] | None:
    by_target: dict[str, list[tuple[Predicate, bool]]] = {}
    for item, wanted in literals:
        if isinstance(item, Without):
            if (matches(recorded, item.item) is None) != wanted:
                return None
        else:
            by_target.setdefault(item.target, []).append((item, wanted))
    if not all(_sequence_holds(recorded, p) == w for p, w in by_target.pop("sequence", [])):
        return None
    topic_literals = by_target.pop("topic", [])
    allowed = {
        name: spec
        for name, spec in recorded.all_topics.items()
        if all(_topic_holds(recorded, name, spec, p) == w for p, w in topic_literals)
    }
    if topic_literals and not by_target and not allowed:
        return None
    found: dict[str, set[int]] = {} if by_target or not topic_literals else {name: set() for name in allowed}
    for target, conditions in by_target.items():
        hits = {n: s for n in allowed if (s := _row_hits(recorded, n, allowed[n], target, conditions))}
        if not hits:
            return None
        for name, numbers in hits.items():
            found.setdefault(name, set()).update(numbers)
    return found


def _row_hits(
    recorded: Recorded, name: str, spec: TopicSpec, target: str, conditions: list[tuple[Predicate, bool]]
) -> set[int]:
    kind, _, meant = target.partition(":")
    if kind == "ontology":
        if spec.tag != meant:
            return set()
    elif not fnmatch.fnmatchcase(name, meant) or not all(
        p.path in spec.columns or p.path == "timestamp_ns" for p, _ in conditions
    ):
        return set()
    return {
        number
        for number, row in enumerate(recorded.rows(name))
        if all(_any_holds(p, [row.get(p.path)]) == w for p, w in conditions)
    }


def _sequence_holds(recorded: Recorded, predicate: Predicate) -> bool:
    if predicate.path.startswith("metadata."):
        return _any_holds(predicate, _descend(recorded.metadata, predicate.path.split(".")[1:]))
    known = {"name": recorded.name, "group": recorded.group, "outcome": recorded.outcome, "state": "sealed",
             "created_ns": recorded.opened_ns}  # fmt: skip
    return _any_holds(predicate, [known[predicate.path]])


def _topic_holds(recorded: Recorded, name: str, spec: TopicSpec, predicate: Predicate) -> bool:
    if predicate.path.startswith("metadata."):
        return _any_holds(predicate, _descend(spec.metadata, predicate.path.split(".")[1:]))
    known = {"name": name, "ontology_tag": spec.tag, "rows": len(recorded.rows(name))}
    return _any_holds(predicate, [known[predicate.path]])


def _descend(node: Any, keys: list[str]) -> list[Any]:
    if isinstance(node, list):
        inner = [value for item in node for value in _descend(item, keys)]
        return inner if keys else [node, *inner]
    if not keys:
        return [node]
    return _descend(node[keys[0]], keys[1:]) if isinstance(node, dict) and keys[0] in node else []


def _any_holds(predicate: Predicate, values: list[Any]) -> bool:
    if predicate.op == "neq":
        return not any(_holds("eq", value, predicate.value) for value in values)
    held = any(_holds(predicate.op, value, predicate.value) for value in values)
    return held == predicate.value if predicate.op in ("exists", "is_nan") else held


def _holds(op: str, value: Any, operand: Any) -> bool:
    if value is None:
        return False
    if op == "exists":
        return True
    nan = isinstance(value, float) and math.isnan(value)
    if op == "is_nan" or nan:
        return nan and op == "is_nan"
    if op == "in":
        return any(_holds("eq", value, item) for item in operand)
    if op == "between":
        return _holds("geq", value, operand[0]) and _holds("leq", value, operand[1])
    if op == "outside":
        return _holds("lt", value, operand[0]) or _holds("gt", value, operand[1])
    if _kind(value) != _kind(operand) or _kind(value) == "other":
        return False
    if op == "match":
        return isinstance(value, str) and fnmatch.fnmatchcase(value, operand)
    if isinstance(operand, float) and math.isnan(operand):
        return False
    left, right = _exact(value), _exact(operand)
    same: bool = left == right
    if op in ("eq", "leq", "geq") and same:
        return True
    less: bool = left < right
    return {"lt": less, "leq": less, "gt": not less and not same, "geq": not less and not same}.get(op, False)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "other"


def _exact(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return value
    return Fraction(value) if _kind(value) == "number" else value


def _spans(rows: list[Row], numbers: set[int]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for number in sorted(numbers):
        time_ns = rows[number]["timestamp_ns"]
        if number - 1 in numbers:
            spans[-1] = (spans[-1][0], time_ns)
        else:
            spans.append((time_ns, time_ns))
    return spans
