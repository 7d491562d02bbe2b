"""A second thread for what takes long when a run ends, so that other runs are not held up."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

Job = Callable[[], None]


class Sealer:
    """Does jobs one after the other, in their order, on a thread that starts with the first.

    An exception of a job goes to ``tell``; the next job is done all the same. Where no thread can start, as
    while the interpreter ends, a job is done on the thread that puts it.
    """

    def __init__(self, tell: Callable[[BaseException], None], name: str = "gapless-bluesky-seal") -> None:
        self._tell = tell
        self._name = name
        self._jobs: deque[Job] = deque()
        self._change = threading.Condition()
        self._open = 0
        self._ending = False
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """How many jobs are not done."""
        return self._open

    def put(self, job: Job) -> None:
        """Let a job be done after those before it."""
        with self._change:
            if self._thread is not None or self._start():
                self._jobs.append(job)
                self._open += 1
                self._change.notify_all()
                return
        self._do(job)

    def _start(self) -> bool:
        thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._thread = thread
        return True

    def wait(self, deadline_s: float) -> bool:
        """Return whether every job put so far, and since, was done within ``deadline_s``."""
        give_up = time.monotonic() + deadline_s
        with self._change:
            return self._change.wait_for(lambda: self._open == 0, max(0.0, give_up - time.monotonic()))

    def end(self) -> None:
        """Let the thread end when its jobs are done."""
        with self._change:
            self._ending = True
            self._change.notify_all()

    def _next(self) -> Job | None:
        with self._change:
            self._change.wait_for(lambda: self._jobs or self._ending)
            return self._jobs.popleft() if self._jobs else None

    def _work(self) -> None:
        while (job := self._next()) is not None:
            self._do(job)
            with self._change:
                self._open -= 1
                self._change.notify_all()

    def _do(self, job: Job) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - the last word on this job
            self._tell(error)
