"""Events and gaps of a run, made durable on a thread of their own, so that no loop waits for the disk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from gapless.client.sequence_writer import SequenceWriter
from gapless.errors import DeadlinePassed, GaplessError, WriterClosed

_KEPT = 20  # last events that a live view shows
_BATCH = 256


@dataclass
class Entry:
    """One event on its way to the disk."""

    severity: str
    kind: str
    message: str
    source: str
    data: dict[str, Any] | None
    timestamp_ns: int

    def to_json(self) -> dict[str, Any]:
        """Return the event as a live view shows it."""
        return {
            "severity": self.severity,
            "kind": self.kind,
            "message": self.message,
            "source": self.source,
            "data": self.data,
            "timestamp_ns": self.timestamp_ns,
        }


@dataclass(frozen=True)
class Unwritten:
    """An event that is not in the sequence, and why, in words that go on from "is not recorded:"."""

    entry: Entry
    why: str

    def to_json(self) -> dict[str, Any]:
        """Return the event as a live view shows it, and why it is not in the sequence."""
        return {**self.entry.to_json(), "why": self.why}


@dataclass
class _Job:
    write: Callable[[], None]
    done: Future[None] = field(default_factory=Future)
    entry: Entry | None = None


class EventLog:
    """Takes events and gaps from any thread without waiting; :meth:`record` tells when one is durable.

    What the disk refused, and what came when the run was over, is kept in :attr:`unwritten`, so that the run's
    end can still tell it.
    """

    def __init__(self, sequence: SequenceWriter, now_ns: Callable[[], int]) -> None:
        self._sequence = sequence
        self._now_ns = now_ns
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self.last: deque[Entry] = deque(maxlen=_KEPT)
        self.unwritten: list[Unwritten] = []
        self.failure: GaplessError | None = None
        self.watchers: list[Callable[[Entry], None]] = []
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="gapless-events", daemon=True)
        self._thread.start()

    def record(
        self,
        severity: str,
        kind: str,
        message: str,
        *,
        source: str = "",
        data: dict[str, Any] | None = None,
        timestamp_ns: int | None = None,
    ) -> Future[None]:
        """Take an event; the future is done when it is durable and fails when the disk refused it.

        Watchers are not told of severity ``debug``.
        """
        stamp = self._now_ns() if timestamp_ns is None else timestamp_ns
        entry = Entry(severity, kind, message, source, data, stamp)
        if severity != "debug":
            self.last.append(entry)
            for watcher in list(self.watchers):
                watcher(entry)
        return self._put(_Job(lambda: self._write(entry), entry=entry))

    def _write(self, entry: Entry) -> None:
        self._sequence.event(
            entry.severity,
            entry.kind,
            entry.message,
            source=entry.source,
            data=entry.data,
            timestamp_ns=entry.timestamp_ns,
            durable=False,
        )

    def note(self, write: Callable[[], None]) -> Future[None]:
        """Run a call that waits for the disk (a gap, an artifact) in its place among the events."""
        return self._put(_Job(write))

    def _put(self, job: _Job) -> Future[None]:
        with self._closing:
            if not self._closed:
                self._jobs.put(job)
                return job.done
        self._failed(job, WriterClosed("the run is over", sequence=self._sequence.name))
        return job.done

    def close(self, timeout_s: float) -> None:
        """Write what is left and end the thread, or raise DeadlinePassed."""
        with self._closing:
            if not self._closed:
                self._jobs.put(None)
            self._closed = True
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise DeadlinePassed(
                "the disk did not take the last events in time",
                sequence=self._sequence.name,
                expected=f"within {timeout_s:g} s",
            )

    def _run(self) -> None:
        ended = False
        while not ended:
            batch = [self._jobs.get()]
            while len(batch) < _BATCH:
                try:
                    batch.append(self._jobs.get_nowait())
                except Empty:
                    break
            jobs = [job for job in batch if job is not None]
            ended = len(jobs) < len(batch)
            if jobs:
                self._commit(jobs)

    def _commit(self, jobs: list[_Job]) -> None:
        """Write several and sync once; each future learns what became of its own."""
        written: list[_Job] = []
        for job in jobs:
            try:
                job.write()
                written.append(job)
            except BaseException as error:  # noqa: BLE001 - the job's owner gets it through the future
                self._failed(job, error)
        try:
            if written:
                self._sequence.flush(encoders=False)
        except BaseException as error:  # noqa: BLE001 - as above
            for job in written:
                self._failed(job, error)
            return
        for job in written:
            if not job.done.done():
                job.done.set_result(None)

    def _failed(self, job: _Job, error: BaseException) -> None:
        if isinstance(error, GaplessError):
            self.failure = self.failure or error
        words = f"{type(error).__name__}: {error}"
        entry = job.entry or Entry("error", "gap_refused", words, "run", None, self._now_ns())
        is_late = isinstance(error, WriterClosed)
        why = "it came when the run was over" if is_late else f"the disk did not take it: {words}"
        self.unwritten.append(Unwritten(entry, why))
        if not job.done.done():
            job.done.set_exception(error)
