"""Leaves every device safe on every way out of a run, and watches what must end one.

It shares no thread, loop, lock or file with the conductor, the writer or a procedure: all of these may be
stuck. A device's program runs on the worker that owns it; where that does not begin or end in time, on a
connection of its own, if the device takes a second one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from gapless.acquire.device_config import SafeState
from gapless.acquire.finding import Finding, Monitor
from gapless.acquire.safe_state import SafeOutcome, SafeReport, SafeStatus, Via, run_apart, run_program
from gapless.errors import UsageError
from gapless.model.outcome import Outcome

if TYPE_CHECKING:
    from gapless.acquire.adapter import Adapter
    from gapless.acquire.device_config import DeviceConfig
    from gapless.acquire.pool import WorkerPool

POLL_S = 0.2
BEGIN_S = 1.0  # a worker that has not begun by then is stuck
_MARGIN_S = 0.5  # a program ends itself at its deadline; this long after it nobody waits any more

Tell = Callable[[str, str, str, dict[str, Any]], None]


class Supervisor:
    """Makes devices safe, from any thread, within a bound; polls monitors on a thread of its own.

    ``reopen`` makes a device anew, not opened, for a second connection. ``tell`` takes the severity, kind,
    message and data of an event, ``bar`` lets no further command reach a device; neither may ever wait.
    """

    def __init__(
        self,
        pool: WorkerPool,
        configs: Mapping[str, DeviceConfig],
        *,
        reopen: Callable[[str], Adapter],
        tell: Tell,
        bar: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._programs = {name: config.safe_state for name, config in configs.items()}
        self._reopen = reopen
        self._tell = tell
        self._bar = bar
        self._clock = clock
        self._lock = threading.Lock()
        self._report: Future[SafeReport] | None = None
        self._is_final = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    # -- safe state ----------------------------------------------------------------------------

    @property
    def report(self) -> SafeReport | None:
        """The last report, None before the first program ended."""
        pending = self._report
        return pending.result() if pending is not None and pending.done() else None

    @property
    def bound_s(self) -> float:
        """How long :meth:`make_safe` may take at most."""
        deadlines = [safe.deadline_s for safe in self._programs.values() if safe is not None]
        return BEGIN_S + 2 * (max(deadlines, default=0.0) + _MARGIN_S) + _MARGIN_S

    def make_safe(self, reason: str, *, final: bool = True, again: bool = False) -> SafeReport:
        """Run the program of every device, all at once, and return what became of each.

        The first final call of a run decides: it bars all further commands, and later calls return its report,
        or with ``again`` run the programs once more. One that is not final, as a step of a method, bars
        nothing and so decides nothing. A caller that is interrupted does not interrupt the programs.
        """
        with self._lock:
            if self._must_begin(final=final, again=again):
                self._report = Future()
                self._is_final = final
                self._begin(reason, self._report)
            report = self._report
            assert report is not None
        try:
            return report.result(self.bound_s + _MARGIN_S)
        except TimeoutError as error:
            return self._all_unsafe(reason, f"no answer within {self.bound_s:g} s {error}".rstrip())

    def _must_begin(self, *, final: bool, again: bool) -> bool:
        known = self._report
        if known is None:
            return True
        if self._is_final:
            return again and known.done()
        return final or known.done()

    def _begin(self, reason: str, report: Future[SafeReport]) -> None:
        if self._is_final:
            self._bar_commands()
        thread = threading.Thread(
            target=self._secure_all, args=(reason, report), name="gapless-safe-state", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread left
            report.set_result(self._all_unsafe(reason, str(error)))

    def _bar_commands(self) -> None:
        try:
            self._bar()
        except BaseException as error:  # noqa: BLE001 - the run's callback: told, and the programs run all the same
            self._tell("error", "supervisor_failed", f"commands are not barred: {error}", {})

    def _all_unsafe(self, reason: str, message: str) -> SafeReport:
        outcomes = [
            _not_declared(name) if safe is None else SafeOutcome.unsafe(name, message)
            for name, safe in self._programs.items()
        ]
        return SafeReport(reason, tuple(outcomes))

    def _secure_all(self, reason: str, report: Future[SafeReport]) -> None:
        """Run all programs side by side, tell what became of them, then answer."""
        give_up_s = self._clock() + self.bound_s
        result = self._all_unsafe(reason, "its program was not begun")
        try:
            pending = {name: self._begin_one(name, safe) for name, safe in self._programs.items()}
            result = SafeReport(reason, tuple(self._collect(n, f, give_up_s) for n, f in pending.items()))
            self._tell_report(result)
        finally:
            report.set_result(result)

    def _begin_one(self, device: str, safe: SafeState | None) -> Future[SafeOutcome]:
        answer: Future[SafeOutcome] = Future()
        if safe is None:
            answer.set_result(_not_declared(device))
            return answer

        def run() -> None:
            try:
                answer.set_result(self._secure(device, safe))
            except BaseException as error:  # noqa: BLE001 - the thread's boundary: the outcome tells it
                answer.set_result(SafeOutcome.unsafe(device, f"{type(error).__name__}: {error}"))

        try:
            threading.Thread(target=run, name=f"gapless-safe-state-{device}", daemon=True).start()
        except RuntimeError as error:  # the system has no thread left
            answer.set_result(SafeOutcome.unsafe(device, str(error)))
        return answer

    def _collect(self, device: str, answer: Future[SafeOutcome], give_up_s: float) -> SafeOutcome:
        try:
            return answer.result(max(0.0, give_up_s - self._clock()))
        except TimeoutError as error:
            return SafeOutcome.unsafe(device, f"its program did not end in time {error}".rstrip())

    def _secure(self, device: str, safe: SafeState) -> SafeOutcome:
        """Try the worker, then a connection of its own; the time is that of both."""
        began_s = self._clock()
        first, is_owned = self._by_worker(device, safe)
        if first.status is SafeStatus.SAFE or (is_owned and not safe.second_connection):
            return first
        answer = run_apart(lambda: self._reopen(device), device, safe, Via.SECOND_CONNECTION)
        second = self._collect(device, answer, self._clock() + safe.deadline_s + _MARGIN_S)
        return SafeOutcome(
            device=device,
            status=second.status,
            via=Via.SECOND_CONNECTION,
            took_s=self._clock() - began_s,
            message="; ".join(filter(None, (first.message, second.message))),
        )

    def _by_worker(self, device: str, safe: SafeState) -> tuple[SafeOutcome, bool]:
        """Return the outcome on the worker, and whether a worker holds the device's first connection."""
        worker = self._pool.worker_for(device)
        begun, claim = threading.Event(), threading.Lock()

        async def program() -> SafeOutcome:
            if not claim.acquire(blocking=False):  # given up: somebody else may talk to the device now
                return SafeOutcome.unsafe(device, "begun too late")
            begun.set()
            return await run_program(worker.adapters[device], safe)

        coroutine = program()
        try:
            future = worker.submit(coroutine)
        except (UsageError, RuntimeError) as error:  # closed, or its loop ended at this moment
            coroutine.close()
            return SafeOutcome.unsafe(device, f"no worker: {error}"), False
        if not begun.wait(BEGIN_S) and claim.acquire(blocking=False):
            return SafeOutcome.unsafe(device, f"its worker did not begin within {BEGIN_S:g} s"), True
        try:
            return future.result(safe.deadline_s + _MARGIN_S), True
        except (TimeoutError, CancelledError) as error:
            words = f"its worker began and did not end within {safe.deadline_s:g} s {error}".rstrip()
            return SafeOutcome.unsafe(device, words, Via.WORKER), True

    def _tell_report(self, report: SafeReport) -> None:
        """Tell what was done; a rig without programs has nothing to tell."""
        for outcome in report.outcomes:
            if outcome.status is SafeStatus.UNSAFE:
                words = f"{outcome.device} may be unsafe: {outcome.message}"
                self._tell("error", "device_unsafe", words, {"device": outcome.device})
        declared = [o.device for o in report.outcomes if o.status is not SafeStatus.NOT_DECLARED]
        if declared:
            severity = "error" if report.unsafe_devices else "info"
            self._tell(severity, "safe_state", f"safe state: {report.reason}", report.to_json())

    # -- watching ------------------------------------------------------------------------------

    def watch(self, monitors: Sequence[Monitor], on_trip: Callable[[Finding], None]) -> None:
        """Ask every monitor each 0.2 s from now on and pass on what it finds.

        A monitor that raises is itself a finding that ends the run, and is not asked again.
        """
        self._thread = threading.Thread(
            target=self._watch, args=(list(monitors), on_trip), name="gapless-supervisor", daemon=True
        )
        self._thread.start()

    def _watch(self, monitors: list[Monitor], on_trip: Callable[[Finding], None]) -> None:
        while not self._ended.wait(POLL_S):
            for monitor in tuple(monitors):
                try:
                    findings = list(monitor.poll())
                except BaseException as error:  # noqa: BLE001 - a broken watch ends the run, not the watching
                    monitors.remove(monitor)
                    findings = [_broken(monitor, error)]
                for finding in findings:
                    self._pass_on(finding, on_trip)

    def _pass_on(self, finding: Finding, on_trip: Callable[[Finding], None]) -> None:
        try:
            on_trip(finding)
        except BaseException as error:  # noqa: BLE001 - the run's callback: told, and the watch goes on
            words = f"{finding.kind} was found and not acted upon: {type(error).__name__}: {error}"
            self._tell("error", "supervisor_failed", words, {"finding": finding.kind})

    def close(self, timeout_s: float = 5.0) -> None:
        """End the watch; programs that run go on to their end."""
        self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)


def _not_declared(device: str) -> SafeOutcome:
    return SafeOutcome(device=device, status=SafeStatus.NOT_DECLARED)


def _broken(monitor: Monitor, error: BaseException) -> Finding:
    words = f"{type(monitor).__name__} broke: {type(error).__name__}: {error}"
    return Finding("error", "supervisor_failed", words, "supervisor", outcome=Outcome.CRASHED)


__all__ = ["POLL_S", "Supervisor", "Tell"]
