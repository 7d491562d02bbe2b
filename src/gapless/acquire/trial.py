"""Trying a rig's devices without a run: open, ask what answers, read one record, close."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from gapless.acquire.adapter import Adapter, StartContext
from gapless.acquire.clock import HostClock, SimulatedClock
from gapless.acquire.emission import DeviceEvent, SourceRecord
from gapless.acquire.resource import ResourceLock
from gapless.acquire.safety import silence_deadline_s, steady_rate_hz
from gapless.acquire.worker import Worker
from gapless.errors import DeviceFault, GaplessError

if TYPE_CHECKING:
    from gapless.acquire.rig import Rig

_SNAPSHOT_S = 5.0
_RECORD_S = 10.0
_STOP_S = 10.0
_TROUBLE = ("warning", "error")


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
    """Try one device after the other; nothing is recorded and nothing is commanded."""
    trials = []
    for name, adapter in rig.make_adapters().items():
        trial = Trial(name, rig.devices[name].config.adapter, adapter.resource_id)
        trials.append(trial)
        try:
            _try(rig, adapter, trial)
        except BaseException as error:
            if not isinstance(error, Exception):
                raise
            trial.problem = _words(error)
    return trials


def _words(error: BaseException) -> str:
    if not isinstance(error, GaplessError):
        return f"{type(error).__name__}: {error}"
    return error.message if error.found is None else f"{error.message}: {error.found}"


def _try(rig: Rig, adapter: Adapter, trial: Trial) -> None:
    lock = ResourceLock.take(adapter.resource_id)
    worker = Worker(adapter.resource_id, {adapter.name: adapter})
    try:
        worker.open()
        try:
            snapshot = worker.call(adapter.snapshot(), _SNAPSHOT_S, "tell what it is")
            trial.about = ", ".join(f"{key} {value}" for key, value in snapshot.facts.items())
            trial.first_record = worker.call(
                _first_record(rig, adapter), _RECORD_S + _STOP_S, "give a record and stop"
            )
        finally:
            worker.close()
    finally:
        if lock is not None:
            lock.release()


async def _first_record(rig: Rig, adapter: Adapter) -> str:
    """Return the first record in words; DeviceFault when there is none before a run would miss it."""
    deadline_s = silence_deadline_s(rig.devices[adapter.name].config, steady_rate_hz(adapter))
    clock = SimulatedClock() if rig.run.clock == "simulated" else HostClock()
    await adapter.start(StartContext(clock, "trial", recording_enabled=False))
    stream = adapter.stream()
    try:
        async with asyncio.timeout(_RECORD_S if deadline_s is None else min(deadline_s, _RECORD_S)):
            async for emission in stream:
                if isinstance(emission, SourceRecord):
                    fields = [field.name for field in adapter.fields()]
                    return ", ".join(f"{n} = {v}" for n, v in zip(fields, emission.values, strict=False))
                if isinstance(emission, DeviceEvent) and emission.severity in _TROUBLE:
                    raise DeviceFault(emission.message)
                if isinstance(emission, DeviceEvent):
                    return emission.message
    except TimeoutError as error:
        if deadline_s is None or deadline_s > _RECORD_S:
            return f"nothing within {_RECORD_S:g} s, and it may be silent for longer"
        raise DeviceFault(f"no record within {deadline_s:g} s, its silence deadline") from error
    finally:
        await adapter.stop()
        closing = cast("Any", stream)
        if hasattr(closing, "aclose"):
            await closing.aclose()
    raise DeviceFault("the stream ended without a record")
