"""The builder forms of a query: QuerySequence, QueryTopic, QueryOntologyCatalog, joined by Query.

Each builder is a frozen value; ``with_…`` returns a new one with one more condition. All conditions
of all builders must hold; a key may be used any number of times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from gapless.errors import QueryRefused
from gapless.model.expression import OPS, And, Expression, FieldRef, MetadataRef, Predicate, walk


@dataclass(frozen=True, init=False, repr=False)
class _Builder:
    expressions: tuple[Expression, ...]

    targets: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *expressions: Expression) -> None:
        for expression in expressions:
            self._check(expression)
        object.__setattr__(self, "expressions", tuple(expressions))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.expressions))})"

    def _check(self, expression: object) -> None:
        if not isinstance(expression, Expression):
            raise QueryRefused(f"{type(self).__name__} takes query expressions", found=expression)
        for predicate in walk(expression):
            if predicate.target.partition(":")[0] not in self.targets:
                raise QueryRefused(
                    f"{type(self).__name__} cannot hold this condition",
                    found=predicate,
                    expected=f"a condition on {' or '.join(self.targets)}",
                )

    def with_expression(self, expression: Expression) -> Self:
        """Return this query with one more condition."""
        return type(self)(*self.expressions, expression)

    def to_expression(self) -> Expression:
        """Return all conditions joined with ``&``."""
        return joined(self.expressions)


class _Named(_Builder):
    def _place(self, path: str) -> FieldRef:
        return FieldRef(self.targets[0], path)

    def with_name(self, name: str) -> Self:
        """Return this query for one exact name."""
        return self.with_expression(self._place("name").eq(name))

    def with_name_match(self, pattern: str) -> Self:
        """Return this query for names that match a glob over the whole name."""
        return self.with_expression(self._place("name").match(pattern))

    def with_user_metadata(self, path: str, **conditions: object) -> Self:
        """Return this query with conditions on one path: ``with_user_metadata("a.b", gt=1, lt=5)``."""
        if not conditions:
            raise QueryRefused(
                "a metadata condition needs an operator", field=path, expected="for example eq=1"
            )
        place = MetadataRef(self.targets[0])[path]
        query = self
        for op, value in conditions.items():
            query = query.with_expression(_compare(place, op, value))
        return query

    def with_created_timestamp(self, start: object | None = None, end: object | None = None) -> Self:
        """Return this query for what was opened from ``start`` to ``end``, both included."""
        query = self
        if start is not None:
            query = query.with_expression(self._place("created_ns").geq(start))
        if end is not None:
            query = query.with_expression(self._place("created_ns").leq(end))
        return query


class QuerySequence(_Named):
    """Conditions on sequences."""

    targets = ("sequence",)


class QueryTopic(_Named):
    """Conditions on topics; all hold of one and the same topic."""

    targets = ("topic",)

    def with_ontology_tag(self, tag: str) -> Self:
        """Return this query for topics of one ontology type."""
        return self.with_expression(self._place("ontology_tag").eq(tag))


class QueryOntologyCatalog(_Builder):
    """Conditions on rows; those of one ontology type hold in one and the same row."""

    targets = ("ontology", "field")


class Query:
    """Several builders or expressions joined with ``&``."""

    def __init__(self, *parts: _Builder | Query | Expression) -> None:
        self.parts = parts

    def __repr__(self) -> str:
        return f"Query({', '.join(map(repr, self.parts))})"

    def to_expression(self) -> Expression:
        """Return all conditions of all parts joined with ``&``."""
        return joined(tuple(as_expression(part) for part in self.parts))


def as_expression(query: object) -> Expression:
    """Return a query of any form as one expression, or raise QueryRefused; text is parsed."""
    if isinstance(query, Expression):
        return query
    if isinstance(query, _Builder | Query):
        return query.to_expression()
    if isinstance(query, str):
        from gapless.model.query_text import parse

        return parse(query)
    raise QueryRefused("this is not a query", found=query, expected="an expression, a builder or query text")


def joined(expressions: tuple[Expression, ...]) -> Expression:
    """Return the expressions joined with ``&``; none at all means every sequence."""
    if len(expressions) == 1:
        return expressions[0]
    items: list[Expression] = []
    for expression in expressions:
        items.extend(expression.items if isinstance(expression, And) else (expression,))
    return And(tuple(items))


def _compare(place: FieldRef, op: str, value: object) -> Predicate:
    name = {"in_": "in", "ex": "exists"}.get(op, op)
    if name not in OPS:
        raise QueryRefused("an unknown operator", found=op, expected=", ".join(OPS))
    return place.compare(name, value)
