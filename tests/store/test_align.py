"""Aligning topics on one time base equals a plain search per stamp, for every policy and tolerance."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store.bundle_files import TIME, XS, table, write_bundle, xs

import gapless.store.align as align_module
from gapless.errors import NotFound, UsageError
from gapless.store.align import as_rate, grid, plan
from gapless.store.reader import open_bundle

RISING = st.lists(st.integers(-40, 40), max_size=30).map(sorted)


def _align(folder: Path, **wanted: Any) -> pa.Table:
    bundle = open_bundle(folder)
    alignment = plan(list(bundle.topics.values()), **wanted)
    return pa.Table.from_batches(alignment.batches(), schema=alignment.schema)


def _expected(times: list[int], stamp: int, policy: str, tolerance: int | None) -> float | None:
    rows = list(enumerate(times))
    before = max(((t, k) for k, t in rows if t <= stamp), default=None)
    after = min(((t, k) for k, t in rows if t > stamp), default=None)
    limit = 10**9 if tolerance is None else tolerance
    if policy == "interp":
        if before is None or stamp - before[0] > limit:
            return None
        if before[0] == stamp:
            return float(before[1])
        if after is None or after[0] - stamp > limit:
            return None
        weight = (stamp - before[0]) / (after[0] - before[0])
        return before[1] * (1 - weight) + after[1] * weight
    best = before
    if policy == "asof" and after is not None and (before is None or after[0] - stamp < stamp - before[0]):
        best = after
    return None if best is None or abs(stamp - best[0]) > limit else float(best[1])


@given(
    base=RISING,
    other=RISING,
    policy=st.sampled_from(["hold", "asof", "interp"]),
    tolerance=st.none() | st.integers(0, 10),
    window=st.tuples(st.none() | st.integers(-45, 45), st.none() | st.integers(-45, 45)),
    block=st.sampled_from([1, 3, 100]),
)
@settings(max_examples=150, deadline=None)
def test_alignment_on_a_topic_equals_a_search_per_stamp(
    base: list[int],
    other: list[int],
    policy: str,
    tolerance: int | None,
    window: tuple[int | None, int | None],
    block: int,
) -> None:
    """Any stamps, policy, tolerance, window and block size: each value is the one a plain search finds."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(align_module, "_BLOCK", block)
        write_bundle(
            Path(folder),
            {"base": (XS, [xs(base)] if base else []), "other": (XS, [xs(other)] if other else [])},
            group_rows=4,
        )
        found = _align(
            Path(folder), on="base", policy=policy, tolerance_ns=tolerance,
            start_ns=window[0], end_ns=window[1], columns={"base": ["x"], "other": ["x"]},
        )  # fmt: skip
    stamps = [
        t for t in base if (window[0] is None or t >= window[0]) and (window[1] is None or t < window[1])
    ]
    assert found["timestamp_ns"].to_pylist() == stamps
    expected = [_expected(other, stamp, policy, tolerance) for stamp in stamps]
    assert found["other:x"].to_pylist() == pytest.approx(expected)
    assert found.column_names == ["timestamp_ns", "base:x", "other:x"]


@given(
    start=st.integers(-(2**40), 2**40),
    rate=st.fractions(min_value=Fraction(1, 1000), max_value=Fraction(10**6), max_denominator=2000),
    stamps=st.integers(1, 400),
)
@settings(max_examples=100, deadline=None)
def test_a_grid_never_drifts(start: int, rate: Fraction, stamps: int) -> None:
    """The k-th stamp is exactly start + floor(k / rate), over any number of blocks."""
    expected = [start + k * 10**9 * rate.denominator // rate.numerator for k in range(stamps)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(align_module, "_BLOCK", 7)
        found = [int(t) for block in grid(start, expected[-1], rate) for t in block]
    assert found == expected


def test_a_far_stamp_of_a_video_rate_is_exact() -> None:
    """Ten hours of 30000/1001 Hz end on the exact nanosecond."""
    rate = as_rate("30000/1001")
    k = 1_078_921
    last = k * 10**9 * 1001 // 30000
    *_, block = grid(0, last, rate)
    assert int(block[-1]) == last


def test_alignment_on_a_grid_covers_all_topics(tmp_path: Path) -> None:
    """Without a window the grid runs from the first to the last row of any topic; units stay."""
    write_bundle(tmp_path, {"a": (XS, [xs([0, 1_000_000_000])]), "b": (XS, [xs([500_000_000])])})
    found = _align(tmp_path, rate_hz=2, columns={"a": ["x"], "b": ["x", "label"]})
    assert found["timestamp_ns"].to_pylist() == [0, 500_000_000, 1_000_000_000]
    assert found["a:x"].to_pylist() == [0.0, 0.0, 1.0]
    assert found["b:label"].to_pylist() == [None, "row 0", "row 0"]
    assert found.schema.field("b:x").metadata == {b"unit": b"V"}


def test_an_empty_topic_gives_nulls_of_its_own_type(tmp_path: Path) -> None:
    """A topic without rows keeps its columns."""
    write_bundle(tmp_path, {"a": (XS, [xs([1, 2])]), "b": (XS, [])})
    found = _align(tmp_path, on="a")
    assert found["b:x"].to_pylist() == [None, None]
    assert found.schema.field("b:label").type == pa.string()


def test_duplicates_of_the_base_are_kept(tmp_path: Path) -> None:
    """Two base rows of one stamp are two rows of the answer, each with its own values."""
    write_bundle(tmp_path, {"a": (XS, [xs([5, 5])]), "b": (XS, [xs([5])])})
    found = _align(tmp_path, on="a", columns={"a": ["x"], "b": ["x"]})
    assert found.to_pydict() == {"timestamp_ns": [5, 5], "a:x": [0.0, 1.0], "b:x": [0.0, 0.0]}


def test_integers_interpolate_to_floats_and_extreme_stamps_do_not_overflow(tmp_path: Path) -> None:
    """Halfway between the ends of int64 time is halfway between the values."""
    ints = pa.schema([TIME, pa.field("n", pa.int32())])
    low, high = -(2**63) + 1, 2**63 - 1
    write_bundle(tmp_path, {"a": (ints, [table(ints, [low, high], [[0, 10]], [0, 1])]), "b": (XS, [xs([0])])})
    found = _align(tmp_path, on="b", policy="interp", columns={"a": ["n"], "b": []})
    assert found["a:n"].to_pylist() == [pytest.approx(5.0)]


def test_what_cannot_be_aligned_is_refused(tmp_path: Path) -> None:
    """Text under interp, an unknown topic, policy or rate, or no base at all: a typed error at the call."""
    write_bundle(tmp_path, {"a": (XS, [xs([1])]), "b": (XS, [xs([1])])})
    with pytest.raises(UsageError, match=r"interpolated.*'label'"):
        _align(tmp_path, on="a", policy="interp")
    with pytest.raises(UsageError, match="either on="):
        _align(tmp_path)
    with pytest.raises(UsageError, match="no such policy"):
        _align(tmp_path, on="a", policy="spline")
    with pytest.raises(UsageError, match="out of range"):
        _align(tmp_path, rate_hz=0)
    with pytest.raises(UsageError, match="too many digits"):
        _align(tmp_path, rate_hz=1 / 3)
    with pytest.raises(NotFound, match="'c'"):
        _align(tmp_path, on="c")
