"""A trained model found by its name and run, checked, and ready to predict."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from gapless.errors import ArgumentRefused, ArtifactMissing, NotFound, UsageError
from gapless.features.training.model_run import ModelRun
from gapless.features.training.plan import read_plan
from gapless.model.names import to_component


def find_model_run(models_root: Path, reference: str) -> ModelRun:
    """Return the run that ``name@run_id``, or a run id alone, means.

    ArtifactMissing if there is none, ArgumentRefused if several models have a run of that id.
    """
    name, mark, run_id = reference.rpartition("@")
    if mark:
        found = [ModelRun.of(models_root, name, run_id)]
    else:
        found = [ModelRun(path) for path in sorted(models_root.glob(f"[!.]*/{to_component(run_id)}"))]
    if len(found) > 1:
        raise ArgumentRefused(
            "several models have a run of that id", found=reference,
            expected=", ".join(f"{run.path.parent.name}@{run.path.name}" for run in found),
        )  # fmt: skip
    if not found or not found[0].path.is_dir():
        raise ArtifactMissing(
            "there is no such model run", found=reference, expected="NAME@RUN_ID",
            next_step="train it: `gapless train`, or train_model(ds, model, config)",
        )  # fmt: skip
    return found[0]


def load_model(models_root: Path, reference: str, model: Any = None) -> Any:
    """Return a trained model, every byte of its files checked.

    ``model``: one to load the weights into; None makes one of the class that was trained, from the module that
    is installed here. Nothing in the store is run as code by doing so.
    """
    run = find_model_run(models_root, reference)
    known = run.check()
    loaded = _made(known["class"], run) if model is None else model
    if loaded.name != known["model"] or loaded.version != known["version"]:
        raise ArgumentRefused(
            "the class has another name or version than what was trained",
            found=f"{loaded.name} {loaded.version}", expected=f"{known['model']} {known['version']}",
            next_step="train it again",
        )  # fmt: skip
    loaded.load(run.path)
    return loaded


def trained_class(models_root: Path, reference: str) -> type | None:
    """Return the class that a model was trained by; None where there is no such run, or no such class here."""
    try:
        address = find_model_run(models_root, reference).manifest().get("class", "")
        found = _class_of(address) if address else None
    except (NotFound, UsageError):
        return None  # what is missing is told where the model is loaded
    return found if inspect.isclass(found) else None


def _class_of(address: str) -> Any:
    module, _, name = address.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            "the class of the model cannot be imported here", found=address, expected=str(error),
            next_step="define it in a module that can be imported, or pass the model itself",
        ) from error  # fmt: skip
    return found


def _made(address: str, run: ModelRun) -> Any:
    """Return a fresh model of a class, with the inputs that it was trained on."""
    found = _class_of(address)
    if not inspect.isclass(found) or not all(hasattr(found, method) for method in ("load", "predict")):
        raise UsageError("the manifest of the model names something that is no model", found=address)
    made: Any = found
    if not inspect.signature(made).parameters:
        return made()
    return made(read_plan(run.path).inputs)
