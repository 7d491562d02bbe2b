"""A second thread for what takes long when a run ends, so that other runs are not held up."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

Job = Callable[[], None]


class Sealer:
    """Does jobs one after the other, in their order, on a thread that starts with the first.

    An exception of a job goes to ``tell``; the next job is done all the same.
    """

    def __init__(self, tell: Callable[[BaseException], None]) -> None:
        self._tell = tell
        self._jobs: deque[Job] = deque()
        self._change = threading.Condition()
        self._open = 0
        self._ending = False
        self._thread: threading.Thread | None = None

    def put(self, job: Job) -> None:
        """Let a job be done after those before it."""
        with self._change:
            self._jobs.append(job)
            self._open += 1
            self._change.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="gapless-bluesky-seal", daemon=True)
                self._thread.start()

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
            try:
                job()
            except BaseException as error:  # noqa: BLE001 - the thread's last word on this job
                self._tell(error)
            finally:
                with self._change:
                    self._open -= 1
                    self._change.notify_all()
