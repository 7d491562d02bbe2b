"""Runs that no step of a pipeline expects and no other run reads: found, moved to the trash, deleted."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.errors import IntegrityError
from gapless.errors.extra import need
from gapless.features.owner import Owner
from gapless.features.pipeline_status import modified
from gapless.features.run_folder import RunFolder
from gapless.model.names import from_component, to_component
from gapless.store.platform import PLATFORM

if TYPE_CHECKING:
    import pandas as pd

    from gapless.features.dataset import Dataset
    from gapless.features.pipeline import StepSurvey

CLEAN_COLUMNS = ["step", "feature", "run_id", "status", "n_files", "size_mb", "modified"]
Pair = tuple[str, str]


@dataclass
class _Run:
    step: str
    pair: Pair
    folder: RunFolder
    status: str = "current"

    def row(self) -> tuple[Any, ...]:
        files = [path for path in self.folder.path.rglob("*") if path.is_file()]
        size_mb = sum(path.stat().st_size for path in files) / 1e6
        return (self.step, *self.pair, self.status, len(files), round(size_mb, 6), modified(self.folder))


def clean_runs(ds: Dataset, surveys: Sequence[StepSurvey], *, dry_run: bool) -> pd.DataFrame:
    """Return the table of :meth:`Pipeline.clean`, and remove what it says unless it is a dry run.

    A step that cannot be named, or names a topic that is not there, might expect any run: then nothing is
    removed at all.
    """
    need("pandas", extra="features")
    import pandas as pd

    named = [item for item in surveys if item.bound is not None]
    expected = {item.bound.pair for item in named if item.bound is not None}
    needed = {pair for item in surveys for pair in _needs(item)}
    unnamed = any(item.error is not None or _mistaken(item) for item in surveys)
    runs = list(_runs(ds, named))
    orphans = {run.pair for run in runs} - expected - needed
    orphans = _unread(ds, orphans)
    for run in runs:
        if run.pair in expected:
            continue
        running = ds.registry.is_claimed(*run.pair, lambda owner: Owner.alive(ds.root, owner))
        run.status = "would remove" if run.pair in orphans and not unnamed and not running else "kept"
    rows = []
    for run in runs:
        row = list(run.row())
        if run.status == "would remove" and not dry_run:
            _remove(ds, run)
            row[3] = "removed"
        rows.append(row)
    return pd.DataFrame(rows, columns=CLEAN_COLUMNS)


def _needs(item: StepSurvey) -> Iterable[Pair]:
    """Return the runs that a step reads or will read, computed or not."""
    bound = item.bound
    return item.reads if bound is None else (*bound.pins.values(), *bound.identity.upstream)


def _mistaken(item: StepSurvey) -> bool:
    return item.survey is not None and item.survey.absent is not None


def _runs(ds: Dataset, named: Sequence[StepSurvey]) -> Iterable[_Run]:
    """Yield the runs on disk of the storages that the steps use, each once."""
    steps: dict[str, list[str]] = {}
    for item in named:
        steps.setdefault(item.label, []).append(item.step.name)
    for storage, names in steps.items():
        root = ds.features_root / to_component(storage)
        if not root.is_dir():
            continue
        for path in sorted(root.iterdir()):
            if path.is_dir() and not path.name.startswith("."):
                yield _Run(" + ".join(names), (storage, from_component(path.name)), RunFolder(path))


def _unread(ds: Dataset, orphans: set[Pair]) -> set[Pair]:
    """Return the orphans that nothing reads but other orphans: runs of any pipeline, and models."""
    readers = [*_upstream_of_runs(ds.features_root), *_upstream_of_models(ds.models_root)]
    left = set(orphans)
    while True:
        needed = {pair for reader, pairs in readers if reader not in left for pair in pairs}
        fewer = left - needed
        if fewer == left:
            return left
        left = fewer


def _upstream_of_runs(root: Path) -> Iterable[tuple[Pair, list[Pair]]]:
    for file in root.glob("*/*/identity.json"):
        try:
            document = json.loads(file.read_bytes())
            found = (document["feature"], document["run_id"]), [(f, r) for f, r in document["upstream"]]
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                "what a run reads cannot be told, so nothing is removed", found=f"{file}: {error}",
                next_step="move the damaged folder away",
            ) from error  # fmt: skip
        yield found


def _upstream_of_models(root: Path) -> Iterable[tuple[Pair, list[Pair]]]:
    for file in root.glob("*/*/manifest.json"):
        try:
            document = json.loads(file.read_bytes())
            read = [(item[0], item[1]) for item in document.get("inputs", [])]
            read += [(source["feature"], source["run_id"]) for source, _ in document.get("labels", [])
                     if "feature" in source]  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise IntegrityError(
                "what a model learned from cannot be told, so nothing is removed", found=f"{file}: {error}",
                next_step="move the damaged folder away",
            ) from error  # fmt: skip
        yield (f"model {file.parent.parent.name}", file.parent.name), read


def _remove(ds: Dataset, run: _Run) -> None:
    """Take a run out of sight in one step, then out of the registry, then off the disk."""
    trash = ds.root / "trash" / f"{run.folder.path.parent.name}@{run.folder.path.name}.{uuid.uuid4().hex[:8]}"
    trash.parent.mkdir(exist_ok=True)
    PLATFORM.replace(run.folder.path, trash)
    PLATFORM.sync_directory(run.folder.path.parent)
    ds.registry.forget_run(*run.pair)
    PLATFORM.remove_tree(trash)
