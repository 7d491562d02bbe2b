"""Trying a rig's devices without a run: open, ask what answers, read one record, close."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from gapless.acquire.adapter import Adapter, StartContext
from gapless.acquire.clock import HostClock, SimulatedClock
from gapless.acquire.emission import SourceRecord
from gapless.acquire.pool import group_by_resource
from gapless.acquire.resource import ResourceLock
from gapless.acquire.worker import Worker
from gapless.errors import GaplessError

if TYPE_CHECKING:
    from gapless.acquire.rig import Rig

_RECORD_S = 5.0


@dataclass
class Trial:
    """What one device did; ``problem`` is empty when it answered."""

    device: str
    adapter: str
    resource: str
    problem: str = ""
    about: str = ""
    first_record: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the trial as JSON values."""
        return asdict(self)


def try_devices(rig: Rig) -> list[Trial]:
    """Try every device, those on one resource in one go; nothing is recorded and nothing is commanded."""
    trials = []
    for resource, adapters in group_by_resource(rig.make_adapters()).items():
        for name, adapter in adapters.items():
            trial = Trial(name, rig.devices[name].config.adapter, resource)
            trials.append(trial)
            try:
                _try(rig, adapter, trial)
            except (GaplessError, OSError, TimeoutError) as error:
                trial.problem = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
    return trials


def _try(rig: Rig, adapter: Adapter, trial: Trial) -> None:
    lock = ResourceLock.take(adapter.resource_id)
    worker = Worker(adapter.resource_id, {adapter.name: adapter})
    try:
        worker.open()
        snapshot = worker.call(adapter.snapshot(), _RECORD_S, "tell what it is")
        trial.about = ", ".join(f"{key} {value}" for key, value in snapshot.facts.items())
        trial.first_record = worker.call(_first_record(rig, adapter), 2 * _RECORD_S, "give a record")
    finally:
        worker.close()
        if lock is not None:
            lock.release()


async def _first_record(rig: Rig, adapter: Adapter) -> str:
    clock = SimulatedClock() if rig.run.clock == "simulated" else HostClock()
    await adapter.start(StartContext(clock, "trial", recording_enabled=False))
    stream = adapter.stream()
    try:
        async with asyncio.timeout(_RECORD_S):
            async for emission in stream:
                if isinstance(emission, SourceRecord):
                    fields = [field.name for field in adapter.fields()]
                    return ", ".join(f"{n} = {v}" for n, v in zip(fields, emission.values, strict=False))
    except TimeoutError:
        return f"no record within {_RECORD_S:g} s"
    finally:
        await adapter.stop()
        closing = cast("Any", stream)
        if hasattr(closing, "aclose"):
            await closing.aclose()
    return "the stream ended without a record"
