"""The folder of one training: whole or absent, owned by one process at a time, and checked when it is loaded.

::

    models/<name>/<run_id>/    manifest.json, plan.json, config.json, metrics.json, what the model wrote
    models/<name>/.work/<run_id>.partial/    what a training writes now; renamed when it is complete
    models/<name>/.work/<run_id>.lock        held while somebody trains

While nothing complete is there, ``manifest.json`` says ``running`` or ``failed``. One that says ``running``
with nobody holding the lock was left by a process that died; the next training begins anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gapless.errors import ArtifactMissing, IntegrityError, RunCancelled, SequenceOwned, StateError
from gapless.features.run_folder import now_text, write_whole
from gapless.features.training.plan import PLAN_FILE
from gapless.model.names import to_component
from gapless.store.parquet import sha256_file
from gapless.store.platform import PLATFORM

FORMAT = 1
Status = Literal["pending", "running", "interrupted", "failed", "damaged", "finished"]
MANIFEST = "manifest.json"
CONFIG = "config.json"
METRICS = "metrics.json"
_NOT_WEIGHTS = frozenset([MANIFEST, CONFIG, METRICS, PLAN_FILE])
_POLL_S = 0.05


@dataclass(frozen=True)
class ModelRun:
    """The paths of one training, and what becomes of them."""

    path: Path

    @classmethod
    def of(cls, models_root: Path, name: str, run_id: str) -> ModelRun:
        """Return the folder of a run; it need not exist."""
        return cls(models_root / to_component(name) / to_component(run_id))

    @property
    def work(self) -> Path:
        """Where a training writes."""
        return self._beside("partial")

    @property
    def lock(self) -> Path:
        """Held by whoever trains."""
        return self._beside("lock")

    @property
    def _old(self) -> Path:
        return self._beside("old")

    def _beside(self, what: str) -> Path:
        return self.path.parent / ".work" / f"{self.path.name}.{what}"

    # -- asking --------------------------------------------------------------------------------

    def manifest(self) -> dict[str, Any]:
        """Return what is known of the run, {} if nothing is; IntegrityError for a damaged manifest."""
        return _read(self.path / MANIFEST)

    def status(self) -> Status:
        """Return how the run stands; what is finished is usable also while it is trained again."""
        known = self.manifest()
        if known.get("status") == "finished":
            return "finished" if self._whole(known) else "damaged"
        if PLATFORM.is_locked(self.lock):
            return "running"
        if known.get("status") == "running":
            return "interrupted"
        return "failed" if known.get("status") == "failed" else "pending"

    def _whole(self, known: Mapping[str, Any]) -> bool:
        """Tell whether every file is there in the size it was written with."""
        for name, (size, _) in known["files"].items():
            try:
                found = (self.path / name).stat().st_size
            except FileNotFoundError:
                return False
            if found != size:
                return False
        return True

    def check(self) -> dict[str, Any]:
        """Return the manifest of a finished run whose every byte is what was written.

        ArtifactMissing for a run that is not finished, IntegrityError for changed files.
        """
        known = self.manifest()
        if known.get("status") != "finished":
            raise ArtifactMissing(
                "the model is not trained", found=f"{self.path.parent.name}@{self.path.name}: {self.status()}",
                next_step="train it: `gapless train`, or train_model(ds, model, config)",
            )  # fmt: skip
        for name, (_, digest) in known["files"].items():
            file = self.path / name
            if not file.is_file() or sha256_file(file) != digest:
                raise IntegrityError(
                    "a file of the model is not what was written", found=str(file),
                    next_step="train it again with overwrite=True",
                )  # fmt: skip
        return known

    # -- training ------------------------------------------------------------------------------

    @contextmanager
    def owned(self, wait_s: float, cancel: Any) -> Iterator[None]:
        """Be the only one who trains this run; StateError if somebody else still does after ``wait_s``."""
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + wait_s
        fd = None
        while fd is None:
            try:
                fd = PLATFORM.lock(self.lock)
            except SequenceOwned as error:
                if time.monotonic() >= deadline:
                    raise StateError(
                        "another process trains this model", found=f"{self.path.parent.name}@{self.path.name}",
                        next_step="wait for it (wait_s=...) or end it",
                    ) from error  # fmt: skip
                if cancel is not None and cancel.is_set():
                    raise RunCancelled("the training was cancelled while another process did it") from error
                time.sleep(_POLL_S)
        try:
            self._heal()
            yield
        finally:
            PLATFORM.close(fd)

    def _heal(self) -> None:
        """Finish or undo the exchange of folders that a crash cut in two."""
        complete = not self.path.exists() and _read(self.work / MANIFEST).get("status") == "finished"
        if complete:
            PLATFORM.replace(self.work, self.path)
        elif not self.path.exists() and self._old.exists():
            PLATFORM.replace(self._old, self.path)
        for left in (self.work, self._old):
            if left.exists():
                shutil.rmtree(left)

    def begin(self, facts: Mapping[str, Any], plan: Mapping[str, Any]) -> Path:
        """Say that the run is being trained and return the empty folder that its files go into."""
        if self.manifest().get("status") != "finished":
            self.path.mkdir(exist_ok=True)
            self._note({**facts, "status": "running", "notes": ""})
        self.work.mkdir()
        write_whole(self.work / PLAN_FILE, _json(plan))
        return self.work

    def finish(self, facts: Mapping[str, Any], config: Any, metrics: Any, notes: str) -> None:
        """Make what was written the run, durably and at once."""
        write_whole(self.work / CONFIG, _json(config))
        write_whole(self.work / METRICS, _json(metrics))
        files = {}
        for file in sorted(path for path in self.work.rglob("*") if path.is_file()):
            PLATFORM.sync_file(file)
            files[file.relative_to(self.work).as_posix()] = [file.stat().st_size, sha256_file(file)]
        for folder in (self.work, *(path for path in self.work.rglob("*") if path.is_dir())):
            PLATFORM.sync_directory(folder)
        files.pop(MANIFEST, None)  # the model may not speak for us
        document = {
            **facts,
            "status": "finished",
            "notes": notes,
            "files": files,
            "weights_digest": _weights_digest(files),
            "finished_at": now_text(),
        }
        write_whole(self.work / MANIFEST, _json(document))
        if self.path.exists():
            PLATFORM.replace(self.path, self._old)
        PLATFORM.replace(self.work, self.path)
        PLATFORM.sync_directory(self.path.parent)
        if self._old.exists():
            shutil.rmtree(self._old)

    def fail(self, facts: Mapping[str, Any], notes: str) -> None:
        """Keep why the training failed; a run that was finished before stays finished, with these notes."""
        known = self.manifest()
        if known.get("status") == "finished":
            self._note({**known, "notes": f"trained again and failed: {notes}"})
        else:
            self._note({**facts, "status": "failed", "notes": notes, "finished_at": now_text()})
        shutil.rmtree(self.work, ignore_errors=True)

    def _note(self, document: Mapping[str, Any]) -> None:
        write_whole(self.path / MANIFEST, _json(document))


def _weights_digest(files: Mapping[str, list[Any]]) -> str:
    lines = [f"{name}\0{digest}\n" for name, (_, digest) in sorted(files.items()) if name not in _NOT_WEIGHTS]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise IntegrityError("the manifest of a model run cannot be read", found=str(path)) from error
    if not isinstance(document, dict):
        raise IntegrityError("the manifest of a model run is no JSON object", found=str(path))
    return document


def _json(document: Any) -> bytes:
    return (
        json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    )
