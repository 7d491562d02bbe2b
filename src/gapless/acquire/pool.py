"""All workers of a configuration: devices grouped by resource, opened once, kept over many runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from gapless.acquire.adapter import Adapter
from gapless.acquire.command import Command, CommandResult, refused
from gapless.acquire.resource import ResourceLock
from gapless.acquire.worker import Worker, WorkerState
from gapless.errors import NotFound, ResourceConflict


class WorkerPool:
    """Opens the devices of a rig and keeps them open between runs.

    Two devices that claim one resource and do not share it are refused before anything is opened, and so
    is a resource that another process on this machine holds.
    """

    def __init__(self, adapters: Mapping[str, Adapter]) -> None:
        self.adapters = dict(adapters)
        self.workers = [Worker(resource, group) for resource, group in group_by_resource(adapters).items()]
        self._worker_of = {name: worker for worker in self.workers for name in worker.adapters}
        self._locks: list[ResourceLock] = []
        self._claiming = threading.Lock()
        self._claimed_by: str | None = None

    def open(self) -> None:
        """Open every device; if one fails, close those that are open and raise its error."""
        try:
            for worker in self.workers:
                lock = ResourceLock.take(worker.resource_id)
                if lock is not None:
                    self._locks.append(lock)
            for worker in self.workers:
                worker.open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every device; raises the first error after all were tried."""
        first: BaseException | None = None
        for worker in self.workers:
            try:
                worker.close()
            except BaseException as error:  # noqa: BLE001 - the others are closed first, then it is raised
                first = first or error
        for lock in self._locks:
            lock.release()
        self._locks = []
        if first is not None:
            raise first

    def claim(self, run: str) -> None:
        """Take the devices for one run, or raise ResourceConflict while another has them."""
        with self._claiming:
            if self._claimed_by is not None:
                raise ResourceConflict(
                    "another run of this program has the devices",
                    found=self._claimed_by,
                    expected="one run at a time on one pool",
                )
            self._claimed_by = run

    def give_back(self) -> None:
        """Let another run have the devices."""
        self._claimed_by = None

    def worker_for(self, device: str) -> Worker:
        """Return the worker that owns a device, or raise NotFound."""
        try:
            return self._worker_of[device]
        except KeyError:
            raise NotFound(
                "the rig has no device of that name",
                found=device,
                expected=", ".join(self._worker_of) or "none",
                next_step="`gapless devices check RIG.toml` lists the devices",
            ) from None

    def __enter__(self) -> WorkerPool:
        self.open()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()


class PoolDispatcher:
    """Commands between runs: they reach the device, and nothing is recorded as there is no sequence."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def dispatch(self, device: str, command: Command) -> Future[CommandResult]:
        """Give a command to a device; refused while a run has the devices, which records what it commands."""
        worker = self._pool.worker_for(device)
        if worker.state is not WorkerState.IDLE:
            answer: Future[CommandResult] = Future()
            answer.set_result(refused(command, f"{device} is not idle: command it through its run"))
            return answer
        return worker.dispatch(device, command)


def group_by_resource(adapters: Mapping[str, Adapter]) -> dict[str, dict[str, Adapter]]:
    """Return the devices of each resource, or raise ResourceConflict with both names."""
    groups: dict[str, dict[str, Adapter]] = {}
    for name, adapter in adapters.items():
        group = groups.setdefault(adapter.resource_id, {})
        for other_name, other in group.items():
            if not (adapter.shares_resource and other.shares_resource):
                raise ResourceConflict(
                    "two devices claim one resource",
                    found=f"{other_name} and {name} on {adapter.resource_id}",
                    expected="a resource of its own for each, or a bus that both share",
                )
        group[name] = adapter
    return groups
