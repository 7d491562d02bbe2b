"""From topics to the frame that a feature sees, and from what it gives back to a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.features.toy_features import ArrowDouble, Double, Plus, PolarsDouble, given
from tests.features.tracks import ANIMALS, TRACKS, record_topics, record_tracks, times_of, values

from gapless.errors import AllEntriesFailed, NotFound
from gapless.features import Columns, Dataset, Result, TopicInput

SLOW = pa.schema([pa.field("v", pa.float64(), metadata={"unit": "V"}), pa.field("n", pa.int64())])
MS = 1_000_000


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give a data set of one sequence: tracks at 10 Hz, two other topics at the same and at other times."""
    fast = times_of(0, 10)
    slow = np.array([0, 250, 500, 900], np.int64) * MS
    record_topics(
        tmp_path / "store",
        "s000",
        {
            "tracks": (TRACKS, fast, {"x": np.arange(10.0), "y": np.zeros(10)}),
            "angles": (TRACKS, fast[:8], {"x": np.arange(8.0) * -1, "y": np.ones(8)}),
            "slow": (SLOW, slow, {"v": np.array([0.0, 1.0, 2.0, 6.0]), "n": np.arange(4)}),
        },
    )
    with Dataset(tmp_path / "store") as dataset:
        yield dataset


def seen(ds: Dataset, *inputs: Any, **declared: Any) -> pd.DataFrame:
    """Return the frame that a feature of these inputs sees."""
    frames: list[pd.DataFrame] = []

    def keep(df: pd.DataFrame) -> pd.DataFrame:
        frames.append(df)
        return df[["timestamp_ns"]]

    ds.run_feature(given(keep, inputs or None, **declared), overwrite=True)
    return frames[0]


def refused(ds: Dataset, *inputs: Any) -> str:
    """Return the error of the only entry of a feature of these inputs."""
    with pytest.raises(AllEntriesFailed) as caught:
        seen(ds, *inputs)
    return str(caught.value)


def output(ds: Dataset, give: Any, **declared: Any) -> tuple[pd.DataFrame, pa.Schema]:
    """Return what is read of an output, and the schema of its file."""
    result = ds.run_feature(given(give, **declared), overwrite=True)
    [(_, df)] = ds.results(result)
    return df, pq.read_schema(ds.entry_path(result, "s000"))


def test_group_sequence_frame_and_time_are_added(ds: Dataset) -> None:
    """With fixed types, after the topic's own columns."""
    df = seen(ds)
    assert list(df.columns) == ["timestamp_ns", "x", "y", "frame", "time", "group", "sequence"]
    assert df["timestamp_ns"].tolist() == times_of(0, 10).tolist()
    assert [str(df[name].dtype) for name in ("timestamp_ns", "frame", "time")] == [
        "int64",
        "int64",
        "float64",
    ]
    assert df["frame"].tolist() == list(range(10))
    assert df["time"].tolist() == pytest.approx([n / 10 for n in range(10)])
    assert set(df["group"]) == {"g0"}
    assert set(df["sequence"]) == {"s000"}
    pd.testing.assert_frame_equal(ds.frame("s000"), df)


def test_what_is_recorded_is_not_added_again_and_columns_have_the_names_of_the_data_set(
    tmp_path: Path,
) -> None:
    """A recorded time column stays as it is."""
    schema = pa.schema([pa.field("t", pa.float64()), pa.field("x", pa.float64())])
    topic = (schema, times_of(0, 3), {"t": np.array([5.0, 6.0, 7.0]), "x": np.arange(3.0)})
    record_topics(tmp_path / "store", "s000", {"poses": topic})
    columns = Columns(time_col="t", frame_col="n", seq_col="trial", group_col="arm")
    with Dataset(tmp_path / "store", columns, topic="poses") as ds:
        df = ds.frame("s000")
    assert list(df.columns) == ["timestamp_ns", "t", "x", "n", "arm", "trial"]
    assert df["t"].tolist() == [5.0, 6.0, 7.0]


def test_frames_number_the_times_where_rows_have_ids(tmp_path: Path) -> None:
    """Rows of one time have one frame number."""
    stamps = np.array([0, 0, 5, 9, 9], np.int64) * MS
    topic = (ANIMALS, stamps, {"id": np.array([1, 2, 1, 2, 1]), "x": np.arange(5.0)})
    record_topics(tmp_path / "store", "s000", {"tracks": topic})
    with Dataset(tmp_path / "store") as ds:
        df = ds.frame("s000")
        assert df["frame"].tolist() == [0, 0, 1, 2, 2]
        assert df["time"].tolist() == pytest.approx([0, 0, 0.005, 0.009, 0.009])


def test_inputs_of_the_same_times_are_joined_row_by_row(ds: Dataset) -> None:
    """Rows that one of them lacks are left out; equal names are told apart."""
    double = ds.run_feature(Double())
    df = seen(ds, "tracks", double)
    assert list(df["value"]) == [2.0 * n for n in range(10)]
    assert list(df["x__double"]) == list(df["x"])
    short = ds.run_feature(
        given(lambda df: df[df["x"] >= 6][["timestamp_ns", "x"]].rename(columns={"x": "z"}))
    )
    joined = seen(ds, "tracks", short)
    assert (joined["x"].tolist(), joined["z"].tolist()) == ([6, 7, 8, 9], [6, 7, 8, 9])
    assert joined["frame"].tolist() == [0, 1, 2, 3]


def test_inputs_with_ids_are_joined_by_time_and_id(tmp_path: Path) -> None:
    """In whatever order each has them; without ids the rows of one time cannot be told apart."""
    stamps = np.repeat(times_of(0, 3), 2)
    topic = (ANIMALS, stamps, {"id": np.array([1, 2, 2, 1, 1, 2]), "x": np.arange(6.0)})
    record_topics(tmp_path / "store", "s000", {"tracks": topic})
    with Dataset(tmp_path / "store") as ds:
        result = ds.run_feature(
            given(lambda df: df.sort_values(["timestamp_ns", "id"])[["timestamp_ns", "id", "x"]].iloc[1:])
        )
        df = seen(ds, "tracks", result)
        assert df["x"].tolist() == [1, 2, 3, 4, 5]
        assert df["x__given"].tolist() == df["x"].tolist()
        blind = ds.run_feature(given(lambda df: df[["timestamp_ns", "x"]].iloc[:4], None, "no-ids"))
        assert "cannot be told apart" in refused(ds, "tracks", blind)


def test_topics_of_other_times_need_a_rule(ds: Dataset) -> None:
    """So do topics whose times happen to be equal for a while."""
    assert "MixedTimebaseError" in refused(ds, "tracks", TopicInput("slow"))
    assert "MixedTimebaseError" in refused(ds, TopicInput("slow"), "tracks")
    assert "MixedTimebaseError" in refused(ds, "tracks", TopicInput("angles"))
    result = ds.run_feature(given(lambda df: df, ("tracks",)))
    assert "MixedTimebaseError" in refused(ds, result, TopicInput("slow"))


@pytest.mark.parametrize(
    ("rule", "tolerance_ms", "expected"),
    [
        ("hold", None, [0, 0, 0, 1, 1, 2, 2, 2, 2, 6]),
        ("hold", 100, [0, 0, None, 1, None, 2, 2, None, None, 6]),
        ("asof", None, [0, 0, 1, 1, 2, 2, 2, 2, 6, 6]),
        ("asof", 50, [0, None, 1, 1, None, 2, None, None, None, 6]),
        ("interp", None, [0, 0.4, 0.8, 1.2, 1.6, 2, 3, 4, 5, 6]),
    ],
)
def test_a_rule_brings_a_topic_onto_the_times_of_the_first_input(
    ds: Dataset, rule: Any, tolerance_ms: int | None, expected: list[float | None]
) -> None:
    """Nothing is bridged beyond the tolerance."""
    tolerance_ns = None if tolerance_ms is None else tolerance_ms * MS
    df = seen(ds, "tracks", TopicInput("slow", rule, tolerance_ns, ["v"]))
    found = [None if pd.isna(value) else value for value in df["v"]]
    assert found == pytest.approx(expected)
    assert "n" not in df.columns
    assert df["x"].tolist() == list(range(10))


def test_a_rule_is_part_of_the_identity(ds: Dataset) -> None:
    """And so is its tolerance."""
    runs = {
        ds.run_feature(given(lambda df: df, ("tracks", TopicInput("slow", rule, tolerance)))).run_id
        for rule in ("hold", "asof", "interp")
        for tolerance in (None, 5 * MS, 6 * MS)
    }
    assert len(runs) == 9


def test_each_animal_is_aligned_with_its_own_rows(tmp_path: Path) -> None:
    """Several objects cannot be aligned to rows that name none."""
    pairs = (ANIMALS, np.repeat(times_of(0, 2), 2), {"id": np.array([1, 2, 1, 2]), "x": np.arange(4.0)})
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("mass", pa.float64())])
    mass = (schema, np.array([-2, -1], np.int64), {"id": np.array([1, 2]), "mass": np.array([10.0, 20.0])})
    record_topics(tmp_path / "store", "s000", {"tracks": pairs, "mass": mass})
    with Dataset(tmp_path / "store") as ds:
        assert seen(ds, "tracks", TopicInput("mass", "hold"))["mass"].tolist() == [10, 20, 10, 20]
    plain = (TRACKS, times_of(0, 2), {"x": np.arange(2.0), "y": np.arange(2.0)})
    record_topics(tmp_path / "other", "s000", {"tracks": plain, "mass": mass})
    with Dataset(tmp_path / "other") as ds:
        assert "several objects cannot be aligned" in refused(ds, "tracks", TopicInput("mass", "hold"))


def test_only_sequences_with_all_inputs_are_in_scope(ds: Dataset) -> None:
    """The others are no entries at all."""
    record_tracks(ds.root, 1, start=1)
    result = ds.run_feature(given(lambda df: df, ("tracks", TopicInput("slow", "hold"))))
    assert list(ds.entry_records(result)) == [("g0", "s000")]
    assert ds.entries() == [("g0", "s000"), ("g0", "s001")]


def test_an_output_of_as_many_rows_gets_the_times_of_its_input(ds: Dataset) -> None:
    """In front of its own columns."""
    df, schema = output(ds, lambda df: pd.DataFrame({"a": df["x"].to_numpy() + 1}))
    assert schema.names == ["timestamp_ns", "frame", "time", "a"]
    assert df["timestamp_ns"].tolist() == times_of(0, 10).tolist()
    assert df["a"].tolist() == list(range(1, 11))


def test_an_output_with_frames_gets_their_times(ds: Dataset) -> None:
    """And is put in the order of time; unknown frames are refused."""
    df, schema = output(ds, lambda df: df.iloc[[7, 2]][["frame", "x"]])
    assert schema.names == ["timestamp_ns", "frame", "x"]
    assert df["timestamp_ns"].tolist() == [200 * MS, 700 * MS]  # in the order of time
    assert df["x"].tolist() == [2, 7]
    with pytest.raises(AllEntriesFailed, match="frames that its input does not have"):
        output(ds, lambda df: pd.DataFrame({"frame": [3, 99]}), version="2")


def test_an_output_may_have_times_of_its_own(ds: Dataset) -> None:
    """It is then on a clock of its own."""
    df, _ = output(ds, lambda _df: pd.DataFrame({"timestamp_ns": [9, 5], "a": [1.0, 2.0]}))
    assert (df["timestamp_ns"].tolist(), df["a"].tolist()) == ([5, 9], [2.0, 1.0])
    own = Result(feature="given")
    assert "MixedTimebaseError" in refused(ds, "tracks", own)


def test_an_output_may_be_a_table_without_time(ds: Dataset) -> None:
    """It can be read, and not be joined."""
    df, schema = output(ds, lambda df: pd.DataFrame({"mean": [df["x"].mean()], "rows": [len(df)]}))
    assert schema.names == ["mean", "rows"]
    assert (df["mean"].tolist(), df["sequence"].tolist()) == ([4.5], ["s000"])
    assert "a table without time cannot be joined" in refused(ds, "tracks", Result(feature="given"))


@pytest.mark.parametrize(
    ("give", "told"),
    [
        (lambda df: df["x"].to_numpy(), "gave no table"),
        (lambda df: pd.DataFrame({0: [1]}), "whose name is no text"),
        (lambda df: df.assign(timestamp_ns=pd.array([None] * 10, dtype="Int64")), "rows without a time"),
        (lambda df: df[["x"]].rename(columns={"x": "_seq"}), "may not be called _seq"),
        (lambda df: df.iloc[::-1][["frame", "x"]], "another order"),
    ],
)
def test_an_output_that_cannot_be_stored_is_refused(ds: Dataset, give: Any, told: str) -> None:
    """With an error that says why."""
    with pytest.raises(AllEntriesFailed, match=told):
        output(ds, give)


def test_units_are_carried_over_and_declared(ds: Dataset) -> None:
    """A declared one counts more; the catalog and every reader see them."""
    declared = {"units": {"speed": "m/s", "y": "px"}}
    _, schema = output(ds, lambda df: df[["x", "y"]].assign(speed=df["x"], plain=1.0), **declared)
    units = {name: (schema.field(name).metadata or {}).get(b"unit") for name in schema.names}
    assert units == {
        "timestamp_ns": None, "frame": None, "time": None,
        "x": b"m", "y": b"px", "speed": b"m/s", "plain": None,
    }  # fmt: skip
    handler = ds.client.sequence_handler("s000")
    [name] = handler.features
    assert name.startswith("features/given@")
    assert {field.name: field.metadata for field in handler.topic(name).schema}["x"] == {b"unit": b"m"}


@pytest.mark.parametrize("cls", [ArrowDouble, PolarsDouble])
def test_a_feature_may_ask_for_another_kind_of_frame_and_for_columns(ds: Dataset, cls: Any) -> None:
    """It sees these and the meta columns, and its output is like any other."""
    result = ds.run_feature(cls())
    assert values(ds, result)["s000"] == [2.0 * n for n in range(10)]
    [(_, df)] = ds.results(result)
    assert set(df["seen"]) == {"timestamp_ns,x,frame,time,group,sequence"}
    assert df["timestamp_ns"].tolist() == times_of(0, 10).tolist()
    schema = pq.read_schema(ds.entry_path(result, "s000"))
    assert schema.field("value").metadata == {b"unit": b"mm"}
    following = ds.run_feature(Plus((result,)))
    assert values(ds, following)["s000"][3] == 7.0


def test_a_column_that_no_input_has_is_told(ds: Dataset) -> None:
    """Before anything is read."""
    with pytest.raises(AllEntriesFailed, match="no input has the column"):
        output(ds, lambda df: df, input_columns=("x", "z"))


def test_several_inputs_are_read_with_the_columns_that_are_asked_for(ds: Dataset) -> None:
    """Each gives those that it has."""
    double = ds.run_feature(Double())
    df = seen(ds, "tracks", double, input_columns=("y", "value"))
    assert [name for name in df.columns if name not in {"timestamp_ns", "frame", "time", "group", "sequence"}] == [
        "y", "y__double", "value",
    ]  # fmt: skip


def test_a_frame_that_is_not_there_is_told(ds: Dataset) -> None:
    """Of a sequence, a topic or a run."""
    with pytest.raises(NotFound):
        ds.frame("s999")
    with pytest.raises(NotFound):
        ds.frame("s000", TopicInput("nothing"))
    with pytest.raises(NotFound):
        ds.frame("s000", Result(feature="double"))


def test_a_query_chooses_the_sequences(tmp_path: Path) -> None:
    """The data set holds what the query finds."""
    from gapless import Sequence

    record_tracks(tmp_path / "store", 4, groups=2)
    with Dataset(tmp_path / "store", where=Sequence.Q.name.eq("s002")) as ds:
        assert ds.entries() == [("g0", "s002")]
        assert list(ds.entry_records(ds.run_feature(Double()))) == [("g0", "s002")]
