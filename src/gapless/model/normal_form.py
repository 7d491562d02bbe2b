"""The meaning of ``& | ~``: an expression as alternatives, each a plain list of conditions.

A sequence matches an expression when it matches at least one alternative. It matches an alternative
when (1) every sequence condition is true of it, (2) some topic satisfies all topic conditions, and
(3) for every row group some topic of that group, satisfying all topic conditions, has a row in which
all the conditions of the group are true. ``~`` is pushed to the comparisons by De Morgan's laws, so
``~(x > 5)`` is true of each row in which ``x > 5`` is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from gapless.errors import QueryRefused
from gapless.model.expression import And, Expression, Not, Or, Predicate, Without

MAX_ALTERNATIVES = 128  # beyond it the plan costs more than any answer is worth


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison that must be true, or must not be."""

    predicate: Predicate
    wanted: bool


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A whole expression that a sequence must not match (or must, when ``wanted``)."""

    item: Expression
    wanted: bool


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Conditions that must hold in one and the same row of a topic of the target."""

    target: str
    conditions: tuple[Condition, ...]

    @property
    def tag(self) -> str | None:
        """The ontology tag of the topics meant, or None when they are meant by name."""
        kind, _, name = self.target.partition(":")
        return name if kind == "ontology" else None

    @property
    def topic_glob(self) -> str:
        """The glob over topic names; ``*`` for an ontology tag."""
        kind, _, name = self.target.partition(":")
        return name if kind == "field" else "*"

    @property
    def paths(self) -> tuple[str, ...]:
        """The fields compared, each once."""
        return tuple(dict.fromkeys(c.predicate.path for c in self.conditions))


@dataclass(frozen=True, slots=True)
class Alternative:
    """Conditions that must all hold of a sequence."""

    sequence: tuple[Condition, ...]
    exclusions: tuple[Exclusion, ...]
    topic: tuple[Condition, ...]
    groups: tuple[RowGroup, ...]


def normal_form(expression: Expression) -> tuple[Alternative, ...]:
    """Return the alternatives of an expression, or raise QueryRefused when there are too many."""
    return tuple(_alternative(atoms) for atoms in dict.fromkeys(_alternatives(expression, wanted=True)))


_Atom = Condition | Exclusion


def _alternatives(expression: Expression, *, wanted: bool) -> list[tuple[_Atom, ...]]:
    if isinstance(expression, Not):
        return _alternatives(expression.item, wanted=not wanted)
    if isinstance(expression, Without):
        return [(Exclusion(expression.item, not wanted),)]
    if isinstance(expression, Predicate):
        if expression.op == "neq":  # missing and NaN count as "not equal", so neq is exactly not-eq
            same = Predicate(expression.target, expression.path, "eq", expression.value)
            return [(Condition(same, not wanted),)]
        if expression.value is False and expression.op in ("exists", "is_nan"):
            same = Predicate(expression.target, expression.path, expression.op)
            return [(Condition(same, not wanted),)]
        return [(Condition(expression, wanted),)]
    if not isinstance(expression, And | Or):
        raise QueryRefused("this is not a query expression", found=type(expression).__name__)
    parts = [_alternatives(item, wanted=wanted) for item in expression.items]
    if isinstance(expression, And) == wanted:
        size = 1
        for part in parts:
            size *= len(part)
            _check_size(size)
        return [
            tuple(dict.fromkeys(atom for atoms in choice for atom in atoms)) for choice in product(*parts)
        ]
    joined = [atoms for part in parts for atoms in part]
    _check_size(len(joined))
    return joined


def _check_size(size: int) -> None:
    if size > MAX_ALTERNATIVES:
        raise QueryRefused(
            "the query has too many alternatives",
            found=size,
            expected=f"at most {MAX_ALTERNATIVES} after writing it as alternatives of plain conditions",
            next_step="use in_() or match() instead of many |, or ask several queries",
        )


def _alternative(atoms: tuple[_Atom, ...]) -> Alternative:
    conditions = [atom for atom in atoms if isinstance(atom, Condition)]
    groups: dict[str, list[Condition]] = {}
    for condition in conditions:
        if condition.predicate.target not in ("sequence", "topic"):
            groups.setdefault(condition.predicate.target, []).append(condition)
    return Alternative(
        sequence=tuple(c for c in conditions if c.predicate.target == "sequence"),
        exclusions=tuple(atom for atom in atoms if isinstance(atom, Exclusion)),
        topic=tuple(c for c in conditions if c.predicate.target == "topic"),
        groups=tuple(RowGroup(target, tuple(items)) for target, items in groups.items()),
    )
