"""A platform whose disk fails on demand: the n-th write or sync, a sync that hangs, slow syncs."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gapless.store.platform import Bytes, Platform


@dataclass(frozen=True)
class Fault:
    """One planned failure: the ``nth`` call (from 1, counted from the plan) of ``operation`` and all after it.

    ``operation`` is ``write``, ``data_sync``, ``sync_file``, ``sync_directory``, ``create`` or ``reserve``;
    ``once`` lets later calls succeed, as a disk does that lost the data of a failed sync and says so once.
    """

    operation: str
    nth: int = 1
    code: int = errno.EIO
    once: bool = False


class FaultyPlatform(Platform):
    """The real file system until :meth:`plan` or :meth:`hang_syncs` is called.

    ``calls`` lists (operation, file name) in order. ``slow_sync_s`` is added to every data sync.
    """

    def __init__(self, *, slow_sync_s: float = 0.0) -> None:
        self.calls: list[tuple[str, str]] = []
        self.slow_sync_s = slow_sync_s
        self.hanging = threading.Event()  # set while a sync hangs
        self._go = threading.Event()
        self._go.set()
        self._lock = threading.Lock()
        self._paths: dict[int, Path] = {}
        self._faults: list[tuple[Fault, int]] = []  # with the number of calls left before it
        self.failed: list[tuple[str, str]] = []

    def plan(self, fault: Fault) -> None:
        """Let a later call fail."""
        with self._lock:
            self._faults.append((fault, fault.nth - 1))

    def heal(self) -> None:
        """Forget every plan: the disk is well again."""
        with self._lock:
            self._faults = []

    def hang_syncs(self) -> None:
        """Let every data sync from now on hang until :meth:`release`."""
        self._go.clear()

    def release(self) -> None:
        """Let hanging syncs return."""
        self._go.set()

    def count(self, operation: str, suffix: str = "") -> int:
        """Return how often an operation was asked for on files whose name ends like that."""
        with self._lock:
            return sum(1 for kind, name in self.calls if kind == operation and name.endswith(suffix))

    def _call(self, operation: str, path: Path) -> None:
        with self._lock:
            self.calls.append((operation, path.name))
            for i, (fault, left) in enumerate(self._faults):
                if fault.operation != operation:
                    continue
                if left:
                    self._faults[i] = (fault, left - 1)
                    continue
                if fault.once:
                    del self._faults[i]
                self.failed.append((operation, path.name))
                raise OSError(fault.code, os.strerror(fault.code), str(path))

    def path_of(self, fd: int) -> Path:
        """Return the path that a descriptor was opened by."""
        return self._paths.get(fd, Path("?"))

    # -- the platform --------------------------------------------------------------------------

    def create(self, path: Path) -> int:
        """As the platform's; may fail."""
        self._call("create", path)
        return self._remember(super().create(path), path)

    def open_append(self, path: Path) -> int:
        """As the platform's."""
        return self._remember(super().open_append(path), path)

    def open_update(self, path: Path) -> int:
        """As the platform's."""
        return self._remember(super().open_update(path), path)

    def _remember(self, fd: int, path: Path) -> int:
        self._paths[fd] = path
        return fd

    def write(self, fd: int, buffers: Sequence[Bytes]) -> int:
        """As the platform's; a planned failure writes half of the bytes first, as a full disk does."""
        try:
            self._call("write", self.path_of(fd))
        except OSError:
            whole = b"".join(buffers)
            super().write(fd, [whole[: len(whole) // 2]])
            raise
        return super().write(fd, buffers)

    def data_sync(self, fd: int) -> None:
        """As the platform's; may fail, hang or take long."""
        self._call("data_sync", self.path_of(fd))
        if not self._go.is_set():
            self.hanging.set()
            self._go.wait()
            self.hanging.clear()
        if self.slow_sync_s:
            time.sleep(self.slow_sync_s)
        super().data_sync(fd)

    def sync_file(self, path: Path) -> None:
        """As the platform's; may fail."""
        self._call("sync_file", path)
        super().sync_file(path)

    def sync_directory(self, path: Path) -> None:
        """As the platform's; may fail."""
        self._call("sync_directory", path)
        super().sync_directory(path)

    def reserve(self, fd: int, size_bytes: int) -> None:
        """As the platform's; may fail."""
        self._call("reserve", self.path_of(fd))
        super().reserve(fd, size_bytes)
