"""Lines of documents: plain JSON stays plain, everything else comes back as it was."""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gapless.bluesky.lossless import decode, dumps, encode, loads
from gapless.errors import DocumentRefused

_DTYPES = st.one_of(
    hnp.integer_dtypes(),
    hnp.unsigned_integer_dtypes(),
    hnp.floating_dtypes(sizes=(16, 32, 64)),
    hnp.complex_number_dtypes(sizes=(64, 128)),
    hnp.boolean_dtypes(),
    hnp.byte_string_dtypes(max_len=4),
    hnp.unicode_string_dtypes(max_len=4),
    hnp.datetime64_dtypes(),
)
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(2**80), max_value=2**80),
    st.floats(),
    st.text(st.characters()),
    st.binary(),
    st.datetimes(),
    st.dates(),
    st.complex_numbers(allow_nan=False),
    hnp.arrays(_DTYPES, hnp.array_shapes(min_dims=0, max_side=3)),
    hnp.from_dtype(np.dtype("f4")),
    hnp.from_dtype(np.dtype("u8")),
)
_KEYS = st.one_of(st.text(max_size=5), st.just("__gapless__"), st.integers())
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(_KEYS, inner, max_size=3),
    ),
    max_leaves=8,
)
_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.text(),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are of the same types and equal, NaN being equal to NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return (
            bool(one.dtype == other.dtype and one.shape == other.shape) and one.tobytes() == other.tobytes()
        )
    if isinstance(one, np.generic):
        return bool(one.dtype == other.dtype) and one.tobytes() == other.tobytes()
    if isinstance(one, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@given(value=_VALUES)
def test_every_value_comes_back(value: Any) -> None:
    """Every value comes back."""
    text = encode(value)
    assert text.isascii()
    assert "\n" not in text
    assert same(decode(text), value)


@given(value=_JSON)
def test_plain_json_is_encoded_as_plain_json(value: Any) -> None:
    """Plain json is encoded as plain json."""
    assert json.loads(encode(value)) == value


def test_the_line_is_that_of_the_public_writers() -> None:
    """The line is that of the public writers."""
    line = dumps("event", {"uid": "a", "data": {"x": 1.5}}, reason="disk full")
    assert json.loads(line) == {
        "name": "event",
        "doc": {"uid": "a", "data": {"x": 1.5}},
        "reason": "disk full",
    }
    assert loads(line) == ("event", {"uid": "a", "data": {"x": 1.5}})


@pytest.mark.parametrize("text", ['["stop", {"uid": "a"}]', '{"name": "stop", "doc": {"uid": "a"}},\n'])
def test_other_forms_of_a_line_are_read(text: str) -> None:
    """Other forms of a line are read."""
    assert loads(text) == ("stop", {"uid": "a"})


def test_a_structured_array_and_an_object_array_come_back() -> None:
    """A structured array and an object array come back."""
    table = np.array([(1, 2.5), (3, 4.5)], dtype=[("n", "<i4"), ("x", "<f8")])
    boxed = np.array(["text", None, 1], dtype=object)
    back = decode(encode({"table": table, "boxed": boxed}))
    assert back["table"].dtype == table.dtype
    assert np.array_equal(back["table"], table)
    assert back["boxed"].tolist() == ["text", None, 1]
    back["table"]["n"] = 0  # it can be written to, as the one it was made from


def test_a_timezone_is_kept() -> None:
    """A timezone is kept."""
    moment = dt.datetime(2026, 3, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    assert decode(encode(moment)).utcoffset() == dt.timedelta(hours=2)


def test_any_other_object_leaves_its_text() -> None:
    """Any other object leaves its text."""
    assert decode(encode({"kind": dict})) == {"kind": repr(dict)}


@pytest.mark.parametrize(
    "line", [b'{"name": "event", "doc": {"da', b'{"name": 1, "doc": {}}', b"[1]", b"7", b"\xff"]
)
def test_a_line_that_is_not_whole_is_refused(line: bytes) -> None:
    """A line that is not whole is refused."""
    with pytest.raises(DocumentRefused):
        loads(line)


def test_a_masked_array_keeps_data_and_mask() -> None:
    """A masked array keeps data and mask."""
    back = decode(encode(np.ma.masked_array([1.0, 2.0], [False, True])))
    assert isinstance(back, np.ma.MaskedArray)
    assert back.data.tolist() == [1.0, 2.0]
    assert back.mask.tolist() == [False, True]


@pytest.mark.parametrize(
    "value", [10**5000, -(10**5000), {frozenset({1}), (2, frozenset({3}))}], ids=("huge", "negative", "sets")
)
def test_what_python_does_not_print_or_hash_by_itself(value: Any) -> None:
    """Numbers of thousands of digits, and sets of sets."""
    assert decode(encode(value)) == value


_PICKED = np.array([(1, 2.0), (3, 4.0)], dtype=[("a", "<i4"), ("b", "<f8")])[["b", "a"]]
_PICKED_TWICE = np.array([(1, 2.0)], dtype=[("a", "<i4"), ("b", "<f8")])[["b", "a"]].dtype


@pytest.mark.parametrize(
    "value",
    [
        _PICKED,
        _PICKED[0],
        np.array([(1,)], dtype=[(("a title", "a"), "<i4")]),
        np.zeros(2, np.dtype("i1,f8", align=True)),
    ],
    ids=("picked", "row", "titled", "aligned"),
)
def test_a_table_comes_back_however_its_fields_lie(value: Any) -> None:
    """Fields in another order than in memory, with titles, with room between them."""
    back = decode(encode(value))
    assert back.dtype.names == value.dtype.names
    assert back.tolist() == value.tolist()


def test_a_table_that_numpy_cannot_describe_keeps_its_values() -> None:
    """Rows of rows whose fields lie in another order."""
    table = np.ones(2, np.dtype([("rows", _PICKED_TWICE, (2,))]))
    [[rows], _] = decode(encode(table)).tolist()
    assert rows.tolist() == [(1.0, 1), (1.0, 1)]


def test_no_time_is_an_object() -> None:
    """What pandas has for a time that is none is a datetime, and no text of it can be read."""
    pandas = pytest.importorskip("pandas")
    assert decode(encode({"made": pandas.NaT, "by": "me"})) == {"made": "NaT", "by": "me"}


@pytest.mark.parametrize(
    "words",
    [
        {"__gapless__": "datetime", "value": "NaT"},
        {"__gapless__": "ndarray", "shape": [9], "dtype": "<f8", "data": ""},
        {"__gapless__": "scalar", "dtype": "no type", "data": ""},
        {"__gapless__": "bytes", "data": "?"},
        {"__gapless__": "dict", "items": [1]},
    ],
    ids=lambda words: words["__gapless__"],
)
def test_a_value_that_cannot_be_read_keeps_nobody_from_the_document(words: dict[str, Any]) -> None:
    """It stays what was written."""
    assert decode(json.dumps({"a": words, "b": 1})) == {"a": words, "b": 1}


def test_an_object_whose_class_raises_leaves_its_text() -> None:
    """Of what is beside it everything is kept."""

    class Odd:
        @property
        def __class__(self) -> Any:
            raise RuntimeError("no class")

        @__class__.setter
        def __class__(self, other: Any) -> None: ...

    back = decode(encode({"a": [Odd(), 1.5], "b": 2}))
    assert "Odd" in back["a"][0]
    assert (back["a"][1], back["b"]) == (1.5, 2)
