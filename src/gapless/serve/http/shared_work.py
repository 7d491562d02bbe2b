"""Work that is done once for all who want its result at the same time, and given up when none of them waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

import pyarrow as pa

from gapless.errors import LimitReached

T = TypeVar("T")
Gone = Callable[[], bool]
_LOOK_S: Final = 0.1  # between two looks whether those who wait are still there


@dataclass(slots=True)
class _Task:
    """One piece of work and those who wait for it."""

    waiting: dict[int, Gone] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: BaseException | None = None


class SharedWork:
    """Runs work of a kind, each on a thread of its own; any thread may ask.

    At most ``at_once`` pieces run, and ``queued`` callers wait, else LimitReached: a server has other things to
    do. The work gets a function that says whether it is still wanted and raises what it likes when it is not.
    """

    def __init__(self, at_once: int, queued: int) -> None:
        self._room = threading.BoundedSemaphore(at_once)
        self._queued = queued
        self._lock = threading.Lock()
        self._tasks: dict[Hashable, _Task] = {}
        self._count = 0

    def result(self, key: Hashable, work: Callable[[Gone], T], gone: Gone) -> T:
        """Return what the work of that key gives, begun by this caller or by one before.

        Raises what the work raises, and ``pyarrow.ArrowCancelled`` once ``gone()`` is true.
        """
        task, ticket = self._join(key, work, gone)
        try:
            while not task.done.wait(_LOOK_S):
                if gone():
                    raise pa.ArrowCancelled("nobody waits for the report any more")
        finally:
            self._leave(task, ticket)
        if task.error is not None:
            raise task.error
        return cast("T", task.result)

    def _join(self, key: Hashable, work: Callable[[Gone], T], gone: Gone) -> tuple[_Task, int]:
        with self._lock:
            waiting = sum(len(task.waiting) for task in self._tasks.values())
            if waiting >= self._queued:
                raise LimitReached("too many wait for reports already", found=waiting, expected=self._queued)
            self._count += 1
            ticket = self._count
            task = self._tasks.get(key)
            if task is not None:
                task.waiting[ticket] = gone
                return task, ticket
            task = self._tasks[key] = _Task({ticket: gone})
        threading.Thread(target=self._run, args=(key, task, work), name="gapless report", daemon=True).start()
        return task, ticket

    def _leave(self, task: _Task, ticket: int) -> None:
        with self._lock:
            del task.waiting[ticket]

    def _run(self, key: Hashable, task: _Task, work: Callable[[Gone], object]) -> None:
        """Do the work when there is room, and hand on how it ended."""

        def unwanted() -> bool:
            return self._unwanted(key, task)

        try:
            while not self._room.acquire(timeout=_LOOK_S):
                if unwanted():
                    raise pa.ArrowCancelled("nobody waits for the report any more")
            try:
                task.result = work(unwanted)
            finally:
                self._room.release()
        except BaseException as error:  # noqa: BLE001 - the thread's end: kept, and raised by those who wait
            task.error = error
        finally:
            with self._lock:
                if self._tasks.get(key) is task:
                    del self._tasks[key]
            task.done.set()

    def _unwanted(self, key: Hashable, task: _Task) -> bool:
        """Tell whether all who waited have gone; then nobody joins any more."""
        with self._lock:
            wanted = any(not gone() for gone in task.waiting.values())
            if not wanted and self._tasks.get(key) is task:
                del self._tasks[key]
            return not wanted
