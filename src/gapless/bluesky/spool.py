"""The spool: documents that could not be recorded, one file of JSON lines for each run."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gapless.bluesky.document import object_text
from gapless.bluesky.lossless import dumps
from gapless.errors import BackupFailed, NameRefused, SequenceOwned
from gapless.model.names import to_component
from gapless.store.platform import PLATFORM, Platform

FOLDER: Final = "spool"  # its name in a store
SUFFIX: Final = ".jsonl"
DELIVERED: Final = "delivered"
UNROUTED: Final = "unrouted"  # the file of documents that name no run
_LOCK: Final = ".lock"
_AT_ONCE: Final = frozenset(("start", "stop"))
_GROUP_S: Final = 0.25
_OPEN_FILES: Final = 64
_LOCK_DEADLINE_S: Final = 10.0


@dataclass(slots=True)
class _OpenFile:
    fd: int
    inode: int
    end: int  # size after our last write
    unsynced: bool = False


class Spool:
    """Keeps documents in ``<folder>/<full uid>.jsonl``, each a whole line that gives it back losslessly.

    A line is with the operating system when :meth:`keep` returns, so that it outlives the process; start and
    stop are on the disk then, others at most 250 ms later as long as documents come, and after :meth:`flush`.
    Any number of threads and processes may keep documents in one folder; a line that was torn stays a line of
    its own. ``kept`` counts the documents. Raises BackupFailed when the disk refuses.
    """

    def __init__(self, folder: Path, *, platform: Platform = PLATFORM) -> None:
        self.folder = Path(folder)
        self._platform = platform
        self._files: OrderedDict[Path, _OpenFile] = OrderedDict()
        self._lock = threading.Lock()
        self._oldest_unsynced: float | None = None
        self.kept = 0

    def path(self, uid: str) -> Path:
        """Return the file of a run; the file of the unrouted for a uid that cannot be a file's name.

        That is one of which a folder beside it has the name: the rest of a sequence that waits for a server.
        """
        unrouted = self.folder / f"{UNROUTED}{SUFFIX}"
        try:
            path = self.folder / f"{to_component(uid)}{SUFFIX}"
        except NameRefused:
            return unrouted
        return unrouted if path.is_dir() else path

    def files(self) -> list[Path]:
        """Return the files that wait for delivery, in the order of their names."""
        return sorted(path for path in self.folder.glob(f"*{SUFFIX}") if path.is_file())

    def keep(self, uid: str, name: str, doc: Mapping[str, Any], *, reason: str) -> None:
        """Append one document of the run ``uid``."""
        self.keep_all(uid, [(name, doc)], reason=reason)

    def keep_all(self, uid: str, documents: Iterable[tuple[str, Mapping[str, Any]]], *, reason: str) -> None:
        """Append documents of the run ``uid`` in their order, with the reason why they are here.

        Of a document that cannot be written as it is the text is kept.
        """
        path, lines, at_once = self.folder, [], False
        try:
            for name, doc in documents:
                lines.append(_line(name, doc, reason))
                at_once |= name in _AT_ONCE
            path = self.path(uid)
            with self._lock, self.locked():
                opened = self._open(path)
                self._append(path, opened, b"".join(lines))
                self.kept += len(lines)
                if at_once or self._is_due():
                    self._sync_all()
        except BackupFailed:
            raise
        except BaseException as error:  # whatever it is, the documents are nowhere
            if not isinstance(error, Exception):
                raise
            raise BackupFailed(
                "the spool refused a document", sequence=uid, found=f"{path}: {error}"
            ) from error

    def discard(self, uid: str) -> None:
        """Remove the file of ``uid``, of which every document is elsewhere by now."""
        path = self.path(uid)
        try:
            with self._lock, self.locked():
                if path in self._files:
                    self._platform.close(self._files.pop(path).fd)
                path.unlink(missing_ok=True)
                self._platform.sync_directory(self.folder)
        except OSError as error:
            raise BackupFailed("the spool could not be tidied", found=f"{path}: {error}") from error

    def flush(self) -> None:
        """Return when every document kept here is on the disk; raises BackupFailed when the disk refuses."""
        try:
            with self._lock:
                self._sync_all()
        except OSError as error:
            raise BackupFailed("the spool could not be synced", found=f"{self.folder}: {error}") from error

    def close(self) -> None:
        """Sync and let go of the files; the spool may be used again."""
        self.flush()
        with self._lock:
            while self._files:
                self._platform.close(self._files.popitem()[1].fd)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against other processes that append to its files or move them away."""
        self._make_folder()
        give_up = time.monotonic() + _LOCK_DEADLINE_S
        while True:
            try:
                fd = self._platform.lock(self.folder / _LOCK)
                break
            except SequenceOwned as error:
                if time.monotonic() > give_up:
                    raise BackupFailed(
                        "another process holds the spool", found=str(self.folder / _LOCK)
                    ) from error
        try:
            yield
        finally:
            self._platform.close(fd)

    def _make_folder(self) -> None:
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._platform.sync_directory(self.folder.parent)

    def _open(self, path: Path) -> _OpenFile:
        """Return the open file of a path; one that was moved away meanwhile is made anew."""
        opened = self._files.get(path)
        if opened is not None and opened.inode != _inode(path):
            self._release(path)
            opened = None
        if opened is None:
            if len(self._files) >= _OPEN_FILES:
                self._release(next(iter(self._files)))
            is_new = not path.exists()
            fd = self._platform.open_append(path)
            opened = self._files[path] = _OpenFile(fd, path.stat().st_ino, -1)
            if is_new:
                self._platform.sync_directory(path.parent)
        return opened

    def _release(self, path: Path) -> None:
        opened = self._files.pop(path)
        try:
            if opened.unsynced:
                self._platform.data_sync(opened.fd)
        finally:
            self._platform.close(opened.fd)

    def _append(self, path: Path, opened: _OpenFile, data: bytes) -> None:
        size = path.stat().st_size
        if size != opened.end and size and not _ends_whole(path):
            data = b"\n" + data
        opened.end = -1  # what a failed write leaves is looked at again
        self._platform.write(opened.fd, [data])
        opened.end = size + len(data)
        opened.unsynced = True
        if self._oldest_unsynced is None:
            self._oldest_unsynced = time.monotonic()

    def _is_due(self) -> bool:
        return self._oldest_unsynced is not None and time.monotonic() - self._oldest_unsynced >= _GROUP_S

    def _sync_all(self) -> None:
        """Sync what was written; a file that cannot be synced is let go, so that it is told once."""
        self._oldest_unsynced = None
        for path, opened in list(self._files.items()):
            if opened.unsynced:
                opened.unsynced = False
                try:
                    self._platform.data_sync(opened.fd)
                except OSError:
                    self._release(path)
                    raise


def _line(name: str, doc: Mapping[str, Any], reason: str) -> bytes:
    try:
        return dumps(name, doc, reason=reason)
    except (ValueError, TypeError, RuntimeError) as error:  # nested too deep, for one
        words = f"{reason}; it could not be written as it is: {type(error).__name__}: {error}"
        return dumps(name, {"repr": object_text(doc).text}, reason=words)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
