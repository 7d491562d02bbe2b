"""Curves of few points: exact extremes, from the pyramid as from the rows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store.bundle_files import TIME, XS, table, write_bundle, xs

import gapless.store.pyramid_read as pyramid_read
from gapless.errors import IntegrityError, NotFound, UsageError
from gapless.store.pyramid_read import downsample
from gapless.store.reader import TopicReader, open_bundle

NUMBERS = pa.schema([TIME, pa.field("v", pa.float64()), pa.field("n", pa.int64()), pa.field("b", pa.bool_())])


def _numbers(rows: int, seed: int, start: int = 0, step: int = 3) -> pa.Table:
    rng = np.random.default_rng(seed)
    times = start + np.sort(rng.integers(0, rows * step, rows))
    values = rng.normal(size=rows)
    values[rng.random(rows) < 0.01] = np.nan
    ints = pa.array(rng.integers(-(2**62), 2**62, rows), mask=rng.random(rows) < 0.01)
    return table(NUMBERS, times, [values, ints, rng.random(rows) < 0.5], np.arange(rows))


def _topic(path: Path, parts: list[pa.Table], **wanted: Any) -> TopicReader:
    write_bundle(path, {"t": (NUMBERS, parts)}, **wanted)
    return open_bundle(path).topic("t")


@given(
    window=st.tuples(st.none() | st.integers(-10, 40_000), st.none() | st.integers(0, 40_000)),
    overlap=st.sampled_from([0, 7000, 29_000]),
    field=st.sampled_from(["v", "n", "b"]),
    points=st.sampled_from([2, 10, 60]),
)
@settings(max_examples=40, deadline=None)
def test_extremes_are_exact_in_any_window(
    window: tuple[int | None, int | None], overlap: int, field: str, points: int
) -> None:
    """Over the window the least and greatest values are those of its rows, and each row counts once."""
    with tempfile.TemporaryDirectory() as folder:
        parts = [_numbers(10_000, 1), _numbers(3000, 2, start=30_000 - overlap)]
        topic = _topic(Path(folder), parts, pyramids=True)
        curve = downsample(topic, field, points, *window)
        rows = topic.to_arrow([field], *window)
    values = np.array(
        [float(v) if field == "v" else v for v in rows[field].to_pylist() if v is not None and v == v]
    )
    assert len(curve) <= points // 2
    if not len(values):
        assert len(curve) == 0
        return
    assert curve.minimum.min() == values.min()
    assert curve.maximum.max() == values.max()
    # The pyramid does not count NaN and null, so a bucket of it counts all of its rows.
    assert len(values) <= curve.rows.sum() <= rows.num_rows
    assert np.all(curve.end_ns >= curve.start_ns)


def test_each_bucket_holds_the_extremes_of_its_own_rows(tmp_path: Path) -> None:
    """Between a bucket's first and last time there are rows with its minimum and its maximum."""
    topic = _topic(tmp_path, [_numbers(20_000, 3)], pyramids=True)
    curve = downsample(topic, "n", 40)
    rows = topic.to_arrow(["n"])
    times, values = rows["timestamp_ns"].to_numpy(), rows["n"]
    for k in range(len(curve)):
        here = pa.array((times >= curve.start_ns[k]) & (times <= curve.end_ns[k]))
        inside = [v for v in values.filter(here).to_pylist() if v is not None]
        assert curve.minimum[k] in inside
        assert curve.maximum[k] in inside


def test_a_long_curve_does_not_touch_the_rows(tmp_path: Path) -> None:
    """With a pyramid the parts are not even opened."""
    topic = _topic(tmp_path, [_numbers(20_000, 3)], pyramids=True)
    for part in topic.parts():
        part.path.unlink()
    assert 0 < len(downsample(topic, "v", 40)) <= 20


def test_without_a_pyramid_the_rows_give_the_same_extremes(tmp_path: Path) -> None:
    """A bundle without pyramids draws the same range."""
    parts = [_numbers(20_000, 3)]
    a = downsample(_topic(tmp_path / "a", parts, pyramids=True), "v", 40)
    b = downsample(_topic(tmp_path / "b", parts), "v", 40)
    assert (a.minimum.min(), a.maximum.max()) == (b.minimum.min(), b.maximum.max())
    assert a.to_arrow().column_names == ["start_ns", "end_ns", "rows", "min", "max", "mean"]


def test_a_short_curve_is_the_rows_themselves(tmp_path: Path) -> None:
    """Fewer rows than buckets: each row is a bucket, with the unit of the field."""
    write_bundle(tmp_path, {"t": (XS, [xs([10, 20, 30])])}, pyramids=True)
    curve = downsample(open_bundle(tmp_path).topic("t"), "x", 100)
    assert curve.start_ns.tolist() == curve.end_ns.tolist() == [10, 20, 30]
    assert curve.mean.tolist() == [0.0, 1.0, 2.0]
    assert curve.unit == "V"


def test_an_empty_topic_gives_an_empty_curve(tmp_path: Path) -> None:
    """No rows, no buckets."""
    write_bundle(tmp_path, {"t": (XS, [])}, pyramids=True)
    assert len(downsample(open_bundle(tmp_path).topic("t"), "x")) == 0


def test_a_damaged_pyramid_is_an_error(tmp_path: Path) -> None:
    """A flipped bit in the pyramid is not drawn."""
    topic = _topic(tmp_path, [_numbers(20_000, 3)], pyramids=True)
    (file,) = (tmp_path / "pyramids").iterdir()
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    with pytest.raises(IntegrityError, match="not what was sealed"):
        downsample(topic, "v", 40)


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    """Unknown fields, text and a single point are typed errors."""
    write_bundle(tmp_path, {"t": (XS, [xs([1])])})
    topic = open_bundle(tmp_path).topic("t")
    with pytest.raises(NotFound, match=r"'y'.*one of x"):
        downsample(topic, "y")
    with pytest.raises(UsageError, match="only numbers"):
        downsample(topic, "label")
    with pytest.raises(UsageError, match="two points"):
        downsample(topic, "x", 1)


def test_the_level_is_the_coarsest_that_is_fine_enough() -> None:
    """65,536 rows per bucket when that gives enough buckets, else a finer level, else None."""
    levels = [(65_536, 2), (4096, 32), (256, 512)]
    rows = [(level, k * level, (k + 1) * level - 1) for level, count in levels for k in range(count)]
    known = pa.table(
        {"level": [r[0] for r in rows], "start_ns": [r[1] for r in rows], "end_ns": [r[2] for r in rows]}
    )
    picked = [pyramid_read._choose([known], 0, 2**17, wanted) for wanted in (2, 3, 500, 513)]
    assert [tables and tables[0]["level"][0].as_py() for tables in picked] == [65_536, 4096, 256, None]
