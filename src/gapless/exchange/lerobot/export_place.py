"""Where a dataset is built: beside its place, under a lock, and swapped in as a whole.

``.NAME.partial/`` holds the plan, the dataset under construction and a record of each finished piece, so that
the same export goes on where another one was killed. A reader of NAME sees the old dataset or the new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gapless.errors import ExportRefused, IntegrityError, SequenceOwned
from gapless.model.metadata import canonical_json
from gapless.store.platform import PLATFORM, Platform

_LINKED = ("data", "videos")  # what an addition keeps as it is


class ExportPlace:
    """The place of one dataset; holds its lock while the block runs.

    Raises ExportRefused while another export to the same place runs.
    """

    def __init__(self, path: Path, platform: Platform = PLATFORM) -> None:
        self.path = path
        self.partial = path.with_name(f".{path.name}.partial")
        self.dataset = self.partial / "dataset"
        self._lock_path = path.with_name(f".{path.name}.lock")
        self._replaced = self.partial / "replaced"
        self._records = self.partial / "records"
        self._platform = platform
        self._lock = -1

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self._take_lock()
        if self._replaced.exists() and not self.path.exists():  # killed between the two renames
            self._platform.replace(self._replaced, self.path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock_path.unlink(missing_ok=True)
        self._platform.close(self._lock)

    def begin(self, plan: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Prepare the partial dataset; return the records of what an export of the same plan finished before.

        A new one begins with the files of the dataset that is there, which keep their bytes.
        """
        text = canonical_json(plan)
        plan_path = self.partial / "plan.json"
        if plan_path.exists() and plan_path.read_bytes() == text:
            return [_read(path) for path in sorted(self._records.glob("*.json"))]
        self.clear()
        self._records.mkdir(parents=True)
        self.dataset.mkdir()
        for folder in _LINKED:
            for source in sorted((self.path / folder).rglob("*")):
                if source.is_file():
                    target = self.dataset / source.relative_to(self.path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self._platform.link(source, target)
        self._platform.write_atomically(plan_path, text)
        return []

    def record(self, number: int, words: Mapping[str, Any]) -> dict[str, Any]:
        """Note that a piece is finished, with its files on the disk; return the record as :meth:`begin` will."""
        path = self._records / f"{number:08d}.json"
        self._platform.write_atomically(path, canonical_json(words))
        return _read(path)

    def publish(self) -> None:
        """Put the finished dataset into its place."""
        for folder in [self.dataset, *(p for p in self.dataset.rglob("*") if p.is_dir())]:
            self._platform.sync_directory(folder)
        if not self.path.exists():
            self._platform.replace(self.dataset, self.path)
        elif not self._platform.exchange(self.dataset, self.path):
            self._platform.replace(self.path, self._replaced)
            self._platform.replace(self.dataset, self.path)
        self._platform.sync_directory(self.path.parent)
        self.clear()

    def clear(self) -> None:
        """Remove the partial dataset."""
        if self.partial.exists():
            self._platform.remove_tree(self.partial)

    def _take_lock(self) -> int:
        while True:
            try:
                lock = self._platform.lock(self._lock_path)
            except SequenceOwned as error:
                raise ExportRefused(
                    "another export to this place is running",
                    found=str(self.path),
                    next_step="wait until it has ended",
                ) from error
            if self._lock_path.exists() and os.path.samestat(self._lock_path.stat(), os.fstat(lock)):
                return lock
            self._platform.close(lock)  # its owner ended, and removed it, while it was being opened


def _read(path: Path) -> dict[str, Any]:
    try:
        words = json.loads(path.read_bytes())
    except ValueError as error:
        raise IntegrityError(
            "the record of an export that broke off cannot be read", found=str(path),
            next_step="remove its folder and export again",
        ) from error  # fmt: skip
    assert isinstance(words, dict)
    return words
