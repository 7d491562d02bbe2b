"""Summaries of columns and cameras against numpy on all values at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from gapless.model.picture_summary import PictureSummary
from gapless.model.rank_search import RankSearch
from gapless.model.summary import KEPT_VALUES, QUANTILES, Summary, summarize

Numbers = NDArray[Any]
FLOATS = hnp.arrays(
    np.float64,
    st.integers(0, 300),
    elements=st.floats(-1e12, 1e12) | st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324]),
)

COLUMNS: dict[str, Callable[[np.random.Generator, int], Numbers]] = {
    "normal": lambda random, rows: random.normal(size=rows),
    "offset": lambda random, rows: 1e5 + 1e-3 * random.normal(size=rows),
    "steps": lambda random, rows: random.choice([0.0, 0.0, 0.0, 1.0, -2.5], size=rows),
    "heavy": lambda random, rows: random.standard_cauchy(rows) * 10.0 ** random.integers(-200, 60, rows),
    "ramp": lambda _, rows: np.arange(rows) / 7.0,
    "constant": lambda _, rows: np.full(rows, 0.1),
}

_SUBNORMAL = 1e-300  # below it halves of numbers are rounded this way or that


def expected(values: Numbers) -> dict[str, float]:
    """What numpy makes of the finite values."""
    finite = values[np.isfinite(values)]
    figures = {
        "count": len(finite),
        "min": float(finite.min()),
        "max": float(finite.max()),
        "mean": float(finite.mean()),
        "std": float(finite.std()),
    }
    return figures | {name: float(np.quantile(finite, q)) for name, q in QUANTILES.items()}


def assert_alike(figures: dict[str, float | int], wanted: dict[str, float], scale: float) -> None:
    """Compare with what float64 can tell of numbers as large as ``scale``."""
    for name, value in wanted.items():
        assert figures[name] == pytest.approx(value, rel=1e-9, abs=max(1e-9 * scale, _SUBNORMAL)), name


def summary_of(values: Numbers, block_rows: int) -> Summary:
    """Summarize a column that comes in blocks."""

    def read() -> Iterator[dict[str, tuple[Numbers, int]]]:
        for start in range(0, max(len(values), 1), block_rows):
            yield {"x": (values[start : start + block_rows], 0)}

    return summarize(read)["x"]


@given(FLOATS, st.integers(1, 400))
def test_figures_are_those_of_the_finite_numbers(values: Numbers, block_rows: int) -> None:
    """NaN and infinities are counted and change no other figure."""
    summary = summary_of(values, block_rows)
    assert summary.nan_count == np.isnan(values).sum()
    assert summary.infinite_count == np.isinf(values).sum()
    finite = values[np.isfinite(values)]
    assert summary.moments.count == len(finite)
    if len(finite):
        assert_alike(summary.figures(), expected(values), float(np.abs(finite).max()))
    else:
        figures = summary.figures()
        assert all(math.isnan(figures[name]) for name in ("min", "max", "mean", "std", "q50"))


@given(FLOATS, st.integers(1, 400), st.integers(1, 400))
def test_figures_do_not_depend_on_the_blocks(values: Numbers, one: int, other: int) -> None:
    """The same numbers in other pieces give the same bits."""
    assert repr(summary_of(values, one).figures()) == repr(summary_of(values, other).figures())


@given(FLOATS, FLOATS)
def test_merged_is_the_summary_of_both(first: Numbers, second: Numbers) -> None:
    """Merging adds the counts and gives the figures of the two columns in one."""
    merged = summary_of(first, 50)
    merged.merge(summary_of(second, 70))
    both = np.concatenate([first, second])
    assert repr(merged.figures()) == repr(summary_of(both, 60).figures())


@pytest.mark.parametrize("rows", [KEPT_VALUES, KEPT_VALUES + 1, 400_000])
@pytest.mark.parametrize("shape", COLUMNS)
def test_a_long_column_has_exact_quantiles(rows: int, shape: str) -> None:
    """Beyond what is kept, further passes find the very numbers that sorting finds."""
    values = COLUMNS[shape](np.random.default_rng(1), rows)
    values[:: rows // 10] = np.nan
    summary = summary_of(values, 10_000)
    wanted = expected(values)
    finite = values[np.isfinite(values)]
    for name, fraction in QUANTILES.items():
        assert summary.quantile(fraction) == pytest.approx(wanted[name], rel=1e-12, abs=0), name
    assert summary.moments.min == wanted["min"]
    assert summary.moments.max == wanted["max"]
    if shape != "heavy":
        assert summary.moments.mean == pytest.approx(float(np.mean(finite, dtype=np.longdouble)), rel=1e-12)
        assert summary.moments.std == pytest.approx(float(np.std(finite, dtype=np.longdouble)), rel=1e-6)


def test_a_large_offset_does_not_cost_the_deviation_its_digits() -> None:
    """A thousandth around a hundred thousand: the merged blocks agree with numpy on all rows."""
    values = 1e5 + 1e-3 * np.sin(np.arange(300_000))
    assert summary_of(values, 777).moments.std == pytest.approx(float(values.std()), rel=1e-6)


def test_long_summaries_merge_and_then_need_both_columns_again() -> None:
    """Two columns, one of them short: the quantiles are those of all rows after the further passes."""
    random = np.random.default_rng(2)
    columns = [random.normal(size=n) for n in (100_000, 30_000, 70_000)]
    merged = Summary()
    for values in columns:
        part = Summary()
        part.add(values, null_count=2)
        merged.merge(part)
    with pytest.raises(ValueError, match="further passes"):
        merged.quantile(0.5)
    for _ in range(2):  # with the first: three in all
        for values in columns:
            merged.add_again(values)
        merged.advance()
    assert merged.null_count == 6
    both = np.concatenate(columns)
    assert_alike(merged.figures(), expected(both), 1.0)


def test_a_further_pass_over_other_rows_is_refused() -> None:
    """A column that grew since the first pass has no quantiles, rather than wrong ones."""
    summary = Summary()
    summary.add(np.arange(70_000.0))
    summary.add_again(np.arange(70_001.0))
    with pytest.raises(ValueError, match="70001 numbers, and 70000 were added"):
        summary.advance()


def test_numbers_added_after_the_passes_count_too() -> None:
    """A summary that was finished is unfinished again with the next number."""
    values = np.arange(100_000.0)
    summary = summary_of(values, 10_000)
    unfinished = [summary.unfinished]
    summary.add(np.array([1e6]))
    unfinished.append(summary.unfinished)
    assert unfinished == [False, True]
    assert summary.moments.count == 100_001


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.int64, np.uint64, np.float32])
def test_every_numeric_dtype(dtype: Any) -> None:
    """Values are taken as float64, whatever they come as."""
    values = np.array([0, 1, 1, 0, 1], dtype)
    summary = summary_of(values, 2)
    assert_alike(summary.figures(), expected(values.astype(np.float64)), 1.0)


def test_squares_beyond_float64_are_infinite_and_nothing_is_raised() -> None:
    """The extremes and quantiles of numbers near the limit stay exact."""
    summary = summary_of(np.array([-1.7e308, 1.7e308, 1e308]), 2)
    figures = summary.figures()
    assert figures["min"] == -1.7e308
    assert figures["q50"] == 1e308
    assert not math.isfinite(figures["std"])


@given(hnp.arrays(np.float64, st.integers(1, 200), elements=st.floats(allow_nan=False, allow_infinity=False)))
@settings(max_examples=50)
def test_a_rank_search_finds_any_rank_of_any_numbers(values: Numbers) -> None:
    """Also where all numbers but a few lie in one bin."""
    many = np.concatenate([values, np.full(70_000, values[0])])
    ranks = [0, len(many) // 2, len(many) - 1]
    search = RankSearch(ranks, float(many.min()), float(many.max()))
    passes = 0
    while not search.done:
        search.add(many[:35_000])
        search.add(many[35_000:])
        search.advance()
        passes += 1
        assert passes <= 6
    ordered = np.sort(many)
    assert search.found == {rank: ordered[rank] for rank in ranks}


def test_a_short_column_is_read_once_and_a_long_one_a_few_times() -> None:
    """Reading again is only for columns that do not fit."""
    assert KEPT_VALUES == 65_536
    assert [reads_of(rows) for rows in (65_536, 65_537, 1_000_000)] == [1, 3, 3]


def reads_of(rows: int) -> int:
    """Count how often a column of normal numbers is read to be summarized."""
    column = np.random.default_rng(3).normal(size=rows)
    reads = 0

    def read() -> Iterator[dict[str, tuple[Numbers, int]]]:
        nonlocal reads
        reads += 1
        yield {"x": (column, 0)}

    summarize(read)
    return reads


# -- cameras ---------------------------------------------------------------------------------------


@given(
    hnp.arrays(np.uint8, (40, 3, 5, 3))
    | hnp.arrays(np.uint16, (40, 3, 5, 3))
    | hnp.arrays(np.uint8, (20, 4, 2))
)
@settings(max_examples=40)
def test_a_camera_has_the_figures_of_the_sampled_pixels(pictures: Numbers) -> None:
    """Every 16th picture counts; each channel has its own figures, exact up to float64."""
    summary = PictureSummary()
    for index, picture in enumerate(pictures):
        summary.add(index, picture)
    sampled = pictures[::16]
    channels = sampled.reshape(-1, sampled.shape[3] if sampled.ndim == 4 else 1).T.astype(np.float64)
    figures = summary.figures()
    assert summary.pictures == len(sampled)
    for n, channel in enumerate(channels):
        assert_alike({name: values[n] for name, values in figures.items()}, expected(channel), 1.0)
    assert summary.frozen == all(bool((p == sampled[0]).all()) for p in sampled)


def test_cameras_merge() -> None:
    """Two cameras in one have the figures of all sampled pixels; frozen only if both show one picture."""
    dark, bright = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 200, np.uint8)
    merged, other, empty = PictureSummary(), PictureSummary(), PictureSummary()
    merged.merge(empty)
    assert merged.figures()["mean"] == []
    for index in range(17):
        merged.add(index, dark)
        other.add(index, bright)
    frozen = [merged.frozen]
    merged.merge(other)
    frozen.append(merged.frozen)
    assert frozen == [True, False]
    assert merged.pictures == 4
    assert merged.figures()["mean"] == [100.0] * 3
    assert merged.figures()["std"] == [100.0] * 3
    empty.merge(merged)
    assert empty.figures() == merged.figures()
    assert not empty.frozen
