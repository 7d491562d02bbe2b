"""The rows of a frame, object by object."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.features.library.recordings import START_NS, frame_of

from gapless.errors import ArgumentRefused
from gapless.features.columns import Columns
from gapless.features.library.track import data_columns, meta_columns, numbers, seconds, tracks_of


def test_objects_come_as_they_appear_with_their_rows_in_time_order() -> None:
    """Whatever the order of the frame's rows; a missing id is an object as well."""
    df = frame_of([3.0, 1.0, 2.0, 0.0, 4.0], ["b", "a", "b", "a", None])
    assert [track.rows.tolist() for track in tracks_of(df, Columns())] == [[2, 0], [3, 1], [4]]
    assert [track.time_s.tolist() for track in tracks_of(df, Columns())] == [[2, 3], [0, 1], [4]]


def test_without_ids_all_rows_are_one_object() -> None:
    """No rows are no object."""
    df = frame_of([0.0, 1.0])
    assert [track.rows.tolist() for track in tracks_of(df, Columns())] == [[0, 1]]
    assert tracks_of(df.iloc[:0], Columns()) == []


def test_pieces_end_where_more_than_the_gap_passes() -> None:
    """A gap of exactly that length is none."""
    (track,) = tracks_of(frame_of([0.0, 1.0, 2.5, 3.5, 9.0]), Columns())
    assert [piece.rows.tolist() for piece in track.pieces(1.0)] == [[0, 1], [2, 3], [4]]
    assert [len(piece) for piece in track.pieces(1.5)] == [4, 1]
    assert [len(piece) for piece in track.pieces(None)] == [5]


def test_times_are_exact_and_needed() -> None:
    """Time stamps of nineteen digits lose none; the time column stands in for them; without both it is refused."""
    df = pd.DataFrame({"timestamp_ns": [START_NS + 3, START_NS, START_NS + 1], "time": [7.0, 5.0, 6.0]})
    assert seconds(df, Columns()).tolist() == [3e-9, 0.0, 1e-9]
    assert seconds(df[["time"]], Columns()).tolist() == [7.0, 5.0, 6.0]
    with pytest.raises(ArgumentRefused, match="has no time"):
        seconds(df[["time"]], Columns(time_col="t"))


def test_meta_columns_are_no_data() -> None:
    """By the names that the data set gives them, in the frame's order."""
    df = frame_of([0.0], 1, x=1.0, label="a").rename(columns={"id": "animal"})
    columns = Columns(id_col="animal")
    assert meta_columns(df, columns) == ["timestamp_ns", "animal", "group", "sequence", "frame", "time"]
    assert data_columns(df, columns, None) == ["x"]
    assert data_columns(df, Columns(), None) == ["animal", "x"]
    with pytest.raises(ArgumentRefused, match="label"):
        data_columns(df, columns, ["x", "label"])
    with pytest.raises(ArgumentRefused, match="no numeric columns"):
        data_columns(df.drop(columns="x"), columns, None)


def test_missing_integers_are_missing_numbers() -> None:
    """Columns of any width become float64."""
    df = pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": np.array([1, 2], dtype=np.float32)})
    np.testing.assert_array_equal(numbers(df, ["a", "b"]), [[1, 1], [np.nan, 2]])
