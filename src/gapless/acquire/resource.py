"""A lock on a hardware resource between the processes of this machine: two rigs never share one port."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Self

from gapless.errors import ResourceConflict, SequenceOwned
from gapless.store.platform import PLATFORM

# Services made for many clients at once, and what is only inside this process.
_SHARED_SCHEMES = ("sim", "host", "mqtt", "epics", "opcua", "http", "https", "rtsp", "file", "lavfi")


def private_folder() -> Path:
    """Return this user's folder for sockets and locks, mode 0700, made on first use."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK | os.X_OK):
        folder = Path(runtime) / "gapless"
    else:
        folder = Path(tempfile.gettempdir()) / f"gapless-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise ResourceConflict(
            "the folder for sockets and locks belongs to somebody else",
            found=str(folder),
            next_step="remove it, or set XDG_RUNTIME_DIR to a folder of your own",
        )
    return folder


class ResourceLock:
    """Holds one resource until released; the system releases it when the process dies."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, resource_id: str) -> Self | None:
        """Take the resource, or raise ResourceConflict; None for what many clients may use at once."""
        if resource_id.partition(":")[0] in _SHARED_SCHEMES:
            return None
        path = private_folder() / f"{hashlib.sha256(resource_id.encode()).hexdigest()[:24]}.lock"
        try:
            fd = PLATFORM.lock(path)
        except SequenceOwned as error:
            raise ResourceConflict(
                "another run on this machine holds the resource",
                found=f"{resource_id}, held by process {_holder(path)}",
                expected="a resource that is free",
            ) from error
        words = {"resource": resource_id, "pid": os.getpid()}
        PLATFORM.rewrite(fd, json.dumps(words).encode())
        return cls(fd)

    def release(self) -> None:
        """Give the resource back."""
        if self._fd >= 0:
            PLATFORM.close(self._fd)
            self._fd = -1


def _holder(path: Path) -> str:
    try:
        return str(json.loads(path.read_bytes())["pid"])
    except (OSError, ValueError, KeyError) as error:
        return f"unknown ({error})"
