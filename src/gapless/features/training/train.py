"""Train a model on features: once for what it is made from, never half, and with its failure kept."""

from __future__ import annotations

import inspect
import math
import platform
import traceback
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from gapless._version import __version__
from gapless.errors import GaplessError, IntegrityError, ModelFailed, RunCancelled
from gapless.features.code_digest import user_code
from gapless.features.damage import distrust_damaged
from gapless.features.dataset import checked_dataset
from gapless.features.run_folder import now_text
from gapless.features.training.difference import training_difference
from gapless.features.training.input_rows import InputRows, input_rows
from gapless.features.training.model_run import FORMAT, ModelRun, Status
from gapless.features.training.plan import Config, TrainingPlan, plan_training
from gapless.features.training.progress import CompositeProgressCallback, NullProgressCallback
from gapless.features.writable import check_writable

if TYPE_CHECKING:
    from gapless.features.dataset import Dataset
    from gapless.features.training.progress import TrainingProgressCallback

_PACKAGES = ("numpy", "pandas", "pyarrow", "scikit-learn", "scipy", "skops", "torch")
_SHORTEST, _LONGEST = 12, 64  # hex digits of the digest in a run id


def train_model(
    ds: Dataset,
    model: Any,
    config: Config = None,
    overwrite: bool = False,
    *,
    progress_callback: TrainingProgressCallback | None = None,
    cancel: Any = None,
    wait_s: float = 0.0,
) -> str:
    """Train a model and return the id of its run; an identical run that is finished is returned as it is.

    ``config``: a mapping or the path of a JSON file. Its keys belong to the model but for two: ``seed`` (an
    integer, 0) and ``split`` (see :class:`SplitSpec`). The run id covers model, version, configuration, seed,
    split, the pinned runs it reads, the content of every entry and label, and other names of columns than usual.

    ``overwrite`` trains again; the old files stay until the new ones are complete. ``cancel``: an event, seen
    at the next call of the callback. ``wait_s``: how long to wait for another process that trains the same.
    Errors of ``progress_callback`` never end the training; they stand in the manifest's ``notes``.

    Raises ModelFailed from what the model raised, RunCancelled, StateError while another process trains the
    same, LabelsMissing, and ArgumentRefused for a model, configuration or split that means nothing.
    """
    ds = checked_dataset(ds)
    plan = plan_training(ds, model, config)
    run, run_id = _run_of(ds, plan)
    check_writable(run.path)
    with run.owned(wait_s, cancel):
        if overwrite or run.status() != "finished":
            _train(ds, model, plan, run, run_id, progress_callback, cancel)
    return run_id


def model_identity(ds: Dataset, model: Any, config: Config = None) -> tuple[str, str, dict[str, Any]]:
    """Return run id, digest and document of the run that :func:`train_model` would make or reuse now.

    Nothing is written. While the inputs are not computed the answer is that of no entries.
    """
    plan = plan_training(ds, model, config, ahead=True)
    return _run_of(ds, plan)[1], plan.digest, plan.document


def model_why(ds: Dataset, model: Any, config: Config = None) -> str:
    """Return what changed since the newest finished training of a model, "" if it was never trained."""
    return training_difference(ds.models_root, plan_training(ds, model, config, ahead=True))


def model_code_why(ds: Dataset, model: Any, run_id: str) -> str:
    """Return that a finished run was trained by other source code than the model's present one, or ""."""
    known = ModelRun.of(ds.models_root, model.name, run_id).manifest().get("code_digest")
    now = user_code(type(model))
    if known is None or now is None or known == now:
        return ""
    return "source code changed since it was trained: train it again with overwrite=True, or force the step"


def model_status(ds: Dataset, model: Any, run_id: str) -> Status:
    """Return how a run stands, given the model or its name.

    ``pending`` (never trained), ``running``, ``interrupted`` (its process died), ``failed``, ``finished``, or
    ``damaged`` (finished once, and its files are not what they were).
    """
    return ModelRun.of(ds.models_root, model if isinstance(model, str) else model.name, run_id).status()


def _run_of(ds: Dataset, plan: TrainingPlan) -> tuple[ModelRun, str]:
    """Return the folder of a plan and its run id, which is longer where another run has its short one."""
    for digits in range(_SHORTEST, _LONGEST + 1, 4):
        run_id = f"{plan.version}-{plan.digest[:digits]}"
        run = ModelRun.of(ds.models_root, plan.model, run_id)
        if run.manifest().get("digest") in (None, plan.digest):
            break
    return run, run_id


def _train(
    ds: Dataset,
    model: Any,
    plan: TrainingPlan,
    run: ModelRun,
    run_id: str,
    callback: TrainingProgressCallback | None,
    cancel: Any,
) -> None:
    facts = _facts(ds, model, plan, run_id)
    told = CompositeProgressCallback(NullProgressCallback() if callback is None else callback)
    work = run.begin(facts, plan.document)
    told.on_begin(plan.model, run_id)
    try:
        metrics = _call_train(model, ds, work, dict(plan.config), _Cancellable(told, cancel))
        if metrics is not None and not isinstance(metrics, Mapping):
            raise ModelFailed("train() returns a mapping of metrics", found=type(metrics).__name__)
        run.finish(facts, plan.config, _plain(metrics or {}), "\n".join(map(str, told.errors)))
    except BaseException as error:
        run.fail(facts, "".join(traceback.format_exception(error)))
        told.on_end("failed")
        if isinstance(error, IntegrityError):
            distrust_damaged(ds, [(feature, upstream) for feature, upstream, _ in facts["inputs"]])
        if isinstance(error, RunCancelled | ModelFailed) or not isinstance(error, Exception):
            raise
        message = error.message if isinstance(error, GaplessError) else str(error)
        raise ModelFailed(
            f"the training of {plan.model} failed: {type(error).__name__}: {message}",
            found=f"{plan.model}@{run_id}",
        ) from error
    told.on_end("finished")


def _call_train(model: Any, ds: Dataset, work: Any, config: dict[str, Any], callback: Any) -> Any:
    """Call ``train`` with the callback under the name that it has there, if any."""
    parameters = inspect.signature(model.train).parameters
    for name in ("callback", "progress_callback"):
        if name in parameters:
            return model.train(ds, work, config, **{name: callback})
    if any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters.values()):
        return model.train(ds, work, config, callback=callback)
    return model.train(ds, work, config)


class _Cancellable:
    """Passes progress on, and ends the training at the first call after it was cancelled."""

    def __init__(self, told: CompositeProgressCallback, cancel: Any) -> None:
        self._told = told
        self._cancel = cancel

    def on_epoch_end(self, epoch: int, total_epochs: int, metrics: Mapping[str, float]) -> None:
        self._told.on_epoch_end(epoch, total_epochs, metrics)
        self._check()

    def on_class_start(self, class_idx: int, total_classes: int, class_name: str) -> None:
        self._check()
        self._told.on_class_start(class_idx, total_classes, class_name)

    def on_phase(self, phase: str, message: str) -> None:
        self._check()
        self._told.on_phase(phase, message)

    def _check(self) -> None:
        if self._cancel is not None and self._cancel.is_set():
            raise RunCancelled("the training was cancelled")


def _facts(ds: Dataset, model: Any, plan: TrainingPlan, run_id: str) -> dict[str, Any]:
    """Return what the manifest says whatever becomes of the training."""
    keys = list(plan.entries)
    rows = input_rows(ds, plan.inputs)
    return {
        "format": FORMAT,
        "model": plan.model,
        "version": plan.version,
        "run_id": run_id,
        "digest": plan.digest,
        "class": f"{type(model).__module__}:{type(model).__qualname__}",
        "code_digest": user_code(type(model)),
        "config": plan.config,
        "seed": plan.seed,
        "inputs": [[*item.run, item.digest(keys)] for item in rows if item.run is not None],
        "topics": [[item.name, item.digest(keys)] for item in rows if item.run is None],
        "entries": [[*key, digest] for key, digest in plan.entries.items()],
        "left_out": _left_out(plan, rows),
        "labels": [[source, digest] for source, digest in plan.labels],
        "label_entries": [
            [[*key, digest] for key, digest in sorted(found.items())] for found in plan.label_entries
        ],
        "split": {
            **(plan.split.document() if plan.split else {}),
            "train": [list(key) for key in plan.train],
            "test": [list(key) for key in plan.test],
        },
        "started_at": now_text(),
        "environment": _environment(),
    }


def _left_out(plan: TrainingPlan, rows: Sequence[InputRows]) -> list[list[str]]:
    """Return the entries that have some of the inputs and are not learned from, each with the reason."""
    found = []
    for key in sorted({key for item in rows for key in item.sources} - set(plan.entries)):
        lacks = [item.name for item in rows if key not in item.sources]
        found.append([*key, f"no rows of {', '.join(lacks)}" if lacks else "no labels"])
    return found


def _environment() -> dict[str, Any]:
    """Return what the run was made with; recorded, and no part of its identity."""
    packages: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = None
    return {
        "gapless": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": packages,
    }


def _plain(value: Any) -> Any:
    """Return metrics as JSON holds them: plain numbers, and null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ModelFailed("a metric is a number, text, or a mapping or list of them", found=type(value).__name__)
