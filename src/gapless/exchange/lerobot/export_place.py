"""Where a dataset is built: beside its place, under a lock, and swapped in as a whole.

``.NAME.partial/`` holds the plan, the dataset under construction and a record of each finished piece, so that
the same export goes on where another one was killed. A reader of NAME sees the old dataset or the new one.
Files of NAME that no export writes, a dataset card or a git folder, are in the new one too.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gapless.errors import ExportRefused, IntegrityError, SequenceOwned
from gapless.exchange.lerobot.export_entries import IDENTITY
from gapless.model.metadata import canonical_json
from gapless.store.parquet import sha256_file
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

    @property
    def has_records(self) -> bool:
        """Whether finished pieces wait for an export that goes on with them."""
        return any(self._records.glob("*.json"))

    def begin(self, plan: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Prepare the partial dataset; return the records of what an earlier export finished that belongs into it.

        ``plan``: ``fresh`` lists the episodes to write in order, and two plans that differ there alone share what
        both begin with. A new dataset begins with the files of the one that is there, which keep their bytes.
        """
        text = canonical_json(plan)
        plan_path = self.partial / "plan.json"
        records = self._usable(_read(plan_path), json.loads(text)) if plan_path.exists() else []
        if records:
            self._forget_all_but(records)
        else:
            self.clear()
            self._records.mkdir(parents=True)
            self.dataset.mkdir()
        self._link_kept()
        self._platform.write_atomically(plan_path, text)
        return records

    def _usable(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the finished pieces, in order and whole, whose episodes are those with which the new plan begins."""
        if any(old.get(key) != new.get(key) for key in {*old, *new} - {"fresh"}):
            return []
        before, now = old.get("fresh", []), new.get("fresh", [])
        common = next((i for i, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), None)
        shared = now[: min(len(before), len(now)) if common is None else common]
        usable = []
        for path in sorted(self._records.glob("*.json")):
            record = _read(path)
            episodes = [{key: entry.get(key) for key in IDENTITY} for entry in record["episodes"]]
            if not all(episode in shared for episode in episodes) or not self._is_whole(record):
                break
            usable.append(record)
        return usable

    def _is_whole(self, record: Mapping[str, Any]) -> bool:
        """Tell whether a piece's files are there with their bytes."""
        files = {name: digest for entry in record["episodes"] for name, digest in entry["files"].items()}
        return all(
            (self.dataset / name).is_file() and sha256_file(self.dataset / name) == digest
            for name, digest in files.items()
        )

    def _forget_all_but(self, records: list[dict[str, Any]]) -> None:
        """Keep these records, the first ones, and the files of their pieces: all else is made again."""
        for path in sorted(self._records.glob("*.json"))[len(records) :]:
            self._platform.remove(path)
        kept = {self.dataset / name for record in records for e in record["episodes"] for name in e["files"]}
        for path in self.dataset.iterdir():
            if path.name not in _LINKED:
                (self._platform.remove_tree if _is_folder(path) else self._platform.remove)(path)
                continue
            for inside in [p for p in path.rglob("*") if p.is_file() and p not in kept]:
                self._platform.remove(inside)

    def _link_kept(self) -> None:
        """Give the files of pieces that are there a second name; a power cut may have taken some away."""
        for folder in _LINKED:
            for source in sorted((self.path / folder).rglob("*")):
                target = self.dataset / source.relative_to(self.path)
                if source.is_file() and not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self._platform.link(source.resolve(), target)

    def _carry_over(self, source: Path, target: Path) -> None:
        """Give a file, or all of a folder, a name in the new dataset too, unless it has one there."""
        if source.is_symlink():
            if not target.is_symlink() and not target.exists():
                target.symlink_to(source.readlink())
        elif source.is_dir():
            made = not target.exists()
            target.mkdir(exist_ok=True)
            for inside in sorted(source.iterdir()):
                self._carry_over(inside, target / inside.name)
            if made:
                shutil.copystat(source, target)
        elif source.exists() and not target.exists():
            self._platform.link(source, target)

    def record(self, number: int, words: Mapping[str, Any]) -> dict[str, Any]:
        """Note that a piece is finished, with its files on the disk; return the record as :meth:`begin` will."""
        files = [self.dataset / name for entry in words["episodes"] for name in entry["files"]]
        folders = {folder for file in files for folder in file.parents if folder.is_relative_to(self.partial)}
        for folder in sorted(folders):  # a file whose folder is not synced may have no name after a power cut
            self._platform.sync_directory(folder)
        path = self._records / f"{number:08d}.json"
        self._platform.write_atomically(path, canonical_json(words))
        return _read(path)

    def publish(self) -> None:
        """Put the finished dataset into its place, with whatever else was there.

        That gets a second name just before the swap, and no copy: what changes it until then is not lost.
        """
        self._carry_over(self.path, self.dataset)
        for folder in [self.dataset, *(p for p in self.dataset.rglob("*") if _is_folder(p))]:
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


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


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
