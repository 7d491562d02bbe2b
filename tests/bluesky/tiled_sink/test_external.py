"""External frames on a Tiled server: registered while they come, readable, at a cost that grows with them."""

from __future__ import annotations

import uuid
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from tests.bluesky.recording.run_documents import (
    Doc,
    data_key,
    descriptor_document,
    event_document,
    start_document,
    stop_document,
)
from tests.bluesky.tiled_server import TiledServer
from tests.bluesky.tiled_sink.sample_runs import Named, uid_of

from gapless.bluesky.tiled_sink.deliver_run import deliver_documents
from gapless.bluesky.tiled_sink.node_options import NodeOptions
from gapless.bluesky.tiled_sink.run_delivery import RunDelivery
from gapless.bluesky.tiled_sink.server import Server

SHAPE = (4, 6)
TIFF = "multipart/related;type=image/tiff"


def frames(count: int) -> np.ndarray:
    """Return frames that all differ."""
    return np.arange(count * 24, dtype="<u2").reshape(count, *SHAPE)


def tiff_files(folder: Path, count: int) -> str:
    """Write a sequence of files and return the URI of their folder."""
    folder.mkdir()
    for n, frame in enumerate(frames(count)):
        tifffile.imwrite(folder / f"img_{n:05}.tif", frame)
    return f"file://localhost{folder}/"


def external_run(uri: str, mimetype: str, parameters: Doc, count: int, *, key: str = "image") -> list[Named]:
    """Return a run with one number and one frame an event; each frame has a datum of its own."""
    start = start_document()
    keys = {"x": data_key(), key: data_key("array", SHAPE, dtype_numpy="<u2", external="STREAM:")}
    descriptor = descriptor_document(start, keys)
    resource = {
        "uid": str(uuid.uuid4()),
        "data_key": key,
        "mimetype": mimetype,
        "uri": uri,
        "parameters": parameters,
    }
    run: list[Named] = [("start", start), ("descriptor", descriptor), ("stream_resource", resource)]
    for n in range(count):
        run.append(("event", event_document(descriptor, n + 1, {"x": n / 4})))
        run.append(("stream_datum", datum(resource, descriptor, n)))
    return [*run, ("stop", stop_document(start))]


def datum(resource: Doc, descriptor: Doc, n: int) -> Doc:
    """Return the datum of frame ``n``."""
    return {
        "uid": f"{resource['uid']}/{n}",
        "descriptor": descriptor["uid"],
        "stream_resource": resource["uid"],
        "indices": {"start": n, "stop": n + 1},
        "seq_nums": {"start": n + 1, "stop": n + 2},
    }


@pytest.mark.parametrize("batch_rows", [1, 3, 10_000])
def test_a_tiff_sequence_is_read_frame_by_frame(
    server: TiledServer, target: Server, files: Path, batch_rows: int
) -> None:
    """All frames come back as they were written, whatever the batches, also when delivered twice."""
    uri = tiff_files(files / str(uuid.uuid4()), 8)
    run = external_run(uri, TIFF, {"template": "img_{:05d}.tif", "chunk_shape": [1]}, 8)
    for _ in range(2):
        delivered = deliver_documents(lambda: run, target, batch_rows=batch_rows, validate=True)
        assert delivered.is_whole, delivered
    stream = server.client()[uid_of(run)]["primary"]
    assert stream["image"].shape == (8, *SHAPE)
    assert np.array_equal(stream["image"].read(), frames(8))
    assert stream.read()["image"].dims[0] == "time"


def test_an_hdf5_file_is_read_through_its_dataset(server: TiledServer, target: Server, files: Path) -> None:
    """Shape, type and values are those of the file."""
    path = files / f"{uuid.uuid4()}.h5"
    with h5py.File(path, "w") as file:
        file["entry/data"] = frames(5)
    run = external_run(
        f"file://localhost{path}", "application/x-hdf5", {"dataset": "entry/data", "swmr": False}, 5
    )
    assert deliver_documents(lambda: run, target, validate=True).is_whole
    assert np.array_equal(server.client()[uid_of(run)]["primary"]["image"].read(), frames(5))


def test_a_format_nobody_knows_does_not_stop_the_run(server: TiledServer, target: Server) -> None:
    """Opaque files are listed as bytes; the rows and the stop document are there."""
    run = external_run("file://localhost/nowhere/x.bin", "application/octet-stream", {}, 3)
    delivered = deliver_documents(lambda: run, target)
    assert delivered.has_stop
    node = server.client()[uid_of(run)]
    assert "stop" in node.metadata
    assert node["primary"].base["internal"].read()["x"].tolist() == [0.0, 0.25, 0.5]


def test_what_cannot_be_registered_is_a_finding(server: TiledServer, target: Server) -> None:
    """Frames of any size, which no reader of the server takes: the run is there, the finding names the key."""
    run = external_run("file://localhost/nowhere/x.h5", "application/x-hdf5", {"dataset": "d"}, 2)
    run[1][1]["data_keys"]["image"]["shape"] = [None, 6]
    delivered = deliver_documents(lambda: run, target)
    assert delivered.has_stop
    assert not delivered.is_whole
    assert "'image'" in delivered.findings[0]
    assert server.client()[uid_of(run)].metadata["notes"] == delivered.findings


def test_validation_names_frames_that_are_not_there(server: TiledServer, target: Server, files: Path) -> None:
    """A file that is missing is a problem of its key, told and not raised."""
    folder = files / str(uuid.uuid4())
    uri = tiff_files(folder, 4)
    (folder / "img_00003.tif").unlink()
    run = external_run(uri, TIFF, {"template": "img_{:05d}.tif", "chunk_shape": [1]}, 4)
    delivered = deliver_documents(lambda: run, target, validate=True)
    assert delivered.has_stop
    assert any("'image' cannot be read" in problem for problem in delivered.problems)


def test_live_frames_cost_few_requests(server: TiledServer, target: Server, files: Path) -> None:
    """The first frame is there at once; 300 frames in three seconds send no list of files 300 times.

    The stream has frames only, no event.
    """
    uri = tiff_files(files / str(uuid.uuid4()), 300)
    run = external_run(uri, TIFF, {"template": "img_{:05d}.tif", "chunk_shape": [1]}, 300)
    now_s = [0.0]
    delivery = RunDelivery(run[0][1], NodeOptions(target, clock=lambda: now_s[0]))
    at_first = None
    for name, doc in run:
        if name == "event":
            continue
        delivery(name, doc)
        if name == "stream_datum":
            now_s[0] += 0.01
            delivery.send()
            at_first = at_first or server.client()[uid_of(run)]["primary"]["image"].shape[0]
    external = delivery.streams["primary"].externals["image"]
    assert at_first == 1
    assert external.requests == 3
    delivery.confirm()
    assert external.requests == 4
    assert server.client()[uid_of(run)]["primary"]["image"].shape == (300, *SHAPE)
