"""Row filters on their way to a server: the same filter arrives, or none."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from gapless.client.remote.row_filter import filter_from_json, filter_to_json
from gapless.errors import UsageError

F = pc.field
NAN = float("nan")
YES = True
TRAVEL = {
    "comparisons": (F("x") > 3)
    & (F("x") >= 3)
    & (F("x") < 3)
    & (F("x") <= 3)
    & (F("x") == 3)
    & (F("x") != 3),
    "or, not": ~((F("x") > 3) | F("flag")),
    "null": F("x").is_null() | F("x").is_null(nan_is_null=True) | F("x").is_valid(),
    "nan": F("x").is_nan() | (F("x") > NAN),
    "a list of values": F("n").isin([1, 2, None]),
    "no values": F("n").isin(pa.array([], pa.int64())),
    "text": (F("s") == 'a "quoted" (text), {with=all}')
    & pc.starts_with(F("s"), "a")
    & pc.ends_with(F("s"), "é"),
    "parts of text": pc.match_substring(F("s"), "x", ignore_case=True)
    | pc.match_substring_regex(F("s"), "^a+"),
    "like": pc.match_like(F("s"), "a%") | (pc.utf8_lower(F("s")) == "b") | (pc.utf8_upper(F("s")) == "B"),
    "arithmetic": (F("x") * 2 + 1 - F("n")) / 3 > pc.abs(pc.negate(F("x"))),
    "cast": F("n").cast("float64") > 0.5,
    "unsafe cast": F("x").cast("int8", safe=False) == 3,
    "a nested field": F("pose", "position", "x") > 1,
    "a field with a dot": F("acceleration.x") > 1,
    "times": F("at") > pa.scalar(datetime(2026, 1, 1, tzinfo=UTC), pa.timestamp("ns", "UTC")),
    "typed values": (F("n") == pa.scalar(3, pa.uint8())) & (F("x") == pa.scalar(None, pa.float32())),
    "large numbers": (F("n") == 2**63 - 1) | (F("n") == -(2**63)) | (F("x") == 5e-324),
    "bytes": F("data") == b"\x00\xff",
    "a constant": pc.scalar(YES),
    "the length of a list": pc.list_value_length(F("l")) > 2,
    "bits": pc.bit_wise_and(F("n"), 4) == 4,
}
SENT = {name: filter_to_json(expression) for name, expression in TRAVEL.items()}
STAY = {
    "a place": F(1) > 3,
    "a choice": pc.if_else(F("flag"), F("x"), 0.0) > 1,
    "what makes values large": pc.binary_repeat(F("s"), 1_000_000) == "a",
    "a function of no use here": pc.round(F("x")) > 1,
}


@pytest.mark.parametrize("name", TRAVEL)
def test_a_filter_arrives_as_it_was_sent(name: str) -> None:
    """Through JSON text and back it equals what pyarrow was given."""
    text = json.dumps(filter_to_json(TRAVEL[name]))
    assert filter_from_json(json.loads(text)).equals(TRAVEL[name])


@pytest.mark.parametrize("name", STAY)
def test_another_filter_is_not_sent(name: str) -> None:
    """It is refused before anything is asked, with what to do instead."""
    with pytest.raises(UsageError, match="scan without filter="):
        filter_to_json(STAY[name])


def test_only_a_filter_is_a_filter() -> None:
    """Another value is refused by name."""
    with pytest.raises(UsageError, match="str"):
        filter_to_json("x > 3")


def damaged(node: Any, rng: random.Random) -> Any:
    """Return a JSON value with one of its pieces replaced."""
    if isinstance(node, dict) and node and rng.random() < 0.8:
        key = rng.choice(list(node))
        return {**node, key: damaged(node[key], rng)}
    if isinstance(node, list) and node and rng.random() < 0.8:
        place = rng.randrange(len(node))
        return [*node[:place], damaged(node[place], rng), *node[place + 1 :]]
    if isinstance(node, str) and node and rng.random() < 0.5:
        place = rng.randrange(len(node))
        return node[:place] + chr(rng.randrange(33, 127)) + node[place + 1 :]
    return rng.choice(
        [None, True, -1, 2**70, 1.5, "", "x", "call", [], {}, ["call", "equal", [], {}], ["value"]]
    )


def test_a_damaged_filter_is_refused_or_means_something() -> None:
    """Whatever is sent, it becomes an expression or a UsageError."""
    rng = random.Random(11)
    refused = 0
    for _ in range(3_000):
        sent = damaged(SENT[rng.choice(list(SENT))], rng)
        try:
            found = filter_from_json(sent)
        except UsageError:
            refused += 1
        else:
            assert isinstance(found, pc.Expression)
    assert refused > 500


def test_a_filter_has_a_depth() -> None:
    """A deeper one than any that is written is refused, not followed down."""
    tree: Any = ["field", "x"]
    for _ in range(500):
        tree = ["call", "invert", [tree], {}]
    with pytest.raises(UsageError):
        filter_from_json({**SENT["a constant"], "tree": tree})
