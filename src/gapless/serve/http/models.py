"""GET /features/models: what was trained, from what, with which metrics.

A caller whose key is for some groups sees the models that learned from a sequence in these groups, and of their
sequences only those.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gapless.catalog.feature_rows import RunTables
from gapless.errors import IntegrityError, NotFound
from gapless.features.run_list import Groups, seen_sequences
from gapless.features.trained_models import TrainedModel, trained_models
from gapless.features.training.job import training_jobs
from gapless.features.training.model_run import METRICS, ModelRun
from gapless.serve.http.asking import Asking
from gapless.serve.http.names import PathName
from gapless.serve.rights import Right
from gapless.serve.visible import looked_at

router = APIRouter(tags=["features"])
_MOST_NAMES = 1000  # of the sequences that one answer names
Status = Literal["pending", "running", "interrupted", "failed", "damaged", "finished"]


class Model(BaseModel):
    """One training. ``labels`` are what its labels are called; times are ISO 8601 in UTC."""

    model_config = ConfigDict(extra="forbid")
    name: str
    run_id: str
    version: str
    status: Status
    labels: list[str]
    sequences: int
    started_at: str | None
    finished_at: str | None


class Models(BaseModel):
    """The models of the store, the newest first."""

    model_config = ConfigDict(extra="forbid")
    models: list[Model]


class LeftOut(BaseModel):
    """A sequence that was not learned from, and why."""

    model_config = ConfigDict(extra="forbid")
    sequence: str
    why: str


class ModelDetail(Model):
    """One training with all that its manifest tells; ``metrics`` is what the model returned, null until it ended."""

    made_by: str | None = Field(description="the class of the model, module:Class")
    seed: int | None
    config: Any
    metrics: Any
    inputs: list[tuple[str, str]] = Field(description="feature and run id of each run that it read")
    topics: list[str] = Field(description="the recorded topics that it read")
    train: list[str] = Field(description="the sequences that it learned from, the first thousand")
    test: list[str] = Field(description="the sequences that it was tested on, the first thousand")
    left_out: list[LeftOut]
    notes: str | None = Field(
        description="what the training said, a traceback if it failed; for all groups only"
    )
    environment: Any
    bytes: int
    jobs: list[str] = Field(description="the trainings of it that told of their progress, the newest first")


@router.get("/features/models")
def models(call: Asking) -> Models:
    """Return the models of the store."""
    call.require(Right.READ)
    database = looked_at(call.served).database
    found = []
    for model in trained_models(call.served.root):
        seen = seen_sequences(database, model.sequences, call.access.groups)
        if seen or call.access.groups is None:
            found.append(Model(**_facts(call.served.root, model, seen)))
    newest = sorted(found, key=lambda each: (each.started_at or "", each.name, each.run_id), reverse=True)
    return Models(models=newest)


@router.get("/features/models/{name}/{run_id}")
def model(call: Asking, name: PathName, run_id: PathName) -> ModelDetail:
    """Return what one training is made of and what came of it."""
    call.require(Right.READ)
    root, groups = call.served.root, call.access.groups
    database = looked_at(call.served).database
    trained = next((m for m in trained_models(root) if (m.name, m.run_id) == (name, run_id)), None)
    seen = set() if trained is None else seen_sequences(database, trained.sequences, groups)
    if trained is None or (groups is not None and not seen):
        raise NotFound("there is no such model", found=f"{name} {run_id}",
                       next_step="`gapless features list` lists models and runs")  # fmt: skip
    manifest = ModelRun.of(root / "models", name, run_id).manifest()
    jobs = [] if groups is not None else training_jobs(root)
    return ModelDetail(
        **_facts(root, trained, seen),
        made_by=manifest.get("class"),
        seed=manifest.get("seed"),
        config=manifest.get("config"),
        metrics=_metrics(ModelRun.of(root / "models", name, run_id).path / METRICS),
        inputs=list(trained.inputs),
        topics=[str(topic[0]) for topic in manifest.get("topics", ())],
        train=_side(manifest, "train", seen),
        test=_side(manifest, "test", seen),
        left_out=_left_out(database, manifest, groups),
        notes=manifest.get("notes") or None if groups is None else None,
        environment=manifest.get("environment"),
        bytes=sum(int(size) for size, _ in manifest.get("files", {}).values()),
        jobs=[job.job_id for job in jobs if (job.model, job.run_id) == (name, run_id)],
    )


def _facts(root: Path, model: TrainedModel, seen: Collection[str]) -> dict[str, Any]:
    return {
        "name": model.name,
        "run_id": model.run_id,
        "version": model.version,
        "status": ModelRun.of(root / "models", model.name, model.run_id).status(),
        "labels": list(model.labels),
        "sequences": len(seen),
        "started_at": model.started_at or None,
        "finished_at": model.finished_at or None,
    }


def _metrics(file: Path) -> Any:
    """Return what the training measured, None while there is nothing."""
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise IntegrityError("the metrics of a model cannot be read", found=str(file)) from error


def _side(manifest: dict[str, Any], side: str, seen: Collection[str]) -> list[str]:
    keys = manifest.get("split", {}).get(side, ())
    return [str(key[1]) for key in keys if key[1] in seen][:_MOST_NAMES]


def _left_out(database: RunTables, manifest: dict[str, Any], groups: Groups) -> list[LeftOut]:
    told = [(str(item[1]), str(item[2])) for item in manifest.get("left_out", ())]
    seen = seen_sequences(database, {name for name, _ in told}, groups)
    return [LeftOut(sequence=name, why=why) for name, why in told if name in seen][:_MOST_NAMES]
