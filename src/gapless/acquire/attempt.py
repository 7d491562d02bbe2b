"""One piece of work with a deadline that its owner may give up, and that then cleans up behind itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait


class Attempt:
    """Runs ``call`` on a thread of its own. Either the owner learns its end, or ``undo`` follows it.

    A call that hangs in the disk goes on when the disk is back; ``undo`` gets the error for which it was
    given up. A call that raises has cleaned up itself.
    """

    def __init__(self, name: str, call: Callable[[], None], undo: Callable[[BaseException], None]) -> None:
        self._name = name
        self._call = call
        self._undo = undo
        self._lock = threading.Lock()
        self._end: Future[None] = Future()
        self.given_up: BaseException | None = None

    def within(self, deadline_s: float, late: BaseException) -> None:
        """Return when the call has ended, or raise what it raised, or ``late`` when it takes longer."""
        threading.Thread(target=self._run, name=f"gapless-{self._name}", daemon=True).start()
        try:
            if not wait([self._end], deadline_s).done:
                raise late
            self._end.result()
        except BaseException as error:
            with self._lock:
                self.given_up = error
                done = self._end.done() and self._end.exception() is None
            if done:  # at this very moment
                self._undo(error)
            raise

    def _run(self) -> None:
        problem: BaseException | None = None
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: the owner raises it
            problem = error
        with self._lock:
            given_up = self.given_up
            if problem is None:
                self._end.set_result(None)
            else:
                self._end.set_exception(problem)
        if given_up is not None and problem is None:
            self._undo(given_up)


__all__ = ["Attempt"]
