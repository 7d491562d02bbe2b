"""Files made for browsers of what is recorded: built once, in a folder that is bounded and goes with the server."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gapless.errors import LimitReached

MOST_BYTES: Final = 4 << 30
MOST_BUSY: Final = 8  # threads that build, or wait for one that does
_SHARE: Final = 4  # of the free space of the disk, the part that may be taken


class _Slot:
    """The place of one file: whoever holds ``lock`` may build it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.size_bytes = 0


class VideoCache:
    """Keeps the files that were asked for last, up to ``most_bytes``; any thread may ask.

    The folder is made with the first file and removed when the cache goes, at the latest with the process.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._lock = threading.Lock()
        self._busy = threading.BoundedSemaphore(MOST_BUSY)
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        self._folder: Path | None = None

    @property
    def folder(self) -> Path:
        """Where the files are."""
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="gapless-videos-"))
                weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            return self._folder

    def file(self, name: str, about_bytes: int, build: Callable[[Path], object]) -> Path:
        """Return the file of that name, built by ``build(path)`` unless it is there; who comes meanwhile waits.

        ``build`` makes all of it or nothing. ``about_bytes`` is how large it may get. Raises LimitReached where
        there is no room for that, or too many build and wait already: each takes a thread from other requests.
        """
        path = self.folder / name
        if path.exists():
            self._slot(name)
            return path
        if not self._busy.acquire(blocking=False):
            raise LimitReached(
                "the server makes as many videos as it may at one time", expected=f"at most {MOST_BUSY}",
                next_step="try again in a moment; single pictures are there at once",
            )  # fmt: skip
        try:
            self._make(path, about_bytes, build)
        finally:
            self._busy.release()
        return path

    def _make(self, path: Path, about_bytes: int, build: Callable[[Path], object]) -> None:
        slot = self._slot(path.name)
        with slot.lock:
            if path.exists():
                return
            self._reserve(path.name, slot, about_bytes)
            try:
                build(path)
            finally:
                slot.size_bytes = path.stat().st_size if path.exists() else 0

    def _slot(self, name: str) -> _Slot:
        """Return the slot of a name, which is now the one that was asked for last."""
        with self._lock:
            slot = self._slots.setdefault(name, _Slot())
            self._slots.move_to_end(name)
            return slot

    def _reserve(self, name: str, slot: _Slot, about_bytes: int) -> None:
        """Make room for a file by removing those that were not asked for the longest time."""
        free_bytes = shutil.disk_usage(self.folder).free
        with self._lock:
            used_bytes = sum(slot.size_bytes for slot in self._slots.values())
            most_bytes = min(self.most_bytes, (free_bytes + used_bytes) // _SHARE)
            for other, old in self._slots.items():
                if used_bytes + about_bytes <= most_bytes or about_bytes > most_bytes:
                    break
                if other != name and old.size_bytes and not old.lock.locked():
                    self._path(other).unlink(missing_ok=True)
                    used_bytes -= old.size_bytes
                    old.size_bytes = 0  # the slot stays: somebody may be about to build in it
            if used_bytes + about_bytes > most_bytes:
                raise LimitReached(
                    "there is no room for the video on the server", found=f"{about_bytes} bytes",
                    expected=f"at most {most_bytes}, those of videos that are being made included",
                    next_step="look at its pictures, or let write_video() of Python write a part of it",
                )  # fmt: skip
            slot.size_bytes = about_bytes

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / name
