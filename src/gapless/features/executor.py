"""Where chunks of work are carried out: here, in threads, in processes, or by Dask; all give the same results.

A chunk is taken only when there is room for it, because taking one may claim what it names.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from itertools import chain
from typing import Literal, TypeVar, get_args

from gapless.errors import ArgumentRefused
from gapless.features.carrier import Cancel, Carrier, carry_all, check_cancel
from gapless.features.worker_pool import ProcessWorkers, ThreadWorkers

C = TypeVar("C")
R = TypeVar("R")
Mode = Literal["thread", "process", "dask"]
MODES: tuple[str, ...] = get_args(Mode)


def run_chunks(
    function: Callable[[C], R],
    chunks: Iterable[C],
    *,
    mode: str | None,
    workers: int | None,
    scheduler: str | None = None,
    cancel: Cancel | None = None,
    in_flight: int | None = None,
) -> Generator[tuple[C, R | BaseException], None, None]:
    """Return each chunk with what the function returned for it, in the order of completion.

    ``mode`` None, or fewer than two ``workers`` but with Dask, computes in the caller's thread. Processes
    and Dask need a function and chunks that can be pickled. ``in_flight``: chunks under way at once, by
    default two for each worker. A chunk whose worker died is computed once more, then comes with the error.
    What the function raises is raised, and ``cancel`` raises RunCancelled, once what was begun has been
    yielded. Closing the generator ends the workers. Raises ArgumentRefused for arguments that mean nothing.
    """
    if mode is not None and mode not in MODES:
        raise ArgumentRefused("there is no such parallel_mode", found=mode, expected=" | ".join(MODES))
    for name, number in (("workers", workers), ("in_flight", in_flight)):
        if number is not None and number < 1:
            raise ArgumentRefused(f"{name} is a number of 1 or more", found=number)
    if mode == "dask":
        return _on_dask(function, chunks, workers or 1, scheduler, cancel, in_flight)
    if mode is None or workers is None or workers == 1:
        return _here(function, chunks, cancel)
    kind = ThreadWorkers if mode == "thread" else ProcessWorkers
    return _carried(lambda: kind(function, workers, in_flight), chunks, cancel)


def _here(
    function: Callable[[C], R], chunks: Iterable[C], cancel: Cancel | None
) -> Generator[tuple[C, R | BaseException], None, None]:
    """Compute in the caller's thread."""
    source = iter(chunks)
    while True:
        check_cancel(cancel)
        for chunk in source:
            yield chunk, function(chunk)
            break
        else:
            return


def _carried(
    start: Callable[[], Carrier[C, R]], chunks: Iterable[C], cancel: Cancel | None
) -> Generator[tuple[C, R | BaseException], None, None]:
    """Compute by workers that start when the first result is asked for."""
    check_cancel(cancel)
    source = iter(chunks)
    for first in source:  # where there is nothing to do no worker starts
        yield from carry_all(start(), chain([first], source), cancel)
        return


def _on_dask(
    function: Callable[[C], R],
    chunks: Iterable[C],
    workers: int,
    scheduler: str | None,
    cancel: Cancel | None,
    in_flight: int | None,
) -> Generator[tuple[C, R | BaseException], None, None]:
    from gapless.features.dask_executor import DaskWorkers

    yield from _carried(lambda: DaskWorkers(function, workers, scheduler, in_flight), chunks, cancel)
