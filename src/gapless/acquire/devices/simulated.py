"""A device that is not there: signals at a rate, and every fault a real one can have, on request."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from gapless.acquire.adapter import DeviceField, StartContext
from gapless.acquire.clock import SimulatedClock
from gapless.acquire.device_config import DeviceConfig, Strict
from gapless.acquire.devices.signal import Constant, Follow, Generator, Signal
from gapless.acquire.emission import Emission, GapReport
from gapless.acquire.kit import Device, Handler
from gapless.errors import UsageError

_GARBAGE = (math.nan, math.inf, None)


class SimulatedField(Strict):
    """One field and its signal."""

    name: str
    unit: str | None = None
    signal: Signal = Constant()
    description: str = ""


class SimulatedConfig(DeviceConfig):
    """What is simulated, and what is wrong with it.

    ``samples``: how many records until the stream ends. ``jitter_s``: each record is late by up to that.
    ``drop_every``, ``drop_probability``: records that the device loses and counts. ``burst``: so many
    records at once, at the same mean rate. ``drift_ppm``: its clock is fast by that. ``garbage_every``: every
    so many records hold NaN, infinity or nothing. ``hang_after_s``: it gives nothing any more and answers no
    command. ``die_after_s``: its stream breaks. All random choices come from ``seed``.
    """

    rate_hz: float = Field(default=10.0, gt=0, le=100_000)
    fields: tuple[SimulatedField, ...] = Field(min_length=1)
    samples: int | None = Field(default=None, gt=0)
    start_ns: int = 1_700_000_000_000_000_000
    seed: int = 0
    jitter_s: float = Field(default=0.0, ge=0)
    drop_every: int | None = Field(default=None, ge=2)
    drop_probability: float = Field(default=0.0, ge=0, lt=1)
    burst: int = Field(default=1, ge=1)
    drift_ppm: float = 0.0
    garbage_every: int | None = Field(default=None, ge=1)
    hang_after_s: float | None = Field(default=None, ge=0)
    die_after_s: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _fields_are_there(self) -> Self:
        names = [item.name for item in self.fields]
        if len(set(names)) < len(names):
            raise ValueError("two fields have one name")
        for at, item in enumerate(self.fields):
            if isinstance(item.signal, Follow) and item.signal.field not in names[:at]:
                raise ValueError(f"{item.name} follows {item.signal.field}, which is no field before it")
        return self


class SimulatedDevice(Device):
    """Gives records of its signals, in real time or, in a run with a simulated clock, as fast as they are taken.

    With a simulated clock the same configuration gives the same records, stamps included, every time.
    Commands: ``set(field, value)``, ``hang()``, ``die()``.
    """

    family = "simulated"
    Config: ClassVar[type[DeviceConfig]] = SimulatedConfig
    keeps_simulated_time = True

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self._generators: dict[str, Generator] = {}
        self._hangs = self._dies = False

    @property
    def resource_id(self) -> str:
        """Nothing that anybody else could hold."""
        return f"sim:{self.name}"

    @property
    def expected_rate_hz(self) -> float:
        """The configured rate."""
        return float(self.config.rate_hz)

    def fields(self) -> Sequence[DeviceField]:
        """Return the simulated fields."""
        return [DeviceField(f.name, "float64", f.unit, f.description) for f in self.config.fields]

    async def connect(self) -> None:
        """Nothing is opened."""

    async def disconnect(self) -> None:
        """Nothing is closed."""

    async def start(self, context: StartContext) -> None:
        """Begin at the signals' start."""
        await super().start(context)
        seed = f"{self.config.seed}:{self.name}"
        self._generators = {f.name: f.signal.generator(f"{seed}:{f.name}") for f in self.config.fields}
        self._dice = random.Random(seed)
        self._hangs = self._dies = False
        if isinstance(context.clock, SimulatedClock):
            context.clock.advance_to(self.config.start_ns)

    def handlers(self) -> Mapping[str, Handler]:
        """Return the commands."""
        return {"set": self._set, "hang": self._hang, "die": self._die}

    async def transact(self, obey: Callable[[], Awaitable[Any]]) -> Any:
        """Let a command be obeyed; one that hangs leaves it to the command's own deadline."""
        if self._hangs:
            await asyncio.Event().wait()
        return await super().transact(obey)

    def check_arguments(self, command: str, arguments: Mapping[str, Any]) -> None:
        """Raise UsageError for a field that is not there."""
        names = [item.name for item in self.config.fields]
        if command == "set" and arguments["field"] not in names:
            raise UsageError(f"{self.name} has no field {arguments['field']!r}; it has: {', '.join(names)}")

    def choices(self, command: str) -> Mapping[str, Sequence[str]]:
        """Return the fields that can be set."""
        del command
        return {"field": [item.name for item in self.config.fields]}

    async def _set(self, field: str, value: float) -> float:
        self.check_arguments("set", {"field": field})
        self._generators[field] = Constant(value=value).generator("")
        return float(value)

    async def _hang(self) -> None:
        self._hangs = True

    async def _die(self) -> None:
        self._dies = True

    async def stream(self) -> AsyncIterator[Emission]:
        """Yield records until stopped, at the end of ``samples``, or as the faults say."""
        config, clock = self.config, self.context.clock
        began_ns = clock.now_ns()
        last_s = 0.0
        for number in itertools.count() if config.samples is None else range(config.samples):
            at_s = number / config.rate_hz
            due_s = (number - number % config.burst) / config.rate_hz / (1 + config.drift_ppm * 1e-6)
            if await self._wait(began_ns, due_s):
                return
            if self._dies or (config.die_after_s is not None and at_s >= config.die_after_s):
                raise RuntimeError(f"{self.name} died, as it was told to")
            if self._hangs or (config.hang_after_s is not None and at_s >= config.hang_after_s):
                self._hangs = True
                await self._stopping.wait()
                return
            stamp_ns = self._stamp(at_s)
            values = self._garbled(number, self._values(at_s, at_s - last_s))
            last_s = at_s
            if self._is_dropped(number):
                yield GapReport(self.name, "device_dropped", stamp_ns, stamp_ns, records=1)
                continue
            for emission in self.record(values, stamp_ns):
                yield emission

    async def _wait(self, began_ns: int, due_s: float) -> bool:
        """Wait until a record is due; return whether stopped. Simulated time needs no waiting."""
        clock = self.context.clock
        if isinstance(clock, SimulatedClock):
            return self.stopping
        late_s = self._dice.uniform(0.0, self.config.jitter_s) if self.config.jitter_s else 0.0
        return await self.pause(due_s + late_s - (clock.now_ns() - began_ns) / 1e9)

    def _stamp(self, at_s: float) -> int:
        clock = self.context.clock
        if not isinstance(clock, SimulatedClock):
            return clock.now_ns()
        late_s = self._dice.uniform(0.0, self.config.jitter_s) if self.config.jitter_s else 0.0
        stamp_ns = self.config.start_ns + round((at_s + late_s) * 1e9)
        clock.advance_to(stamp_ns)
        return int(stamp_ns)

    def _values(self, at_s: float, step_s: float) -> list[float]:
        values: dict[str, float] = {}
        for name, generate in self._generators.items():
            values[name] = generate(at_s, step_s, values)
        return list(values.values())

    def _garbled(self, number: int, values: list[float]) -> list[float | None]:
        every = self.config.garbage_every
        if every is None or number % every != every - 1:
            return [*values]
        return [_GARBAGE[(number + n) % len(_GARBAGE)] for n in range(len(values))]

    def _is_dropped(self, number: int) -> bool:
        config = self.config
        if config.drop_every is not None and number % config.drop_every == config.drop_every - 1:
            return True
        return bool(config.drop_probability) and self._dice.random() < config.drop_probability
