"""Workers of a Dask cluster: one that is named, or one of this machine's own processes for the run's life."""

from __future__ import annotations

import logging
import pickle
import tempfile
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from typing import Any, Generic, TypeVar

from gapless.errors import ArgumentRefused, FeatureFailed, MissingExtra
from gapless.features.carrier import IN_FLIGHT, Lost, Outcome, Raised, Returned
from gapless.features.worker_pool import check_main

C = TypeVar("C")
R = TypeVar("R")
_CONNECT_S = 30.0


class DaskWorkers(Generic[C, R]):
    """Workers that call a function on chunks, wherever Dask runs them.

    ``scheduler``: the address of a cluster, None for ``workers`` processes on this machine. Every worker must
    see the store's folder under the same path and be able to import the feature; what a script or a session
    itself defines is sent along. Raises MissingExtra without Dask, FeatureFailed if no worker answers.
    """

    def __init__(
        self, function: Callable[[C], R], workers: int, scheduler: str | None, in_flight: int | None = None
    ) -> None:
        self._function = function
        self._in_flight = in_flight
        self._distributed = _distributed()
        with ExitStack() as stack:
            if scheduler is None:
                cluster = stack.enter_context(_local_cluster(self._distributed, workers, stack))
            else:
                cluster = _checked(self._distributed, scheduler)
            self._client = stack.enter_context(_connected(self._distributed, cluster))
            self._completed = self._distributed.as_completed(loop=self._client.loop)
            self._stack = stack.pop_all()

    @property
    def room(self) -> int:
        """Two chunks for each thread that there is now: clusters grow and shrink."""
        try:
            threads = sum(self._client.nthreads().values())
        except (OSError, RuntimeError) as error:
            raise _gone(error) from error
        return self._in_flight or max(1, threads) * IN_FLIGHT

    def send(self, chunk: C) -> Any:
        """Give a chunk to the cluster."""
        try:
            future = self._client.submit(self._function, chunk, pure=False)
        except (pickle.PicklingError, TypeError) as error:
            raise ArgumentRefused(
                "this cannot be sent to another process", found=str(error.args[0]),
                next_step="put the feature into a module that can be imported",
            ) from error  # fmt: skip
        self._completed.add(future)
        return future

    def arrived(self, tickets: Collection[Any]) -> Iterable[tuple[Any, Outcome[R]]]:  # noqa: ARG002  (all are awaited)
        """Wait until at least one chunk is done."""
        return [(future, self._outcome(future)) for future in self._completed.next_batch(block=True)]

    def close(self) -> None:
        """Drop what is not finished, leave the cluster, and end it if it is our own."""
        self._stack.close()

    def _outcome(self, future: Any) -> Outcome[R]:
        """Return what became of a chunk; a result that died with its worker is computed again by Dask."""
        try:
            return Returned(future.result())
        except self._distributed.KilledWorker as error:
            return Lost(error)
        except BaseException as error:
            if future.cancelled():  # nobody here cancels, so its scheduler forgot it
                raise _gone(error) from error
            return Raised(error)


def _local_cluster(distributed: Any, workers: int, stack: ExitStack) -> Any:
    """Return new worker processes on this machine, with ports from the system and files in a folder of their own.

    A worker that dies is replaced; its chunks are not tried again by Dask, as the run does that.
    """
    check_main()
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gapless-dask-"))
    try:
        return distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=None,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"allowed_failures": 0, "dashboard": False, "local_directory": folder},
            local_directory=folder,
            silence_logs=logging.ERROR,
        )
    except RuntimeError as error:
        raise FeatureFailed(
            "Dask could not start its workers", found=str(error),
            next_step='in a script, start the run under `if __name__ == "__main__":`',
        ) from error  # fmt: skip


def _checked(distributed: Any, scheduler: str) -> str:
    """Return the address of a scheduler; a client that gets a wrong one does not end well."""
    try:
        distributed.comm.get_address_host_port(scheduler)
    except (ValueError, AttributeError, TypeError) as error:
        raise ArgumentRefused(
            "this is no address of a Dask scheduler", found=scheduler, expected="tcp://HOST:PORT"
        ) from error
    return scheduler


def _connected(distributed: Any, cluster: Any) -> Any:
    """Return a client that is nobody's default, of a cluster with at least one worker."""
    try:
        client = distributed.Client(cluster, timeout=_CONNECT_S, set_as_default=False)
    except OSError as error:
        raise FeatureFailed(
            "no Dask scheduler answers", found=cluster, next_step="start it, or leave scheduler out"
        ) from error
    try:
        client.wait_for_workers(1, timeout=_CONNECT_S)
    except TimeoutError as error:
        client.close()
        raise FeatureFailed(
            "the Dask cluster has no workers", found=cluster, next_step="start `dask worker` on its machines"
        ) from error
    return client


def _gone(error: BaseException) -> FeatureFailed:
    return FeatureFailed(
        "the Dask scheduler is gone", found=f"{type(error).__name__}: {error}",
        next_step="start it and run again: what was recorded is not computed again",
    )  # fmt: skip


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise MissingExtra(
            'parallel_mode="dask" needs dask', next_step="pip install 'gapless[dask]'"
        ) from error
    return distributed
