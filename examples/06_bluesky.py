"""Records the runs of a Bluesky RunEngine: scans, a detector's HDF5 images, nested, failing and aborted plans.

Run it with a folder to keep the store: `python examples/06_bluesky.py ./gapless-data`. Without one it works in
a temporary folder. It needs `pip install 'gapless[bluesky]' ophyd 'ophyd-async[sim]'`; the devices are simulated,
the documents and the detector's files are what real ones leave.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from ophyd.sim import Syn2DGauss, SynAxis, SynGauss
from ophyd_async.core import StaticPathProvider, TriggerInfo, UUIDFilenameProvider, init_devices
from ophyd_async.sim import PatternGenerator, SimBlobDetector

import gapless
from gapless.bluesky import StoredRun, Writer

FRAMES = 20
Plan = Iterator[Any]


class Seen:
    """Everything a subscriber in memory sees of each run: what the store is compared with."""

    def __init__(self) -> None:
        self.runs: dict[
            str, dict[str, dict[str, dict[str, Any]]]
        ] = {}  # uid -> stream -> key -> seq_num: value
        self.frames: dict[str, int] = {}  # uid -> images
        self._stream: dict[str, tuple[str, str]] = {}  # descriptor -> uid, stream
        self._images: set[str] = set()

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Take one document."""
        if name == "start":
            self.runs[doc["uid"]] = {}
        elif name == "descriptor":
            self._stream[doc["uid"]] = doc["run_start"], doc["name"]
            self.runs[doc["run_start"]].setdefault(doc["name"], {})
        elif name == "event":
            uid, stream = self._stream[doc["descriptor"]]
            for key, value in doc["data"].items():
                self.runs[uid][stream].setdefault(key, {})[doc["seq_num"]] = value
        elif name == "stream_resource" and doc["data_key"] == "camera":
            self._images.add(doc["uid"])
        elif name == "stream_datum" and doc["stream_resource"] in self._images:
            uid, _ = self._stream[doc["descriptor"]]
            indices = doc["indices"]
            self.frames[uid] = self.frames.get(uid, 0) + indices["stop"] - indices["start"]


class Bench:
    """Two motors, two counters and a camera that writes HDF5."""

    def __init__(self, files: Path) -> None:
        self.x, self.y = SynAxis(name="x", value=0.0), SynAxis(name="y", value=0.0)
        self.peak = SynGauss("peak", self.x, "x", center=0, Imax=100, sigma=1)
        self.spot = Syn2DGauss("spot", self.x, "x", self.y, "y", center=(0, 0), Imax=100)
        files.mkdir(parents=True, exist_ok=True)
        beam = PatternGenerator()
        beam.set_x(1.5)
        beam.set_y(1.7)  # a bright spot of its pattern
        paths = StaticPathProvider(UUIDFilenameProvider(), files)
        with init_devices():
            self.camera = SimBlobDetector(paths, beam, name="camera")

    def fly(self) -> Plan:
        """Let the camera take its images by itself and collect references to them while it does."""

        @bpp.stage_decorator([self.camera])
        @bpp.run_decorator(md={"plan_name": "fly"})
        def flight() -> Plan:
            exposure = TriggerInfo(number_of_events=FRAMES, livetime=0.04, deadtime=0.001)
            yield from bps.prepare(self.camera, exposure, wait=True)
            yield from bps.declare_stream(self.camera, name="primary", collect=True)
            yield from bps.kickoff(self.camera, wait=True)
            yield from bps.complete(self.camera, wait=False, group="flight")
            over = False
            while not over:
                over = yield from bps.wait("flight", timeout=0.05, error_on_timeout=False)
                yield from bps.collect(self.camera, name="primary", return_payload=False)

        yield from flight()

    def two_at_once(self) -> Plan:
        """Open a second run inside the first; their documents interleave."""

        @bpp.set_run_key_decorator("inner")
        @bpp.run_decorator(md={"plan_name": "inner"})
        def inner() -> Plan:
            yield from bps.trigger_and_read([self.peak])

        @bpp.set_run_key_decorator("outer")
        @bpp.run_decorator(md={"plan_name": "outer"})
        def outer() -> Plan:
            yield from bps.trigger_and_read([self.peak])
            yield from inner()
            yield from bps.trigger_and_read([self.peak])

        yield from outer()

    def breaks(self) -> Plan:
        """Fail after two events."""

        @bpp.run_decorator(md={"plan_name": "breaks"})
        def broken() -> Plan:
            for position in (0, 1):
                yield from bps.mv(self.x, position)
                yield from bps.trigger_and_read([self.peak, self.x])
            raise RuntimeError("the shutter is stuck")

        yield from broken()

    def pauses(self) -> Plan:
        """Pause after two events, for someone to decide."""

        @bpp.run_decorator(md={"plan_name": "pauses"})
        def paused() -> Plan:
            for position in (0, 1, 2):
                if position == 2:
                    yield from bps.pause()
                yield from bps.mv(self.x, position)
                yield from bps.trigger_and_read([self.peak, self.x])

        yield from paused()


def measure(engine: RunEngine, bench: Bench) -> None:
    """Run every plan; two of them do not end well."""
    engine(bp.count([bench.peak], 5))
    engine(bp.scan([bench.peak], bench.x, -2, 2, 21))
    with_baseline = bpp.baseline_decorator([bench.x, bench.y])(bp.grid_scan)
    engine(with_baseline([bench.spot], bench.x, -1, 1, 5, bench.y, -1, 1, 4))
    engine(bp.scan([bench.camera, bench.peak], bench.x, -1, 1, 5))
    engine(bench.fly())
    engine(bench.two_at_once())
    try:
        engine(bench.breaks())
    except RuntimeError as error:
        print("a plan failed:", error)
    try:
        engine(bench.pauses())
    except RunEngineInterrupted:
        engine.abort("the sample fell off")


def check(run: StoredRun, seen: dict[str, dict[str, dict[str, Any]]], frames: int) -> str:
    """Compare a stored run with what was seen of it, value for value, and tell what it has."""
    words = []
    assert set(run.streams) == set(seen)
    for name, columns in seen.items():
        table = run[name].read() if columns else None
        for key, values in columns.items():
            assert table is not None
            stored = dict(zip(table["seq_num"].to_pylist(), table[key].to_pylist(), strict=True))
            assert stored == values, (name, key)
        if columns:
            words.append(f"{name} {len(next(iter(columns.values())))}")
    if frames:
        images = run["primary"].read_external("camera")
        assert len(images) == frames
        words.append(
            f"images {images.shape[0]} × {images.shape[-1]}×{images.shape[-2]} {np.dtype(images.dtype)}"
        )
    return ", ".join(words)


def tell(client: gapless.Client, seen: Seen) -> None:
    """Print the runs as they are in the store, each compared with what was seen."""
    print(f"{'sequence':<25}{'plan':<11}{'outcome':<11}what it holds")
    for name in sorted(client.list_sequences()):
        run = StoredRun(client, name)
        uid = run.start["uid"]
        if uid in seen.runs:
            words = check(run, seen.runs[uid], seen.frames.get(uid, 0))
            print(f"{name:<25}{run.start['plan_name']:<11}{run.outcome:<11}{words}")


def main(store: Path) -> None:
    """Subscribe, run the plans, close, and compare the store with what was seen."""
    logging.getLogger("bluesky").setLevel(
        logging.CRITICAL
    )  # or it prints the traceback of the plan that fails
    engine, seen = RunEngine(), Seen()
    writer = Writer(store, name="{scan_id:04d}-{plan_name}-{uid8}")
    engine.subscribe(writer)
    engine.subscribe(seen)
    try:
        measure(engine, Bench(store.absolute().with_name(f"{store.name}-camera")))
    finally:
        writer.close()
    with gapless.connect(store) as client:
        tell(client, seen)
    print(f"{len(seen.runs)} runs, every value is the one that was seen")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder) / "store")
