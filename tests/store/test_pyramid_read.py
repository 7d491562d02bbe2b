"""Curves of few points: exact extremes, from the pyramid as from the rows."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.store.bundle_files import TIME, XS, canonical, table, write_bundle, xs

from gapless import connect
from gapless.errors import IntegrityError, NotFound, UsageError
from gapless.store.leaf import Leaf
from gapless.store.pyramid_read import downsample, tally
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
    assert curve.rows.sum() == len(values)
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


@pytest.mark.parametrize(
    ("rows", "points", "groups"),
    [
        pytest.param(300_000, 2000, 1, id="buckets of 256 rows"),
        pytest.param(300_000, 100, 1, id="buckets of 4,096 rows"),
        pytest.param(300_000, 8, 1, id="buckets of 65,536 rows"),
    ],
)
def test_the_level_is_the_coarsest_that_is_fine_enough(
    tmp_path: Path, rows: int, points: int, groups: int
) -> None:
    """A level is read only if its footer says that it may be enough."""
    topic = _sealed(tmp_path, rows)
    curve = downsample(topic, "x", points)
    assert points // 4 <= len(curve) <= points // 2
    assert curve.row_groups <= groups


def _sealed(root: Path, rows: int) -> TopicReader:
    """Return a topic that the writer itself has sealed: x counts its rows."""
    schema = pa.schema([TIME, pa.field("x", pa.int64())])
    with connect(root) as client:
        with client.sequence_create("s") as sequence:
            count = np.arange(rows, dtype=np.int64)
            sequence.topic_create("t", schema=schema).push_columns(count * 1000, {"x": count})
        return client.sequence_handler("s").topic("t").reader


def test_members_and_elements_are_drawn_from_the_rows(tmp_path: Path) -> None:
    """A number in a struct or list has no pyramid, and the same curve."""
    inner = pa.struct([("x", pa.float64()), ("tags", pa.list_(pa.int32()))])
    schema = pa.schema([TIME, pa.field("p", inner, metadata={"unit": "m"})])
    values = [{"x": k / 2, "tags": [k, -k]} if k % 3 else None for k in range(30)]
    write_bundle(
        tmp_path, {"t": (schema, [table(schema, np.arange(30), [values], np.arange(30))])}, pyramids=True
    )
    topic = open_bundle(tmp_path).topic("t")
    curve = downsample(topic, "p.x", 8)
    assert (curve.minimum.min(), curve.maximum.max(), curve.rows.sum()) == (0.5, 14.5, 20)
    assert curve.unit == "m"
    assert downsample(topic, "p.tags[1]", 8).minimum.min() == -29
    assert len(downsample(topic, "p.tags[2]", 8)) == 0  # no list is that long


def test_text_is_counted(tmp_path: Path) -> None:
    """Of a field that is no number the rows with a value are counted."""
    write_bundle(tmp_path, {"t": (XS, [xs(range(0, 1000, 10))])})
    topic = open_bundle(tmp_path).topic("t")
    curve = tally(topic, Leaf.of(topic.schema, "label", "t"), 10, start_ns=500)
    assert (len(curve), curve.rows.sum(), curve.start_ns[0], curve.end_ns[-1]) == (5, 50, 500, 990)


def test_pyramids_of_older_bundles_are_read() -> None:
    """The golden bundle's, whose row groups were cut at parts, draws what its rows are."""
    golden = Path(__file__).parents[1] / "golden" / "format-1" / "sealed"
    topic = open_bundle(golden, layers=[]).topic("sensors/motion")
    curve = downsample(topic, "a.x", 4)
    values = topic.to_arrow(["a.x"])["a.x"].to_numpy()
    assert curve.row_groups > 0
    assert (curve.minimum.min(), curve.maximum.max()) == (values.min(), values.max())
    assert curve.rows.sum() == topic.rows


@pytest.mark.parametrize("counted", [True, False], ids=["with counts", "of an earlier release"])
@pytest.mark.parametrize("field", ["v", "n", "b"])
@pytest.mark.parametrize("rare", [0.0, 0.5, 0.999], ids=["all", "half", "few"])
def test_means_and_rows_are_those_of_the_values(
    tmp_path: Path, counted: bool, field: str, rare: float
) -> None:
    """Null and NaN have no weight, from the pyramid as at the edges, however few values are left."""
    topic = _gappy(tmp_path, rare)
    if not counted:
        _uncount(tmp_path)
        topic = open_bundle(tmp_path).topic("t")
    table = topic.to_arrow([field])
    valid = table[field].is_valid().to_numpy()
    values = np.array([np.nan if value is None else float(value) for value in table[field].to_pylist()])
    valid &= ~np.isnan(values)
    times = table["timestamp_ns"].to_numpy()
    for window in ((None, None), (101, 29_000), (5_000, 5_400)):
        curve = downsample(topic, field, 40, *window)
        here = valid & (times >= (window[0] or 0)) & (times < (window[1] or 10**9))
        assert curve.rows.sum() == here.sum()
        for k in range(len(curve)):
            bucket = here & (times >= curve.start_ns[k]) & (times <= curve.end_ns[k])
            assert curve.rows[k] == bucket.sum()
            with np.errstate(invalid="ignore"):
                mean = values[bucket].mean()
            assert curve.mean[k] == pytest.approx(mean, rel=1e-9, nan_ok=True)
    if counted or not rare:
        assert downsample(topic, field, 40).row_groups > 0


def _gappy(path: Path, rare: float) -> TopicReader:
    """Return a sealed topic of 30,000 rows 1 ns apart, of which that share has no value: null, or NaN in ``v``."""
    rng = np.random.default_rng(7)
    count = 30_000
    lost = rng.random(count) < rare
    floats = rng.normal(loc=3, size=count)
    floats[lost & (rng.random(count) < 0.5)] = np.nan
    floats[~lost & (rng.random(count) < 0.0005)] = np.inf
    columns = {
        "v": pa.array(floats, mask=lost & ~np.isnan(floats), from_pandas=False),
        "n": pa.array(rng.integers(-1000, 1000, count), mask=lost),
        "b": pa.array(rng.random(count) < 0.5, mask=lost),
    }
    with connect(path / "store") as client, client.sequence_create("s") as sequence:
        sequence.topic_create("t", schema=NUMBERS).push_columns(np.arange(count), columns)
    for item in (path / "store" / "sequences" / "s").iterdir():
        item.rename(path / item.name)
    return open_bundle(path).topic("t")


def _uncount(path: Path) -> None:
    """Write the pyramid of a bundle as an earlier release did: without counts."""
    (file,) = (path / "pyramids").iterdir()
    whole = pq.read_table(file)
    pq.write_table(whole.drop([name for name in whole.column_names if name.endswith(":count")]), file)
    manifest = json.loads((path / "manifest.json").read_bytes())
    manifest["record"]["pyramids"]["t"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    digest = hashlib.sha256(canonical(manifest["record"])).hexdigest()
    (path / "manifest.json").write_bytes(canonical({**manifest, "record_digest": f"sha256:{digest}"}))
