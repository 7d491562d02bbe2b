"""load_values: columns of features, topics and labels side by side, row by row, or an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import gapless
from gapless.errors import ArgumentRefused, LabelsMissing, MixedTimebaseError, NotFound, UsageError
from gapless.features.dataset import Dataset
from gapless.features.kit import TableFeature
from gapless.features.labels_source import FeatureLabelsSource, GroundTruthLabelsSource
from gapless.features.result import Result, ResultColumn, TracksColumn
from gapless.features.values import ValueSource, load_values

SCHEMA = pa.schema([pa.field("id", pa.string()), pa.field("X", pa.float64()), pa.field("Y", pa.float64())])
ROWS = 6
STEP_NS = 1_000_000_000
META = ["timestamp_ns", "group", "sequence", "frame", "time", "id"]


class Doubled(TableFeature):
    """Twice the position, and a label."""

    name: ClassVar[str] = "doubled"
    version: ClassVar[str] = "1.0"

    def apply(self, df: Any) -> Any:
        """Return as many rows as there are."""
        label = np.where(df["X"] > 1, "far", "near")
        return pd.DataFrame({"twice": 2 * df["X"], "label": label})


class Backwards(Doubled):
    """The same rows, those of one time the other way round."""

    name: ClassVar[str] = "backwards"

    def apply(self, df: Any) -> Any:
        """Return every row with its time and id."""
        return df[::-1][["timestamp_ns", "id", "Y"]]


class Half(Doubled):
    """Every second row."""

    name: ClassVar[str] = "half"

    def apply(self, df: Any) -> Any:
        """Return fewer rows."""
        return df[::2][["timestamp_ns", "id", "X"]]


class Summary(Doubled):
    """One row without a time."""

    name: ClassVar[str] = "summary"

    def apply(self, df: Any) -> Any:
        """Return the mean."""
        return pd.DataFrame({"mean": [df["X"].mean()]})


class OwnFrames(Doubled):
    """Its own idea of a time."""

    name: ClassVar[str] = "own-frames"

    def apply(self, df: Any) -> Any:
        """Return another time column beside the right time stamps."""
        return df[["timestamp_ns", "id", "frame"]].assign(time=df["time"] + 1)


class Fails(Doubled):
    """Fails for one sequence."""

    name: ClassVar[str] = "fails"

    def apply(self, df: Any) -> Any:
        """Raise in the second sequence."""
        if df["sequence"].iloc[0] == "s2":
            raise RuntimeError("no")
        return super().apply(df)


def record(client: gapless.Client, name: str, offset: float) -> None:
    """Record two animals at three times."""
    times = np.repeat(np.arange(ROWS // 2), 2) * STEP_NS
    with client.sequence_create(name, metadata={}, group="g") as seq:
        seq.topic_create("tracks", schema=SCHEMA).push_columns(
            times,
            {"id": ["a", "b"] * (ROWS // 2), "X": np.arange(ROWS) + offset, "Y": np.arange(ROWS) - offset},
        )


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Return two sequences of two animals."""
    with gapless.connect(tmp_path / "store") as client:
        record(client, "s1", 0.0)
        record(client, "s2", 100.0)
        with Dataset(client) as dataset:
            yield dataset


def column(result: Result[str], name: str) -> ResultColumn:
    """Return a column of a run."""
    return ResultColumn(feature="?", column=name).from_result(result)


def test_columns_of_several_sources_stand_side_by_side(ds: Dataset) -> None:
    """Rows of all sequences one after the other, with what says which row it is."""
    doubled = ds.run_feature(Doubled())
    values = load_values(ds, [TracksColumn(column="X"), column(doubled, "twice")])
    assert list(values.columns) == ["timestamp_ns", "group", "sequence", "frame", "time", "id", "X", "twice"]
    assert values["sequence"].tolist() == ["s1"] * ROWS + ["s2"] * ROWS
    assert values["X"].tolist() == [*range(ROWS), *range(100, 100 + ROWS)]
    assert (values["twice"] == 2 * values["X"]).all()
    assert values["frame"].tolist() == [0, 0, 1, 1, 2, 2] * 2


def test_scope_is_one_sequence_some_or_a_group(ds: Dataset) -> None:
    """Unknown names and both ways at once are refused."""
    source = [TracksColumn(column="X")]
    assert set(load_values(ds, source, sequence="s2")["sequence"]) == {"s2"}
    assert set(load_values(ds, source, sequences=["s1", "s2"])["sequence"]) == {"s1", "s2"}
    assert len(load_values(ds, source, groups=["g"])) == 2 * ROWS
    with pytest.raises(NotFound):
        load_values(ds, source, sequence="s3")
    with pytest.raises(ArgumentRefused, match="exclude each other"):
        load_values(ds, source, sequence="s1", sequences=["s2"])


def test_sources_with_one_name_are_numbered(ds: Dataset) -> None:
    """From 1, in their order; other names stay as they are."""
    doubled = ds.run_feature(Doubled())
    label = FeatureLabelsSource(feature=doubled.feature, run_id=doubled.run_id)
    values = load_values(ds, [column(doubled, "label"), TracksColumn(column="X"), label], sequence="s1")
    assert list(values.columns)[len(META) :] == ["label-1", "X", "label-2"]
    assert (values["label-1"] == values["label-2"]).all()


def test_rows_are_matched_by_time_and_id_not_by_place(ds: Dataset) -> None:
    """A source with its rows in another order is put in the order of the first."""
    backwards = ds.run_feature(Backwards())
    values = load_values(ds, [TracksColumn(column="Y"), column(backwards, "Y")])
    assert (values["Y-1"] == values["Y-2"]).all()
    turned = load_values(ds, [column(backwards, "Y"), TracksColumn(column="Y")], sequence="s1")
    assert turned["id"].tolist() == ["b", "a"] * (ROWS // 2)
    assert (turned["Y-1"] == turned["Y-2"]).all()


def test_other_rows_are_an_error_and_never_cut(ds: Dataset) -> None:
    """Fewer rows beside all of them, in either order, and rows without a time."""
    half, summary = ds.run_feature(Half()), ds.run_feature(Summary())
    both: list[ValueSource] = [TracksColumn(column="X"), column(half, "X")]
    for sources in (both, both[::-1]):
        with pytest.raises(MixedTimebaseError, match=r"sequence 's1'.*rows by timestamp_ns, id"):
            load_values(ds, sources)
    assert len(load_values(ds, [column(half, "X")])) == ROWS
    with pytest.raises(MixedTimebaseError, match="without time"):
        load_values(ds, [column(summary, "mean")])


def test_rows_that_cannot_be_told_apart_are_not_matched(ds: Dataset) -> None:
    """Two rows of one time and id in another order than the first source's are an error."""
    with ds.client.sequence_create("s5", group="g") as seq:
        rows = {"id": ["a", "a", "b"], "X": [1.0, 2.0, 3.0], "Y": [1.0, 2.0, 3.0]}
        seq.topic_create("tracks", schema=SCHEMA).push_columns([0, 0, 0], rows)
    backwards = ds.run_feature(Backwards())
    with pytest.raises(MixedTimebaseError, match="other rows"):
        load_values(ds, [TracksColumn(column="Y"), column(backwards, "Y")], sequence="s5")


def test_an_output_that_is_not_there_is_an_error(ds: Dataset) -> None:
    """A failed entry, a sequence recorded later, a column and a feature that do not exist."""
    failed = ds.run_feature(Fails())
    assert failed.failed_entries == (("g", "s2"),)
    with pytest.raises(NotFound, match="no output for the sequence"):
        load_values(ds, [column(failed, "twice")])
    assert len(load_values(ds, [column(failed, "twice")], sequence="s1")) == ROWS
    with pytest.raises(NotFound, match="column"):
        load_values(ds, [TracksColumn(column="nope")])
    record(ds.client, "s3", 0.0)
    with pytest.raises(NotFound, match="no output for the sequence"):
        load_values(ds, [column(failed, "twice")], sequence="s3")


def test_a_meta_column_that_was_asked_for_stands_there_once(ds: Dataset) -> None:
    """The same values are not doubled; other values under its name are an error."""
    own = ds.run_feature(OwnFrames())
    assert list(load_values(ds, [TracksColumn(column="time")]).columns) == META
    with pytest.raises(MixedTimebaseError, match="other values of a meta column"):
        load_values(ds, [TracksColumn(column="X"), column(own, "time")])


def test_labels_lie_on_the_rows_of_the_other_sources(ds: Dataset) -> None:
    """By their kind; rows and whole sequences without labels have the empty one."""
    ds.client.annotate("s1", STEP_NS, 2 * STEP_NS, "groom", kind="behavior")
    half = ds.run_feature(Half())
    values = load_values(ds, [GroundTruthLabelsSource(), column(half, "X")])
    assert list(values.columns)[len(META) :] == ["behavior", "X"]
    assert values["behavior"].tolist() == ["", "groom", "groom", "", "", ""]
    alone = load_values(ds, [GroundTruthLabelsSource()], sequence="s1")
    assert alone["behavior"].tolist() == ["", "", "groom", "groom", "groom", "groom"]


def test_no_labels_at_all_are_an_error_that_names_the_command(ds: Dataset) -> None:
    """A kind that nobody used is not a column of nothing."""
    with pytest.raises(LabelsMissing, match="gapless label"):
        load_values(ds, [TracksColumn(column="X"), GroundTruthLabelsSource(kind="sleep")])


@pytest.mark.parametrize(
    ("sources", "told"),
    [
        ([], "nothing to load"),
        (["X"], "come from columns and labels"),
        ([Result(feature="a")], "come from columns"),
    ],
)
def test_what_is_no_column_is_refused(ds: Dataset, sources: list[Any], told: str) -> None:
    """Before anything is read."""
    with pytest.raises(ArgumentRefused, match=told):
        load_values(ds, sources)


def test_a_column_of_two_types_is_an_error(ds: Dataset) -> None:
    """Numbers in one sequence and text in another make no column."""
    with ds.client.sequence_create("s4", group="g") as seq:
        seq.topic_create("tracks", schema=pa.schema([pa.field("X", pa.string())])).push_columns(
            [1], {"X": ["a"]}
        )
    with pytest.raises(UsageError, match="types in two sequences"):
        load_values(ds, [TracksColumn(column="X")])


def test_a_data_set_without_sequences_has_no_rows(tmp_path: Path) -> None:
    """The columns are there all the same."""
    with gapless.connect(tmp_path / "empty") as client, Dataset(client) as ds:
        values = load_values(ds, [TracksColumn(column="X")])
    assert (list(values.columns), len(values)) == (["X"], 0)
