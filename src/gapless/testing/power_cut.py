"""A platform that knows what was synced, and can show the folder as it would be after a loss of power.

SIGKILL keeps the page cache, so killing a process proves nothing about syncs. Here a file keeps the bytes
of its last data sync (what was written later is cut, zeroed or kept, as dice decide), and a directory the
entries of its last directory sync (or its present ones: a file system may write them early).
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from gapless.store.platform import Platform

Entries = dict[str, tuple[int, bool]]  # name -> (inode, is a directory)


class PowerCut(Platform):
    """The real file system, with a log of what is durable.

    ``shelf`` is a folder on the same file system that keeps deleted files reachable. ``after_each`` is called
    after every operation that changes what is durable, outside of any lock.
    """

    def __init__(self, shelf: Path, after_each: Callable[[str], None] | None = None) -> None:
        shelf.mkdir(parents=True, exist_ok=True)
        self._shelf = shelf
        self._lock = threading.RLock()
        self._synced: dict[int, bytes] = {}  # inode -> content of the last sync
        self._entries: dict[int, Entries] = {}  # directory inode -> entries of the last sync
        self.after_each = after_each

    def _done(self, operation: str) -> None:
        if self.after_each is not None:
            self.after_each(operation)

    def _keep(self, path: Path) -> None:
        """Keep a second link, so that the content outlives a deletion that was not synced."""
        with suppress(FileExistsError, FileNotFoundError):
            os.link(path, self._shelf / str(path.stat().st_ino))

    def data_sync(self, fd: int) -> None:
        """As the platform's; the file's bytes are durable."""
        super().data_sync(fd)
        with self._lock:
            self._synced[os.fstat(fd).st_ino] = Path(f"/proc/self/fd/{fd}").read_bytes()
        self._done("data_sync")

    def sync_directory(self, path: Path) -> None:
        """As the platform's; the directory's entries are durable."""
        super().sync_directory(path)
        with self._lock:
            self._entries[path.stat().st_ino] = self._now(path)
        self._done("sync_directory")

    def replace(self, source: Path, target: Path) -> None:
        """As the platform's; not durable before the directory is synced."""
        with self._lock:
            if target.is_file():
                self._keep(target)
            super().replace(source, target)
        self._done("replace")

    def remove(self, path: Path) -> None:
        """As the platform's; the file is back after a power cut before the directory's sync."""
        with self._lock:
            self._keep(path)
            super().remove(path)
        self._done("remove")

    def remove_tree(self, path: Path) -> None:
        """As the platform's; the files are back after a power cut before the directory's sync."""
        with self._lock:
            for file in path.rglob("*"):
                if file.is_file():
                    self._keep(file)
            super().remove_tree(path)
        self._done("remove_tree")

    def _now(self, path: Path) -> Entries:
        entries: Entries = {}
        for entry in os.scandir(path):
            if entry.is_file(follow_symlinks=False):
                self._keep(Path(entry.path))
            entries[entry.name] = (entry.inode(), entry.is_dir(follow_symlinks=False))
        return entries

    # -- after the cut -------------------------------------------------------------------------

    def lose_power(self, root: Path, target: Path, dice: random.Random) -> None:
        """Write into ``target`` what could be left of ``root`` if the power failed now."""
        with self._lock:
            self._restore(root, target, dice)

    def _restore(self, present: Path | None, target: Path, dice: random.Random, inode: int = 0) -> None:
        target.mkdir()
        inode = present.stat().st_ino if present is not None else inode
        now = self._now(present) if present is not None else {}
        durable = self._entries.get(inode, {})
        chosen = now if now and dice.random() < 0.3 else durable
        for name, (child, is_folder) in chosen.items():
            here = present / name if present is not None and now.get(name) == (child, is_folder) else None
            if is_folder:
                self._restore(here, target / name, dice, child)
            else:
                (target / name).write_bytes(self._content(child, dice))

    def _content(self, inode: int, dice: random.Random) -> bytes:
        synced = self._synced.get(inode, b"")
        kept = self._shelf / str(inode)
        present = kept.read_bytes() if kept.exists() else synced
        if (
            present[: len(synced)] != synced or dice.random() < 0.4
        ):  # written in place, or nothing more arrived
            return synced
        rest = present[len(synced) :]
        rest = rest[: dice.randint(0, len(rest))]
        return synced + (bytes(len(rest)) if dice.random() < 0.4 else rest)
