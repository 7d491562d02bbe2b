"""Every call to the operating system that a promise depends on, with a branch per system.

A subclass can inject faults; the rest of the store never calls ``os.write`` or ``os.fsync`` itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gapless.errors import SequenceOwned

if sys.platform != "win32":
    import fcntl

_O_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_O_BINARY = getattr(os, "O_BINARY", 0)
_IOV_LIMIT = 512  # POSIX promises 16, Linux and macOS give 1,024

_LOCK_ATTEMPTS = 8  # 140 ms in all

_AT_FDCWD = -100
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux and RENAME_SWAP of macOS

Bytes = bytes | bytearray | memoryview


class Platform:
    """The real operating system. Each method either does what it says or raises OSError.

    ``moves_open_files`` tells whether a folder can be renamed while a file in it is open.
    """

    moves_open_files = sys.platform != "win32"

    # -- files ---------------------------------------------------------------------------------

    def create(self, path: Path) -> int:
        """Create a file for appending and return its descriptor; FileExistsError if it exists."""
        return os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | _O_CLOEXEC | _O_BINARY, 0o666
        )

    def open_append(self, path: Path) -> int:
        """Open a file for appending, making it if need be."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _O_CLOEXEC | _O_BINARY, 0o666)

    def open_update(self, path: Path) -> int:
        """Open a file for reading and writing in place, making it if need be."""
        return os.open(path, os.O_RDWR | os.O_CREAT | _O_CLOEXEC | _O_BINARY, 0o666)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def write(self, fd: int, buffers: Sequence[Bytes]) -> int:
        """Write all buffers in order, whole, and return the number of bytes."""
        total = 0
        for start in range(0, len(buffers), _IOV_LIMIT):
            total += self._write_some(fd, buffers[start : start + _IOV_LIMIT])
        return total

    def rewrite(self, fd: int, data: bytes) -> None:
        """Make ``data`` the whole content of an open file, in place."""
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        self.write(fd, [data])

    def _write_some(self, fd: int, buffers: Sequence[Bytes]) -> int:
        expected = sum(len(b) for b in buffers)
        if not hasattr(os, "writev"):
            return self._write_flat(fd, b"".join(buffers))
        written = os.writev(fd, buffers)
        if written < expected:  # a signal or a nearly full disk cut the call short
            written += self._write_flat(fd, b"".join(buffers)[written:])
        return written

    @staticmethod
    def _write_flat(fd: int, data: bytes) -> int:
        view, done = memoryview(data), 0
        while done < len(view):
            done += os.write(fd, view[done:])
        return done

    def data_sync(self, fd: int) -> None:
        """Return when the file's data is on the device."""
        if sys.platform == "darwin":  # fsync there leaves data in the drive's cache
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        elif hasattr(os, "fdatasync"):
            os.fdatasync(fd)
        else:
            os.fsync(fd)

    def reserve(self, fd: int, size_bytes: int) -> None:
        """Take the blocks of a file now, so that a full disk cannot refuse them later."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size_bytes)
        else:
            os.pwrite(fd, bytes(size_bytes), 0)

    def sync_file(self, path: Path) -> None:
        """Sync a file written by somebody else (a Parquet writer), or one that nobody may write."""
        # only Windows wants the right to write for a sync
        mode = os.O_RDWR if sys.platform == "win32" else os.O_RDONLY
        fd = os.open(path, mode | _O_CLOEXEC | _O_BINARY)
        try:
            self.data_sync(fd)
        finally:
            os.close(fd)

    # -- directories ---------------------------------------------------------------------------

    def sync_directory(self, path: Path) -> None:
        """Return when the directory's entries are on the device."""
        if sys.platform == "win32":  # directories cannot be opened; NTFS journals its metadata
            return
        fd = os.open(path, os.O_RDONLY | _O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def replace(self, source: Path, target: Path) -> None:
        """Rename over the target in one step."""
        os.replace(source, target)

    def exchange(self, one: Path, other: Path) -> bool:
        """Let two entries of one directory tree change names in one step; False where the system cannot."""
        number = _exchange(os.fsencode(one), os.fsencode(other))
        if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # this file system has no such rename
            return False
        if number:
            raise OSError(number, os.strerror(number), str(one), None, str(other))
        return True

    def link(self, source: Path, target: Path) -> None:
        """Give a file that will never change a second name, or copy it where the file system has no such thing."""
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                raise
            shutil.copy2(source, target)
            self.sync_file(target)

    def remove(self, path: Path) -> None:
        """Delete a file."""
        path.unlink()

    def remove_tree(self, path: Path) -> None:
        """Delete a directory with all it holds."""
        shutil.rmtree(path)

    def write_atomically(self, path: Path, data: bytes) -> None:
        """After the call the file holds exactly ``data``, durably; after a crash, the old or the new whole."""
        temporary = path.with_name(f"{path.name}.partial")
        with contextlib.suppress(FileNotFoundError):  # left by a crash
            temporary.unlink()
        fd = self.create(temporary)
        try:
            self.write(fd, [data])
            self.data_sync(fd)
        finally:
            self.close(fd)
        self.replace(temporary, path)
        self.sync_directory(path.parent)

    # -- ownership -----------------------------------------------------------------------------

    def lock(self, path: Path) -> int:
        """Take the lock file for this process and return its descriptor; SequenceOwned if it is taken.

        A reader that asks whether the lock is free holds it for an instant, so a refusal is tried again.
        """
        return self._locked(self.open_update(path), path, self._try_exclusive)

    def hold(self, path: Path, *, alone: bool) -> int:
        """Take the lock of a file that is there, alone or beside others, and return its descriptor.

        SequenceOwned where somebody holds it otherwise. Whoever only reads or writes the file is not held up.
        """
        fd = self._open_lock(path)
        if not self.moves_open_files:  # that it is open is enough to keep its folder where it is
            return fd
        return self._locked(fd, path, self._try_exclusive if alone else self._try_shared)

    @staticmethod
    def _locked(fd: int, path: Path, take: Callable[[int], bool]) -> int:
        for attempt in range(_LOCK_ATTEMPTS):
            if take(fd):
                return fd
            time.sleep(0.005 * attempt)
        os.close(fd)
        raise SequenceOwned("the sequence is being written by a live process", found=str(path))

    @staticmethod
    def _try_exclusive(fd: int) -> bool:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def is_locked(self, path: Path) -> bool:
        """Tell whether a live process owns the lock file."""
        try:
            fd = self._open_lock(path)
        except (FileNotFoundError, NotADirectoryError):  # never made, or the recording has ended
            return False
        try:
            return not self._try_shared(fd)
        finally:
            os.close(fd)

    @staticmethod
    def _open_lock(path: Path) -> int:
        try:
            return os.open(path, os.O_RDWR | _O_CLOEXEC | _O_BINARY)
        except PermissionError:  # a reader without write permission still wants an answer
            return os.open(path, os.O_RDONLY | _O_CLOEXEC | _O_BINARY)

    @staticmethod
    def _try_shared(fd: int) -> bool:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    # -- clocks --------------------------------------------------------------------------------

    def wall_ns(self) -> int:
        """Return nanoseconds since 1970 by the system clock."""
        return time.time_ns()

    def boot_ns(self) -> int:
        """Return nanoseconds since boot, sleep included: never steps."""
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        return time.monotonic_ns()  # macOS: CLOCK_MONOTONIC counts sleep; Windows: QueryPerformanceCounter

    def boot_id(self) -> str:
        """Return a text that changes with every boot, or "" where the system has none."""
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return ""

    # -- memory --------------------------------------------------------------------------------

    def release_memory(self) -> None:
        """Give freed memory back to the system, as far as Arrow's allocator and the C library can.

        Both keep what a row group took, some tens of MiB, for the next one. Takes milliseconds.
        """
        import ctypes

        import pyarrow as pa

        pa.default_memory_pool().release_unused()
        library: Any = None if sys.platform == "win32" else ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(ctypes.c_size_t(0))


def _exchange(one: bytes, other: bytes) -> int:
    """Swap two entries by the C library's rename; return 0, or the number of the error."""
    import ctypes  # here, since hardly any program needs it

    library: Any = None if sys.platform == "win32" else ctypes.CDLL(None, use_errno=True)
    if hasattr(library, "renameat2"):
        done = library.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, ctypes.c_uint(_EXCHANGE))
    elif hasattr(library, "renamex_np"):
        done = library.renamex_np(one, other, ctypes.c_uint(_EXCHANGE))
    else:
        return errno.ENOSYS
    return ctypes.get_errno() if done else 0


PLATFORM = Platform()
