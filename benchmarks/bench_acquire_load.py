"""What an ordinary rig costs, whether it grows, whether fast cards lose anything, and what a stop under load loses."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Mapping
from typing import Any

import acquisition
import psutil
from acquisition import FastBlocks, FastConfig, FastDevice
from harness import Bench, main

from gapless.acquire.adapter import StartContext
from gapless.acquire.binding import ChannelBinder
from gapless.acquire.clock import HostClock
from gapless.acquire.pool import WorkerPool
from gapless.acquire.run import Run
from gapless.client.client import connect
from gapless.flow.bridge import ThreadBridge

_CARDS, _CARD_HZ = 4, 100_000
_STOPS = 20


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare how long the ordinary rig runs."""
    parser.add_argument("--minutes", type=float, default=2.0, help="length of the run that must not grow")


def run(bench: Bench) -> None:
    """Run the loads one after the other."""
    _ordinary(bench)
    _growth(bench)
    _cards(bench)
    _stops(bench)


def _ordinary(bench: Bench) -> None:
    """30 channels at 60 Hz: the processor time that recording adds to the adapters themselves."""
    seconds = bench.size(20, 1)
    devices = {"d": (FastDevice, FastConfig(records=60 * seconds, width=30, rate_hz=60.0))}
    rounds = bench.interleave(
        {"ours": lambda: _recorded_cpu(bench, devices), "null": lambda: _null_cpu(devices)}
    )
    shares = [
        100 * (ours - null) / seconds for ours, null in zip(rounds["ours"], rounds["null"], strict=True)
    ]
    bench.limit(
        "30 channels at 60 Hz: recording, less the same adapters into nothing", "% of one core", shares, 5,
        note=f"opening and sealing included, over {seconds} s",
    )  # fmt: skip


def _recorded_cpu(bench: Bench, devices: Mapping[str, tuple[type[Any], FastConfig]]) -> float:
    began_s = time.process_time()
    acquisition.record(bench.folder("store"), devices, readers=False)
    return time.process_time() - began_s


def _null_cpu(devices: Mapping[str, tuple[type[Any], FastConfig]]) -> float:
    rig = acquisition.rig_of(devices)
    began_s = time.process_time()
    with WorkerPool(rig.make_adapters()) as pool:
        worker = pool.workers[0]
        bridge: ThreadBridge[Any] = ThreadBridge("null", capacity=4096)
        contexts = {
            name: StartContext(
                HostClock(), "null", recording_enabled=False,
                binder=ChannelBinder(name, adapter.family, adapter.channel_fields(), rig.channels),
            )
            for name, adapter in pool.adapters.items()
        }  # fmt: skip
        worker.arm(contexts, bridge)
        worker.begin()
        left = len(devices)
        while left:
            left -= sum(type(item).__name__ == "StreamEnded" for item in bridge.take_blocking(1024, 60.0))
        worker.stop()
    return time.process_time() - began_s


def _growth(bench: Bench) -> None:
    """Resident memory of the same rig at one fifth of a long run and at its end."""
    seconds = bench.options.minutes * 60 if not bench.quick else 2.0
    devices = {"d": (FastDevice, FastConfig(records=int(60 * seconds), width=30, rate_hz=60.0))}
    sizes: list[int] = []
    timer = threading.Timer(seconds / 5, lambda: sizes.append(psutil.Process().memory_info().rss))
    timer.start()
    late = threading.Timer(seconds * 0.98, lambda: sizes.append(psutil.Process().memory_info().rss))
    late.start()
    acquisition.record(bench.folder("store"), devices)
    timer.join()
    late.join()
    early, end = sizes
    bench.limit(
        f"resident memory of 30 channels at 60 Hz, after {seconds / 5:g} s and {seconds:g} s", "MB grown",
        [max(0.0, (end - early) / 1e6)], 10, note=f"{early / 1e6:.0f} MB, then {end / 1e6:.0f} MB",
    )  # fmt: skip


def _cards(bench: Bench) -> None:
    """Four cards of 100 kHz in blocks of 1,000, calibrated."""
    seconds = bench.size(30, 1)
    config = FastConfig(records=seconds * _CARD_HZ // acquisition.BLOCK, rate_hz=float(_CARD_HZ))
    began_s = time.process_time()
    recorded = acquisition.record(
        bench.folder("store"), {f"card{n}": (FastBlocks, config) for n in range(_CARDS)}
    )
    spent_s = time.process_time() - began_s
    offered = _CARDS * seconds * _CARD_HZ
    bench.limit(
        f"{_CARDS} × {_CARD_HZ:,} samples/s for {seconds} s: samples that no row accounts for", "samples",
        [abs(offered - recorded.written - recorded.gapped)], 0,
        note=f"{recorded.written:,} written, {recorded.gapped:,} gapped; {100 * spent_s / seconds:.0f} % of one core",
    )  # fmt: skip


def _stops(bench: Bench) -> None:
    """Stop a device that gives as fast as it is taken, in the middle, again and again."""
    rig = acquisition.rig_of({"d": (FastDevice, FastConfig(records=10**9))})
    lost = []
    with connect(bench.folder("store"), deadline_s=60) as client, WorkerPool(rig.make_adapters()) as pool:
        device = pool.adapters["d"]
        for number in range(_STOPS):
            run = Run(rig, client, name=f"x{number}", pool=pool)
            run.start()
            while run.recorder.rows < 500:
                time.sleep(0.001)
            run.stop("measured", by="bench")
            run.wait()
            ledger = client.sequence_handler(run.name).reader.topics["channels/d"].ledger
            lost.append(device._n - ledger["written"])
    bench.limit(f"{_STOPS} stops under full queues: offered less written", "readings", lost, 0)


if __name__ == "__main__":
    raise SystemExit(main(run, options=add_options))
