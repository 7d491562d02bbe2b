"""What the catalog is made from as it was when both agreed, so that stats alone tell that they still do."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gapless.catalog.bundle_facts import bundle_stamp

_SETTLED_NS = 2_000_000_000  # what changed later than this may change again within its own tick
Stamps = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the folders and at the catalog's file; ``unsealed`` are stamps of bundles by component."""

    root: Path
    stamps: Stamps
    unsealed: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def settled(self) -> bool:
        """Whether it can hold at all: nothing was changing when it was taken."""
        return None not in self.stamps

    def holds(self) -> bool:
        """Tell that neither the folders nor the catalog changed since; False where that cannot be told.

        It cannot be told in the first two seconds after a change. Sealed bundles that are known are trusted, as
        a quick reconciling does.
        """
        return (
            self.settled
            and store_stamps(self.root) == self.stamps
            and all(bundle_stamp(self.root / "sequences" / name) == at for name, at in self.unsealed.items())
        )


def store_stamps(root: Path) -> Stamps:
    """Return the stamps of the folder that the catalog follows and of its own files."""
    return (
        directory_stamp(root / "sequences"),
        _file_stamp(root / "catalog.db"),
        _file_stamp(root / "catalog.db-wal"),
    )


def directory_stamp(path: Path) -> str | None:
    """Return the state of a directory's list of names; None when it may still be changing unseen."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return "-"
    return _settled(status)


def _file_stamp(path: Path) -> str | None:
    """Return what changes with a file's content; None when that may be changing unseen.

    An empty write-ahead log holds nothing: whoever opens the catalog first makes one.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return "-"
    if not status.st_size:
        return "-"
    stamp = _settled(status)
    return stamp and f"{stamp}:{status.st_size}"


def _settled(status: os.stat_result) -> str | None:
    if time.time_ns() - status.st_mtime_ns < _SETTLED_NS:
        return None
    return f"{status.st_mtime_ns}:{status.st_ino}"
