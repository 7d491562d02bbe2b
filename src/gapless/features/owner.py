"""Who computes at this moment: an id with a lock that the system releases when the process ends.

However a process ends, its lock is free at once, so a claim of its entries holds nobody up.
"""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path
from typing import Self

from gapless.errors import SequenceOwned
from gapless.model.names import to_component
from gapless.store.platform import PLATFORM

_SUFFIX = ".lock"


class Owner:
    """An owner of claims in the store at ``root``, alive inside its ``with`` block and in this process.

    Entering removes the files of owners that died. Processes made by fork keep their parent's owner alive.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.id = f"{to_component(socket.gethostname()[:60] or 'host')}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._fd: int | None = None

    def __enter__(self) -> Self:
        folder = _folder(self.root)
        folder.mkdir(parents=True, exist_ok=True)
        remove_dead(self.root)
        while self._fd is None:
            self._fd = _take(folder / f"{self.id}{_SUFFIX}")
        return self

    def __exit__(self, *_: object) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            PLATFORM.close(fd)
            _path(self.root, self.id).unlink(missing_ok=True)  # the id is never used again

    @staticmethod
    def alive(root: Path, owner_id: str) -> bool:
        """Tell whether the process of an owner lives and is inside its block."""
        return _locked(_path(root, owner_id))


def remove_dead(root: Path) -> int:
    """Remove the files of owners that died; return how many."""
    return sum(_remove(path) for path in sorted(_folder(root).glob(f"*{_SUFFIX}")))


def _remove(path: Path) -> bool:
    """Remove the file of an owner unless it lives, or Windows keeps the file because it is open."""
    fd = None if _locked(path) else _take(path)
    if fd is None:
        return False
    try:
        path.unlink(missing_ok=True)  # while it is locked: an owner being born sees that and makes it anew
    except PermissionError:
        return False
    finally:
        PLATFORM.close(fd)
    return True


def _take(path: Path) -> int | None:
    """Lock a file and return its descriptor; None if somebody else has it or has removed it meanwhile."""
    try:
        fd = PLATFORM.lock(path)
    except SequenceOwned:
        return None
    try:
        status, held = os.stat(path), os.fstat(fd)
        same = (status.st_dev, status.st_ino) == (held.st_dev, held.st_ino)
    except FileNotFoundError:
        same = False
    if not same:
        PLATFORM.close(fd)
        return None
    return fd


def _locked(path: Path) -> bool:
    try:
        return PLATFORM.is_locked(path)
    except FileNotFoundError:  # removed between two calls of the system
        return False


def _folder(root: Path) -> Path:
    return Path(root) / "features" / "owners"


def _path(root: Path, owner_id: str) -> Path:
    return _folder(root) / f"{owner_id}{_SUFFIX}"
