"""push_row and ontology objects until durable, against a raw packed journal, MCAP and the Mosaico SDK."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import mosaico_sdk
from harness import Bench, cost, in_child, main
from motion import NAMES, SCHEMA, START_NS, Recording, push_all, times, values

from gapless import IMU, Message, Vector3d

FIGURE = "CPU ns/row"


def run(bench: Bench) -> None:
    _rows(bench)
    _objects(bench)


# -- rows ---------------------------------------------------------------------------------------------


def _rows(bench: Bench) -> None:
    count = bench.size(1_700_000, 20_000)  # two whole segments and little more: nearly all of it is sealed
    rows = values()
    variants: dict[str, Callable[[], float]] = {
        "floor": lambda: _floor(bench, count, rows),
        "off": lambda: _gapless(bench, count, rows, background_seal=False),
        "on": lambda: _gapless(bench, count, rows, background_seal=True),
        "loop": lambda: _loop(count, rows),
    }
    mcap = _have_mcap()
    if mcap:
        variants["mcap"] = lambda: _mcap(bench, bench.size(60_000, 500), rows)
    found = bench.interleave(variants)
    loop = min(found["loop"])
    note = f"of each figure {loop:.0f} ns are the producer's own loop and an empty call"
    bench.compare(
        "push_row to durable, sealing off", FIGURE, found["off"], "raw packed journal", found["floor"],
        at_most=1.6, note=note,
    )  # fmt: skip
    bench.compare(
        "push_row to durable, sealing on", FIGURE, found["on"], "raw packed journal", found["floor"],
        at_most=2.4, note="until every closed segment has become Parquet",
    )  # fmt: skip
    if mcap:
        bench.compare(
            "push_row to durable, sealing off", FIGURE, found["off"], "MCAP JSON writer", found["mcap"], at_least=10,
            note="msgspec makes the JSON, zstd, one sync at the end",
        )  # fmt: skip
    else:
        bench.skip("push_row to durable", "MCAP JSON writer", "mcap is not installed: pip install mcap")


def _loop(count: int, rows: list[tuple[float, ...]]) -> float:
    def nothing(t: int, a: float, b: float, c: float, d: float, e: float, f: float, g: float, h: float, i: float) -> None:  # fmt: skip # noqa: E501
        pass

    with cost() as spent:
        push_all(nothing, times(count), rows)
    return spent.cpu_ns / count


def _floor(bench: Bench, count: int, rows: list[tuple[float, ...]]) -> float:
    from floors import PackedJournal

    journal = PackedJournal(bench.folder("floor") / "journal", len(NAMES))
    with cost() as spent:
        push_all(journal.push_row, times(count), rows)
        journal.flush()
    journal.close()
    return spent.cpu_ns / count


def _gapless(bench: Bench, count: int, rows: list[tuple[float, ...]], *, background_seal: bool) -> float:
    recording = Recording(bench.folder("store"), background_seal=background_seal)
    with recording as sequence:
        topic = sequence.topic_create("imu", schema=SCHEMA)
        with cost() as spent:
            push_all(topic.push_row, times(count), rows)
            topic.flush()
            recording.drain()
    return spent.cpu_ns / count


def _have_mcap() -> bool:
    try:
        import mcap.writer  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def _mcap(bench: Bench, count: int, rows: list[tuple[float, ...]]) -> float:
    import msgspec
    from mcap.writer import Writer

    encode = msgspec.json.Encoder().encode
    with (bench.folder("mcap") / "run.mcap").open("wb") as file, cost() as spent:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema("imu", "jsonschema", b'{"type":"object"}')
        channel = writer.register_channel("imu", "json", schema)
        for t, row in zip(times(count), itertools.cycle(rows), strict=False):
            writer.add_message(channel, t, encode(dict(zip(NAMES, row, strict=True))), t)
        writer.finish()
        file.flush()
        os.fsync(file.fileno())
    return spent.cpu_ns / count


# -- objects ------------------------------------------------------------------------------------------


def _objects(bench: Bench) -> None:
    what = "push(Message(IMU(...))), build and push"
    count = bench.size(200_000, 2_000)
    python = mosaico_sdk.find_python(bench.options)
    if python is None:
        bench.limit(what, FIGURE, [_imu(bench, count) for _ in range(bench.rounds)], None)
        bench.skip(what, mosaico_sdk.NAME, mosaico_sdk.ABSENT)
        return
    few = str(bench.size(3_000, 200))
    script = Path(__file__).with_name("mosaico_child.py")
    found = bench.interleave(
        {
            "ours": lambda: _imu(bench, count),
            "sdk": lambda: float(in_child(script, few, python=python)["cpu_ns_per_row"]),
        }
    )
    bench.compare(
        what, FIGURE, found["ours"], mosaico_sdk.NAME, found["sdk"], at_least=50,
        note="six values; ours until durable, the SDK's into a Flight writer that discards them",
    )  # fmt: skip


def _imu(bench: Bench, count: int) -> float:
    with Recording(bench.folder("store"), background_seal=False) as sequence:
        topic = sequence.topic_create("imu", ontology_type=IMU)
        with cost() as spent:
            for t in range(START_NS, START_NS + count * 1_000_000, 1_000_000):
                topic.push(
                    Message(
                        timestamp_ns=t,
                        data=IMU(
                            acceleration=Vector3d(0.1, 0.2, 9.81), angular_velocity=Vector3d(0.01, 0.02, 0.03)
                        ),
                    )
                )
            topic.flush()
    return spent.cpu_ns / count


if __name__ == "__main__":
    raise SystemExit(main(run, options=mosaico_sdk.add_options))
