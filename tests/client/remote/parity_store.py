"""A store with a sequence of every kind, and a client of a server that serves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tests.store.derived_run import RUN, begin_run, record_entry, speeds

import gapless
from gapless import IMU, OnErrorPolicy, Vector3d
from gapless.client.remote.remote_client import RemoteClient
from gapless.features.registry import FeatureRegistry
from gapless.model.ontology.images import Image
from gapless.serve.native.reading import NativeReading
from gapless.serve.server import Server
from gapless.store.media.rows import Media

SPEED = f"features/speed@{RUN}"
ROWS = 150_000
MIXED = pa.schema(
    [
        pa.field("x", pa.float64(), metadata={"unit": "m", "description": "position"}),
        pa.field("n", pa.int32()),
        pa.field("s", pa.string()),
        pa.field("pair", pa.list_(pa.float32(), 2)),
    ],
    metadata={"rig": "a"},
)


@contextmanager
def served(root: Path, **options: Any) -> Iterator[tuple[Server, RemoteClient]]:
    """Yield a server of the store and a client of the server."""
    with (
        Server(root, "127.0.0.1", 0, doors=[NativeReading]) as server,
        gapless.connect(server.url, **options) as client,
    ):
        assert isinstance(client, RemoteClient)
        yield server, client


def fill(root: Path) -> None:
    """Record ``walk`` (sealed, of every kind of content), ``layered``, ``kept`` (pending), and discard one."""
    with gapless.connect(root) as client:
        _walk(client, root)
        with client.sequence_create("layered", {"k": 1}) as seq:
            seq.log("x", 1.0, timestamp_ns=10)
        with client.sequence_update("layered", "late") as seq:
            seq.log("x", 2.0, timestamp_ns=5)
            seq.log("y", 3.0, timestamp_ns=7)
        with suppress(RuntimeError), client.sequence_create("kept", on_error=OnErrorPolicy.Report) as seq:
            seq.log("x", 1.0, timestamp_ns=3)
            raise RuntimeError("the pump stopped")
        with client.sequence_create("old", group="g2") as seq:
            seq.log("x", 1.0)
        client.discard("old")
    record_entry(begin_run(root, "speed"), "walk", speeds([0, 10, 20], [0.0, 2.5, 1.5]), group="g1")
    with FeatureRegistry(root) as registry:
        registry.rebuild()


def _walk(client: gapless.Client, root: Path) -> None:
    with client.sequence_create("walk", {"vehicle": {"id": "x"}, "big": 2**60 + 1}, group="g1") as seq:
        mixed = seq.topic_create("mixed", {"sensor": "a"}, schema=MIXED)
        count = np.arange(ROWS)
        mixed.push_columns(
            count * 1_000,
            {
                "x": np.sin(count / 1_000),
                "n": (count % 7).astype(np.int32),
                "s": [None if k % 11 == 0 else f"t{k % 5}" for k in range(ROWS)],
                "pair": np.stack([count, -count], axis=1).astype(np.float32),
            },
        )
        imu = seq.topic_create("imu", ontology_type=IMU)
        for k in range(50):
            imu.push(
                gapless.Message(
                    k * 2_000_000,
                    IMU(
                        acceleration=Vector3d(x=k / 10, y=0.0, z=9.8),
                        angular_velocity=Vector3d(x=0, y=0, z=k),
                    ),
                )
            )
        cam = seq.topic_create("cam", ontology_type=Image, media=Media("png"))
        for k in range(6):
            cam.push_image(k * 10_000_000, np.full((8, 12, 3), 40 * k, np.uint8))
        film = seq.topic_create("film", ontology_type=Image, media=Media("mp4"))
        for k in range(6):
            film.push_image(k * 10_000_000, np.full((16, 16, 3), 40 * k, np.uint8))
        numbered = seq.topic_create("numbered", schema=pa.schema([("v", pa.float64())]), producer_seq=True)
        numbered.push_columns([1_000, 5_000], {"v": [1.0, 2.0]}, seq=[1, 5])
        seq.topic_create("empty", schema=pa.schema([("v", pa.int64())]))
        file = root / "notes.bin"
        file.write_bytes(bytes(range(256)) * 9_000)
        seq.add_artifact(file, "notes.bin")
        seq.add_artifact("https://example.org/model.onnx", "model")
    client.annotate("walk", 5, 90, "gait", author="me", confidence=0.5)
