"""The binary frame: what is put in comes out, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serve.http.frames import decode

from gapless.serve.http.frame import Frame, offsets

INT64 = st.integers(-(2**63), 2**63 - 1)
KINDS = {"f64": "f8", "i64": "i8", "u64": "u8", "i32": "i4", "u32": "u4", "u8": "u1"}


@given(
    base=INT64,
    columns=st.lists(
        st.tuples(st.sampled_from(sorted(KINDS)), st.lists(st.integers(0, 255), max_size=20)), max_size=8
    ),
    word=st.text(max_size=30),
)
def test_a_frame_gives_back_what_was_added(
    base: int, columns: list[tuple[str, list[int]]], word: str
) -> None:
    """Any number of columns of any type and length; the header in any letters."""
    frame = Frame(base, word=word)
    for number, (kind, values) in enumerate(columns):
        frame.add(f"{number}.{word}", np.array(values, KINDS[kind]), unit="m")
    found = decode(frame.to_bytes())
    assert (found.header["word"], found.base_ns) == (word, base)
    for number, (kind, values) in enumerate(columns):
        assert found.columns[f"{number}.{word}"].tolist() == values
        assert found.header["columns"][number]["type"] == kind
        assert found.header["columns"][number]["unit"] == "m"


def test_bits_of_numbers_stay() -> None:
    """NaN, infinities, minus zero and the ends of 64 bits; arrays that are not contiguous or big-endian."""
    frame = Frame(0)
    floats = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324])
    frame.add("f", floats)
    frame.add("i", np.array([-(2**63), 2**63 - 1]))
    frame.add("u", np.array([2**64 - 1], np.uint64))
    frame.add("s", np.arange(10)[::3])
    frame.add("b", np.array([1, 2], ">i4"))
    columns = decode(frame.to_bytes()).columns
    assert columns["f"].tobytes() == floats.tobytes()
    assert columns["i"].tolist() == [-(2**63), 2**63 - 1]
    assert columns["u"].tolist() == [2**64 - 1]
    assert columns["s"].tolist() == [0, 3, 6, 9]
    assert columns["b"].tolist() == [1, 2]


def test_a_type_that_pages_do_not_have_is_refused() -> None:
    """Before a byte is made."""
    with pytest.raises(KeyError):
        Frame(0).add("c", np.array([1j]))


@given(base=INT64, others=st.lists(INT64, min_size=1, max_size=10))
def test_offsets_are_the_nearest_float(base: int, others: list[int]) -> None:
    """Over all of int64, without wrapping; exact where they are below 2**53."""
    found = offsets(np.array(others, np.int64), base)
    assert found.tolist() == [float(other - base) for other in others]


def test_times_carry_their_unit() -> None:
    """A page tells times from other numbers by it."""
    frame = Frame(10)
    frame.add_times("t", np.array([10, 15]))
    found = decode(frame.to_bytes())
    assert found.times("t") == [10, 15]
    assert found.header["columns"][0]["unit"] == "ns"
