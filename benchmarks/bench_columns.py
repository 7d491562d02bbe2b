"""push_columns in blocks of 1,000 rows until durable, against raw Arrow IPC of the same blocks without sync."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from harness import Bench, cost, main
from motion import SCHEMA, Recording, columns, walks

_BLOCK = 1_000


def run(bench: Bench) -> None:
    count = bench.size(1_600_000, 10_000)
    source = walks()
    blocks = [columns(start, _BLOCK, source) for start in range(0, count, _BLOCK)]
    found = bench.interleave(
        {
            "ipc": lambda: _ipc(bench, blocks),
            "off": lambda: _gapless(bench, blocks, background_seal=False),
            "on": lambda: _gapless(bench, blocks, background_seal=True),
            "batch": lambda: _gapless(bench, blocks, background_seal=False, as_batch=True),
        }
    )
    figure, peer = "CPU ns/row", "Arrow IPC, no sync"
    bench.compare(
        "push_columns to durable, sealing off", figure, found["off"], peer, found["ipc"], at_most=1.3
    )
    bench.compare("push_batch to durable, sealing off", figure, found["batch"], peer, found["ipc"])
    bench.compare(
        "push_columns to durable, sealing on", figure, found["on"], peer, found["ipc"],
        note="for information: until every closed segment has become Parquet",
    )  # fmt: skip


def _ipc(bench: Bench, blocks: list[tuple[Any, dict[str, Any]]]) -> float:
    path = bench.folder("ipc") / "blocks.arrows"
    with cost() as spent, pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as out:
        for stamps, named in blocks:
            out.write_batch(
                pa.RecordBatch.from_arrays([pa.array(stamps), *map(pa.array, named.values())], schema=SCHEMA)
            )
    return spent.cpu_ns / (len(blocks) * _BLOCK)


def _gapless(
    bench: Bench, blocks: list[tuple[Any, dict[str, Any]]], *, background_seal: bool, as_batch: bool = False
) -> float:
    recording = Recording(bench.folder("store"), background_seal=background_seal)
    with recording as sequence:
        topic = sequence.topic_create("imu", schema=SCHEMA)
        with cost() as spent:
            for stamps, named in blocks:
                if as_batch:
                    topic.push_batch(
                        pa.RecordBatch.from_arrays(
                            [pa.array(stamps), *map(pa.array, named.values())], schema=SCHEMA
                        )
                    )
                else:
                    topic.push_columns(stamps, named)
            topic.flush()
            recording.drain()
    return spent.cpu_ns / (len(blocks) * _BLOCK)


if __name__ == "__main__":
    raise SystemExit(main(run))
