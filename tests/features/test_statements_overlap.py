"""Which rows a feature sees and which are kept: overlap with neighbours, and filters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tests.features.toy_features import Double, Dropping, Step, given
from tests.features.tracks import (
    ANIMALS,
    STEP_NS,
    record_topics,
    record_tracks,
    statuses,
    times_of,
    tree,
    values,
)

import gapless
from gapless.errors import AllEntriesFailed, ArgumentRefused
from gapless.features import Dataset, FeatureStep, Pipeline, TopicInput


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give a data set of three sequences in group g0 and one in g1."""
    record_tracks(tmp_path / "store", 3)
    record_topics(
        tmp_path / "store", "t000", {"tracks": (POINTS, times_of(9, 4), {"x": np.arange(4.0)})}, "g1"
    )
    with Dataset(tmp_path / "store") as dataset:
        yield dataset


POINTS = pa.schema([pa.field("x", pa.float64())])


def keeping(into: list[Any], what: Any = lambda df: df) -> Any:
    """Return a function of a frame that keeps something of it and gives its x."""

    def keep(df: pd.DataFrame) -> pd.DataFrame:
        into.append(what(df))
        return df[["x"]]

    return keep


def edges(ds: Dataset, result: Any) -> dict[str, tuple[float, float]]:
    """Return the first difference to the row before and the last to the row after, by sequence."""
    before, after = values(ds, result, "before"), values(ds, result, "after")
    return {name: (before[name][0], after[name][-1]) for name in before}


def test_s06_another_overlap_is_another_run_with_its_own_values(ds: Dataset) -> None:
    """The values at the edges are those of its own overlap."""
    plain = ds.run_feature(Step())
    wide = ds.run_feature(Step(), overlap_frames=3)
    wider = ds.run_feature(Step(), overlap_frames=4)
    assert len({plain.run_id, wide.run_id, wider.run_id}) == 3
    assert not wide.cache_hit
    assert not wider.cache_hit
    assert np.isnan(edges(ds, plain)["s001"]).all()
    assert edges(ds, wide)["s001"] == (91.0, 91.0)
    step = FeatureStep("s", Step, run_kwargs={"overlap_frames": 3})
    assert Pipeline().add(step).load(ds)["s"].run_id == wide.run_id


def test_s07_overlap_shows_the_neighbours_of_the_group_and_is_cut_off_again(ds: Dataset) -> None:
    """Frames and seconds go on over the edges."""
    seen: dict[str, pd.DataFrame] = {}

    def look(df: pd.DataFrame) -> pd.DataFrame:
        seen[f"{df['sequence'].iloc[len(df) // 2]} {len(df)}"] = df
        return df[["x"]]

    result = ds.run_feature(given(look), overlap_frames=3)
    assert sorted(seen) == ["s000 13", "s001 16", "s002 13", "t000 4"]
    middle = seen["s001 16"]
    assert middle["x"].tolist() == [7, 8, 9, *range(100, 110), 200, 201, 202]
    assert middle["frame"].tolist() == list(range(-3, 13))
    assert middle["sequence"].tolist() == ["s000"] * 3 + ["s001"] * 10 + ["s002"] * 3
    assert middle["time"].iloc[3] == 0.0
    assert middle["time"].is_monotonic_increasing
    kept = {key[1]: df for key, df in ds.results(result)}
    assert {name: df["x"].tolist() for name, df in kept.items()} == {
        "s000": list(range(10)), "s001": list(range(100, 110)), "s002": list(range(200, 210)),
        "t000": [0, 1, 2, 3],
    }  # fmt: skip
    assert kept["s001"]["timestamp_ns"].tolist() == times_of(1, 10).tolist()
    assert kept["s001"]["frame"].tolist() == list(range(10))


def test_s07_the_first_and_the_last_sequence_have_one_neighbour(ds: Dataset) -> None:
    """And one alone in its group has none."""
    found = edges(ds, ds.run_feature(Step(), overlap_frames=1))
    assert np.isnan(found["s000"][0])
    assert found["s000"][1] == 91.0
    assert found["s002"][0] == 91.0
    assert np.isnan(found["s002"][1])
    assert np.isnan(found["t000"]).all()  # alone in its group


def test_s07_a_short_neighbour_gives_what_it_has(tmp_path: Path) -> None:
    """One without rows gives nothing and stays empty."""
    record_tracks(tmp_path / "store", 1, rows=2)
    record_tracks(tmp_path / "store", 1, start=1)
    record_tracks(tmp_path / "store", 1, rows=0, start=2)
    lengths: list[int] = []
    with Dataset(tmp_path / "store") as ds:
        result = ds.run_feature(given(keeping(lengths, len)), overlap_frames=5)
        assert lengths == [7, 12]
        assert statuses(ds, result) == {"s000": "ok", "s001": "ok", "s002": "empty"}


def test_s07_frames_of_several_animals_are_counted_not_rows(tmp_path: Path) -> None:
    """One frame of overlap is all rows of one time."""
    for number in range(2):
        stamps = np.repeat(times_of(number, 4), 2)
        ids = np.tile([1, 2], 4)
        topic = (ANIMALS, stamps, {"id": ids, "x": np.arange(8.0) + 10 * number})
        record_topics(tmp_path / "store", f"s{number:03d}", {"tracks": topic})
    seen: list[Any] = []
    with Dataset(tmp_path / "store") as ds:
        result = ds.run_feature(given(keeping(seen)), overlap_frames=1)
        assert [len(df) for df in seen] == [10, 10]
        assert seen[0]["frame"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        assert seen[1]["frame"].tolist() == [-1, -1, 0, 0, 1, 1, 2, 2, 3, 3]
        assert [df["x"].tolist() for _, df in ds.results(result)] == [
            list(range(8)), list(range(10, 18))
        ]  # fmt: skip


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint32()])
def test_s07_recorded_frame_numbers_go_on_into_the_neighbours(tmp_path: Path, kind: pa.DataType) -> None:
    """Also where their type has no numbers below zero."""
    schema = pa.schema([pa.field("frame", kind), pa.field("x", pa.float64())])
    for number in range(2):
        frames = np.arange(number * 4, number * 4 + 4)
        topic = (schema, times_of(number, 4), {"frame": frames, "x": frames * 1.0})
        record_topics(tmp_path / "store", f"s{number:03d}", {"tracks": topic})
    seen: list[Any] = []
    with Dataset(tmp_path / "store") as ds:
        result = ds.run_feature(given(keeping(seen, lambda df: df["frame"].tolist())), overlap_frames=2)
        assert seen == [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5, 6, 7]]
        assert [df["frame"].tolist() for _, df in ds.results(result)] == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("groups", [["g0"], ["g1"]])
def test_s07_another_number_of_rows_under_overlap_is_refused(ds: Dataset, groups: list[str]) -> None:
    """Also for a sequence that has no neighbour; without overlap it is allowed."""
    with pytest.raises(AllEntriesFailed, match="OverlapRefused"):
        ds.run_feature(Dropping(), groups=groups, overlap_frames=2)
    assert not ds.run_feature(Dropping(), groups=groups).failed_entries


def test_s07_an_output_in_another_order_is_cut_by_its_frames(ds: Dataset) -> None:
    """Not by the places of its rows."""

    def backwards(df: pd.DataFrame) -> pd.DataFrame:
        return df[::-1][["timestamp_ns", "frame", "x"]]

    result = ds.run_feature(given(backwards), overlap_frames=2)
    assert values(ds, result, "x")["s001"] == list(range(100, 110))


def test_s07_a_neighbour_that_changes_makes_an_entry_stale_under_overlap(ds: Dataset) -> None:
    """Without overlap it does not."""
    pipeline = Pipeline().add(FeatureStep("wide", Step, run_kwargs={"overlap_frames": 2}))
    pipeline.add(FeatureStep("plain", Double))
    results = pipeline.run(ds)
    with gapless.connect(ds.root) as client, client.sequence_update("s000") as layer:
        topic = layer.topic_create("tracks", schema=client.sequence_handler("s000").topic("tracks").schema)
        topic.push_columns(times_of(0, 1) + 20 * STEP_NS, {"x": np.array([50.0]), "y": np.zeros(1)})
    table = pipeline.status(ds).set_index("step")
    assert list(table["stale"]) == [2, 1]
    assert pipeline.why(ds, "wide", "s001") == "stale: changed since: tracks of the entry before it"
    pipeline.run(ds)
    assert edges(ds, results["wide"])["s001"][0] == 50.0


@pytest.mark.parametrize(
    "options",
    [
        {"overlap_frames": 2, "filter_start_frame": 1},
        {"overlap_frames": 2, "filter_end_time": 1.0},
        {"filter_start_frame": 1, "filter_start_time": 0.1},
        {"filter_end_frame": 1, "filter_end_time": 0.1},
        {"filter_start_frame": 5, "filter_end_frame": 5},
        {"overlap_frames": -1},
    ],
)
def test_s08_options_that_exclude_each_other_are_refused_before_anything_is_written(
    ds: Dataset, options: dict[str, Any]
) -> None:
    """So are ranges that hold nothing."""
    before = tree(ds.root)
    assert issubclass(ArgumentRefused, ValueError)
    with pytest.raises(ArgumentRefused):
        ds.run_feature(Double(), **options)
    assert tree(ds.root) == before


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"filter_start_frame": 2, "filter_end_frame": 5}, [2, 3, 4]),
        ({"filter_start_frame": 8}, [8, 9]),
        ({"filter_end_frame": 2}, [0, 1]),
        ({"filter_start_time": 0.2, "filter_end_time": 0.5}, [2, 3, 4]),
        ({"filter_start_frame": 7, "filter_end_time": 0.9}, [7, 8]),
    ],
)
def test_s08_a_filter_is_half_open_and_part_of_the_identity(
    ds: Dataset, options: dict[str, Any], rows: list[int]
) -> None:
    """In frames and in seconds."""
    whole = ds.run_feature(Double(), groups=["g0"])
    result = ds.run_feature(Double(), groups=["g0"], **options)
    assert result.run_id != whole.run_id
    assert values(ds, result, "x")["s001"] == [100 + n for n in rows]
    assert values(ds, result, "frame")["s001"] == rows


def test_s08_seconds_are_those_of_the_real_times(tmp_path: Path) -> None:
    """Of a recorded time column where there is one."""
    times = np.array([0, 1, 7, 8], np.int64) * 10**9  # no constant rate would give these
    topic = (POINTS, times, {"x": np.arange(4.0)})
    clock = pa.schema([pa.field("time", pa.float64()), pa.field("x", pa.float64())])
    own = (clock, times, {"time": np.array([5.0, 6.0, 7.0, 8.0]), "x": np.arange(4.0)})
    record_topics(tmp_path / "store", "s000", {"tracks": topic, "own": own})
    with Dataset(tmp_path / "store") as ds:
        result = ds.run_feature(Double(), filter_start_time=1.0, filter_end_time=8.0)
        assert values(ds, result, "x") == {"s000": [1, 2]}
        result = ds.run_feature(Double((TopicInput("own"),)), filter_start_time=7.0)
        assert values(ds, result, "x") == {"s000": [2, 3]}


def test_s08_a_table_without_time_cannot_be_filtered_and_says_what_is_missing(ds: Dataset) -> None:
    """Nor has it neighbours."""
    summary = ds.run_feature(given(lambda df: pd.DataFrame({"mean": [df["x"].mean()]})))
    with pytest.raises(AllEntriesFailed, match="without time"):
        ds.run_feature(given(lambda df: df, (summary,), "2.0"), filter_start_time=1.0)
    with pytest.raises(AllEntriesFailed, match="OverlapRefused: a table without time"):
        ds.run_feature(given(lambda df: df, (summary,), "2.0"), overlap_frames=1)
