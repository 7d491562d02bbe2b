"""Samples from a device to the disk: one by one, in blocks, and how long each takes, beside the usual shape."""

from __future__ import annotations

import time
from typing import Any

import acquisition
import per_sample_shape
from acquisition import BLOCK, FastBlocks, FastConfig, FastDevice
from harness import Bench, main

from gapless.acquire.command import Command
from gapless.acquire.recorder import Recorder


def run(bench: Bench) -> None:
    """Compare throughput and latency."""
    _throughput(bench)
    _latency(bench)
    _commands(bench)


def _throughput(bench: Bench) -> None:
    count, peer_count = bench.size(200_000, 5_000), bench.size(20_000, 2_000)
    blocks = bench.size(400, 10)
    found = bench.interleave(
        {
            "single": lambda: _ours(bench, FastDevice, FastConfig(records=count), count),
            "wide": lambda: _ours(bench, FastDevice, FastConfig(records=count // 8, width=8), count),
            "blocks": lambda: _ours(
                bench, FastBlocks, FastConfig(records=blocks, width=4), blocks * BLOCK * 4
            ),
            "peer": lambda: _peer(bench, peer_count),
        }
    )
    readers = "bus subscriber, watcher, calibration and native records on"
    for name, words, at_most in (
        ("single", "one sample in each record", 1e6 / 150_000),
        ("wide", "eight samples in each record", None),
        ("blocks", "blocks of 1,000", 1.0),
    ):
        ours = found[name]
        rate = 1e6 / sorted(ours)[len(ours) // 2]
        bench.compare(
            f"samples from a device, {words}", "wall µs/sample", ours, "object and hops per sample", found["peer"],
            at_least=1.0, note=f"{rate:,.0f} samples/s; {readers}",
        )  # fmt: skip
        if at_most is not None:
            bench.limit(f"samples from a device, {words}: the budget", "wall µs/sample", ours, at_most)


def _ours(bench: Bench, kind: type[Any], config: FastConfig, samples: int) -> float:
    recorded = acquisition.record(bench.folder("store"), {"d": (kind, config)})
    assert recorded.result.sealed
    assert recorded.gapped == 0
    return recorded.flowing_s / samples * 1e6


def _peer(bench: Bench, count: int) -> float:
    folder = bench.folder("peer")
    began_s = time.perf_counter()
    per_sample_shape.record(folder, count)
    return (time.perf_counter() - began_s) / count * 1e6


def _latency(bench: Bench) -> None:
    """8,000 samples a second: four devices of 2,000, stamp to hand-over."""
    seconds = bench.size(5, 1)
    rounds = bench.interleave(
        {"ours": lambda: _stamped(bench, seconds), "peer": lambda: _peer_stamped(bench, seconds)}
    )
    for place, words in ((0.5, "p50"), (0.99, "p99")):
        ours = [_at(latencies, place) for latencies in rounds["ours"]]
        peer = [_at(latencies, place) for latencies in rounds["peer"]]
        bench.compare(
            f"device stamp to writer at 8,000 samples/s, {words}", "wall ms", ours,
            "object and hops per sample", peer,
        )  # fmt: skip
        if place == 0.99:
            bench.limit("device stamp to writer at 8,000 samples/s, p99: the budget", "wall ms", ours, 15)


def _stamped(bench: Bench, seconds: int) -> list[int]:
    latencies: list[int] = []
    accept = Recorder.accept

    def noted(self: Recorder, reading: Any) -> None:
        accept(self, reading)
        latencies.append(self._sequence.now_ns() - reading.record.timestamp_ns)

    Recorder.accept = noted  # type: ignore[method-assign]
    try:
        config = FastConfig(records=2000 * seconds, rate_hz=2000.0)
        acquisition.record(bench.folder("store"), {f"d{n}": (FastDevice, config) for n in range(4)})
    finally:
        Recorder.accept = accept  # type: ignore[method-assign]
    return latencies


def _peer_stamped(bench: Bench, seconds: int) -> list[int]:
    return per_sample_shape.record(bench.folder("peer"), 8000 * seconds, 8000.0)


def _at(latencies: list[int], place: float) -> float:
    return sorted(latencies)[int(len(latencies) * place)] / 1e6


def _commands(bench: Bench) -> None:
    """A command over two hops with its durable intent, and over one hop between runs."""
    count = bench.size(200, 10)
    single, double = _command_times(bench, count)
    note = "the run's command waits for the sync of its intent"
    for place, words in ((0.5, "p50"), (0.99, "p99")):
        bench.compare(
            f"a command to a device of a run, {words}", "wall ms", [_at(double, place)],
            "between runs, one hop", [_at(single, place)], note=note,
        )  # fmt: skip


def _command_times(bench: Bench, count: int) -> tuple[list[int], list[int]]:
    from gapless.acquire.pool import PoolDispatcher, WorkerPool
    from gapless.acquire.run import Run
    from gapless.client.client import connect

    rig = acquisition.rig_of({"d": (_Obeying, FastConfig(records=10**9, rate_hz=10.0))})
    times: dict[str, list[int]] = {"single": [], "double": []}
    with connect(bench.folder("store")) as client, WorkerPool(rig.make_adapters()) as pool:
        dispatchers: dict[str, Any] = {"single": PoolDispatcher(pool)}
        run = Run(rig, client, name="x", pool=pool)
        for name in ("single", "double"):
            if name == "double":
                run.start()
                dispatchers["double"] = run
            for _ in range(count):
                began_ns = time.perf_counter_ns()
                dispatchers[name].dispatch("d", Command(name="nothing", confirmed_by="bench")).result(10)
                times[name].append(time.perf_counter_ns() - began_ns)
        run.stop("measured", by="bench")
        run.wait()
    return times["single"], times["double"]


class _Obeying(FastDevice):
    """Obeys a command that does nothing."""

    def handlers(self) -> dict[str, Any]:
        return {"nothing": self._nothing}

    async def _nothing(self) -> None:
        return


if __name__ == "__main__":
    raise SystemExit(main(run))
