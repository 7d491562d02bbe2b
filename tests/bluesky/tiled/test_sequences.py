"""Sequences that Bluesky did not record, in the real Tiled server: topics, pictures, features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tests.bluesky.tiled.sample import QUIET, record_flight
from tests.store.derived_run import RUN, begin_run, record_entry, speeds

from gapless.client.client import Client

pytestmark = pytest.mark.filterwarnings(QUIET)
Serve = Callable[[], Any]


def test_topics_are_tables_under_their_paths(store: Client, serve: Serve) -> None:
    """A slash in a topic is a path; a topic that others continue is `rows` among them."""
    record_flight(store)
    flight = serve()["flight-1"]
    assert list(flight) == ["blobs", "camera", "sensors"]
    assert list(flight["sensors"]) == ["imu", "rows"]
    frame = flight["sensors/imu"].read()
    assert frame["timestamp_ns"].tolist() == [i * 10 for i in range(10)]
    assert frame["a"].tolist() == [i / 2 for i in range(10)]
    assert str(frame["k"].dtype) == "Int32"
    assert frame["k"][3] is pd.NA
    assert frame["k"].dropna().tolist() == [i for i in range(10) if i != 3]
    assert flight["sensors/rows"].read()["b"].tolist() == ["b0", "b1", "b2"]
    assert bytes(flight["blobs"].read()["d"][0]) == bytes([200, 1])
    assert flight["sensors/imu"].metadata["gapless"]["units"] == {"a": "m/s²"}


def test_some_columns_are_read_alone(store: Client, serve: Serve) -> None:
    """Columns are arrays of their own; what numpy cannot hold is JSON text."""
    record_flight(store)
    imu = serve()["flight-1"]["sensors/imu"]
    assert list(imu.read(["a", "k"]).columns) == ["a", "k"]
    assert imu["a"].read().tolist() == [i / 2 for i in range(10)]
    assert imu["a"][2:8:3].tolist() == [1.0, 2.5]
    assert np.isnan(imu["k"][3])
    assert imu["v"][2] == "[1.0, 2.0]"


def test_pictures_are_an_array_of_frames(store: Client, serve: Serve) -> None:
    """A media topic is `frames`, decoded, and `rows`, which tells their times."""
    record_flight(store)
    camera = serve()["flight-1"]["camera"]
    frames = camera["frames"]
    assert frames.shape == (4, 6, 8, 3)
    assert frames.dtype == np.uint8
    assert frames.read()[:, 0, 0, 0].tolist() == [0, 40, 80, 120]
    assert frames[2:4, 1, 1, 2].tolist() == [80, 120]
    assert camera["rows"].read()["timestamp_ns"].tolist() == [0, 100, 200, 300]


def test_an_open_recording_grows_at_each_look(store: Client, serve: Serve) -> None:
    """Rows, nulls and shapes are those of the moment."""
    catalog = serve()
    with store.sequence_create("growing") as sequence:
        topic = sequence.topic_create("t", schema=pa.schema([("v", pa.int64())]))
        topic.push_row(0, 0)
        sequence.flush()
        table = catalog["growing"]["t"]
        assert table.read()["v"].tolist() == [0]
        topic.push_row(1, None)
        sequence.flush()
        assert table.read()["v"].tolist() == [0, pd.NA]
        assert catalog["growing"]["t"]["v"].shape == (2,)


def test_the_output_of_a_feature_is_a_table(store: Client, serve: Serve) -> None:
    """What a feature run made is below `features`, by feature and run."""
    record_flight(store)
    record_entry(begin_run(store.path, "speed"), "flight-1", speeds([0, 10], [1.5, 2.5]), group="flights")
    flight = serve()["flight-1"]
    assert list(flight) == ["blobs", "camera", "sensors", "features"]
    assert list(flight["features"]) == [f"speed@{RUN}"]
    assert flight["features"][f"speed@{RUN}"].read(["timestamp_ns"])["timestamp_ns"].tolist() == [0, 10]


def test_artifacts_are_listed_where_a_sequence_is_asked_for(
    store: Client, serve: Serve, tmp_path: Path
) -> None:
    """Name, media type and size stand in the metadata of the sequence itself."""
    (tmp_path / "notes.txt").write_text("windy")
    with store.sequence_create("noted") as sequence:
        sequence.add_artifact(tmp_path / "notes.txt", media_type="text/plain")
    found = serve()["noted"].metadata["gapless"]["artifacts"]
    assert list(found) == ["notes.txt"]
    assert (found["notes.txt"]["media_type"], found["notes.txt"]["bytes"]) == ("text/plain", 5)


def test_nothing_can_be_written(store: Client, serve: Serve) -> None:
    """New nodes and new metadata are refused with 405."""
    record_flight(store)
    catalog = serve()
    with pytest.raises(Exception, match="405"):
        catalog.create_container("mine")
    with pytest.raises(Exception, match="405"):
        catalog["flight-1"].update_metadata({"a": 1})
