"""One thread and one event loop for each hardware resource: nothing else ever touches the devices on it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping
from concurrent.futures import Future
from enum import StrEnum
from typing import Any, TypeVar

from gapless.acquire.adapter import Adapter, Bus, StartContext
from gapless.acquire.command import SAFE_STATE, Command, CommandResult, refused
from gapless.acquire.emission import (
    ChannelSample,
    Crossing,
    DeviceEvent,
    Emission,
    Reading,
    SampleBlock,
    SourceRecord,
)
from gapless.errors import BridgeClosed, DeadlinePassed, DeviceFault, UsageError
from gapless.flow.bridge import ThreadBridge

T = TypeVar("T")
_BEAT_S = 0.05
_STOP_GRACE_S = 5.0
_TURN = 256  # crossings put before other tasks of the loop get a turn


class WorkerState(StrEnum):
    """Where a worker is; each edge that is not in :data:`EDGES` raises and changes nothing."""

    CLOSED = "closed"
    IDLE = "idle"  # devices open, no run
    ARMED = "armed"  # devices started
    SAMPLING = "sampling"
    DRAINING = "draining"


EDGES = {
    WorkerState.CLOSED: {WorkerState.IDLE},
    WorkerState.IDLE: {WorkerState.ARMED, WorkerState.CLOSED},
    WorkerState.ARMED: {WorkerState.SAMPLING, WorkerState.DRAINING},
    WorkerState.SAMPLING: {WorkerState.DRAINING},
    WorkerState.DRAINING: {WorkerState.IDLE},
}
_OBEYING = (WorkerState.IDLE, WorkerState.ARMED, WorkerState.SAMPLING)


class StreamEnded:
    """The last thing that crosses for a device: its stream is over, by ``error`` or at its own end."""

    def __init__(self, device: str, error: BaseException | None, timestamp_ns: int) -> None:
        self.device = device
        self.error = error
        self.timestamp_ns = timestamp_ns


class StreamBegan:
    """The first thing that crosses for a device that was opened and started anew after its stream broke."""

    def __init__(self, device: str, timestamp_ns: int) -> None:
        self.device = device
        self.timestamp_ns = timestamp_ns


WorkerBridge = ThreadBridge[Crossing | StreamBegan | StreamEnded]


class Worker:
    """Owns the devices of one resource. Methods may be called from any other thread."""

    def __init__(self, resource_id: str, adapters: Mapping[str, Adapter]) -> None:
        self.resource_id = resource_id
        self.adapters = dict(adapters)
        self.state = WorkerState.CLOSED
        self.bridge: WorkerBridge | None = None
        self.heartbeat_ns = 0
        self.is_barred = False  # the devices are in their safe state: nothing may switch them on again
        self.lag_max_ns = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._buses: dict[str, Bus] = {}  # of each device; devices that share have one
        self._epoch = 0
        self._undelivered: list[Crossing] = []
        self.unheard: BaseException | None = None
        self._contexts: Mapping[str, StartContext] = {}
        self._streams: dict[str, asyncio.Task[None]] = {}
        self._sources: dict[str, AsyncIterator[Emission]] = {}
        self._tries: set[asyncio.Task[None]] = set()  # to bring a device back
        self._shut: set[str] = set()  # devices that such a try closed and could not open
        self._inflight: set[asyncio.Task[CommandResult]] = set()

    @property
    def name(self) -> str:
        """A short name for threads and figures."""
        return "+".join(self.adapters)

    def _move(self, state: WorkerState) -> None:
        if state not in EDGES[self.state]:
            raise UsageError(
                f"the worker of {self.name} cannot go from {self.state} to {state}",
                expected=", ".join(EDGES[self.state]),
            )
        self.state = state

    # -- the loop ------------------------------------------------------------------------------

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the worker's loop."""
        loop = self._loop
        if loop is None or loop.is_closed():
            coroutine.close()
            raise UsageError(f"the worker of {self.name} is not open")
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    def call(self, coroutine: Coroutine[Any, Any, T], timeout_s: float, what: str) -> T:
        """Run a coroutine on the worker's loop and return its result, or raise DeadlinePassed."""
        future = self.submit(coroutine)
        try:
            return future.result(timeout_s)
        except TimeoutError as error:
            if future.done():
                raise
            future.cancel()
            raise DeadlinePassed(
                f"{self.name} did not {what} in time", expected=f"within {timeout_s:g} s"
            ) from error

    def _run_loop(self, ready: Future[asyncio.AbstractEventLoop]) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            self._ended = asyncio.Event()
            ready.set_result(loop)
            beat = loop.create_task(self._beat())
            await self._ended.wait()
            beat.cancel()

        asyncio.run(main())

    async def _beat(self) -> None:
        while True:
            began_ns = time.monotonic_ns()
            self.heartbeat_ns = began_ns
            await asyncio.sleep(_BEAT_S)
            self.lag_max_ns = max(self.lag_max_ns, time.monotonic_ns() - began_ns - int(_BEAT_S * 1e9))

    def open(self) -> None:
        """Start the thread and open every device; if one fails, close those that are open and raise."""
        if self.state is not WorkerState.CLOSED:
            return
        ready: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(
            target=self._run_loop, args=(ready,), name=f"gapless-worker-{self.name}", daemon=True
        )
        self._thread.start()
        self._loop = ready.result(10.0)
        try:
            timeout_s = 10.0 + sum(_open_timeout_s(adapter) for adapter in self.adapters.values())
            self.call(self._open_all(), timeout_s, "open")
        except BaseException:
            self._end_thread()
            raise
        self._move(WorkerState.IDLE)

    async def _open_all(self) -> None:
        shared = Bus()
        opened: list[Adapter] = []
        try:
            for name, adapter in self.adapters.items():
                self._buses[name] = bus = shared if adapter.shares_resource else Bus()
                adapter.share(bus)
                await adapter.open()
                opened.append(adapter)
        except BaseException:
            for adapter in reversed(opened):
                await adapter.close()
            raise

    def close(self) -> None:
        """Close every device and end the thread; what is in flight gets a moment to end."""
        if self.state is WorkerState.CLOSED:
            return
        if self.state is not WorkerState.IDLE:
            self.stop()
        self._move(WorkerState.CLOSED)
        try:
            self.call(self._close_all(), _STOP_GRACE_S, "close")
        finally:
            self._end_thread()

    async def _close_all(self) -> None:
        if self._inflight:
            await asyncio.wait(set(self._inflight), timeout=_STOP_GRACE_S / 2)
        closing = (adapter.close() for adapter in self.adapters.values())
        for outcome in await asyncio.gather(*closing, return_exceptions=True):
            if isinstance(outcome, BaseException):  # the others are closed all the same
                raise outcome

    def _end_thread(self) -> None:
        loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(self._ended.set)
            thread.join(_STOP_GRACE_S)
        self._loop = self._thread = None

    # -- one run -------------------------------------------------------------------------------

    def arm(self, contexts: Mapping[str, StartContext], bridge: WorkerBridge) -> None:
        """Start every device for a run whose emissions go to ``bridge``."""
        self._move(WorkerState.ARMED)
        self.bridge = bridge
        self._contexts = contexts
        opening_s = sum(_open_timeout_s(self.adapters[name]) for name in self._shut)
        self.call(self._start_all(), opening_s + _STOP_GRACE_S + len(self.adapters), "start")

    async def _start_all(self) -> None:
        for name, adapter in self.adapters.items():
            if name in self._shut:  # the last run ended while the device was away
                await adapter.open()
                self._shut.discard(name)
            await adapter.start(self._contexts[name])

    def begin(self) -> None:
        """Begin to sample: from now on the devices' emissions cross the bridge."""
        self._move(WorkerState.SAMPLING)
        self.call(self._begin_all(), _STOP_GRACE_S, "begin to sample")

    async def _begin_all(self) -> None:
        for name in self.adapters:
            self._begin_stream(name, None)

    def _begin_stream(self, name: str, began: StreamBegan | None) -> None:
        assert self.bridge is not None
        pump = self._pump(name, self.bridge, began)
        self._streams[name] = asyncio.get_running_loop().create_task(pump, name=f"stream-{name}")

    def stop(self, grace_s: float = _STOP_GRACE_S) -> None:
        """Stop the devices, let their streams yield what is left, then close the bridge.

        A stream that does not end within ``grace_s`` is cancelled, which an event tells.
        """
        if self.state not in (WorkerState.ARMED, WorkerState.SAMPLING):
            return
        self._move(WorkerState.DRAINING)
        try:
            self.call(self._stop_all(grace_s), 2 * grace_s + 2.0, "stop")
        finally:
            if self.bridge is not None:
                self.bridge.close()
            self.state = WorkerState.IDLE

    async def _stop_all(self, grace_s: float) -> None:
        loop = asyncio.get_running_loop()
        tries = self._cancel_tries()
        stops = [loop.create_task(adapter.stop()) for adapter in self.adapters.values()]
        _, hanging = await asyncio.wait({*stops, *tries}, timeout=grace_s)
        for stop in hanging:
            stop.cancel()
        await self._end_streams(grace_s)
        for stop in stops:
            if stop not in hanging:
                stop.result()
        if hanging:
            raise DeadlinePassed(f"a device of {self.name} did not stop", expected=f"within {grace_s:g} s")

    async def _end_streams(self, grace_s: float) -> None:
        if not self._streams:
            return
        _, late = await asyncio.wait(self._streams.values(), timeout=grace_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=grace_s)
            names = ", ".join(sorted(task.get_name().removeprefix("stream-") for task in late))
            event = DeviceEvent(
                names,
                time.time_ns(),
                "warning",
                "stream_cancelled",
                f"{names} did not stop within {grace_s:g} s",
            )
            self._undelivered.append(event)  # the bridge may be full, which is why the stream was late

    async def _pump(self, name: str, bridge: WorkerBridge, began: StreamBegan | None) -> None:
        error: BaseException | None = None
        try:
            if began is not None:
                await bridge.put(began)
            source = self._sources[name] = self.adapters[name].stream()
            await self._cross(name, source, bridge)
        except asyncio.CancelledError:
            raise
        except BaseException as problem:  # noqa: BLE001 - the task's boundary: the conductor decides what it means
            error = problem
        try:
            await bridge.put(StreamEnded(name, error, self._contexts[name].clock.now_ns()))
        except BridgeClosed as closed:  # the run ended first and did not wait for this stream
            self.unheard = error or closed

    async def _cross(self, name: str, source: AsyncIterator[Emission], bridge: WorkerBridge) -> None:
        """Join each record with its samples and put them on the bridge as one."""
        reading: Reading | None = None
        missing = turn = 0
        put_nowait, monotonic_ns = bridge.put_nowait, time.monotonic_ns
        async for emission in source:
            kind = type(emission)
            if kind is ChannelSample or kind is SampleBlock:
                if reading is None:
                    raise DeviceFault(f"{name} gave a sample without its record", found=repr(emission))
                reading.samples.append(emission)  # type: ignore[arg-type]  # one kind in each reading
                missing -= 1
                if missing:
                    continue
                crossing: Crossing = reading
                reading = None
            elif reading is not None:
                raise DeviceFault(
                    f"{name} gave fewer samples than its record announced", found=repr(reading.record)
                )
            elif kind is SourceRecord:
                reading = Reading(emission, [])  # type: ignore[arg-type]
                missing = reading.record.sample_count
                if missing:
                    continue
                crossing, reading = reading, None
            else:
                crossing = emission  # type: ignore[assignment]  # what is left crosses as it is
            if type(crossing) is Reading:
                crossing.t_bridge_put_ns = monotonic_ns()
            try:
                if not put_nowait(crossing):
                    await bridge.put(crossing)
            except (asyncio.CancelledError, BridgeClosed):
                self._undelivered.append(crossing)
                raise
            turn += 1
            if turn % _TURN == 0:
                await asyncio.sleep(0)

    def take_undelivered(self) -> list[Crossing]:
        """Return, once, what did not cross: its stream was cancelled or the bridge closed before it could."""
        taken, self._undelivered = self._undelivered, []
        return taken

    # -- a device whose stream broke -----------------------------------------------------------

    def revive(self, device: str) -> Future[None]:
        """Try once to bring back a device whose stream broke, while the run is sampling and nothing is barred.

        It is stopped, closed, opened and started with the run's context; then its stream crosses again, after
        a :class:`StreamBegan`. The future fails with what the device raised. :meth:`bar` and :meth:`stop`
        cancel the try. Others on the bus wait for it as for one transaction.
        """
        return self.submit(self._revive(device))

    async def _revive(self, device: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tries.add(task)
        task.add_done_callback(self._ended_try)
        try:
            self._check_revivable(device)
            await self._reopen(device)
            self._check_revivable(device)
            context = self._contexts[device]
            await _in_time(device, "start", self.adapters[device].start(context), _STOP_GRACE_S)
            self._check_revivable(device)
        except (SystemExit, KeyboardInterrupt) as error:  # would end the loop that others need
            raise DeviceFault(f"{device} tried to end the program", found=repr(error)) from error
        self._begin_stream(device, StreamBegan(device, context.clock.now_ns()))

    def _check_revivable(self, device: str) -> None:
        if self.state is not WorkerState.SAMPLING or self.is_barred:
            raise UsageError(f"{device} is not opened again: the run ends")
        if not self._streams[device].done():
            raise UsageError(f"{device} is not opened again: its stream has not ended")

    async def _reopen(self, device: str) -> None:
        """End what is left of the device, then close and open it as one transaction of its bus."""
        adapter, bus = self.adapters[device], self._buses[device]
        end_source = getattr(
            self._sources.pop(device, None), "aclose", None
        )  # one that the worker left half read
        if end_source is not None:
            await _in_time(device, "end its stream", end_source(), _STOP_GRACE_S)
        await _in_time(device, "stop", adapter.stop(), _STOP_GRACE_S)
        async with bus.lock:
            self._shut.add(device)
            await _in_time(device, "close", adapter.close(), _config_s(adapter, "read_timeout_s", 1.0))
            limit_s = _config_s(adapter, "read_timeout_s", 1.0) if bus.users else _open_timeout_s(adapter)
            await _in_time(device, "open", adapter.open(), limit_s)
            self._shut.discard(device)

    def _ended_try(self, task: asyncio.Task[None]) -> None:
        self._tries.discard(task)
        if not task.cancelled():
            task.exception()  # one that was given up must not leave an unseen error behind

    def _cancel_tries(self) -> set[asyncio.Task[None]]:
        """Cancel what tries to bring a device back; on the worker's loop."""
        for task in self._tries:
            task.cancel()
        return set(self._tries)

    # -- commands ------------------------------------------------------------------------------

    def dispatch(self, device: str, command: Command) -> Future[CommandResult]:
        """Give a command to a device. Cancelling the future never cuts the transaction: it completes unseen."""
        if self.state not in _OBEYING:
            answer: Future[CommandResult] = Future()
            answer.set_result(
                refused(command, f"{device} takes no commands while its worker is {self.state}")
            )
            return answer
        if not command.authorized or command.authorization_id == SAFE_STATE:
            answer = Future()
            answer.set_result(refused(command, "neither the run nor a person stands behind the command"))
            return answer
        return self.submit(self._obey(self.adapters[device], command, self._epoch))

    def bar(self) -> None:
        """Refuse every command until :meth:`unbar`, also those that wait; safe-state programs still run.

        A try to bring a device back ends, so that no program waits for its turn on the bus behind it.
        """
        self.is_barred = True
        for bus in self._buses.values():
            bus.is_barred = True
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(self._cancel_tries)
        except RuntimeError:  # the loop is closed, and with it ended all that ran on it
            self._tries.clear()

    def unbar(self) -> None:
        """Take commands again: those that come from now on, none of those that waited."""
        self._epoch += 1
        for bus in self._buses.values():
            bus.epoch += 1
            bus.is_barred = False
        self.is_barred = False

    async def _obey(self, adapter: Adapter, command: Command, epoch: int) -> CommandResult:
        if self.is_barred or epoch != self._epoch:
            return refused(command, "the devices are in their safe state")
        task = asyncio.get_running_loop().create_task(adapter.command(command))
        self._inflight.add(task)
        task.add_done_callback(self._ended_command)
        return await asyncio.shield(task)

    def _ended_command(self, task: asyncio.Task[CommandResult]) -> None:
        self._inflight.discard(task)
        if not task.cancelled():
            task.exception()  # a caller that is gone must not leave an unseen error behind


async def _in_time(device: str, what: str, work: Awaitable[T], limit_s: float) -> T:
    try:
        async with asyncio.timeout(limit_s):
            return await work
    except TimeoutError as error:
        raise DeadlinePassed(f"{device} did not {what} in time", expected=f"within {limit_s:g} s") from error


def _open_timeout_s(adapter: Adapter) -> float:
    return _config_s(adapter, "open_timeout_s", 5.0)


def _config_s(adapter: Adapter, key: str, default_s: float) -> float:
    return float(getattr(getattr(adapter, "config", None), key, default_s))


__all__ = ["EDGES", "StreamBegan", "StreamEnded", "Worker", "WorkerBridge", "WorkerState"]
