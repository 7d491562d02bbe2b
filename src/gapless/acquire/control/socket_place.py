"""Where control sockets lie: short paths in a folder that only this user can enter."""

from __future__ import annotations

import os
import secrets
import socket
import stat
import struct
import tempfile
import time
from pathlib import Path

from gapless.errors import ControlFailed

MAX_PATH_BYTES = 104 - 1  # the shortest limit of the systems we know, with its closing zero
_FOLDER_MODE = 0o700
_LONE_PREFIX, _LONE_NAME = "gapless-lone-", "control.sock"
_PROBE_S = 0.2
_NEW_S = 60.0


def new_socket_path() -> Path:
    """Return a path for a new socket; its folder exists, is ours and nobody else can enter it.

    Sockets that dead runs left in it are taken away. Raises ControlFailed when no folder will do.
    """
    for folder in _candidates():
        path = folder / f"{os.getpid()}-{secrets.token_hex(4)}.sock"
        if len(os.fsencode(path)) <= MAX_PATH_BYTES and _is_ours(folder):
            _sweep(folder)
            return path
    path = Path(tempfile.mkdtemp(prefix=_LONE_PREFIX)) / _LONE_NAME
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        path.parent.rmdir()
        raise ControlFailed(
            "no folder for a control socket: the path would be too long",
            found=str(path),
            expected=f"at most {MAX_PATH_BYTES} bytes",
            next_step="set XDG_RUNTIME_DIR or TMPDIR to a short path",
        )
    return path


def release(path: Path) -> None:
    """Take a socket away, and its folder where it had one of its own."""
    path.unlink(missing_ok=True)
    if path.name == _LONE_NAME and path.parent.name.startswith(_LONE_PREFIX):
        path.parent.rmdir()


def _candidates() -> list[Path]:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    found = [Path(runtime) / "gapless"] if runtime else []
    return [*found, Path(tempfile.gettempdir()) / f"gapless-{os.getuid()}"]


def _is_ours(folder: Path) -> bool:
    """Make the folder if need be; tell whether it is ours alone and takes a file."""
    try:
        folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        known = folder.lstat()
        if not stat.S_ISDIR(known.st_mode) or known.st_uid != os.getuid():
            return False
        if stat.S_IMODE(known.st_mode) != _FOLDER_MODE:
            folder.chmod(_FOLDER_MODE)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _sweep(folder: Path) -> None:
    """Take away the sockets that dead runs left."""
    for path in folder.glob("*.sock"):
        if _is_dead(path):
            path.unlink(missing_ok=True)


def _is_dead(path: Path) -> bool:
    """Whether nobody listens on a socket; a new one may be about to be listened on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            if time.time() - path.lstat().st_mtime < _NEW_S:
                return False
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:  # gone meanwhile, or too busy to answer
            return False
    return False


def peer_uid(connection: socket.socket) -> int | None:
    """Return the user at the other end, None where the system does not tell (then the folder guards alone)."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)
