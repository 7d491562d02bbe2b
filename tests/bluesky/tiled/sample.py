"""A store with Bluesky runs and other sequences, recorded the way a user records them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
from event_model import compose_run

from gapless import Image
from gapless.bluesky.run_writer import RunWriter
from gapless.client.client import Client

# Tiled 0.2 reaches its own application through a module that Starlette is about to move.
QUIET = "ignore:Using `httpx` with `starlette.testclient` is deprecated"

WAVE = [2, 3]
DATA_KEYS: dict[str, dict[str, Any]] = {
    "x": {"source": "sim:x", "dtype": "number", "shape": [], "units": "mm", "dtype_numpy": "<f8"},
    "n": {"source": "sim:n", "dtype": "integer", "shape": [], "dtype_numpy": "<i8"},
    "label": {"source": "sim:s", "dtype": "string", "shape": []},
    "wave": {"source": "sim:w", "dtype": "array", "shape": WAVE, "dtype_numpy": "<f8"},
}
IMAGE_KEY = {
    "source": "sim:img",
    "dtype": "array",
    "shape": [1, 8, 10],
    "dtype_numpy": "<u2",
    "external": "STREAM:",
}


class RunSample:
    """One run being recorded, document by document."""

    def __init__(
        self, client: Client, *, data_keys: dict[str, Any] | None = None, name: str = "{uid}", **metadata: Any
    ) -> None:
        self.bundle = compose_run(metadata=metadata)
        self.writer = RunWriter(client, self.bundle.start_doc, name=name)
        self.data_keys = DATA_KEYS if data_keys is None else data_keys
        self.events: list[dict[str, Any]] = []
        self.documents: list[tuple[str, Mapping[str, Any]]] = [("start", self.bundle.start_doc)]

    @property
    def uid(self) -> str:
        """The uid of the run."""
        return str(self.bundle.start_doc["uid"])

    def emit(self, name: str, doc: Mapping[str, Any]) -> None:
        """Record one document."""
        self.documents.append((name, doc))
        self.writer(name, doc)

    def describe(self, stream: str = "primary", **keys: Any) -> dict[str, Any]:
        """Begin a stream."""
        every = {**self.data_keys, **keys}
        composed = self.bundle.compose_descriptor(
            name=stream,
            data_keys=every,
            configuration={"det": {"data": {}, "timestamps": {}, "data_keys": {}}},
            object_keys={"det": list(every)},
            hints={"det": {"fields": ["x"]}},
        )
        self.composed = composed
        self.emit("descriptor", composed.descriptor_doc)
        return dict(composed.descriptor_doc)

    def event(self, seq_num: int, data: dict[str, Any] | None = None) -> None:
        """Record one event."""
        i = seq_num - 1
        values = (
            {"x": i / 2, "n": i, "label": f"é{i}", "wave": [[i, 1, 2], [3, 4, 5]]} if data is None else data
        )
        stamp_s = time.time()
        doc = {
            "uid": str(uuid.uuid4()),
            "descriptor": self.composed.descriptor_doc["uid"],
            "seq_num": seq_num,
            "time": stamp_s,
            "data": values,
            "timestamps": dict.fromkeys(values, stamp_s),
            "filled": {},
        }
        self.events.append(doc)
        self.emit("event", doc)

    def images(self, path: Path, events: int, *, key: str = "img") -> np.ndarray[Any, np.dtype[np.uint16]]:
        """Write an HDF5 file with an image for each event and refer to it."""
        pixels = np.arange(events * 80, dtype=np.uint16).reshape(events, 8, 10)
        with h5py.File(path, "w") as file:
            file["entry/data"] = pixels
        assert self.bundle.compose_stream_resource is not None
        resource = self.bundle.compose_stream_resource(
            mimetype="application/x-hdf5",
            uri=f"file://localhost{path}",
            data_key=key,
            parameters={"dataset": "entry/data", "chunk_shape": (1,)},
        )
        self.emit("stream_resource", resource.stream_resource_doc)
        datum = resource.compose_stream_datum(
            indices={"start": 0, "stop": events},
            seq_nums={"start": 1, "stop": events + 1},
            descriptor=self.composed.descriptor_doc,
        )
        self.emit("stream_datum", datum)
        return pixels.reshape(events, 1, 8, 10)

    def stop(self, **words: Any) -> None:
        """End the run."""
        self.emit("stop", self.bundle.compose_stop(**words))


def record_run(client: Client, events: int = 5, **metadata: Any) -> RunSample:
    """Record a whole run without images."""
    run = RunSample(client, **metadata)
    run.describe()
    for seq_num in range(1, events + 1):
        run.event(seq_num)
    run.stop()
    return run


def record_flight(client: Client, name: str = "flight-1") -> None:
    """Record a sequence that is no run: topics below topics, nulls, bytes, lists, pictures."""
    metadata = {"vehicle": {"id": "Zeppelin"}, "altitude": 300}
    with client.sequence_create(name, metadata, group="flights") as sequence:
        imu = sequence.topic_create(
            "sensors/imu",
            {"place": "nose"},
            schema=pa.schema(
                [
                    pa.field("a", pa.float64(), metadata={"unit": "m/s²"}),
                    ("k", pa.int32()),
                    ("v", pa.list_(pa.float64())),
                ]
            ),
        )
        for i in range(10):
            imu.push_row(i * 10, i / 2, None if i == 3 else i, [1.0, 2.0][: i % 3])
        plain = sequence.topic_create("sensors", schema=pa.schema([("b", pa.string())]))
        for i in range(3):
            plain.push_row(i, f"b{i}")
        blobs = sequence.topic_create("blobs", schema=pa.schema([("d", pa.binary())]))
        blobs.push_row(0, bytes([200, 1]))
        camera = sequence.topic_create("camera", ontology_type=Image, media="png")
        for i in range(4):
            camera.push_image(i * 100, np.full((6, 8, 3), 40 * i, np.uint8))
