"""Runs as the community's own clients see them through the real Tiled server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bluesky_tiled_plugins.clients.bluesky_event_stream import BlueskyEventStreamV3
from bluesky_tiled_plugins.clients.bluesky_run import BlueskyRunV3
from bluesky_tiled_plugins.clients.catalog_of_bluesky_runs import CatalogOfBlueskyRuns
from event_model import DocumentNames, schema_validators
from tests.bluesky.tiled.sample import DATA_KEYS, IMAGE_KEY, QUIET, RunSample, record_flight, record_run
from tiled.ndslice import NDBlock, NDSlice

from gapless.bluesky.document_source import documents
from gapless.bluesky.run_writer import RunWriter
from gapless.bluesky.tiled.array_node import ArrayNode
from gapless.client.client import Client

pytestmark = pytest.mark.filterwarnings(QUIET)
Serve = Callable[[], Any]


def imaged(store: Client, folder: Path, events: int = 5) -> tuple[RunSample, Any]:
    """Record a run with an image for each event; return it and the pixels."""
    run = RunSample(store, scan_id=7, plan_name="count")
    run.describe(img=IMAGE_KEY)
    for seq_num in range(1, events + 1):
        run.event(seq_num)
    pixels = run.images(folder / "images.h5", events)
    run.stop()
    return run, pixels


def test_the_communitys_clients_read_a_run(store: Client, serve: Serve, tmp_path: Path) -> None:
    """Catalog, run and stream open as the classes of bluesky-tiled-plugins, and read() gives an xarray."""
    run, pixels = imaged(store, tmp_path)
    catalog = serve()
    assert type(catalog) is CatalogOfBlueskyRuns
    found = catalog[run.uid]
    assert type(found) is BlueskyRunV3
    assert found.start["scan_id"] == 7
    assert found.stop["exit_status"] == "success"
    stream = found["primary"]
    assert type(stream) is BlueskyEventStreamV3
    assert set(stream) == {
        *("seq_num", "time", "img"),
        *(name for key in DATA_KEYS for name in (key, f"ts_{key}")),
    }
    data = stream.read()
    assert data["x"].values.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert data["n"].dtype == np.int64
    assert data["label"].values.tolist() == ["é0", "é1", "é2", "é3", "é4"]
    assert data["wave"].dims[0] == "time"
    np.testing.assert_array_equal(data["wave"].values[2], [[2, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(data["img"].values, pixels)
    assert data["img"].dtype == np.uint16
    assert stream["time"].read().tolist() == [event["time"] for event in run.events]


def test_descriptors_come_back_valid_and_with_every_configuration(store: Client, serve: Serve) -> None:
    """The client builds valid descriptors from the metadata, one for each change of configuration."""
    run = RunSample(store)
    first = run.describe()
    run.event(1)
    later = run.bundle.compose_descriptor(
        name="primary",
        data_keys=DATA_KEYS,
        configuration={"det": {"data": {"gain": 2}, "timestamps": {"gain": 0.0}, "data_keys": {}}},
        object_keys={"det": list(DATA_KEYS)},
    ).descriptor_doc
    run.emit("descriptor", dict(later))
    run.stop()
    descriptors = serve()[run.uid]["primary"].descriptors
    assert [doc["uid"] for doc in descriptors] == [first["uid"], later["uid"]]
    assert descriptors[1]["configuration"]["det"]["data"] == {"gain": 2}
    assert descriptors[0]["object_keys"] == {"det": list(DATA_KEYS)}


def test_documents_are_the_ones_that_were_recorded(store: Client, serve: Serve, tmp_path: Path) -> None:
    """documents() gives every document, valid, and the events with their own uids and values."""
    run, _ = imaged(store, tmp_path)
    served = [(name, dict(doc)) for name, doc in serve()[run.uid].documents()]
    assert sorted(name for name, _ in served) == sorted(name for name, _ in run.documents)
    for name, doc in served:
        schema_validators[DocumentNames[name]].validate(doc)
    by_uid = {doc["uid"]: doc for _, doc in served}
    for event in run.events:
        again = by_uid[event["uid"]]
        assert again["data"] == event["data"]
        assert (again["seq_num"], again["time"]) == (event["seq_num"], event["time"])


def test_an_image_is_read_alone(store: Client, serve: Serve, tmp_path: Path) -> None:
    """Slices of an external array are what numpy would give."""
    run, pixels = imaged(store, tmp_path)
    image = serve()[run.uid]["primary"]["img"]
    assert image.shape == (5, 1, 8, 10)
    np.testing.assert_array_equal(image[3], pixels[3])
    np.testing.assert_array_equal(image[1:4, 0, 2:5, ::2], pixels[1:4, 0, 2:5, ::2])
    np.testing.assert_array_equal(image[-1:0:-2], pixels[-1:0:-2])


def test_large_images_come_in_chunks_of_frames(store: Client, serve: Serve) -> None:
    """A chunk is some megabytes, and a slice asks the source for its own rows only."""

    class Counting:
        shape = (10, 1024, 1024)
        dtype = np.dtype(np.float32)
        version = ""
        asked: list[tuple[int, int]] = []  # noqa: RUF012

        def rows(self, start: int, stop: int) -> Any:
            self.asked.append((start, stop))
            return np.broadcast_to(
                np.arange(start, stop, dtype=self.dtype)[:, None, None], (stop - start, 1024, 1024)
            )

    source = Counting()
    node = ArrayNode(source)
    assert node.structure().chunks[0] == (2, 2, 2, 2, 2)
    assert node.read(NDSlice(4, slice(0, 2), 0)).tolist() == [4, 4]
    assert node.read_block(NDBlock(3, 0, 0)).shape == (2, 1024, 1024)
    assert source.asked == [(4, 5), (6, 8)]


def test_an_open_run_is_read_while_it_grows(store: Client, serve: Serve) -> None:
    """Each request sees the rows that are durable then; the stop document comes with the seal."""
    run = RunSample(store)
    run.describe()
    run.event(1)
    run.writer.flush()
    catalog = serve()
    assert catalog[run.uid]["primary"].read()["n"].values.tolist() == [0]
    run.event(2)
    run.writer.flush()
    found = catalog[run.uid]
    assert found["primary"].read()["n"].values.tolist() == [0, 1]
    assert "stop" not in found.metadata
    assert [name for name, _ in found.documents()] == ["start", "descriptor", "event", "event"]
    run.stop()
    assert catalog[run.uid].stop["exit_status"] == "success"
    assert found["primary"].read()["n"].values.tolist() == [0, 1]


def test_a_run_recorded_after_the_server_began_is_found(store: Client, serve: Serve) -> None:
    """A run is listed from its first moment on."""
    catalog = serve()
    assert len(catalog) == 0
    run = record_run(store, scan_id=3)
    assert list(catalog) == [run.uid]


_KILLED = """
import os, signal, sys
from gapless.client.client import connect
from tests.bluesky.tiled.sample import RunSample
run = RunSample(connect(sys.argv[1]))
run.describe()
for seq_num in range(1, 4):
    run.event(seq_num)
run.writer.flush()
print(run.uid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_whose_engine_was_killed_is_read_before_and_after_recovery(store: Client, serve: Serve) -> None:
    """Without a stop document, before and after recovery, every durable event is read."""
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(store.path)],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    uid = done.stdout.strip()
    catalog = serve()
    assert catalog[uid]["primary"].read()["n"].values.tolist() == [0, 1, 2]
    store.recover(uid)
    found = catalog[uid]
    assert found.metadata["gapless"]["outcome"] == "interrupted"
    assert found["primary"].read()["n"].values.tolist() == [0, 1, 2]
    assert [name for name, _ in found.documents()] == ["start", "descriptor", "event", "event", "event"]


def test_superseded_events_are_left_out_and_order_is_by_number(store: Client, serve: Serve) -> None:
    """Of events with one number the last counts, and rows come by number."""
    run = RunSample(store, data_keys={"n": DATA_KEYS["n"]})
    run.describe()
    for seq_num, value in ((1, 10), (2, 20), (4, 40), (3, 30), (2, 21)):
        run.event(seq_num, {"n": value})
    run.stop()
    stream = serve()[run.uid]["primary"]
    assert stream["seq_num"].read().tolist() == [1, 2, 3, 4]
    assert stream["n"].read().tolist() == [10, 21, 30, 40]


def test_integers_with_a_hole_stay_integers_in_the_table(store: Client, serve: Serve) -> None:
    """A null beside an integer makes no float; the raw value is among the violations."""
    run = RunSample(store, data_keys={"n": DATA_KEYS["n"]})
    run.describe()
    run.event(1, {"n": 2**60 + 1})
    run.event(2, {"n": "no number"})
    run.stop()
    stream = serve()[run.uid]["primary"]
    column = stream.base["internal"].read()["n"]
    assert str(column.dtype) == "Int64"
    assert column[0] == 2**60 + 1
    violations = serve()[run.uid].base["bluesky/violations"].read()
    assert violations.query("key == 'n'")["value"].tolist() == ['"no number"']


def test_images_whose_file_is_gone_are_named_when_they_are_read(
    store: Client, serve: Serve, tmp_path: Path
) -> None:
    """The stream stays readable, and reading the image names the file."""
    run, _ = imaged(store, tmp_path)
    (tmp_path / "images.h5").unlink()
    stream = serve()[run.uid]["primary"]
    assert stream["img"].shape == (5, 1, 8, 10)
    assert stream.read(["x"])["x"].shape == (5,)
    with pytest.raises(Exception, match=r"424[\s\S]*images\.h5"):
        stream["img"].read()


def test_streams_beside_each_other_and_one_without_events(
    store: Client, serve: Serve, tmp_path: Path
) -> None:
    """Each stream has its own data; one of frames alone has an array and no table."""
    run = RunSample(store)
    run.describe("baseline")
    run.event(1)
    run.data_keys = {}
    run.describe("camera", img=IMAGE_KEY)
    pixels = run.images(tmp_path / "only.h5", 3)
    run.stop()
    found = serve()[run.uid]
    assert list(found) == ["baseline", "camera"]
    assert list(found["camera"]) == ["img"]
    np.testing.assert_array_equal(found["camera"].read()["img"].values, pixels)


def test_a_run_recorded_twice_is_listed_twice_under_different_keys(store: Client, serve: Serve) -> None:
    """No two sequences have one key, and both are read."""
    run = record_run(store)
    docs = list(documents(store.sequence_handler(run.uid)))
    writer = RunWriter(store, docs[0][1], name="second")
    for name, doc in docs[1:]:
        writer(name, doc)
    catalog = serve()
    keys = list(catalog)
    assert run.uid in keys
    assert "second" in keys
    assert len(keys) == 2
    assert catalog.values()[keys.index("second")]["primary"].read()["n"].shape == (5,)


def test_names_and_uids_both_find_a_sequence(store: Client, serve: Serve) -> None:
    """A uid, its beginning, a scan_id, a place from the end and a name all find their sequence."""
    run = record_run(store, scan_id=4, name="run-{scan_id}")
    record_flight(store)
    catalog = serve()
    assert catalog[run.uid].start["uid"] == run.uid
    assert catalog[run.uid[:9]].start["uid"] == run.uid
    assert catalog[4].start["uid"] == run.uid
    assert catalog["flight-1"].metadata["altitude"] == 300
    assert catalog[-1].metadata["gapless"]["name"] == "flight-1"
    with pytest.raises(KeyError):
        catalog["flight-2"]
    by_name = catalog.context.http_client.get(
        f"{catalog.context.api_uri}metadata/run-4", headers={"Accept": "application/json"}
    )
    assert by_name.json()["data"]["attributes"]["metadata"]["start"]["uid"] == run.uid
