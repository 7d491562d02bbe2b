"""One run: a rig's devices recorded into one sequence, commanded and watched, and left safe."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gapless.acquire.adapter import StartContext
from gapless.acquire.attempt import Attempt
from gapless.acquire.clock import HostClock, RunClock, SimulatedClock
from gapless.acquire.command import Command, CommandResult
from gapless.acquire.conductor import Conductor, RunState, Task
from gapless.acquire.dispatch import ConductorDispatcher
from gapless.acquire.emission import DeviceEvent
from gapless.acquire.ending import OutcomeLatch, RunResult, exit_code_of
from gapless.acquire.event_log import EventLog
from gapless.acquire.interrupt import Interrupt
from gapless.acquire.pool import WorkerPool
from gapless.acquire.recorder import Recorder
from gapless.acquire.rig_store import open_store
from gapless.acquire.run_status import RunStatus
from gapless.acquire.setpoints import Setpoints
from gapless.acquire.ui import UIBridge
from gapless.acquire.watchdog import Watchdog
from gapless.errors import BridgeClosed, GaplessError, NotFound, PreflightFailed, UsageError
from gapless.model.outcome import OnErrorPolicy, Outcome
from gapless.store.deadline import within

if TYPE_CHECKING:
    from gapless.acquire.event_log import Entry
    from gapless.acquire.procedure_stage import ProcedureStage
    from gapless.acquire.rig import Rig
    from gapless.acquire.safe_state import SafeReport
    from gapless.client.client import Client

_START_DEADLINE_S = 120.0
_SEAL_WAITS = 5  # a seal waits for the disk several times, each within seal_deadline_s
_LOOK_S = 0.2


class Run:
    """Records one sequence from a rig. :meth:`start`, then :meth:`wait`; everything else from any thread.

    ``pool``: devices that are open already and stay open; without one the run opens and closes its own.
    ``method``: a procedure (see ``gapless.acquire.procedure``). ``preflight``: coroutine functions given
    the conductor; what one raises ends the start and :meth:`start` raises it.
    """

    def __init__(
        self,
        rig: Rig,
        client: Client,
        *,
        name: str,
        pool: WorkerPool | None = None,
        method: Any = None,
        length_s: float | None = None,
        group: str | None = None,
        metadata: dict[str, Any] | None = None,
        preflight: Sequence[Task] = (),
    ) -> None:
        self.rig = rig
        self.name = name
        self.authorization_id = uuid.uuid4().hex
        self.latch = OutcomeLatch()
        self.result: RunResult | None = None
        self._client = client
        self._own_pool = pool is None
        self._pool = pool or WorkerPool(rig.make_adapters())
        self._method = method
        self._length_s = length_s if length_s is not None else rig.run.length_s
        self._group = group if group is not None else rig.group
        self._metadata = {**rig.metadata, **(metadata or {})}
        if method is not None and rig.run.clock == "simulated":
            raise UsageError(
                "a method waits in real time, and the rig's clock is simulated",
                sequence=name,
                next_step='set clock = "host" under [run], or record without a method',
            )
        self._preflight = preflight
        self._ended = threading.Event()
        self._concluding = threading.Lock()  # taken for good by the thread that ends the run
        self._thread: threading.Thread | None = None
        self._closers: list[Callable[[], None]] = []
        self._stage: ProcedureStage | None = None

    # -- the start -----------------------------------------------------------------------------

    def start(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Open the devices, the sequence and the supervisor, and begin; returns when the run is running.

        ``stopped`` is asked meanwhile: when it says so, the run ends as aborted before it is running.
        Raises DeviceUnreachable, ResourceConflict or what a preflight raised; then everything is closed
        again, what was recorded is sealed as crashed, and :attr:`result` tells which devices are unsafe.
        """
        self._pool.claim(self.name)
        if self._thread is not None:
            self._pool.give_back()
            raise UsageError("a run can be started once", sequence=self.name)
        try:
            if self._own_pool:
                self._pool.open()
            self._open_gates()
            self._create()
            self._assemble()
        except BaseException:
            if self._own_pool:
                self._pool.close()
            self._pool.give_back()
            raise
        self._thread = threading.Thread(target=self._main, name="gapless-conductor", daemon=True)
        self._thread.start()
        try:
            self._await_start(stopped)
        except BaseException as error:
            self.conductor.stop(*_start_failed(error), error)
            if self.wait(_START_DEADLINE_S) is None:
                self.watchdog.make_safe("the start failed")
                self.end_without_conductor()
            raise

    def _await_start(self, stopped: Callable[[], bool]) -> None:
        give_up_s = time.monotonic() + _START_DEADLINE_S
        while not self.conductor.started.done() and time.monotonic() < give_up_s:
            if stopped():
                self.stop("stopped while it started", by="operator")
                return
            self._ended.wait(_LOOK_S / 10)
        self.conductor.started.result(0)

    def _open_gates(self) -> None:
        """Let commands reach the devices: those of this run, none that waited since before it."""
        for worker in self._pool.workers:
            worker.unbar()

    def _create(self) -> None:
        """Create the sequence, or raise PreflightFailed when the disk does not take it in time."""
        limit_s = self.rig.run.seal_deadline_s
        late = PreflightFailed(
            "the disk did not take the new sequence in time",
            sequence=self.name,
            found=str(self._client.path),
            expected=f"within {limit_s:g} s",
            next_step="see why the disk hangs; what it still takes is sealed as crashed",
        )
        self._creation = Attempt(f"create-{self.name}", self._open_sequence, self._take_back)
        self._creation.within(limit_s, late)

    def _open_sequence(self) -> None:
        """Open the sequence with its topics and configuration; on a thread that may be given up."""
        self.sequence = self._client.sequence_create(
            self.name, metadata=self._metadata, group=self._group, on_error=OnErrorPolicy.Report
        )
        self.sequence.__enter__()
        try:
            self._still_wanted()
            self.clock: RunClock = (
                SimulatedClock()
                if self.rig.run.clock == "simulated"
                else HostClock(self.sequence.clock_base_ns)
            )
            self.events = EventLog(self.sequence, self.clock.now_ns)
            self.recorder = Recorder(
                self.sequence, self._pool.adapters, self.rig.channels, keeps=self.rig.recording.keeps
            )
            self._keep_configuration()
        except BaseException as error:
            self._take_back(error)
            raise

    def _still_wanted(self) -> None:
        if self._creation.given_up is not None:
            raise self._creation.given_up

    def _assemble(self) -> None:
        """Put the run together around its open sequence."""
        try:
            self.watchdog = Watchdog(self)
            self.conductor = self._make_conductor()
            self.dispatcher = ConductorDispatcher(
                self._pool,
                self.events,
                lambda: self.conductor.loop,
                takes_commands=lambda: (
                    self.latch.outcome is None
                    and self.conductor.state in (RunState.PREPARING, RunState.RUNNING)
                ),
                setpoints=Setpoints(self.rig.setpoints, self._pool.adapters),
                authorization_id=self.authorization_id,
                in_flight=self.conductor.in_flight,
            )
            self._status = RunStatus(self)
            self.events.watchers.append(self._mirror_event)
            self.sequence.describe_hops(self._status.hops_text)
            self.watchdog.start()
            self._open_control()
        except BaseException as error:
            self._take_back(error)
            raise

    def _take_back(self, error: BaseException) -> None:
        """End what a start that failed had begun; the sequence is sealed with the reason, or kept as pending."""
        self.latch.propose(*_start_failed(error), error)
        if hasattr(self, "watchdog"):
            self._closers.append(self.watchdog.close)
        self._release(pool=False)
        try:
            if hasattr(self, "events"):
                self._tell_outcome()
                self.events.close(self.rig.run.seal_deadline_s)
            self._seal(*self.latch.freeze())
        except (GaplessError, OSError) as problem:
            error.add_note(f"and the sequence could not be sealed: {problem}")
            self.sequence.__exit__(type(error), error, error.__traceback__)

    def _open_control(self) -> None:
        from gapless.acquire.control.server import ControlServer

        words: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname()}
        if hasattr(socket, "AF_UNIX"):
            server = ControlServer(self)
            server.start()
            self._closers.append(server.close)
            words["control"] = str(server.path)
        within(self.rig.run.seal_deadline_s, "announce", self.name, lambda: self.sequence.announce(words))

    def _keep_configuration(self) -> None:
        """Seal the rig, the curves and the method with the data, as they were used."""
        from gapless.acquire.configuration import keep_configuration

        keep_configuration(self.sequence, self.rig, self._method)

    def _make_conductor(self) -> Conductor:
        settings = self.rig.run
        return Conductor(
            self._pool.workers,
            {name: self._context(name) for name in self._pool.adapters},
            self.recorder,
            self.events,
            self.latch,
            observer=self.watchdog.safety,
            make_safe=self.watchdog.make_safe,
            on_sampling=self.watchdog.watch,
            tolerates=self.watchdog.tolerates,
            bridge_seconds=settings.bridge_seconds,
            drain_deadline_s=settings.drain_deadline_s,
            length_s=self._length_s,
            preflight=self._preflight,
            procedure=self._procedure(),
            analyzers=self._analyzers(),
        )

    def _context(self, device: str) -> StartContext:
        from gapless.acquire.binding import ChannelBinder
        from gapless.acquire.run_files import SequenceFiles

        adapter = self._pool.adapters[device]
        binder = ChannelBinder(device, adapter.family, adapter.channel_fields(), self.rig.channels)
        return StartContext(
            self.clock,
            self.authorization_id,
            recording_enabled=True,
            binder=binder,
            files=SequenceFiles(self.sequence, keeps=self.rig.recording.keeps),
            bundle_path=self.sequence.path,
        )

    def _analyzers(self) -> list[Task]:
        from gapless.acquire.analyzer import analyzers_of
        from gapless.acquire.derived import cross_device_tasks

        return [*analyzers_of(self.rig.analyzers, self.rig.channels), *cross_device_tasks(self.rig.channels)]

    def _procedure(self) -> Task | None:
        if self._method is None:
            return None
        from gapless.acquire.procedure_stage import ProcedureStage

        self._stage = ProcedureStage(self, self._method)
        return self._stage.perform

    # -- the run's thread ----------------------------------------------------------------------

    def _main(self) -> None:
        try:
            self._conduct()
        except BaseException as error:  # noqa: BLE001 - kept in the latch; the sequence is sealed all the same
            self.latch.propose(Outcome.CRASHED, f"the end of the devices failed: {error!r}", error)
        if self._concluding.acquire(blocking=False):
            self._conclude()

    def end_without_conductor(self) -> None:
        """End the run from another thread, when the devices are safe and code holds the conductor for ever.

        Bounded. What waits before the conductor is counted as lost, all else is sealed.
        """
        if not self._concluding.acquire(blocking=False):
            return
        try:
            self.conductor.abandon()
        except BaseException as error:  # noqa: BLE001 - kept in the latch; the sequence is sealed all the same
            self.latch.propose(Outcome.CRASHED, f"the end without the conductor failed: {error!r}", error)
        self._conclude()

    def _conclude(self) -> None:
        try:
            self.result = self._finish()
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: who waits for the run gets it
            self.latch.propose(Outcome.FAILED, f"the end of the run failed: {error!r}", error)
            outcome, cause = self.latch.freeze()
            self.result = RunResult(
                self.name, outcome, cause, sealed=False, content_digest=None, exit_code=1, error=error
            )
        finally:
            self._pool.give_back()
            self._ended.set()

    def _conduct(self) -> None:
        try:
            self.conductor.run()
        except BaseException as error:  # noqa: BLE001 - the devices are made safe and the data is sealed all the same
            if self.conductor.abandoned:  # the devices may be another run's by now
                return
            self.latch.propose(Outcome.CRASHED, f"the conductor broke: {error!r}", error)
            self.watchdog.make_safe("crashed")
            for worker in self._pool.workers:
                worker.stop()
            if self.conductor.state is not RunState.DRAINING:
                self.conductor.move(RunState.DRAINING)
            if not self.conductor.started.done():
                self.conductor.started.set_exception(error)

    def _finish(self) -> RunResult:
        """Make the last events durable, seal with the outcome, and let everything go."""
        settings = self.rig.run
        sealed, error = False, self.latch.error
        self.watchdog.close()  # nothing is left to watch or guard: the devices are safe and stopped
        self._tell_outcome()
        try:
            self.events.close(settings.seal_deadline_s)
            self.conductor.move(RunState.FINALIZING)
            self._seal(self.latch.outcome or Outcome.COMPLETED, self.latch.cause)
            sealed = True
            self.conductor.move(RunState.SEALED)
        except (GaplessError, OSError) as problem:
            self.latch.propose(Outcome.FAILED, str(problem), problem)
            error = error or problem
            self._leave_pending(problem)
        outcome, cause = self.latch.freeze()
        self._release()
        self._open_gates()
        report = self.watchdog.report
        unsafe = [] if report is None else report.unsafe_devices
        return RunResult(
            sequence=self.name,
            outcome=outcome,
            cause=cause,
            sealed=sealed,
            content_digest=self.sequence.content_digest,
            exit_code=exit_code_of(
                outcome, sealed=sealed, unsafe=bool(unsafe), preflight=self.conductor.preflight_failed
            ),
            unsafe_devices=unsafe,
            safe_report=None if report is None else report.to_json(),
            unwritten_events=[entry.to_json() for entry in self.events.unwritten],
            error=error,
        )

    def _seal(self, outcome: Outcome, cause: str | None) -> None:
        limit_s = _SEAL_WAITS * self.rig.run.seal_deadline_s
        within(limit_s, "seal", self.name, lambda: self.sequence.end(outcome, cause))

    def _tell_outcome(self) -> None:
        """A run that did not complete says so in its events; a completed one adds nothing to its content."""
        outcome, cause = self.latch.outcome, self.latch.cause
        if outcome is not None and outcome is not Outcome.COMPLETED:
            severity = "info" if outcome is Outcome.ABORTED else "error"
            self.events.record(severity, f"run_{outcome}", cause or str(outcome), source="run")
        if hasattr(self, "conductor") and self.conductor.lost_readings:
            self.events.record(
                "error",
                "readings_lost",
                f"{self.conductor.lost_readings} readings came after the drain failed",
            )

    def _leave_pending(self, problem: BaseException) -> None:
        """Keep what the disk took for `gapless recover`; the sequence's own ending says why."""
        if self.conductor.state is RunState.FINALIZING:
            self.conductor.move(RunState.FAILED)
        try:
            self.sequence.__exit__(type(problem), problem, problem.__traceback__)
        except (GaplessError, OSError) as second:
            problem.add_note(f"and it could not be kept as pending: {second}")

    def _release(self, *, pool: bool = True) -> None:
        """Let control socket and devices go; each is tried, and what fails is told at the end."""
        for close in [*self._closers, *([self._pool.close] if pool and self._own_pool else [])]:
            try:
                close()
            except (GaplessError, OSError, RuntimeError, TimeoutError) as problem:
                if self.latch.error is not None:
                    self.latch.error.add_note(f"at the end: {problem}")
                else:
                    self.latch.error = problem

    def wait(self, timeout_s: float | None = None) -> RunResult | None:
        """Wait for the end and return the result; None when the time is over and the run is not."""
        self._ended.wait(timeout_s)
        return self.result

    @property
    def ended(self) -> bool:
        """Whether the run is over and sealed, or left for recovery."""
        return self._ended.is_set()

    @property
    def pool(self) -> WorkerPool:
        """The run's devices."""
        return self._pool

    def blocking_readers(self) -> list[tuple[str, int]]:
        """Return each reader of the bus that holds the run back, and since when on the monotonic clock."""
        return self._status.blocking_readers()

    def procedure_status(self) -> dict[str, Any] | None:
        """Return what step the method is at; None in a free run."""
        return None if self._stage is None else self._stage.status()

    # -- control, from any thread --------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return what a live view shows, as JSON values."""
        return self._status.to_json()

    def describe(self) -> dict[str, Any]:
        """Return devices with their commands, channels with their bands, and setpoints, as JSON values."""
        from gapless.acquire.control.description import describe_run

        return describe_run(self.rig, self._pool.adapters)

    def note(self, text: str, by: str) -> None:
        """Record an operator's note; durable when the call returns."""
        self.events.record("info", "operator_note", text, source=by).result(self.rig.run.seal_deadline_s)

    def dispatch(self, device: str, command: Command) -> Future[CommandResult]:
        """Give a command to a device of the run."""
        self._pool.worker_for(device)
        return self.dispatcher.dispatch(device, command)

    def confirm(self, prompt_id: str, answer: str, by: str) -> None:
        """Answer a prompt of the procedure, or raise NotFound."""
        if self._stage is None:
            raise NotFound("the run asks nothing", sequence=self.name, found=prompt_id)
        self._stage.confirm(prompt_id, answer, by)

    def stop(self, reason: str, by: str) -> None:
        """End the run: safe state, stop, drain, seal as aborted. The first reason counts."""
        if not hasattr(self, "conductor"):
            self.latch.propose(Outcome.ABORTED, reason)
        elif self.latch.outcome is None:
            self.events.record("info", "stop", reason, source=by)
            self.conductor.stop(Outcome.ABORTED, reason)

    def emergency_stop(self, reason: str, by: str) -> SafeReport:
        """Put every device into its safe state now, then end the run."""
        self.latch.propose(Outcome.ABORTED, f"emergency stop: {reason}")  # no command is taken from here on
        report = self.watchdog.make_safe(f"emergency stop: {reason}", again=True)
        self.events.record("warning", "emergency_stop", reason, source=by, data=report.to_json())
        self.conductor.stop(Outcome.ABORTED, f"emergency stop: {reason}")
        return report

    def feed(self, capacity: int = 256) -> UIBridge:
        """Return a mirror of readings, receipts, gaps and events for one watcher, who closes it."""
        bridge = UIBridge(f"watch-{len(self.conductor.feeds)}", capacity)
        self.conductor.feeds.append(bridge)
        if self.ended:
            bridge.close()
        return bridge

    def _mirror_event(self, entry: Entry) -> None:
        event = DeviceEvent(
            entry.source, entry.timestamp_ns, entry.severity, entry.kind, entry.message, entry.data
        )
        for bridge in list(self.conductor.feeds):
            try:
                bridge.put_nowait(event)
            except BridgeClosed:
                self.conductor.forget(bridge)


def _start_failed(error: BaseException) -> tuple[Outcome, str]:
    """Return what a start that ended by the error makes of the run."""
    if isinstance(error, KeyboardInterrupt):
        return Outcome.ABORTED, "Ctrl-C while it started"
    return Outcome.CRASHED, f"the start failed: {error}"


def run_rig(
    rig: Rig,
    store: str | os.PathLike[str] = "./gapless-data",
    *,
    name: str | None = None,
    method: Any = None,
    length_s: float | None = None,
    metadata: dict[str, Any] | None = None,
) -> RunResult:
    """Record one sequence from a rig into a store and return how it ended.

    Ends after ``length_s``, with the method, when every source is at its end, or by Ctrl-C, which makes
    the devices safe, drains and seals as aborted, also while it starts. Raises what the start raises, and
    KeyboardInterrupt at the second Ctrl-C.
    """
    with Interrupt() as interrupt, open_store(store, rig.run) as client:
        run = Run(
            rig,
            client,
            name=name or f"{rig.name}-{datetime.now():%Y%m%d-%H%M%S}",
            method=method,
            length_s=length_s,
            metadata=metadata,
        )
        run.start(stopped=lambda: interrupt.asked)
        while (result := run.wait(_LOOK_S)) is None:
            if interrupt.asked:
                run.stop("Ctrl-C", by="operator")
        return result
