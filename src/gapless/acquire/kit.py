"""The kit that adapters are made of: a subclass connects, reads and obeys; the kit does the rest.

The rest is pacing, stamping at the read site, numbering, calibrating through the binder, keeping
transactions whole on a shared bus, reconnecting, and saying in gap reports and events what was missed.
"""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, TypeVar

import msgspec

from gapless.acquire.adapter import Bus, DeviceField, DeviceSnapshot, StartContext
from gapless.acquire.clock import SimulatedClock
from gapless.acquire.command import SAFE_STATE, Command, CommandResult, done, failed, refused
from gapless.acquire.device_config import DeviceConfig, PolledConfig
from gapless.acquire.emission import ABSENT, Absent, DeviceEvent, Emission, GapReport, SourceRecord
from gapless.acquire.parameter import Parameter
from gapless.errors import DeviceFault, DeviceUnreachable, UsageError

_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
#: What an adapter's own code may raise for a device that misbehaves; anything else is a defect.
TROUBLE = (DeviceFault, DeviceUnreachable, OSError, TimeoutError, asyncio.IncompleteReadError)

Handler = Callable[..., Awaitable[Any]]
T = TypeVar("T")


class Device(ABC):
    """One device. Subclasses give ``family``, ``Config``, a resource, fields and a connection."""

    family: ClassVar[str]
    Config: ClassVar[type[DeviceConfig]] = DeviceConfig

    def __init__(self, name: str, config: Any) -> None:
        self.name = name
        self.config = config
        self.bus = Bus()
        self.is_open = False
        self._opening = asyncio.Lock()
        self._context: StartContext | None = None
        self._stopping = asyncio.Event()
        self._limit: asyncio.Timeout | None = None
        self._n = 0
        self._trouble = _Trouble(self)

    # -- what a subclass says ------------------------------------------------------------------

    @property
    @abstractmethod
    def resource_id(self) -> str:
        """What the device sits on, as ``scheme:body``; known before anything is opened."""

    @property
    def shares_resource(self) -> bool:
        """Whether others may use the same resource from the same thread (a bus)."""
        return False

    @property
    @abstractmethod
    def expected_rate_hz(self) -> float:
        """How many readings a second to expect."""

    @abstractmethod
    def fields(self) -> Sequence[DeviceField]:
        """Return the columns of the native records."""

    def channel_fields(self) -> Sequence[DeviceField]:
        """Return the fields that channels bind to: those of the records."""
        return self.fields()

    @abstractmethod
    async def connect(self) -> None:
        """Open the connection; raise DeviceUnreachable or one of :data:`TROUBLE`."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Close the connection; must not raise for one that is broken already."""

    def handlers(self) -> Mapping[str, Handler]:
        """Return the device's commands by name: coroutines whose parameters are the arguments."""
        return {}

    def check_arguments(self, command: str, arguments: Mapping[str, Any]) -> None:
        """Raise UsageError for arguments that the device would refuse in any state; nothing is sent."""
        del command, arguments

    def takes(self, command: str) -> list[Parameter]:
        """Return what a known command takes: its handler's parameters, with what :meth:`choices` knows of them."""
        choices = self.choices(command)
        known = inspect.signature(self.handlers()[command]).parameters.values()
        return [replace(Parameter.of(one), choices=tuple(choices.get(one.name, ()))) for one in known]

    def choices(self, command: str) -> Mapping[str, Sequence[str]]:
        """Return, by parameter, values that a command is known to take."""
        del command
        return {}

    def resolved(self, command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments as the device takes them: defaults filled in, names of one thing made one."""
        handler = self.handlers().get(command)
        known = () if handler is None else inspect.signature(handler).parameters.values()
        return {**{p.name: p.default for p in known if p.default is not p.empty}, **arguments}

    async def facts(self) -> dict[str, Any]:
        """Return what the device says of itself, as JSON values."""
        return {}

    @abstractmethod
    def stream(self) -> AsyncIterator[Emission]:
        """Yield emissions until stopped."""

    # -- the connection ------------------------------------------------------------------------

    def share(self, bus: Bus) -> None:
        """Use the resource's bus from now on."""
        self.bus = bus
        self._opening = asyncio.Lock()  # a lock belongs to the loop it was first waited on

    async def open(self) -> None:
        """Connect within ``open_timeout_s``, or raise DeviceUnreachable."""
        try:
            async with asyncio.timeout(self.config.open_timeout_s), self._opening:
                if self.is_open:  # a safe-state program and a stream that reconnects may meet here
                    return
                await self.connect()
                self.is_open = True
        except DeviceUnreachable:
            raise
        except TROUBLE as error:
            raise DeviceUnreachable(
                f"device {self.name!r} did not answer when it was opened",
                found=_words(error),
                expected=f"a connection to {self.resource_id} within {self.config.open_timeout_s:g} s",
            ) from error

    async def close(self) -> None:
        """Disconnect; closing twice changes nothing."""
        if self.is_open:
            self.is_open = False
            await self.disconnect()

    async def reconnect(self) -> None:
        """Close what is left of the connection and open it again."""
        await self.close()
        await self.open()

    # -- one run -------------------------------------------------------------------------------

    async def start(self, context: StartContext) -> None:
        """Begin sampling for one run, or go on with it: in one run, no two records have one number."""
        if context is not self._context:
            self._n = 0
        self._context = context
        self._stopping.clear()
        self._trouble = _Trouble(self)

    async def stop(self) -> None:
        """End sampling; ``stream`` returns when it has yielded what is left."""
        self._stopping.set()
        limit = self._limit
        if limit is not None and not limit.expired():
            soon_s = asyncio.get_running_loop().time() + self.config.read_timeout_s
            limit.reschedule(min(soon_s, limit.when() or soon_s))

    async def within(self, limit_s: float, work: Callable[[], Awaitable[T]]) -> T:
        """Do a piece of the stream's work within ``limit_s``; a stop leaves it at most ``read_timeout_s``."""
        if self.stopping:
            limit_s = min(limit_s, self.config.read_timeout_s)
        try:
            async with asyncio.timeout(limit_s) as self._limit:
                return await work()
        finally:
            self._limit = None

    @property
    def context(self) -> StartContext:
        """What the run gave at its start; raises UsageError outside a run."""
        if self._context is None:
            raise UsageError("a device streams only between start and stop", found=self.name)
        return self._context

    @property
    def stopping(self) -> bool:
        """Whether the run asked the device to stop."""
        return self._stopping.is_set()

    async def pause(self, seconds: float) -> bool:
        """Wait, or until stopped; return whether stopped."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return self.stopping
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    def record(self, values: Sequence[Any], timestamp_ns: int) -> list[Emission]:
        """Return the next record and the samples made from it; a value that is ABSENT becomes None."""
        context = self.context
        binder = context.binder
        count = binder.sample_count if binder is not None else 0
        record = SourceRecord(
            self.family, self.name, self._n, timestamp_ns, self._wall_ns(timestamp_ns), tuple(values), count
        )
        self._n += 1
        samples = binder.bind(record) if binder is not None else []
        if Absent in map(type, record.values):
            known = tuple(None if value is ABSENT else value for value in record.values)
            record = msgspec.structs.replace(record, values=known, sample_count=len(samples))
        return [record, *samples]

    def _wall_ns(self, timestamp_ns: int) -> int:
        """Return the wall clock; in simulated time, which others move as well, the record's own stamp."""
        clock = self.context.clock
        return timestamp_ns if isinstance(clock, SimulatedClock) else clock.utc_ns()

    def event(self, severity: str, kind: str, message: str, **data: Any) -> DeviceEvent:
        """Return an event of this device, stamped now."""
        return DeviceEvent(self.name, self.context.clock.now_ns(), severity, kind, message, data or None)

    # -- commands ------------------------------------------------------------------------------

    async def command(self, command: Command) -> CommandResult:
        """Obey one command while no other transaction is under way on the bus."""
        if not command.authorized:
            return refused(command, "neither the run nor a person stands behind the command")
        handler = self.handlers().get(command.name)
        if handler is None:
            known = ", ".join(sorted(self.handlers())) or "none"
            return refused(command, f"{self.name} knows no command {command.name!r}; it knows: {known}")
        try:
            bound = inspect.signature(handler).bind(**command.arguments)
        except TypeError as error:
            return refused(command, f"{command.name}: {error}")
        epoch = self.bus.epoch
        try:
            async with asyncio.timeout(command.timeout_s), self.bus.lock:
                if command.authorization_id != SAFE_STATE and self.bus.is_shut(epoch):
                    return refused(command, "the devices are in their safe state")
                value = await self.transact(partial(handler, *bound.args, **bound.kwargs))
        except UsageError as error:
            return refused(command, error.message)
        except TROUBLE as error:
            return failed(command, _words(error))
        return done(command, value)

    async def transact(self, obey: Callable[[], Awaitable[Any]]) -> Any:
        """Let a command be obeyed; called while the bus is this device's."""
        return await obey()

    async def snapshot(self) -> DeviceSnapshot:
        """Return what answered."""
        async with asyncio.timeout(self.config.read_timeout_s), self.bus.lock:
            return DeviceSnapshot(self.name, self.family, await self.facts())


class PolledDevice(Device):
    """A device that is asked at a steady rate. A subclass gives :meth:`read`.

    The stamp of a record is the middle between request and answer. Ticks that a slow answer misses are
    left out, never caught up.
    """

    Config: ClassVar[type[DeviceConfig]] = PolledConfig
    #: What the last disconnection failed with that took too long; the connection counts as closed.
    drop_error: BaseException | None = None

    @property
    def expected_rate_hz(self) -> float:
        """The configured rate."""
        return float(self.config.rate_hz)

    @abstractmethod
    async def read(self) -> Sequence[Any]:
        """Return one record's values in the order of the fields; raise one of :data:`TROUBLE`."""

    async def stream(self) -> AsyncIterator[Emission]:
        """Poll until stopped; a failed poll is reported and the connection made again."""
        clock = self.context.clock
        loop = asyncio.get_running_loop()
        period_s = 1.0 / self.expected_rate_hz
        due_s = loop.time()
        while not await self.pause(due_s - loop.time()):
            began_ns = clock.now_ns()
            try:
                async with self.bus.lock:
                    began_ns = clock.now_ns()  # a neighbour's turn on the bus is not this device's slowness
                    values = await self._poll()
            except TROUBLE as error:
                for emission in self._trouble.failed(error, began_ns):
                    yield emission
                due_s = loop.time() + self._trouble.pause_s
                continue
            ended_ns = clock.now_ns()
            for emission in self._trouble.ended(began_ns):
                yield emission
            for emission in self.record(values, (began_ns + ended_ns) // 2):
                yield emission
            due_s = max(due_s + period_s, loop.time() - period_s)
        for emission in self._trouble.ended(clock.now_ns(), back=False):
            yield emission

    async def _poll(self) -> Sequence[Any]:
        """Read within ``read_timeout_s``; a connection that is not there is made before that.

        It may take ``open_timeout_s``; joining one that neighbours use is a transaction like a read.
        """
        config = self.config
        try:
            if not self.is_open:
                await self.within(
                    config.read_timeout_s if self.bus.users else config.open_timeout_s, self.open
                )
            return await self.within(config.read_timeout_s, self.read)
        except BaseException:
            await self._drop()
            raise

    async def transact(self, obey: Callable[[], Awaitable[Any]]) -> Any:
        """Let a command be obeyed, on a new connection if there is none.

        One on which the answer may still come is dropped; a DeviceFault keeps it: the device has answered.
        """
        try:
            if not self.is_open:
                await self.open()
            return await super().transact(obey)
        except (DeviceFault, UsageError):
            raise
        except BaseException:
            await self._drop()
            raise

    async def _recover(self) -> None:
        async with self.bus.lock:
            await self._drop()

    async def _drop(self) -> None:
        """Drop the connection, so that half an answer cannot be taken for the next one.

        Called with the bus held, which a disconnection that hangs keeps no longer than ``read_timeout_s``.
        """
        try:
            async with asyncio.timeout(self.config.read_timeout_s):
                await self.close()
        except TimeoutError as error:
            self.drop_error = error


class _Trouble:
    """The failures of one device in a row, told as one event, one gap and one event of its return."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._began_ns = 0
        self._cause = ""
        self.count = 0

    @property
    def pause_s(self) -> float:
        """How long to wait before the next try."""
        return _BACKOFF_S[min(self.count, len(_BACKOFF_S)) - 1] if self.count else 0.0

    def failed(self, error: BaseException, began_ns: int) -> Iterator[Emission]:
        """Yield the event of the first failure; count the others."""
        self.count += 1
        if self.count == 1:
            self._began_ns, self._cause = began_ns, _words(error)
            yield self._device.event(
                "warning", "device_lost", f"{self._device.name} failed: {self._cause}", cause=self._cause
            )

    def ended(self, now_ns: int, *, back: bool = True, counts: bool = True) -> Iterator[Emission]:
        """Yield the gap of the failures so far, if there were any; ``counts``: each was to give a record."""
        if not self.count:
            return
        count, self.count = self.count, 0
        records = count if counts else None
        yield GapReport(self._device.name, f"device: {self._cause}", self._began_ns, now_ns, records=records)
        if back:
            yield self._device.event(
                "info", "device_back", f"{self._device.name} answers again", failed_polls=count
            )


def _words(error: BaseException) -> str:
    text = getattr(error, "message", None) or str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


__all__ = ["TROUBLE", "Device", "Handler", "PolledDevice"]
