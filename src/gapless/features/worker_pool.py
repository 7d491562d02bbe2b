"""Workers on this machine: threads of this process, or processes of their own."""

from __future__ import annotations

import io
import multiprocessing
import pickle
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from pathlib import Path
from types import FunctionType
from typing import Any, Generic, TypeVar

from gapless.errors import ArgumentRefused, FeatureFailed
from gapless.features.carrier import IN_FLIGHT, Lost, Outcome, Raised, Returned

C = TypeVar("C")
R = TypeVar("R")
_INTO_A_MODULE = 'put the feature into a module that can be imported, or use parallel_mode="thread"'


class _PoolWorkers(ABC, Generic[C, R]):
    """Workers of a pool of ``concurrent.futures``."""

    def __init__(self, function: Callable[[C], R], workers: int, in_flight: int | None = None) -> None:
        self.room = in_flight or workers * IN_FLIGHT
        self._function = function
        self._workers = workers
        self._executor = self._started()

    @abstractmethod
    def _started(self) -> Executor:
        """Return new workers."""

    @abstractmethod
    def send(self, chunk: C) -> Future[R]:
        """Give a chunk to the workers."""

    def arrived(self, tickets: Collection[Future[R]]) -> Iterable[tuple[Future[R], Outcome[R]]]:
        """Wait until at least one chunk is done."""
        return [(ticket, _outcome(ticket)) for ticket in wait(tickets, return_when=FIRST_COMPLETED).done]

    def close(self) -> None:
        """Wait for what is being computed, drop what is not begun and end the workers."""
        self._executor.shutdown(wait=True, cancel_futures=True)


class ThreadWorkers(_PoolWorkers[C, R]):
    """Threads that call a function on chunks."""

    def _started(self) -> Executor:
        return ThreadPoolExecutor(self._workers, thread_name_prefix="gapless-feature")

    def send(self, chunk: C) -> Future[R]:
        """Give a chunk to the threads."""
        return self._executor.submit(self._function, chunk)


class ProcessWorkers(_PoolWorkers[C, R]):
    """New processes, not copies of this one, that call a function on chunks.

    Functions and chunks travel as pickles; ArgumentRefused says so where they cannot.
    """

    def _started(self) -> Executor:
        check_main()
        return ProcessPoolExecutor(self._workers, mp_context=multiprocessing.get_context("spawn"))

    def send(self, chunk: C) -> Future[R]:
        """Give a chunk to the processes; to new ones if one died, as that ends them all."""
        parcel = packed((self._function, chunk))
        try:
            return self._executor.submit(_unpack_and_call, parcel)
        except BrokenExecutor:
            self.close()
            self._executor = self._started()
            return self._executor.submit(_unpack_and_call, parcel)


def packed(value: Any) -> bytes:
    """Return the pickle of a value that every worker process can make it from again.

    Raises ArgumentRefused for what has no pickle, and for classes and functions of a session without a file,
    which only this process has.
    """
    buffer = io.BytesIO()
    try:
        _Packer(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ArgumentRefused(
            "this cannot be sent to another process", found=str(error), next_step=_INTO_A_MODULE
        ) from error
    return buffer.getvalue()


class _Packer(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type | FunctionType) and value.__module__ == "__main__" and _main_is_lost():
            raise ArgumentRefused(
                "another process cannot import what a session without a file defined",
                found=f"__main__.{value.__qualname__}", next_step=_INTO_A_MODULE,
            )  # fmt: skip
        return NotImplemented


def _main_is_lost() -> bool:
    """Whether what the main module defines is in this process only, as in an interactive session."""
    return _main_file() is None and getattr(sys.modules["__main__"], "__spec__", None) is None


def check_main() -> None:
    """Raise ArgumentRefused if new processes would look for a main module that is in no file."""
    file = _main_file()
    if file is not None and not Path(file).exists():
        raise ArgumentRefused(
            "a program without a file cannot start worker processes", found=file,
            next_step='save it as a file, or use parallel_mode="thread"',
        )  # fmt: skip


def _main_file() -> str | None:
    """Return the file that new processes run to have this one's main module; None for a session or a module."""
    main = sys.modules["__main__"]
    return getattr(main, "__file__", None) if getattr(main, "__spec__", None) is None else None


def _unpack_and_call(parcel: bytes) -> Any:
    """Do one chunk in a worker process."""
    try:
        function, chunk = pickle.loads(parcel)
    except (ImportError, AttributeError) as error:
        raise ArgumentRefused(
            "a worker process cannot import what it was sent", found=str(error), next_step=_INTO_A_MODULE
        ) from error
    try:
        return function(chunk)
    except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever the function raised
        raise _portable(error) from None


def _portable(error: BaseException) -> BaseException:
    """Return the error if the other side can read it, or else one that says what it was.

    One that cannot be read there would pass for the death of all workers.
    """
    try:
        pickle.loads(pickle.dumps(error))
    except BaseException as refusal:  # noqa: BLE001 - its own code decides how an error is read
        return FeatureFailed(
            f"{type(error).__name__}: {error}", found=f"an error that cannot travel: {refusal}"
        )
    return error


def _outcome(done: Future[R]) -> Outcome[R]:
    error = done.exception()
    if error is None:
        return Returned(done.result())
    return Lost(error) if isinstance(error, BrokenExecutor) else Raised(error)
