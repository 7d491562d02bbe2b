"""Where chunks of work are carried out: here, in threads, in processes, or by Dask; all give the same results.

A chunk is pulled only when there is room for it, because pulling one may claim what it names.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from typing import Protocol, TypeVar

from gapless.errors import ArgumentRefused, RunCancelled

C = TypeVar("C")
R = TypeVar("R")
MODES = ("thread", "process", "dask")
_IN_FLIGHT = 2  # chunks for each worker: one being computed, one waiting


class Cancel(Protocol):
    """What tells a run to stop: ``threading.Event`` and its like."""

    def is_set(self) -> bool:
        """Whether the run is to stop."""
        ...


def run_chunks(
    function: Callable[[C], R],
    chunks: Iterable[C],
    *,
    mode: str | None,
    workers: int | None,
    scheduler: str | None = None,
    cancel: Cancel | None = None,
) -> Iterator[tuple[C, R | BaseException]]:
    """Yield each chunk with what the function returned, in the order of completion.

    One whose worker died is tried once more and then yielded with the error. ``cancel`` ends with
    RunCancelled after what was begun. What the function raises is raised here.
    """
    if mode is not None and mode not in MODES:
        raise ArgumentRefused("there is no such parallel_mode", found=mode, expected=" | ".join(MODES))
    if mode == "dask":
        from gapless.features.dask_executor import run_on_dask

        yield from run_on_dask(function, chunks, workers=workers or 1, scheduler=scheduler, cancel=cancel)
    elif mode is None or (workers or 1) < 2:
        for chunk in chunks:
            yield chunk, function(chunk)
            check_cancel(cancel)
    else:
        yield from _run_pool(function, chunks, mode, workers or 1, cancel)


def check_cancel(cancel: Cancel | None) -> None:
    """Raise RunCancelled if a run is to stop."""
    if cancel is not None and cancel.is_set():
        raise RunCancelled("the run was cancelled")


def _pool(mode: str, workers: int) -> Executor:
    if mode == "thread":
        return ThreadPoolExecutor(workers, thread_name_prefix="gapless-feature")
    _check_main()
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _check_main() -> None:
    """Refuse a session whose main module a new process could not find."""
    main = sys.modules.get("__main__")
    if main is not None and getattr(main, "__file__", None) is None and not hasattr(main, "__spec__"):
        raise ArgumentRefused(
            "other processes cannot import what this session defined", found="a session without a file",
            next_step='put the feature into a module, or use parallel_mode="thread"',
        )  # fmt: skip


def _run_pool(
    function: Callable[[C], R], chunks: Iterable[C], mode: str, workers: int, cancel: Cancel | None
) -> Iterator[tuple[C, R | BaseException]]:
    waiting = iter(chunks)
    again: list[C] = []
    tried: list[C] = []
    pool = _pool(mode, workers)
    flying: dict[Future[R], C] = {}
    stopped = False
    try:
        while True:
            while len(flying) < workers * _IN_FLIGHT and not stopped:
                chunk = again.pop() if again else next(waiting, None)
                if chunk is None:
                    break
                flying[pool.submit(function, chunk)] = chunk
            if not flying:
                break
            done, _ = wait(flying, return_when=FIRST_COMPLETED, timeout=0.2)
            broken = [future for future in done if isinstance(future.exception(), BrokenExecutor)]
            if broken:  # every chunk in flight is lost with the pool
                lost, flying = list(flying.values()), {}
                pool.shutdown(wait=False, cancel_futures=True)
                pool = _pool(mode, 1 if tried else workers)
                for chunk in lost:
                    if any(chunk is other for other in tried):
                        yield chunk, broken[0].exception() or BrokenExecutor()
                    else:
                        tried.append(chunk)
                        again.append(chunk)
                continue
            for future in done:
                yield flying.pop(future), future.result()
            stopped = stopped or (cancel is not None and cancel.is_set())
        if stopped:
            check_cancel(cancel)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
