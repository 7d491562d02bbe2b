"""One measurement of bench_remote in a process of its own; prints its figures as a line of JSON.

``python remote_child.py ingest|put|tiled URL ROWS BLOCK``, ``objects URL MESSAGES``,
``lanes URL HEAVY_URL SECONDS``, ``frames URL SECONDS FRAME_BYTES``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
from harness import Cost, cost
from motion import SCHEMA, START_NS, columns, walks
from remote_server import Resident

import gapless
from gapless import IMU, Message, Vector3d
from gapless.client.remote.connection import Connection, Endpoint
from gapless.client.remote.connection_pool import ConnectionPool
from gapless.client.remote.remote_client import RemoteClient
from gapless.client.topic_writer import TopicWriter

Block = tuple[Any, dict[str, Any]]
Figures = dict[str, float]
FPS = 10
_ROW_HZ, _HEAVY_HZ, _HEAVY_ROWS = 1_000, 10, 5_000  # the heavy lane: 4 MB/s
_HEAVY_QUEUE_BYTES = 2 << 20


def name() -> str:
    """Return the name of a sequence that is not there yet."""
    return f"run-{os.getpid()}"


def _blocks(rows: int, block: int) -> list[Block]:
    """Return the rows in blocks, and one before them that opens the way and is not measured."""
    source = walks()
    return [columns(start, block, source) for start in range(0, rows + block, block)]


def _batch(block: Block) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(block[0]), *map(pa.array, block[1].values())], schema=SCHEMA)


def _per(spent: Cost, count: int) -> Figures:
    return {"wall_ns": spent.wall_ns / count, "cpu_ns": spent.cpu_ns / count}


# -- blocks of rows -----------------------------------------------------------------------------------


def ingest(url: str, rows: int, block: int) -> Figures:
    """Push blocks of columns until the server has every row durably."""
    first, *rest = _blocks(rows, block)
    with gapless.connect(url) as client, client.sequence_create(name()) as seq:
        topic = seq.topic_create("imu", schema=SCHEMA)
        topic.push_columns(*first)
        topic.flush()
        with cost() as spent:
            for stamps, named in rest:
                topic.push_columns(stamps, named)
            topic.flush()
    return _per(spent, len(rest) * block)


def put(url: str, rows: int, block: int) -> Figures:
    """Write the same blocks into a plain Flight stream until the server has read all of them."""
    from pyarrow import flight

    first, *rest = _blocks(rows, block)
    with flight.FlightClient(url) as client:

        def write(blocks: list[Block]) -> None:
            writer, answers = client.do_put(flight.FlightDescriptor.for_path("imu"), SCHEMA)
            for one in blocks:
                writer.write_batch(_batch(one))
            writer.done_writing()
            assert answers.read().to_pybytes() == b"all"
            writer.close()

        write([first])
        with cost() as spent:
            write(rest)
    return _per(spent, len(rest) * block)


def tiled(url: str, rows: int, block: int) -> Figures:
    """Append the same blocks to a table of a Tiled server with its own client, one after the other."""
    from tiled.client import from_uri

    first, *rest = _blocks(rows, block)
    client = from_uri(url)
    table = client.create_appendable_table(SCHEMA, key=name())
    table.append_partition(0, pa.Table.from_batches([_batch(first)]))
    with cost() as spent:
        for one in rest:
            table.append_partition(0, pa.Table.from_batches([_batch(one)]))
    client.context.close()
    return _per(spent, len(rest) * block)


# -- objects ------------------------------------------------------------------------------------------


def objects(url: str, count: int) -> Figures:
    """Build and push IMU messages until the server has them durably."""
    with gapless.connect(url) as client, client.sequence_create(name()) as seq:
        topic = seq.topic_create("imu", ontology_type=IMU)

        def push(first: int, end: int) -> None:
            for t in range(START_NS + first * 1_000_000, START_NS + end * 1_000_000, 1_000_000):
                topic.push(
                    Message(
                        timestamp_ns=t,
                        data=IMU(
                            acceleration=Vector3d(0.1, 0.2, 9.81), angular_velocity=Vector3d(0.01, 0.02, 0.03)
                        ),
                    )
                )
            topic.flush()

        push(0, 50)
        with cost() as spent:
            push(50, 50 + count)
    return _per(spent, count)


# -- lanes --------------------------------------------------------------------------------------------


class _Detour(ConnectionPool):
    """Lends the sender of the topic ``heavy`` connections to another address."""

    def __init__(self, url: str, heavy_url: str) -> None:
        super().__init__(Endpoint.of(url))
        self._heavy = ConnectionPool(Endpoint.of(heavy_url))

    def lend(self) -> Connection:
        """Lend by the name of the calling thread."""
        if threading.current_thread().name == "gapless-sender-heavy":
            return self._heavy.lend()
        return super().lend()

    def give_back(self, connection: Connection, *, broken: bool = False) -> None:
        """Give back to whom it belongs; the other does not know it."""
        super().give_back(connection, broken=broken)
        self._heavy.give_back(connection, broken=broken)

    def close(self) -> None:
        """Close both."""
        super().close()
        self._heavy.close()


def lanes(url: str, heavy_url: str, seconds: int) -> Figures:
    """Push rows at 1 kHz into each of two topics beside a heavy one; return what a call of the two takes."""
    until_s = time.monotonic() + seconds
    client = gapless.connect(url, max_unsynced_bytes=_HEAVY_QUEUE_BYTES)
    assert isinstance(client, RemoteClient)
    client._pool.close()
    client._pool = _Detour(url, heavy_url)
    with client, client.sequence_create(name()) as seq, ThreadPoolExecutor() as pool:
        topics = [seq.topic_create(light, schema=SCHEMA) for light in ("left", "right")]
        heavy = seq.topic_create("heavy", schema=SCHEMA, on_full="drop_oldest")
        works = [pool.submit(_push_rows, topic, until_s) for topic in topics]
        flood = pool.submit(_push_blocks, heavy, until_s)
        spent = np.sort(np.concatenate([work.result() for work in works]))
        offered = flood.result()
        dropped = heavy.ledger.dropped
    return {
        "p50_us": float(np.quantile(spent, 0.5)) / 1e3,
        "p99_us": float(np.quantile(spent, 0.99)) / 1e3,
        "max_us": float(spent[-1]) / 1e3,
        "offered": offered,
        "dropped": dropped,
    }


def _push_rows(topic: TopicWriter, until_s: float) -> Any:
    spent, values = [], [0.0] * 9
    while time.monotonic() < until_s:
        began = time.perf_counter_ns()
        topic.push_row(None, *values)
        spent.append(time.perf_counter_ns() - began)
        time.sleep(1 / _ROW_HZ)
    return np.array(spent[len(spent) // 10 :])  # the first tenth: threads and streams begin


def _push_blocks(topic: TopicWriter, until_s: float) -> int:
    source = walks()
    offered = 0
    while time.monotonic() < until_s:
        topic.push_columns(*columns(offered, _HEAVY_ROWS, source))
        offered += _HEAVY_ROWS
        time.sleep(1 / _HEAVY_HZ)
    return offered


# -- large frames -------------------------------------------------------------------------------------


def frames(url: str, seconds: int, frame_bytes: int) -> Figures:
    """Push frames at 10 per second, or as fast as the server takes them, and look at this process's memory."""
    draw = np.random.default_rng(7)
    pictures = [draw.bytes(frame_bytes) for _ in range(2)]
    schema = pa.schema([pa.field("pixels", pa.binary(), nullable=False)])
    with gapless.connect(url) as client, client.sequence_create(name()) as seq:
        topic = seq.topic_create("camera", schema=schema)
        resident = Resident()
        began = time.monotonic()
        pushed = 0
        while (now := time.monotonic() - began) < seconds:
            topic.push_row(None, pictures[pushed % 2])
            pushed += 1
            time.sleep(max(0.0, began + pushed / FPS - time.monotonic()))
        topic.flush()
        now = time.monotonic() - began
        accepted = topic.accepted_rows
        figures = resident.figures()
        seq.discard("measured")
    return {"fps": accepted / now, "frames": accepted, **figures}


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    jobs = {job.__name__: job for job in (ingest, put, tiled, objects, lanes, frames)}
    found = jobs[what](*(int(word) if word.isdecimal() else word for word in words))  # type: ignore[operator]
    print(json.dumps(found))
