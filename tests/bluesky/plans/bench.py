"""Simulated devices of ophyd and ophyd-async, made anew for each plan."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bluesky.protocols import Reading
from event_model import DataKey
from ophyd import Signal
from ophyd.sim import DirectImage, MockFlyer, Syn2DGauss, SynAxis, SynGauss, SynSignal, SynSignalWithRegistry
from ophyd_async.core import (
    Array1D,
    StandardReadable,
    StaticPathProvider,
    StrictEnum,
    UUIDFilenameProvider,
    init_devices,
    soft_signal_rw,
)
from ophyd_async.sim import PatternGenerator, SimBlobDetector, SimMotor, SimPointDetector


class Filter(StrictEnum):
    """What is in the beam."""

    NOTHING = "nothing"
    COPPER = "copper"


class Everything(StandardReadable):
    """One signal of each type that ophyd-async knows."""

    def __init__(self, name: str) -> None:
        with self.add_children_as_readables():
            self.flag = soft_signal_rw(bool, initial_value=True)
            self.count = soft_signal_rw(int, 7)
            self.level = soft_signal_rw(float, 0.25, units="V", precision=3)
            self.word = soft_signal_rw(str, "naïve ☃")
            self.filter = soft_signal_rw(Filter, Filter.COPPER)
            self.trace = soft_signal_rw(Array1D[np.float64], np.array([1.0, np.nan, 3.0]))
            self.counts = soft_signal_rw(Array1D[np.uint16], np.array([1, 65535], np.uint16))
        super().__init__(name=name)


class Bench:
    """The devices; files of detectors go to ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.x, self.y = SynAxis(name="x", value=0.0), SynAxis(name="y", value=0.0)
        self.drifting = SynAxis(name="drifting", value=0)  # said to be an integer, holds numbers later
        self.peak = SynGauss("peak", self.x, "x", center=0, Imax=1, sigma=1)
        self.spot = Syn2DGauss("spot", self.x, "x", self.y, "y", center=(0, 0), Imax=1)
        self.picture = DirectImage(func=lambda: np.arange(12.0).reshape(3, 4), name="picture")
        self.switch = Signal(name="switch", value=False)
        counted = itertools.count()
        self.tick = SynSignal(name="tick", func=lambda: next(counted))
        self.flyer = MockFlyer("flyer", self.peak, self.x, -1, 1, 7)
        files = folder / "files"
        files.mkdir()
        self.filed = SynSignalWithRegistry(
            func=lambda: np.ones((10, 10)), name="filed", labels={"detectors"}, save_path=str(files)
        )
        paths = StaticPathProvider(UUIDFilenameProvider(), files)
        make_generator: Any = PatternGenerator  # without types
        generator = make_generator(sleep=_soon)
        with init_devices():
            self.stage = SimMotor(name="stage")
            self.everything = Everything(name="everything")
            self.points = SimPointDetector(generator, name="points")
            self.camera = SimBlobDetector(paths, generator, name="camera")


async def _soon(_: float) -> None:
    """Expose for 4 ms, whatever was asked for."""
    await asyncio.sleep(0.004)


class PagingFlyer:
    """A flyer of two streams that hands over whole pages."""

    name = "paging"
    parent = None

    def kickoff(self) -> Any:
        """Begin; there is nothing to wait for."""
        return _done()

    def complete(self) -> Any:
        """Have taken everything."""
        return _done()

    def describe_collect(self) -> dict[str, dict[str, DataKey]]:
        """Tell the columns of both streams."""
        key = DataKey(source="SIM:paging", dtype="number", shape=[], units="mm")
        return {"left": {"left": key}, "right": {"right": key}}

    def collect_pages(self) -> Iterator[dict[str, Any]]:
        """Hand over three pages of each stream."""
        for page, name in itertools.product(range(3), ("left", "right")):
            times = [1_700_000_000.0 + page * 10 + n for n in range(10)]
            values = [float(page * 10 + n) for n in range(10)]
            yield {"time": times, "data": {name: values}, "timestamps": {name: times}}

    def read_configuration(self) -> dict[str, Reading[Any]]:
        """Have no configuration."""
        return {}

    def describe_configuration(self) -> dict[str, DataKey]:
        """Have no configuration."""
        return {}


def _done() -> Any:
    from ophyd.status import Status

    status = Status()
    status.set_finished()
    return status
