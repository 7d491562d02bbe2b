"""Chunks of work on Dask: a cluster that is named, or one of this machine's own processes for the run's life."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

from gapless.errors import MissingExtra
from gapless.features.executor import Cancel, check_cancel

C = TypeVar("C")
R = TypeVar("R")
_IN_FLIGHT = 2  # chunks for each worker: one being computed, one waiting
_CONNECT_S = 30.0


def run_on_dask(
    function: Callable[[C], R],
    chunks: Iterable[C],
    *,
    workers: int,
    scheduler: str | None,
    cancel: Cancel | None,
) -> Iterator[tuple[C, R | BaseException]]:
    """Yield each chunk with its result, in the order of completion.

    A chunk whose worker died is tried once more, then yielded with the error. All workers must see the
    store's folder under the same path and be able to import the feature.
    """
    distributed = _distributed()
    with ExitStack() as stack:
        if scheduler is not None:
            client = stack.enter_context(distributed.Client(scheduler, timeout=_CONNECT_S))
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gapless-dask-"))
            cluster = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    local_directory=folder,
                )
            )
            client = stack.enter_context(distributed.Client(cluster))
        yield from _results(distributed, client, function, chunks, cancel)


def _results(
    distributed: Any, client: Any, function: Callable[[C], R], chunks: Iterable[C], cancel: Cancel | None
) -> Iterator[tuple[C, R | BaseException]]:
    waiting = iter(chunks)
    tried: set[int] = set()
    flying: dict[Any, C] = {}
    completed = distributed.as_completed()
    stopped = False

    def submit(chunk: C) -> None:
        future = client.submit(function, chunk, pure=False)
        flying[future] = chunk
        completed.add(future)

    def fill() -> None:
        room = max(1, len(client.scheduler_info()["workers"])) * _IN_FLIGHT
        while len(flying) < room and not stopped:
            chunk = next(waiting, None)
            if chunk is None:
                return
            submit(chunk)

    fill()
    while flying:
        future = next(completed)
        chunk = flying.pop(future)
        error = future.exception()
        if error is None:
            yield chunk, future.result()
        elif not isinstance(error, distributed.KilledWorker):
            raise error
        elif id(chunk) in tried:
            yield chunk, error
        else:
            tried.add(id(chunk))
            submit(chunk)
        future.release()
        stopped = stopped or (cancel is not None and cancel.is_set())
        fill()
    if stopped:
        check_cancel(cancel)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise MissingExtra(
            'parallel_mode="dask" needs dask', next_step="pip install 'gapless[dask]'"
        ) from error
    return distributed
