"""Registers to values and back, and the plan of the reads."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.acquire.devices.modbus_points import Point, PointKind, plan_requests
from gapless.errors import UsageError

RANGES: dict[str, tuple[int, int]] = {
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
}


def point(**given_: Any) -> Point:
    """Return a writable point."""
    return Point.model_validate({"name": "x", "register": 0, "writable": True, **given_})


@given(st.sampled_from(sorted(RANGES)), st.sampled_from(["big", "little"]), st.data())
def test_whole_numbers_survive(dtype: str, word_order: str, data: st.DataObject) -> None:
    """What is written is what is read, in either word order; one beyond either end is refused."""
    low, high = RANGES[dtype]
    place = point(dtype=dtype, word_order=word_order)
    value = data.draw(st.integers(low, high))
    assert place.decode(place.encode(value)) == value
    for beyond in (low - 1, high + 1):
        with pytest.raises(UsageError, match="cannot hold the value"):
            place.encode(beyond)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.sampled_from(["big", "little"]))
def test_floats_survive(value: float, word_order: str) -> None:
    """A 32-bit float is exact in both float types."""
    for dtype in ("float32", "float64"):
        place = point(dtype=dtype, word_order=word_order)
        assert place.decode(place.encode(value)) == value


@given(st.integers(-32_768, 32_767), st.sampled_from([0.1, 0.5, 2.0]), st.floats(-100, 100))
def test_scaled_numbers_land_on_the_same_register(raw: int, scale: float, offset: float) -> None:
    """Writing the value that was read writes the register that was read."""
    place = point(dtype="int16", scale=scale, offset=offset)
    words = [raw & 0xFFFF]
    assert place.encode(place.decode(words)) == words


def test_words_of_a_number() -> None:
    """75.0 stands as 4296 0000 with the high word first, and the other way round in little order."""
    assert point(dtype="float32").encode(75.0) == [0x4296, 0]
    assert point(dtype="float32", word_order="little").encode(75.0) == [0, 0x4296]
    assert math.isnan(point(dtype="float32").decode([0x7FC0, 0]))
    assert point(dtype="uint32", word_order="little").decode([1, 2]) == 0x20001


def test_a_float_beyond_32_bits_is_refused() -> None:
    """It would become infinite on the wire."""
    with pytest.raises(UsageError, match="cannot hold the value"):
        point(dtype="float32").encode(1e300)


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from(["uint16", "int32", "float64"])),
        min_size=1,
        max_size=40,
        unique_by=lambda place: place[0],
    ),
    st.integers(0, 10),
)
def test_a_plan_reads_every_point_whole(places: list[tuple[int, str]], max_gap: int) -> None:
    """Each point lies in one request within the limits; requests do not overlap and gaps are allowed ones."""
    points = [point(name=f"p{address}", register=address, dtype=dtype) for address, dtype in places]
    plan = plan_requests(points, max_gap)
    used = {address + k for p in points for address in [p.address] for k in range(p.width)}
    registers = list(range(500))
    seen = {}
    for request in plan:
        assert 1 <= request.count <= 125
        seen.update(dict(request.decode(registers[request.address : request.address + request.count])))
        idle = [n for n in range(request.address, request.address + request.count) if n not in used]
        assert longest_run(idle) <= max_gap
    for p in points:
        words = struct.pack(f">{p.width}H", *range(p.address, p.address + p.width))
        formats = {"uint16": ">H", "int32": ">i", "float64": ">d"}
        assert seen[p.name] == struct.unpack(formats[p.dtype], words)[0]


def longest_run(numbers: list[int]) -> int:
    """Return the length of the longest run of consecutive numbers."""
    longest = run = 0
    last = None
    for number in numbers:
        run = run + 1 if last is not None and number == last + 1 else 1
        longest, last = max(longest, run), number
    return longest


def test_long_blocks_are_cut_at_the_protocols_limits() -> None:
    """125 registers or 2,000 bits at most; the kinds never mix."""
    words = [point(name=f"w{n}", register=n) for n in range(126)]
    bits = [point(name=f"b{n}", register=n, kind="coil", dtype="bool") for n in range(2001)]
    plan = plan_requests([*words, *bits])
    assert [(request.kind, request.count) for request in plan] == [
        (PointKind.COIL, 2000),
        (PointKind.COIL, 1),
        (PointKind.HOLDING, 125),
        (PointKind.HOLDING, 1),
    ]
