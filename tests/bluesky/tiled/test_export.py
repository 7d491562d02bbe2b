"""Everything that Tiled can export, written by the real server and compared value by value."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image
from tests.bluesky.tiled.sample import IMAGE_KEY, QUIET, RunSample, record_flight, record_run

from gapless.client.client import Client

pytestmark = pytest.mark.filterwarnings(QUIET)
Serve = Callable[[], Any]
XS = [0.0, 0.5, 1.0, 1.5, 2.0]
LABELS = ["é0", "é1", "é2", "é3", "é4"]


def exported(node: Any, media_type: str, **words: Any) -> bytes:
    """Return what the client exports."""
    buffer = io.BytesIO()
    node.export(buffer, format=media_type, **words)
    return buffer.getvalue()


def test_a_table_in_every_format(store: Client, serve: Serve) -> None:
    """CSV, Excel, HTML, JSON, Parquet and Arrow hold the values that were recorded."""
    run = record_run(store)
    table = serve()[run.uid]["primary"].base["internal"]
    frames = {
        "csv": pd.read_csv(io.BytesIO(exported(table, "csv"))),
        "excel": pd.read_excel(io.BytesIO(exported(table, "xlsx"))),
        "json": pd.DataFrame(json.loads(exported(table, "application/json"))),
        "parquet": pq.read_table(pa.BufferReader(exported(table, "parquet"))).to_pandas(),
        "arrow": pa.ipc.open_file(exported(table, "application/vnd.apache.arrow.file")).read_pandas(),
    }
    html = exported(table, "html").decode()
    assert [cell in html for cell in ("<th>x</th>", "<td>0.5</td>", "<td>é4</td>")] == [True] * 3
    for name, frame in frames.items():
        assert frame["x"].tolist() == XS, name
        assert frame["label"].tolist() == LABELS, name
        assert frame["n"].tolist() == [0, 1, 2, 3, 4], name


def test_units_and_nulls_are_in_the_arrow_formats(store: Client, serve: Serve) -> None:
    """Arrow and Parquet keep types, units, nulls and lists."""
    record_flight(store)
    table = serve()["flight-1"]["sensors/imu"]
    for found in (
        pq.read_table(pa.BufferReader(exported(table, "parquet"))),
        pa.ipc.open_file(exported(table, "application/vnd.apache.arrow.file")).read_all(),
    ):
        assert found.schema.field("a").metadata[b"unit"] == "m/s²".encode()
        assert found["k"].to_pylist() == [None if i == 3 else i for i in range(10)]
        assert found["v"].to_pylist() == [[1.0, 2.0][: i % 3] for i in range(10)]


def test_flat_formats_hold_lists_as_json(store: Client, serve: Serve) -> None:
    """A list in a CSV cell is JSON, and a null is empty."""
    record_flight(store)
    table = serve()["flight-1"]["sensors/imu"]
    frame = pd.read_csv(io.BytesIO(exported(table, "csv")))
    assert [json.loads(text) for text in frame["v"]] == [[1.0, 2.0][: i % 3] for i in range(10)]
    assert exported(table, "csv").decode().splitlines()[4].split(",")[2] == ""


def test_lines_of_json_are_what_the_page_can_read(store: Client, serve: Serve) -> None:
    """Each line alone is JSON, without the mark in front that the page does not know."""
    run = record_run(store)
    table = serve()[run.uid]["primary"].base["internal"]
    lines = exported(table, "application/json-seq").decode().splitlines()
    assert [json.loads(line)["x"] for line in lines] == XS


def test_an_image_in_every_format(store: Client, serve: Serve, tmp_path: Path) -> None:
    """TIFF, bytes and CSV are the pixels; PNG has their size."""
    run = RunSample(store)
    run.describe(img=IMAGE_KEY)
    pixels = run.images(tmp_path / "images.h5", 3)
    run.stop()
    image = serve()[run.uid]["primary"]["img"]
    tiff = tifffile.imread(io.BytesIO(exported(image, "tiff", slice=(1, 0))))
    np.testing.assert_array_equal(tiff, pixels[1, 0])
    raw = np.frombuffer(exported(image, "application/octet-stream", slice=(1, 0)), "<u2")
    np.testing.assert_array_equal(raw.reshape(8, 10), pixels[1, 0])
    text = np.loadtxt(io.BytesIO(exported(image, "csv", slice=(1, 0))), delimiter=",")
    np.testing.assert_array_equal(text, pixels[1, 0])
    with Image.open(io.BytesIO(exported(image, "png", slice=(1, 0)))) as picture:
        assert picture.size == (10, 8)


def test_a_whole_run_as_hdf5(store: Client, serve: Serve, tmp_path: Path) -> None:
    """One file has metadata, table with units, external pixels and arrays."""
    run = RunSample(store, scan_id=11)
    run.describe(img=IMAGE_KEY)
    for seq_num in range(1, 6):
        run.event(seq_num)
    pixels = run.images(tmp_path / "images.h5", 5)
    run.stop()
    with h5py.File(io.BytesIO(exported(serve()[run.uid], "hdf5"))) as file:
        assert json.loads(file.attrs["metadata"])["start"]["scan_id"] == 11
        table = file["primary/internal"]
        assert table["x"][:].tolist() == XS
        assert table["x"].attrs["unit"] == "mm"
        assert table["label"].asstr()[:].tolist() == LABELS
        assert table["n"].dtype == np.int64
        np.testing.assert_array_equal(file["primary/img"][:], pixels)
        assert file["primary/wave"].shape == (5, 2, 3)


def test_a_stream_and_a_table_as_hdf5(store: Client, serve: Serve) -> None:
    """A part of a run is a file too."""
    run = record_run(store)
    stream = serve()[run.uid]["primary"]
    with h5py.File(io.BytesIO(exported(stream, "hdf5"))) as file:
        assert file["internal/x"][:].tolist() == XS
    with h5py.File(io.BytesIO(exported(stream.base["internal"], "hdf5"))) as file:
        assert file["x"][:].tolist() == XS


def test_any_sequence_as_hdf5_with_its_nulls(store: Client, serve: Serve) -> None:
    """A null integer is marked in a dataset beside it; lists are JSON; pictures are arrays."""
    record_flight(store)
    with h5py.File(io.BytesIO(exported(serve()["flight-1"], "hdf5"))) as file:
        imu = file["sensors/imu"]
        assert imu["k"][:].tolist() == [0 if i == 3 else i for i in range(10)]
        assert imu["k__valid"][:].tolist() == [i != 3 for i in range(10)]
        assert [json.loads(text) for text in imu["v"].asstr()[:]] == [[1.0, 2.0][: i % 3] for i in range(10)]
        assert file["sensors/rows/b"].asstr()[:].tolist() == ["b0", "b1", "b2"]
        assert file["camera/frames"].shape == (4, 6, 8, 3)


def test_any_sequence_as_documents(store: Client, serve: Serve) -> None:
    """Also what Bluesky did not record comes as documents."""
    record_flight(store)
    lines = exported(serve()["flight-1"], "application/json-seq").decode().split("\x1e")[1:]
    names = [json.loads(line)["name"] for line in lines]
    assert (names[0], names[-1]) == ("start", "stop")
    assert names.count("event") >= 13


def test_a_whole_store_is_not_one_file(store: Client, serve: Serve) -> None:
    """Exporting the root is refused with 406."""
    record_flight(store)
    with pytest.raises(Exception, match="406"):
        exported(serve(), "hdf5")
