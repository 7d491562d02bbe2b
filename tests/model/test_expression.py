"""Query expressions: values, their text forms, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

import pytest

from gapless.errors import QueryRefused
from gapless.model.evaluate import value_holds, values_at
from gapless.model.expression import (
    And,
    Expression,
    Field,
    Not,
    Or,
    Predicate,
    Sequence,
    Topic,
    Without,
    from_json,
    join_path,
    ontology_root,
    split_path,
    to_json,
    without,
)
from gapless.model.glob import glob_match
from gapless.model.normal_form import normal_form
from gapless.model.query_builders import Query, QueryOntologyCatalog, QuerySequence, QueryTopic
from gapless.model.query_text import parse

YES, NO = True, False
IMU = ontology_root("IMU", ["acceleration.x", "acceleration.y"])

EXPRESSIONS: list[Expression] = [
    Sequence.Q.name.eq("a'b"),
    Sequence.Q.user_metadata["vehicle.id"].in_("x", 1, 2.5, YES),
    ~(Topic.Q.ontology_tag.eq("IMU") & IMU.acceleration.x.gt(9.8)),
    Field("sensors/*", "pv").between(-1, float("inf")) | Field("_events", "kind").match("alarm*"),
    without(IMU.acceleration.y.is_nan()) & Sequence.Q.outcome.exists(NO),
    Sequence.Q.created_ns.geq(2**62) & IMU.timestamp_ns.lt(5) & Topic.Q.rows.eq(0),
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_repr_and_json_make_the_expression_again(expression: Expression) -> None:
    """Evaluating the repr, or reading the JSON form, gives an equal expression with an equal hash."""
    names = {"And": And, "Or": Or, "Not": Not, "Predicate": Predicate, "Without": Without}
    assert eval(repr(expression), names) == expression
    again = from_json(to_json(expression))
    assert again == expression
    assert hash(again) == hash(expression)


def test_operators_are_the_methods() -> None:
    """Python's comparison operators make the same predicates as the methods."""
    x = IMU.acceleration.x
    assert (x == 1) == x.eq(1)
    assert (x != 1) == x.neq(1)
    assert [x < 1, x <= 1, x > 1, x >= 1] == [x.lt(1), x.leq(1), x.gt(1), x.geq(1)]
    assert x.ex(NO) == x.exists(NO)
    assert x.between((1, 2)) == x.between(1, 2)
    assert x in {x: 1}


@pytest.mark.parametrize(
    "make",
    [
        lambda: bool(IMU.acceleration.x > 1),
        lambda: 1 < IMU.acceleration.x < 5,
        lambda: IMU.acceleration.z > 1,
        lambda: Sequence.Q.name.eq(None),
        lambda: Sequence.Q.name.match(""),
        lambda: Sequence.Q.rows.gt(YES),
        lambda: Sequence.Q.rows.between(5, 1),
        lambda: Sequence.Q.rows.between(1, float("nan")),
        lambda: Sequence.Q.created_ns.gt(datetime(2026, 1, 1)),
        lambda: Predicate("sequence", "colour", "eq", 1),
        lambda: Predicate("planet:x", "y", "eq", 1),
        lambda: Predicate("sequence", "name", "like", "x"),
        lambda: IMU.acceleration.x.gt(1) & cast("Expression", "name"),
        lambda: from_json({"and": []}),
        lambda: from_json({"target": 1, "path": "x", "op": "eq", "value": 1}),
    ],
)
def test_meaningless_queries_are_refused(make: Callable[[], object]) -> None:
    """What cannot mean anything is refused when it is written, not when it runs."""
    with pytest.raises(QueryRefused):
        make()


def test_a_time_becomes_exact_nanoseconds() -> None:
    """A datetime with a zone is compared as an integer of nanoseconds."""
    predicate = Sequence.Q.created_timestamp.geq(datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC))
    assert predicate.value == 1_767_225_600_000_001_000


def test_a_dot_in_a_key_is_escaped() -> None:
    """``a\\.b`` addresses one key; splitting and joining are inverse."""
    assert split_path(r"a\.b.c") == ("a.b", "c")
    assert join_path(("a.b", "c\\")) == r"a\.b.c\\"
    assert list(values_at({"a.b": {"c": [1, {"d": 2}]}}, r"a\.b.c.d")) == [2]


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("plan-4.*", "plan-4.1", True), ("plan-4.", "plan-4.1", False), ("plan-4.*", "plan-4x1", False),
        ("?", "é", True), ("a*c", "a\nc", True), ("[!ab]x", "cx", True), ("[^ab]x", "ax", False),
        ("[*]", "*", True), ("[ab", "[ab", True), ("[z-a]", "z", False), ("[]]", "]", True),
        ("A*", "a", False),
    ],
)  # fmt: skip
def test_match_is_a_glob_over_the_whole_value(pattern: str, text: str, expected: bool) -> None:
    """Globs know ``* ? []``, match the whole value and respect case."""
    assert glob_match(pattern, text) is expected


def test_numbers_are_compared_exactly() -> None:
    """An integer beyond 2**53 is not rounded when it meets a float, and true is not 1."""
    assert not value_holds("eq", 2**53 + 1, float(2**53))
    assert value_holds("gt", 2**53 + 1, float(2**53))
    assert not value_holds("eq", YES, 1)
    assert not value_holds("eq", float("nan"), float("nan"))


def test_not_reaches_the_comparison_by_de_morgan() -> None:
    """``~`` of a conjunction is an alternative per part; two negations are none."""
    x, y = IMU.acceleration.x > 1, Sequence.Q.name == "a"
    assert ~~x == x
    assert [len(a.groups) for a in normal_form(~(x & y))] == [1, 0]
    assert normal_form(IMU.acceleration.x != 1) == normal_form(~(IMU.acceleration.x == 1))


def test_too_many_alternatives_are_refused() -> None:
    """A query that would need more than 128 alternatives is refused with advice."""
    either = Sequence.Q.name.eq("a") | Sequence.Q.name.eq("b")
    several = [either | Sequence.Q.rows.gt(n) for n in range(6)]
    with pytest.raises(QueryRefused, match="in_"):
        normal_form(And(tuple(several)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('metadata.vehicle.id == "x" and IMU.acceleration.x > 9.8 and not topic.name match "cam*"',
         Sequence.Q.metadata["vehicle.id"].eq("x") & IMU.acceleration.x.gt(9.8)
         & ~Topic.Q.name.match("cam*")),
        ("name in ['a', 'b'] or (group = 'g')", Sequence.Q.name.in_("a", "b") | Sequence.Q.group.eq("g")),
        ("IMU.acceleration.x between -1 and 2e3", IMU.acceleration.x.between(-1, 2e3)),
        ('"sensors/*":pv is nan', Field("sensors/*", "pv").is_nan()),
        ("oven/pv:value outside 1 and 2", Field("oven/pv", "value").outside(1, 2)),
        (r'topic.metadata.a\.b exists', Topic.Q.metadata[r"a\.b"].exists()),
        ("topic.metadata.a not exists", ~Topic.Q.metadata["a"].exists()),
        ("without (IMU.acceleration.x > 1)", without(IMU.acceleration.x > 1)),
        ("created >= '2026-01-01T00:00:00Z'", Sequence.Q.created_ns.geq(1_767_225_600_000_000_000)),
        ("metadata.n == -9223372036854775809 & metadata.b == true",
         Sequence.Q.metadata["n"].eq(-(2**63) - 1) & Sequence.Q.metadata["b"].eq(YES)),
    ],
)  # fmt: skip
def test_query_text_writes_the_same_expressions(text: str, expected: Expression) -> None:
    """Each form of the text language parses to the expression that Python would write."""
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "column"),
    [("", 1), ("name == foo", 9), ("name == 'x", 9), ("(name == 'x'", 13), ("name == 'x' group", 13),
     ("colour > 1", 1), ("topic.colour > 1", 1), ("name >", 7), ("name match 5", 1), ("IMU.x in [1 2]", 13),
     ("name == 'x' ;", 13), ("sequence.created > 'yesterday'", 20), ("(" * 200 + "name == 'x'", 101)],
)  # fmt: skip
def test_a_refused_text_names_the_column(text: str, column: int) -> None:
    """An error in query text says where it is."""
    with pytest.raises(QueryRefused, match=f"^column {column}:"):
        parse(text)


def test_builders_join_all_their_conditions() -> None:
    """Query joins builders with ``&``; one key may be used several times."""
    query = Query(
        QuerySequence()
        .with_name_match("run-*")
        .with_user_metadata("n", geq=1, lt=5)
        .with_created_timestamp(1, 9),
        QueryTopic(Topic.Q.rows.gt(0)).with_ontology_tag("IMU").with_name("imu"),
        QueryOntologyCatalog(IMU.acceleration.x.gt(1), IMU.acceleration.x.lt(2)),
    )
    n = Sequence.Q.metadata["n"]
    assert query.to_expression() == And((
        Sequence.Q.name.match("run-*"), n.geq(1), n.lt(5), Sequence.Q.created_ns.geq(1),
                Sequence.Q.created_ns.leq(9),
        Topic.Q.rows.gt(0), Topic.Q.ontology_tag.eq("IMU"), Topic.Q.name.eq("imu"),
        IMU.acceleration.x.gt(1), IMU.acceleration.x.lt(2),
    ))  # fmt: skip


def test_a_builder_refuses_conditions_of_another_kind() -> None:
    """QueryTopic cannot hold a condition on sequences."""
    with pytest.raises(QueryRefused, match="QueryTopic"):
        QueryTopic(Sequence.Q.name.eq("x"))
