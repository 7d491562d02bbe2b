"""What features read and give: inputs are told apart, every row has its own time or the output is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tests.features.toy_features import Double, Toy, given
from tests.features.tracks import record_topics, record_tracks, statuses, values

from gapless.errors import AllEntriesFailed
from gapless.features import Dataset, EntryKey, Knob, ResultColumn, TableFeature, TopicInput
from gapless.features import Params as AnyParams

BEGIN_NS = 1_700_000_000_000_000_001  # no float64 holds it
TIMES_NS = BEGIN_NS + np.arange(5, dtype=np.int64) * 101_000
X = np.array([3.0, 1.0, 4.0, 1.5, 9.0])
NAMES = pa.schema([pa.field("id", pa.string()), pa.field("x", pa.float64())])


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give a data set of two sequences whose x is not in order and whose times fit no float."""
    schema = pa.schema([pa.field("x", pa.float64())])
    for number in range(2):
        times = TIMES_NS + number * 10**12
        record_topics(tmp_path / "store", f"s{number}", {"tracks": (schema, times, {"x": X})})
    with Dataset(tmp_path / "store") as dataset:
        yield dataset


@pytest.fixture
def tracks(tmp_path: Path) -> Iterator[Dataset]:
    """Give a data set of four sequences in two groups."""
    record_tracks(tmp_path / "tracks", 4, groups=2)
    with Dataset(tmp_path / "tracks") as dataset:
        yield dataset


def only_x(df: pd.DataFrame) -> pd.DataFrame:
    """Reorder the rows and leave their times out."""
    return df.sort_values("x")[["x"]]


def only_x_and_frame(df: pd.DataFrame) -> pd.DataFrame:
    """The same with the frames, and an index that tells nothing."""
    return df.sort_values("x")[["frame", "x"]].reset_index(drop=True)


def float_times(df: pd.DataFrame) -> pd.DataFrame:
    """Let the times pass through an array of floats."""
    names = ["timestamp_ns", "x"]
    return pd.DataFrame(df[names].to_numpy(), columns=names)


def by_value(df: pd.DataFrame) -> pd.DataFrame:
    """Reorder the rows and keep their times."""
    return df.sort_values("x")[["timestamp_ns", "x"]]


@pytest.mark.parametrize(
    ("function", "overlap_frames", "told"),
    [
        (only_x, 0, "reordered its rows"),
        (only_x_and_frame, 0, "another order than its input"),
        (float_times, 0, "no whole nanoseconds"),
        (by_value, 2, "another order than its input"),
    ],
)
def test_rows_whose_time_would_be_a_guess_are_refused(
    ds: Dataset, function: Callable[[pd.DataFrame], pd.DataFrame], overlap_frames: int, told: str
) -> None:
    """Whatever was lost of them: nothing is stored."""
    with pytest.raises(AllEntriesFailed, match=told):
        ds.run_feature(given(function), overlap_frames=overlap_frames)
    assert not list(ds.features_root.rglob("*.parquet"))


def test_frames_counted_anew_under_overlap_are_refused(ds: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    """They would name the neighbour's rows; where there is none before, they are what they were."""
    result = ds.run_feature(
        given(lambda df: df.assign(frame=np.arange(len(df)))[["timestamp_ns", "frame", "x"]]),
        overlap_frames=2,
    )
    assert result.failed_entries == (("g0", "s1"),)
    assert "other frames than its input" in caplog.text
    assert values(ds, result, "x") == {"s0": X.tolist()}


def test_times_of_a_coarser_kind_are_stored_as_nanoseconds(ds: Dataset) -> None:
    """Microseconds since the epoch are not taken for nanoseconds."""

    def microseconds(df: pd.DataFrame) -> pd.DataFrame:
        times = pd.to_datetime(df["timestamp_ns"]).astype("datetime64[us]")
        return pd.DataFrame({"timestamp_ns": times, "x": df["x"]})

    result = ds.run_feature(given(microseconds))
    whole_us = TIMES_NS // 1000 * 1000
    assert values(ds, result, "timestamp_ns") == {
        "s0": whole_us.tolist(),
        "s1": (whole_us + 10**12).tolist(),
    }
    assert values(ds, result, "x") == {"s0": X.tolist(), "s1": X.tolist()}


def test_reordered_rows_that_keep_their_time_are_stored_in_time_order(ds: Dataset) -> None:
    """Every value stays with its time."""
    result = ds.run_feature(given(by_value))
    assert values(ds, result, "x") == {"s0": X.tolist(), "s1": X.tolist()}
    assert values(ds, result, "timestamp_ns")["s0"] == TIMES_NS.tolist()


def test_neighbours_are_cut_off_where_reordered_rows_keep_their_frame(ds: Dataset) -> None:
    """By frame, not by place."""
    result = ds.run_feature(
        given(lambda df: df.sort_values("x")[["timestamp_ns", "frame", "x"]]), overlap_frames=2
    )
    assert values(ds, result, "x") == {"s0": X.tolist(), "s1": X.tolist()}
    assert values(ds, result, "timestamp_ns")["s1"] == (TIMES_NS + 10**12).tolist()


@pytest.mark.parametrize("declared", [(), ("value",)])
@pytest.mark.parametrize("with_tracks", [False, True])
def test_an_entry_without_rows_is_empty_whichever_columns_are_asked_for(
    tmp_path: Path, declared: tuple[str, ...], with_tracks: bool
) -> None:
    """It did not fail, and it is not tried again for ever."""
    record_tracks(tmp_path / "store", 3)
    with Dataset(tmp_path / "store") as ds:
        half = ds.run_feature(
            given(lambda df: df[["timestamp_ns", "frame"]].assign(value=df["x"])[df["sequence"] != "s001"])
        )
        inputs = ("tracks", half) if with_tracks else (half,)
        asked = {"name": "asked", "input_columns": declared} if declared else {"name": "asked"}
        feature = given(lambda df: df[["timestamp_ns", "value"]], inputs, **asked)
        result = ds.run_feature(feature)
        assert statuses(ds, result) == {"s000": "ok", "s001": "empty", "s002": "ok"}
        assert ds.run_feature(feature).cache_hit


def test_rows_of_one_time_are_not_joined_by_place_with_rows_that_have_ids(tmp_path: Path) -> None:
    """The output has lost whose rows they are."""
    times = np.repeat(np.arange(3, dtype=np.int64), 2) * 10**8
    columns = {"id": ["b", "a"] * 3, "x": [5.0, 1.0, 6.0, 2.0, 7.0, 3.0]}
    record_topics(tmp_path / "store", "s0", {"tracks": (NAMES, times, columns)})
    with Dataset(tmp_path / "store") as ds:
        ordered = ds.run_feature(
            given(
                lambda df: df.sort_values(["timestamp_ns", "x"])[["timestamp_ns", "x"]].rename(
                    columns={"x": "same_x"}
                )
            )
        )
        with pytest.raises(AllEntriesFailed, match="cannot be told apart"):
            ds.run_feature(given(lambda df: df, ("tracks", ordered), name="both"))
        whole = ds.run_feature(
            given(
                lambda df: df.sort_values(["timestamp_ns", "x"])[["timestamp_ns", "id", "x"]].rename(
                    columns={"x": "same_x"}
                ),
                name="whole",
            )
        )
        joined = ds.run_feature(given(lambda df: df, ("tracks", whole), name="both"))
        assert values(ds, joined, "same_x") == values(ds, joined, "x")


_MEETING = threading.Barrier(2)


class Scratch(Toy):
    """x without its first value, which it keeps in itself until every thread has kept its own."""

    name: ClassVar[str] = "scratch"
    version: ClassVar[str] = "1.0"

    def apply(self, df: Any) -> Any:
        """Keep, meet the other thread, use."""
        self.first = float(df["x"].iloc[0])
        _MEETING.wait(60)
        return df[["timestamp_ns"]].assign(value=df["x"] - self.first)


def test_threads_do_not_share_what_a_feature_keeps_in_itself(tmp_path: Path) -> None:
    """Each applies a feature of its own."""
    record_tracks(tmp_path / "store", 2, rows=3)
    with Dataset(tmp_path / "store") as ds:
        result = ds.run_feature(Scratch(), parallel_workers=2)
        assert values(ds, result) == {"s000": [0.0, 1.0, 2.0], "s001": [0.0, 1.0, 2.0]}


def test_outputs_are_read_as_a_topic_where_they_are(tracks: Dataset) -> None:
    """Alone, and beside a topic that more sequences have."""
    made = tracks.run_feature(Double(), groups=["g0"])
    topic = TopicInput(f"features/double@{made.run_id}")
    reader = {"name": "reader"}
    for inputs in ((topic,), ("tracks", topic)):
        result = tracks.run_feature(given(lambda df: df[["timestamp_ns", "value"]], inputs, **reader))
        assert values(tracks, result) == values(tracks, made)
        assert statuses(tracks, result) == {"s000": "ok", "s002": "ok"}


class Scaled(Toy):
    """x times a factor, and times a knob that stands for whatever else changes a value."""

    name: ClassVar[str] = "scaled"
    version: ClassVar[str] = "1.0"

    class Params(Toy.Params):
        """The knob is in no identity."""

        gain: Annotated[float, Knob()] = 1.0

    params: Params

    def apply(self, df: Any) -> Any:
        """Return time and value."""
        return df[["timestamp_ns"]].assign(value=self.params.factor * self.params.gain * df["x"])


def test_two_runs_of_one_feature_as_inputs_both_count(tracks: Dataset) -> None:
    """Another content of either makes what read them out of date."""
    runs = [tracks.run_feature(Scaled(None, {"factor": factor})) for factor in (2.0, 3.0)]
    first, second = runs
    reader = given(lambda df: df.drop(columns=["group", "sequence"]), (first, second))
    result = tracks.run_feature(reader)
    record = next(iter(tracks.entry_records(result).values()))
    assert len(record.inputs) == 2
    for factor in (2.0, 3.0):
        tracks.run_feature(Scaled(None, {"factor": factor, "gain": 10.0}), overwrite=True)
        assert not tracks.run_feature(reader).cache_hit
        assert tracks.run_feature(reader).cache_hit


_LOOKUPS: list[dict[str, set[Path]]] = []


class Listing(TableFeature):
    """Notes where the columns lie that its parameters list."""

    name: ClassVar[str] = "listing"
    version: ClassVar[str] = "1.0"

    class Params(AnyParams):
        """Any number of columns."""

        sources: list[ResultColumn]

    def load_state(
        self,
        run_root: Path,
        artifact_paths: dict[str, Path],
        dependency_lookups: dict[str, dict[EntryKey, Path]],
    ) -> bool:
        """Note the folders."""
        _LOOKUPS.append({k: {path.parent for path in v.values()} for k, v in dependency_lookups.items()})
        return True

    def apply(self, df: Any) -> Any:
        """Return the time."""
        return df[["timestamp_ns"]]


def test_every_column_of_a_list_of_parameters_counts(tracks: Dataset) -> None:
    """None takes the place of another."""
    _LOOKUPS.clear()
    runs = [tracks.run_feature(Double()), tracks.run_feature(Scaled())]
    columns = [ResultColumn(feature=r.feature, run_id=r.run_id, column="value") for r in runs]
    result = tracks.run_feature(Listing(None, {"sources": columns}))
    expected = {f"sources[{n}]": {tracks.run_root(run)} for n, run in enumerate(runs)}
    assert _LOOKUPS[-1] == expected
    for record in tracks.entry_records(result).values():
        assert set(record.inputs) == {"tracks", "column sources[0]", "column sources[1]"}
    tracks.run_feature(Double(None, {"marks": ""}), overwrite=True)
    assert tracks.run_feature(Listing(None, {"sources": columns})).cache_hit  # the same bytes again
    tracks.run_feature(Scaled(None, {"gain": 7.0}), overwrite=True)
    assert not tracks.run_feature(Listing(None, {"sources": columns})).cache_hit
