"""Sequences of known content, recorded as a user records them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa

import gapless
from gapless import IMU, OnErrorPolicy
from gapless.serve.address import Address
from gapless.serve.operations.operations import Operations
from gapless.serve.server import Server

from .conftest import DEADLINE_S, Site

BASE_NS = 1_700_000_000_000_000_000
STEP_NS = 1_000_000
ROWS = 1_000
SPIKE_ROW = 700
SPIKE_NS = BASE_NS + SPIKE_ROW * STEP_NS
YES = True
BIG = 2**62 + 1  # no float64 holds it
MIXED = pa.schema(
    [
        pa.field("speed", pa.float64(), metadata={"unit": "m/s", "description": "over ground"}),
        pa.field("count", pa.int64()),
        pa.field("small", pa.int32()),
        pa.field("ok", pa.bool_()),
        pa.field("word", pa.string()),
        pa.field("blob", pa.binary()),
        pa.field("pair", pa.list_(pa.float32(), 2), metadata={"shape": "[2]"}),
    ]
)
METADATA = {"vehicle": {"id": "x", "mass": 12.5}, "operator": "Ann Lee", "tags": ["wet", "night"], "n": 7}


class PumpFellOff(Exception):
    """Ends a recording."""


@contextlib.contextmanager
def serving(root: Path) -> Iterator[Site]:
    """Serve a store without keys, for tests that only look."""
    with Server(root, "127.0.0.1", 0) as server, httpx.Client(timeout=DEADLINE_S, trust_env=False) as client:
        operations = Operations(server, http=Address("127.0.0.1", 0), retention_s=3600.0)
        try:
            operations.start()
            yield Site(root, server, operations, client)
        finally:
            operations.stop(0.1)


def record(root: Path) -> Path:
    """Record ``walk`` (lab), ``a/b`` (barn), ``broken`` (pending) and ``plain`` without a group; return the folder."""
    with gapless.connect(root) as client:
        _record_walk(client, root)
        with client.sequence_create(
            "a/b", {"vehicle": {"id": "secret"}, "site": "farm"}, group="barn"
        ) as other:
            topic = other.topic_create("oven/pv", schema=pa.schema([pa.field("value", pa.float64())]))
            topic.push_columns(BASE_NS + np.arange(10), {"value": np.arange(10.0)})
        with (
            contextlib.suppress(PumpFellOff),
            client.sequence_create("broken", group="lab", on_error=OnErrorPolicy.Report) as broken,
        ):
            broken.topic_create("t", schema=pa.schema([pa.field("v", pa.int64())])).push_row(BASE_NS, 1)
            raise PumpFellOff("the pump fell off")
        with client.sequence_create("plain"):
            pass
        client.annotate("walk", SPIKE_NS, SPIKE_NS, "bump", author="Ann", confidence=0.5)
    return root


def _record_walk(client: gapless.Client, root: Path) -> None:
    file = root / "notes.html"
    file.write_text("<script>alert(1)</script>", encoding="utf-8")
    with client.sequence_create("walk", METADATA, group="lab") as sequence:
        imu = sequence.topic_create("sensors/imu", {"side": "left"}, ontology_type=IMU)
        times = BASE_NS + np.arange(ROWS) * STEP_NS
        zeros = {name: np.zeros(ROWS) for name in _needed(imu.schema)}
        wild = np.sin(np.arange(ROWS) / 50)
        wild[SPIKE_ROW] = 42.5
        imu.push_columns(times, {**zeros, "acceleration.x": wild})
        mixed = sequence.topic_create("mixed", schema=MIXED)
        mixed.push_row(BASE_NS, 1.5, BIG, 3, YES, "<b>", b"\x00\x01", [1.0, 2.0])
        mixed.push_row(BASE_NS, float("nan"), None, None, None, None, b"z" * 2_000, None)
        mixed.push_row(BASE_NS + 5, float("inf"), -BIG, -3, not YES, "", None, [3.0, 4.0])
        mixed.gap(2, "device lost", start_ns=BASE_NS + 6, end_ns=BASE_NS + 9)
        sequence.event("info", "note", "a stone", source="person", data={"size": 3}, timestamp_ns=BASE_NS + 3)
        sequence.notify("look at the wheel", topic="mixed", severity="warning")
        sequence.add_artifact(file, "notes.html", "text/html")
    file.unlink()
    with client.sequence_update("walk", "later") as layer:
        layer.topic_create("late", schema=pa.schema([pa.field("v", pa.int64())])).push_row(BASE_NS, 9)


def _needed(schema: pa.Schema) -> list[str]:
    return [field.name for field in schema if field.name != "timestamp_ns" and not field.nullable]
