"""The conductor: one thread and one loop for each run, through which every emission passes.

One drain task for each worker's bridge, started before anything is sampled. Each reading is first accepted
by the writer's bounded hand-over, then published on the data bus, then mirrored to whoever watches. If the
first fails, the others never see it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from gapless.acquire.adapter import StartContext
from gapless.acquire.apart import apart
from gapless.acquire.clock import SimulatedClock
from gapless.acquire.databus import ConductorDataBus
from gapless.acquire.draining import Drains, Losses
from gapless.acquire.emission import (
    ChannelSample,
    DeviceEvent,
    FrameReceipt,
    GapReport,
    Reading,
    SampleBlock,
)
from gapless.acquire.ending import OutcomeLatch
from gapless.acquire.event_log import EventLog
from gapless.acquire.recorder import Recorder
from gapless.acquire.revival import Revivals
from gapless.acquire.stall import CONDUCTOR_BLOCKED, Call, stack_of
from gapless.acquire.worker import StreamBegan, StreamEnded, Worker, WorkerBridge
from gapless.errors import BridgeClosed, GaplessError, ProcedureFailed, RunFailed, UsageError
from gapless.flow.bridge import ThreadBridge
from gapless.flow.policy import BackpressurePolicy
from gapless.model.outcome import Outcome

if TYPE_CHECKING:
    from gapless.acquire.ui import UIBridge

_BEAT_S = 0.05
_TASK_GRACE_S = 2.0
_LOOK_S = 0.25
_STUCK_S = 2.0  # below the grace that a device has to stop
_MIN_CAPACITY = 64

Task = Callable[["Conductor"], Any]


class RunState(StrEnum):
    """Where a run is; an edge that is not in :data:`EDGES` raises."""

    PREPARING = "preparing"
    RUNNING = "running"
    DRAINING = "draining"
    FINALIZING = "finalizing"
    SEALED = "sealed"
    FAILED = "failed"


EDGES = {
    RunState.PREPARING: {RunState.RUNNING, RunState.DRAINING},
    RunState.RUNNING: {RunState.DRAINING},
    RunState.DRAINING: {RunState.FINALIZING},
    RunState.FINALIZING: {RunState.SEALED, RunState.FAILED},
    RunState.SEALED: set(),
    RunState.FAILED: set(),
}


class Observer(Protocol):
    """Looks at every reading on the conductor's thread: alarms and silence."""

    def observe(self, reading: Reading) -> None:
        """Note a reading; must not wait."""

    def observe_sample(self, sample: ChannelSample | SampleBlock) -> None:
        """Note a sample that was made on the bus."""

    def heard(self, device: str) -> None:
        """Note that a device gave something that is no reading."""

    def ended(self, device: str) -> None:
        """Note that a device's stream is over."""

    def resumed(self, device: str) -> None:
        """Note that a device's stream, which was over, goes on."""

    @property
    def longest_deadline_s(self) -> float:
        """The longest that any device may be silent; 0 where none has a deadline."""


class Conductor:
    """Runs one recording from arming to the last drained reading; :meth:`run` is its thread's work.

    ``procedure`` is a coroutine function given the conductor; without one the run lasts ``length_s``, until
    every stream has ended, or until stopped. ``make_safe`` is called on every way out.
    """

    def __init__(
        self,
        workers: Sequence[Worker],
        contexts: Mapping[str, StartContext],
        recorder: Recorder,
        events: EventLog,
        latch: OutcomeLatch,
        *,
        observer: Observer,
        make_safe: Callable[[str], Any],
        on_sampling: Callable[[], None] = lambda: None,
        tolerates: Callable[[str], bool] = lambda _device: False,
        bridge_seconds: float = 2.0,
        drain_deadline_s: float = 30.0,
        length_s: float | None = None,
        preflight: Sequence[Task] = (),
        procedure: Task | None = None,
        analyzers: Sequence[Task] = (),
    ) -> None:
        self.state = RunState.PREPARING
        self.started: Future[None] = Future()
        self.bus = ConductorDataBus(on_abort=self._reader_too_slow)
        self.feeds: list[UIBridge] = []
        self.heartbeat_ns = time.monotonic_ns()
        self.events = events
        self.recorder = recorder
        self.latch = latch
        self.preflight_failed = False
        self.in_flight: set[asyncio.Task[Any]] = set()  # commands on their way to a device
        self.readings: dict[str, int] = {}
        self.last_ns: dict[str, int] = {}
        self._workers = workers
        self._contexts = contexts
        self._observer = observer
        self._make_safe = make_safe
        self._on_sampling = on_sampling
        self._armed: list[Worker] = []
        self._tolerates = tolerates
        self._drain_deadline_s = drain_deadline_s
        self._length_s = length_s
        self._preflight = preflight
        self._procedure = procedure
        self._analyzers = analyzers
        self._bridges = {worker.resource_id: _bridge(worker, bridge_seconds) for worker in workers}
        self._streaming = {name for worker in workers for name in worker.adapters}
        self._revivals = Revivals(
            self._revive,
            may_try=self._may_revive,
            back=self._device_back,
            tell=self._tell,
            give_up=lambda reason: self.stop(Outcome.CRASHED, reason),
            tries=not any(isinstance(context.clock, SimulatedClock) for context in contexts.values()),
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._drains = Drains(self._accept_now, self._accept, self._spread, self._other, self._drain_failed)
        self._thread_id: int | None = None
        self.abandoned = False  # the loop was held for too long: another thread ends the run
        self._tasks: list[asyncio.Task[None]] = []

    # -- from other threads --------------------------------------------------------------------

    def stop(self, outcome: Outcome, cause: str | None, error: BaseException | None = None) -> None:
        """End the run; the first fault, else the first reason, is its outcome."""
        self.latch.propose(outcome, cause, error)
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        try:
            loop.call_soon_threadsafe(self._set_over)
        except RuntimeError as problem:  # the loop ended between the look and the call: so did the run
            self.latch.propose(outcome, f"{cause} ({problem})")

    def _set_over(self) -> None:
        assert self._over is not None
        self._over.set()

    def stack(self) -> list[Call]:
        """Return the calls that the conductor's thread is in, innermost first."""
        return stack_of(self._thread_id)

    @property
    def bridges(self) -> Mapping[str, WorkerBridge]:
        """The bridge of each worker by resource."""
        return self._bridges

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The conductor's loop; raises UsageError before the run."""
        if self._loop is None:
            raise UsageError("the run has not begun")
        return self._loop

    def _reader_too_slow(self, reason: str) -> None:
        self.stop(Outcome.CRASHED, reason)

    def move(self, state: RunState) -> None:
        """Go to another state, or raise UsageError and stay."""
        if state not in EDGES[self.state]:
            raise UsageError(f"a run cannot go from {self.state} to {state}")
        self.state = state

    # -- the run -------------------------------------------------------------------------------

    def run(self) -> None:
        """Run to the last drained reading; every error is in the latch, none leaves.

        The loop's end waits for no thread: a call that a user's step left behind may never return.
        """
        self._thread_id = threading.get_ident()
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(self._main())
        finally:
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks, timeout=_TASK_GRACE_S))
            loop.close()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        beat = self._loop.create_task(self._beat())
        if self.latch.outcome is not None:  # stopped before it began
            self._over.set()
        try:
            await self._begin()
            await self._until_over()
        except BaseException as error:  # noqa: BLE001 - the run's boundary: the latch keeps it
            self.latch.propose(Outcome.CRASHED, _words(error), error)
            if not self.started.done():
                self.started.set_exception(error)
        try:
            await self._end()
        except BaseException as error:  # noqa: BLE001 - as above
            self.latch.propose(Outcome.CRASHED, f"at its end: {_words(error)}", error)
        beat.cancel()

    async def _beat(self) -> None:
        while True:
            self.heartbeat_ns = time.monotonic_ns()
            await asyncio.sleep(_BEAT_S)

    async def _begin(self) -> None:
        """Arm, drain, sample, check; a stop meanwhile ends it after the step under way."""
        assert self._over is not None
        loop = asyncio.get_running_loop()
        for worker in self._workers:
            if self._over.is_set():
                break
            contexts = {name: self._contexts[name] for name in worker.adapters}
            self._armed.append(worker)
            await apart(worker.arm, contexts, self._bridges[worker.resource_id])
        for bridge in self._bridges.values():
            self._drains.start(bridge)
        for analyzer in self._analyzers:
            self._tasks.append(loop.create_task(self._analyze(analyzer)))
        await asyncio.sleep(0)  # analyzers subscribe before the first sample
        self._on_sampling()
        for worker in self._armed:
            if self._over.is_set():
                break
            await apart(worker.begin)
        await self._check()
        if self.abandoned:
            return
        if not self._over.is_set():
            self.move(RunState.RUNNING)
        self.started.set_result(None)

    async def _check(self) -> None:
        """Run the preflight until it is through or the run is over."""
        for check in self._preflight:
            task = asyncio.get_running_loop().create_task(_of_user(check, self))
            try:
                await self._first([task])
            except BaseException:
                self.preflight_failed = True
                raise

    async def _first(self, waits: list[asyncio.Task[Any]]) -> None:
        """Return when one of the tasks is done or the run is over; raise what a task raised."""
        assert self._over is not None
        over = asyncio.get_running_loop().create_task(self._over.wait())
        try:
            done, _ = await asyncio.wait([*waits, over], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*waits, over):
                task.cancel()
            ended, _ = await asyncio.wait([*waits, over], timeout=_TASK_GRACE_S)
            for task in ended:  # what a step raises while it cleans up is a fault like any other
                if not task.cancelled() and (error := task.exception()) is not None:
                    self.latch.propose(Outcome.CRASHED, _words(error), error)

    async def _until_over(self) -> None:
        """Return when the run is over: procedure done, time over, stopped, or every stream at its end."""
        loop = asyncio.get_running_loop()
        waits: list[asyncio.Task[Any]] = []
        if self._procedure is not None:
            waits.append(loop.create_task(_of_user(self._procedure, self), name="procedure"))
        if self._length_s is not None:
            waits.append(loop.create_task(asyncio.sleep(self._length_s)))
        method = waits[0] if self._procedure is not None else None
        await self._first(waits)
        if method is not None and method.cancelled() and self.latch.outcome is None:
            self.latch.propose(Outcome.ABORTED, "the time was over before the method")
        self.latch.propose(Outcome.COMPLETED)

    # -- fan-out -------------------------------------------------------------------------------

    def _accept_now(self, reading: Reading) -> bool:
        """Hand a reading to the writer if there is room for it at once."""
        if self.abandoned:
            raise _abandoned()
        recorder = self.recorder
        if not recorder.has_room(recorder.size_of(reading)):
            return False
        recorder.accept(reading)
        return True

    async def _accept(self, reading: Reading) -> None:
        """Hand a reading to the writer when there is room for it."""
        await self.recorder.room(self.recorder.size_of(reading))
        if self.abandoned:
            raise _abandoned()
        self.recorder.accept(reading)

    async def _spread(self, readings: Sequence[Reading]) -> None:
        """Tell what was accepted: the monitors, the bus, then whoever watches."""
        now_ns = time.monotonic_ns()
        items: list[Any] = []
        if self._revivals.away:
            for reading in readings:
                self._revivals.gave(reading.record.device)
        counts, observe = self.readings, self._observer.observe
        whole = self.bus.listens_beyond_channels
        for reading in readings:
            record = reading.record
            counts[record.device] = counts.get(record.device, 0) + 1
            self.last_ns[record.device] = now_ns
            observe(reading)
            if whole:
                items.append(record)
            items += reading.samples
        await self.bus.publish_burst(items)
        if self.feeds:
            self._mirror(readings)

    async def _other(self, item: Any) -> None:
        if type(item) is FrameReceipt:
            await self.recorder.room(64)
            if self.abandoned:
                raise _abandoned()
            self.recorder.accept_receipt(item)
        self._tell(item)

    def _drain_failed(self, error: BaseException) -> None:
        self.stop(Outcome.FAILED if _is_storage(error) else Outcome.CRASHED, _words(error), error)

    def _tell(self, item: Any) -> None:
        kind = type(item)
        if kind is FrameReceipt:
            self._revivals.gave(item.camera)
            self.last_ns[item.camera] = time.monotonic_ns()
            self._observer.heard(item.camera)
            self._mirror((item,))
        elif kind is DeviceEvent:
            self.events.record(
                item.severity,
                item.kind,
                item.message,
                source=item.device,
                data=item.data,
                timestamp_ns=item.timestamp_ns,
            )
        elif kind is GapReport:
            self._tell_gap(item)
            self._mirror((item,))
        elif kind is StreamEnded:
            self._stream_ended(item)
        elif kind is StreamBegan:
            self._revivals.began(item)

    def _mirror(self, items: Sequence[Any]) -> None:
        for feed in list(self.feeds):
            try:
                feed.put_burst(items)
            except BridgeClosed:  # its watcher went away
                self.forget(feed)

    def forget(self, feed: UIBridge) -> None:
        """Mirror to a watcher no more; from any thread, any number of times."""
        self.feeds = [other for other in self.feeds if other is not feed]

    # -- devices whose streams end -------------------------------------------------------------

    def _stream_ended(self, ended: StreamEnded) -> None:
        device = ended.device
        if ended.error is None:
            self._revivals.gave(device)  # one that came back only to say that it is at its end
        self._streaming.discard(device)
        self._observer.ended(device)
        if ended.error is not None:
            cause = _words(ended.error)
            if device not in self._revivals.away:
                self.events.record("error", "device_failed", f"{device} broke: {cause}", source=device)
            if not self._tolerates(device):
                self.stop(Outcome.CRASHED, f"{device} broke: {cause}", ended.error)
                return
            self._revivals.lost(device, self._contexts[device].clock, ended.timestamp_ns, cause)
        if self._streaming or self._procedure is not None or self.state is RunState.DRAINING:
            return
        if self._revivals.away.keys() == self._contexts.keys():
            self._revivals.await_one(self._observer.longest_deadline_s)
        else:
            self.stop(Outcome.COMPLETED, None)

    def _may_revive(self) -> bool:
        is_ending = self.latch.outcome is not None or any(worker.is_barred for worker in self._workers)
        return self.state is RunState.RUNNING and not is_ending

    async def _revive(self, device: str) -> None:
        worker = next(worker for worker in self._workers if device in worker.adapters)
        await asyncio.wrap_future(worker.revive(device))

    def _device_back(self, device: str) -> None:
        self._streaming.add(device)
        self._observer.resumed(device)

    async def emit_derived(self, item: ChannelSample | SampleBlock | DeviceEvent) -> None:
        """Take what an analyzer made: a sample goes the way of every sample, an event to the events."""
        if isinstance(item, DeviceEvent):
            self._tell(item)
            return
        await self.recorder.room(64 * len(item.values) if isinstance(item, SampleBlock) else 128)
        if self.abandoned:
            raise _abandoned()
        self.recorder.accept_derived(item)
        self._observer.observe_sample(item)
        await self.bus.publish(item)
        self._mirror((item,))

    async def _analyze(self, analyzer: Task) -> None:
        """Run one analyzer; its failure is an event and never another reader's trouble."""
        try:
            await _of_user(analyzer, self)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - a user's code: recorded, the run goes on
            name = getattr(analyzer, "name", repr(analyzer))
            self.events.record("error", "analyzer_failed", f"analyzer {name}: {_words(error)}", source=name)

    # -- the end -------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Safe state, stop the devices, close the bridges, drain to the end within the deadline."""
        if self.abandoned:
            return
        self.move(RunState.DRAINING)
        self._revivals.end()
        freeing = asyncio.get_running_loop().create_task(self._free_stuck_readers())
        reason = str(self.latch.outcome or Outcome.COMPLETED)
        await apart(self._make_safe, reason)
        stops = [apart(worker.stop) for worker in self._armed]
        for problem in await asyncio.gather(*stops, return_exceptions=True):
            if isinstance(problem, BaseException):
                self.latch.propose(Outcome.CRASHED, f"stop: {_words(problem)}", problem)
        for bridge in self._bridges.values():  # also of a worker that was never armed, whose drain waits
            bridge.close()
        for device in self._contexts:  # one whose stream was cancelled cannot say that it ended
            self._observer.ended(device)
        gaps = await self._drains.end(self._drain_deadline_s)
        self._tell_rest(gaps)
        for subscription in self.bus.subscriptions:  # analyzers read what is left, and may still emit
            subscription.close()
        await _end_tasks([*self._tasks, *self.in_flight])
        self.bus.close()
        freeing.cancel()
        for feed in list(self.feeds):
            feed.close()

    def abandon(self) -> None:
        """End without the loop, which some code holds: stop the devices, count what waits as lost.

        From another thread, when the devices are safe; bounded. When the code returns after all, the loop
        accepts nothing more and ends.
        """
        self.abandoned = True
        if self.state is not RunState.DRAINING:
            self.move(RunState.DRAINING)
        if not self.started.done():
            self.started.set_exception(_abandoned())
        asyncio.run(self._end_apart())
        for feed in list(self.feeds):
            feed.close()

    async def _end_apart(self) -> None:
        """Stop the devices and take what they still give, on a loop of its own."""
        losses = Losses()
        await asyncio.sleep(_BEAT_S)  # what was accepted at this moment is accepted
        stops = asyncio.gather(*(apart(worker.stop) for worker in self._armed), return_exceptions=True)
        while not stops.done():  # a device that waits for room could not stop
            self._drains.salvage(losses)
            await asyncio.sleep(_BEAT_S)
        self._drains.salvage(losses)
        self._tell_rest([*self._drains.take_discarded(), *losses.gaps(CONDUCTOR_BLOCKED)])

    def _tell_rest(self, gaps: list[GapReport]) -> None:
        """Tell, once, what the drains did not take: lost readings, and events and gaps behind them."""
        rest, self._drains.rest = self._drains.rest, []
        for worker in self._armed:
            late = worker.take_undelivered()
            losses = Losses()
            losses.add(item for item in late if isinstance(item, Reading))
            gaps += losses.gaps("stream_cancelled")
            rest += [item for item in late if not isinstance(item, Reading)]
        for gap in [*gaps, *self._revivals.take_gaps()]:
            self._tell_gap(gap)
        for item in rest:
            if type(item) is DeviceEvent or type(item) is GapReport:
                self._tell(item)

    async def _free_stuck_readers(self) -> None:
        """While the run drains, a reader that takes nothing loses its subscription, not the disk its data."""
        while True:
            await asyncio.sleep(_LOOK_S)
            now_ns = time.monotonic_ns()
            for subscription in self.bus.subscriptions:
                since_ns = subscription.blocked_since_ns
                if since_ns is not None and now_ns - since_ns > _STUCK_S * 1e9:
                    subscription.close()
                    self.events.record(
                        "warning", "reader_dropped", f"{subscription.name} took nothing while the run drained"
                    )

    def _tell_gap(self, gap: GapReport) -> None:
        for call in self.recorder.gap_calls(gap):
            self.events.note(call)

    @property
    def lost_readings(self) -> int:
        """Readings that came after the disk failed and that no row can tell of."""
        return self._drains.lost_readings


def _abandoned() -> RunFailed:
    return RunFailed(
        "code held the run's loop for too long, and the run was ended without it",
        next_step="let analyzers, steps and checks return soon; the event conductor_blocked names the code",
    )


async def _of_user(task: Task, conductor: Conductor) -> None:
    """Await a user's code; what would end the whole program ends only the run."""
    try:
        await task(conductor)
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        raise ProcedureFailed("code of the run tried to end the program", found=repr(error)) from error


async def _end_tasks(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Give tasks a moment to end by themselves, then cancel them."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=_TASK_GRACE_S)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=_TASK_GRACE_S)


def _bridge(worker: Worker, seconds: float) -> WorkerBridge:
    rate = sum(adapter.expected_rate_hz for adapter in worker.adapters.values())
    capacity = max(_MIN_CAPACITY, int(rate * seconds) + 1)
    return ThreadBridge(worker.name, capacity=capacity, policy=BackpressurePolicy.BLOCK)


def _is_storage(error: BaseException) -> bool:
    return isinstance(error, GaplessError) and error.code.startswith("E4")


def _words(error: BaseException) -> str:
    text = getattr(error, "message", None) or str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
