"""The small parts of a live view: JSON that a browser holds, fields that fit a line, a mirror that stays small."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest

from gapless.serve.http.live_fields import MAX_FIELDS, live_fields
from gapless.serve.http.live_mirror import MAX_EVENTS, LiveMirror
from gapless.serve.http.live_words import MAX_TEXT, plain, said


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (2**53, 2**53),
        (2**53 + 1, "9007199254740993"),
        (-(2**63), "-9223372036854775808"),
        (math.nan, None),
        (-math.inf, None),
        (True, True),
        (1.5, 1.5),
        ({"timestamp_ns": 5, "blocked_ns": 5}, {"timestamp_ns": "5", "blocked_ns": 5}),
        ([{"start_ns": 1}, (None,)], [{"start_ns": "1"}, [None]]),
        (b"\0", "b'\\x00'"),
    ],
)
def test_values_become_what_a_browser_can_hold(value: Any, shown: Any) -> None:
    """Exactly, or as a text; never rounded, never NaN."""
    assert plain(value) == shown
    assert type(plain(value)) is type(shown)


def test_a_long_text_is_cut() -> None:
    """And shows that it is."""
    assert plain("x" * 10_000) == "x" * (MAX_TEXT - 1) + "…"
    assert said({"stream": "event", "kind": "a"}) == {"kind": "a"}


def test_fields_are_the_leaves_of_a_row() -> None:
    """Structs and short lists are taken apart; pictures, long and endless lists are left out."""
    vector = pa.struct([pa.field("x", pa.float64()), pa.field("y", pa.float64(), metadata={"unit": "g"})])
    schema = pa.schema(
        [
            pa.field("timestamp_ns", pa.int64()),
            pa.field("acceleration", vector, metadata={"unit": "m/s^2"}),
            pa.field("joints", pa.list_(pa.float32(), 2), metadata={"unit": "rad"}),
            pa.field("name", pa.string()),
            pa.field("picture", pa.binary()),
            pa.field("cloud", pa.list_(pa.float32(), 33)),
            pa.field("some", pa.list_(pa.float32())),
        ]
    )
    fields = live_fields(schema)
    assert [(field.path, field.unit) for field in fields] == [
        ("acceleration.x", "m/s^2"), ("acceleration.y", "g"), ("joints[0]", "rad"), ("joints[1]", "rad"), ("name", ""),
    ]  # fmt: skip
    row = {"acceleration": {"x": 1.0, "y": None}, "joints": [3.0, 4.0], "name": "a"}
    assert [field.value(row) for field in fields] == [1.0, None, 3.0, 4.0, "a"]
    assert [field.value({**row, "acceleration": None}) for field in fields[:2]] == [None, None]


def test_the_fields_of_a_wide_topic_are_bounded() -> None:
    """However wide it is."""
    wide = pa.schema([pa.field(f"f{n}", pa.float64()) for n in range(1_000)])
    assert len(live_fields(wide)) == MAX_FIELDS


def test_a_mirror_that_nobody_empties_stays_small() -> None:
    """The newest value, the newest events, and how many went."""
    mirror = LiveMirror()
    for n in range(10_000):
        mirror.put({"stream": "samples", "samples": {"a": n}})
        mirror.put({"stream": "event", "id": str(n)})
        mirror.put({"stream": "status", "n": n})
    assert mirror.take_values() == {"samples": {"a": 9_999}, "frames": {}, "replaced": 9_999}
    told = mirror.take_told()
    assert (len(told), told[-1]["id"], mirror.dropped) == (MAX_EVENTS, "9999", 10_000 - MAX_EVENTS)
    assert mirror.take_status() == {"stream": "status", "n": 9_999}
    assert (mirror.take_values(), mirror.take_told(), mirror.take_status()) == (None, [], None)


def test_a_mirror_forgets_what_its_browser_has() -> None:
    """Up to the id and with it; everything stays for an id that it does not know."""
    mirror = LiveMirror()
    for number in "abc":
        mirror.put({"stream": "event", "id": number})
    mirror.forget_until("x")
    mirror.forget_until(None)
    mirror.forget_until("b")
    assert [told["id"] for told in mirror.take_told()] == ["c"]
