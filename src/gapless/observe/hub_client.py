"""Speaks to a hub from one background thread: asks for approval, and delivers what waits in the outbox.

No call that a simulation makes waits for the network, nor for an outbox that another process keeps locked. A
report is durable in the outbox when the call returns, or as soon as the lock is gone; the thread sends the
reports of each task in their order, again and again, until the hub takes or refuses them.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from gapless.errors import CatalogBusy, GaplessError, HubFailed, StateError
from gapless.observe.hub_delivery import Delivery
from gapless.observe.hub_endpoint import HubEndpoint
from gapless.observe.hub_task import Approvals, HubTask
from gapless.observe.outbox import Outbox, ReportKind, json_text
from gapless.observe.outbox_writer import OutboxWriter

_Job = tuple[Callable[[HubTask], None], HubTask]

_LOG = logging.getLogger("gapless.observe")
_LOOK_S = 0.05  # how often a drain looks
_LOCKED_S = 30.0  # how long closing waits for an outbox that another process keeps locked
_BUSY_S = 1.0  # until the thread looks again at such an outbox


class HubRecordingClient:
    """The connection of a program to one hub. Close it, or use it as a context manager.

    ``token``: else ``$GAPLESS_HUB_TOKEN``. ``timeout_s`` bounds each request, ``approval_timeout_s`` the wait for
    a person who approves, asked for every ``poll_s``. A report that could not be sent is tried again after
    ``retry_s``, twice that, and so on up to ``retry_max_s``. ``drain_s``: how long closing waits for reports;
    what is left stays in the outbox and is sent by the next client of it. ``failure``: what the outbox or a
    thread met last. Raises UsageError, and what :class:`Outbox` raises.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        outbox_path: Path | str,
        timeout_s: float = 30.0,
        approval_timeout_s: float = 600.0,
        poll_s: float = 1.0,
        retry_s: float = 0.5,
        retry_max_s: float = 60.0,
        drain_s: float = 5.0,
    ) -> None:
        self.failure: BaseException | None = None
        self._endpoint = HubEndpoint(url, token, timeout_s)
        self.outbox = Outbox(outbox_path)
        self._approvals = Approvals(
            self._endpoint, timeout_s=approval_timeout_s, poll_s=poll_s, give_up=self._give_up
        )
        self._delivery = Delivery(self.outbox, self._endpoint, retry_s=retry_s, retry_max_s=retry_max_s)
        self._retry_max_s, self._drain_s = retry_max_s, drain_s
        self._closed = False
        self._ended = threading.Event()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()  # None only wakes the thread
        self._cancelled: set[HubTask] = set()  # and their end is not in the outbox yet
        self._writer = OutboxWriter(
            outbox_path,
            written=lambda: self._jobs.put(None),
            lost=lambda error: self._fail("a report is lost for the hub", error),
        )
        self._told_elsewhere = False
        self._worker = threading.Thread(target=self._run, name="gapless-hub", daemon=True)
        self._worker.start()
        atexit.register(self.close)

    @property
    def url(self) -> str:
        """Where the hub is."""
        return self._endpoint.url

    @property
    def waiting_elsewhere(self) -> dict[str, int]:
        """How many reports in the outbox wait for each other hub; only a client of that URL sends them."""
        return {url: count for url, count in self.outbox.waiting().items() if url != self.url}

    def ask(self, request: Mapping[str, Any]) -> HubTask:
        """Ask the hub to approve a task and return at once.

        Raises NotAuthenticated before anything is sent, MetadataRefused for what is not JSON, StateError when
        the client is closed.
        """
        self._endpoint.check_token()
        task = HubTask(json_text(request), self._abandon)
        self._jobs.put((self._approvals.ask, task))
        if self._ended.is_set():  # looked at after the hand-over: the thread refuses what it finds at its end
            raise StateError("the client of the hub is closed", found=self.url, next_step="make a new one")
        return task

    def submit(self, task_id: str, execution_metadata: Mapping[str, Any]) -> None:
        """Report an episode: durable when it returns, sent later. Raises what :meth:`OutboxWriter.add` raises.

        An outbox that stays locked keeps the caller for a quarter of a second; then the report waits in memory
        until it can be written, and later ones behind it.
        """
        self._add(task_id, ReportKind.SUBMIT, {"executionMetadata": dict(execution_metadata)})

    def stop(self, task_id: str, summary: Mapping[str, Any]) -> None:
        """Report the end of a task, to be sent after all its episodes; otherwise like :meth:`submit`."""
        self._add(task_id, ReportKind.STOP, {"summary": dict(summary)})

    def drain(self, timeout_s: float) -> bool:
        """Wait until no report for this hub waits, and no cancelled request; False when the time is over before.

        True says nothing of :attr:`waiting_elsewhere`; where there are any, that is one log line per client.
        """
        deadline = time.monotonic() + timeout_s
        while self._cancelled or self._writer.unwritten or self.outbox.heads(self.url):
            if time.monotonic() >= deadline or self._ended.is_set():
                return False
            time.sleep(_LOOK_S)
        self._tell_elsewhere()
        return True

    def close(self) -> None:
        """Wait up to ``drain_s`` for the reports, then end the thread; what is left stays in the outbox.

        Reports that a locked outbox did not take yet are waited for another half minute; what is still in
        memory then is one log line, and lost for the hub when the program ends before the lock.
        """
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        try:
            self.drain(self._drain_s)
        except GaplessError as error:
            self._fail("the outbox cannot be read", error)
        self._endpoint.called_off.set()
        self._jobs.put(None)
        self._worker.join(self._endpoint.timeout_s)  # a name lookup cannot be called off
        if not self._writer.close(_LOCKED_S):
            found = f"{self._writer.unwritten} reports that are not in {self.outbox.path}"
            self._fail("reports are lost when the program ends", CatalogBusy("it stays locked", found=found))
        self.outbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- inside ----------------------------------------------------------------------------------

    def _add(self, task_id: str, kind: ReportKind, body: Mapping[str, Any]) -> None:
        self._writer.add(self.url, task_id, kind, body)

    def _abandon(self, task: HubTask) -> None:
        self._cancelled.add(task)
        self._jobs.put((self._stop_task, task))

    def _stop_task(self, task: HubTask) -> None:
        try:
            self._approvals.stop(task)
        finally:
            self._cancelled.discard(task)

    def _give_up(self, task_id: str, reason: str) -> None:
        self._add(task_id, ReportKind.STOP, {"summary": {"reason": reason, "episodes": 0}})

    def _tell_elsewhere(self) -> None:
        if self._told_elsewhere or not (elsewhere := self.waiting_elsewhere):
            return
        self._told_elsewhere = True
        counts = ", ".join(f"{count} for {url}" for url, count in elsewhere.items())
        _LOG.warning("reports in %s wait for other hubs: %s", self.outbox.path, counts)

    def _fail(self, what: str, error: BaseException) -> None:
        self.failure = error
        _LOG.error("%s: %s: %s", what, type(error).__name__, error)

    def _run(self) -> None:
        wait_s: float | None = 0.0
        try:
            while not self._endpoint.called_off.is_set():
                wait_s = self._turn(wait_s)
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: `failure` and `ask` tell of it
            self._fail("the thread that speaks to the hub ended", error)
        finally:
            self._ended.set()
            self._refuse_the_rest()

    def _turn(self, wait_s: float | None) -> float | None:
        """Wait, do what is due, and return the seconds until there may be more; None waits for the next job."""
        try:
            self._take_jobs(wait_s)
            waits = [self._approvals.poll(), self._delivery.step()]
        except (GaplessError, OSError) as error:
            self._fail("the outbox cannot be used", error)
            return _BUSY_S if isinstance(error, CatalogBusy) else self._retry_max_s
        return min((wait_s for wait_s in waits if wait_s is not None), default=None)

    def _take_jobs(self, wait_s: float | None) -> None:
        try:
            job = self._jobs.get(timeout=wait_s) if wait_s != 0 else self._jobs.get_nowait()
            while True:
                if job is not None:
                    work, task = job
                    work(task)
                job = self._jobs.get_nowait()
        except queue.Empty:
            return

    def _refuse_the_rest(self) -> None:
        """Refuse what nobody will ask for any more; what the hub is to hear of it waits in the outbox."""
        error = HubFailed("the client of the hub was closed before the answer", found=self.url)
        try:
            while not self._jobs.empty():
                job = self._jobs.get()
                if job is not None:
                    job[1].refuse(error)
                    self._stop_task(job[1])
            self._approvals.refuse_all(error)
        except (GaplessError, OSError) as problem:
            self._fail("the hub is not told of a request that ended", problem)
