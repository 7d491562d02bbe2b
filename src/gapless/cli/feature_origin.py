"""Where a feature run or a model comes from, which ones there are, and who needs a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gapless.cli import options, output
from gapless.errors import NotFound, UsageError

if TYPE_CHECKING:
    from gapless.features.dataset import Dataset
    from gapless.features.trained_models import TrainedModel

LIST_COLUMNS = ("feature", "run_id", "version", "started_at", "finished_at", "entries")


@dataclass(frozen=True)
class NamedRun:
    """One run of a feature, by its storage name, or of a model."""

    name: str
    run_id: str
    is_model: bool = False


# -- which run is meant ------------------------------------------------------------------------


def named_run(ds: Dataset, names: Sequence[str]) -> NamedRun:
    """Return the run that ``FEATURE [RUN]``, ``FEATURE@RUN``, the same of a model, or ``PIPELINE STEP`` name.

    A run is named by its id or a unique beginning of it; without one it is the latest. NotFound tells
    which ones there are.
    """
    if names[0].endswith((".toml", ".py")):
        return _run_of_step(ds, names)
    name, _, run_id = names[0].removeprefix("features/").partition("@")
    run_id = names[1] if len(names) > 1 else run_id
    known = runs_of(ds, name)
    found = [run for run in known if run.run_id == run_id]
    found = found or [run for run in known if run.run_id.startswith(run_id)]
    if not found:
        raise NotFound(
            f"{name} has no such run", found=run_id, expected=", ".join(run.run_id for run in known),
            next_step="`gapless features list` lists the runs",
        )  # fmt: skip
    if run_id and len(found) > 1:
        raise UsageError(
            "several runs begin like this", found=run_id, expected=", ".join(run.run_id for run in found),
            next_step="write more of the run id",
        )  # fmt: skip
    return found[0]


def runs_of(ds: Dataset, name: str) -> list[NamedRun]:
    """Return the runs of a feature or of a model, the latest first; NotFound if there are none."""
    storage = ds.registry.storage_of(name)
    runs = [NamedRun(storage, str(run_id)) for run_id in ds.registry.list_runs(storage)["run_id"]]
    models = _models(ds)
    runs = runs or [NamedRun(m.name, m.run_id, is_model=True) for m in models if m.name == name]
    if not runs:
        known = [*ds.registry.list_features(), *dict.fromkeys(model.name for model in models)]
        raise NotFound(
            "the feature has no run yet", found=name, expected=", ".join(known) or "a feature that ran",
            next_step="name a step together with its pipeline: `gapless features lineage PIPELINE STEP`",
        )  # fmt: skip
    return runs


def _models(ds: Dataset) -> list[TrainedModel]:
    """Return the models of the store, the latest first."""
    from gapless.features.trained_models import trained_models

    return sorted(
        trained_models(ds.root), key=lambda m: (m.status == "finished", m.finished_at, m.started_at), reverse=True
    )  # fmt: skip


def _run_of_step(ds: Dataset, names: Sequence[str]) -> NamedRun:
    from gapless.features.pipeline_file import load_pipeline

    if len(names) < 2:
        raise UsageError("a pipeline has many runs", found=names[0],
                         next_step="`gapless features lineage PIPELINE STEP`")  # fmt: skip
    loaded = load_pipeline(names[0])
    with loaded.dataset(ds.root) as own:
        items = {item.step.name: item for item in loaded.pipeline.survey(own)}
    if names[1] not in items:
        raise UsageError("there is no such step", found=names[1], expected=", ".join(items),
                         next_step=f"`gapless features status {names[0]}` lists the steps")  # fmt: skip
    item = items[names[1]]
    run = NamedRun(item.label.removeprefix("(model) "), item.run_id, is_model=item.model is not None)
    if run not in [*_feature_runs(ds), *(NamedRun(m.name, m.run_id, is_model=True) for m in _models(ds))]:
        raise NotFound("the step has no run yet", found=names[1],
                       next_step=f"`gapless features run {names[0]}`")  # fmt: skip
    return run


def _feature_runs(ds: Dataset) -> list[NamedRun]:
    registry = ds.registry
    return [
        NamedRun(name, str(run_id))
        for name in registry.list_features()
        for run_id in registry.list_runs(name)["run_id"]
    ]


# -- lineage -----------------------------------------------------------------------------------


def lineage(args: argparse.Namespace) -> int:
    """Print where a run comes from, down to the sequences."""
    from gapless.features.dataset import Dataset

    if not args.names:
        raise UsageError("lineage needs FEATURE", next_step="`gapless features lineage FEATURE [RUN]`")
    with Dataset(options.existing_store(args)) as ds:
        run = named_run(ds, args.names)
        if args.openlineage and run.is_model:
            raise UsageError("OpenLineage is told of feature runs", found=f"model {run.name}",
                             next_step="leave --openlineage out, or add --json")  # fmt: skip
        if args.openlineage:
            output.say_json(ds.registry.open_lineage(run.name, run.run_id))
            return 0
        if run.is_model:
            tree = ds.registry.model_lineage(run.name, run.run_id)
        else:
            tree = ds.registry.lineage(run.name, run.run_id, deep=True)
    if args.json:
        output.say_json(tree)
    else:
        for line in _tree_lines(tree, ""):
            output.say(line)
    return 0


def _tree_lines(node: dict[str, Any], indent: str) -> list[str]:
    """Return a run as lines: what it read is below it and further in."""
    if "model" in node:
        lines = [f"{indent}model {node['model']}@{node['run_id']}  {node['status']}"]
        lines += [f"{indent}  labels of kind {kind}" for kind in node["labels"]]
    else:
        lines = [f"{indent}{node['feature']} {node['run_id']}"]
    lines += [
        f"{indent}  sequence {source['sequence']}  {source.get('content_digest') or ''}".rstrip()
        for source in node.get("sequences", [])
    ]
    for upstream in [*node.get("predicts_with", []), *node.get("upstream", [])]:
        lines += _tree_lines(upstream, indent + "  ")
    readers = [f"model {model['name']}@{model['run_id']}" for model in node.get("models", [])]
    return lines + [f"{indent}  read by {reader}" for reader in readers]


# -- which runs there are ----------------------------------------------------------------------


def run_rows(ds: Dataset, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each run of the named features and models, of all if none is named."""
    wanted = {run.name for name in names for run in runs_of(ds, name)}
    registry = ds.registry
    rows = [
        {"feature": name, **{key: row[key] for key in LIST_COLUMNS[1:-1]},
         "entries": registry.entry_count(name, row["run_id"])}
        for name in registry.list_features()
        if not names or name in wanted
        for row in registry.list_runs(name).to_dict(orient="records")
    ]  # fmt: skip
    models = [
        {"feature": f"(model) {m.name}", **{key: getattr(m, key) or "-" for key in LIST_COLUMNS[1:-1]},
         "entries": len(m.sequences) if m.status == "finished" else 0}
        for m in _models(ds)
        if not names or m.name in wanted
    ]  # fmt: skip
    return [*rows, *models]


# -- who needs a run ---------------------------------------------------------------------------


def readers(ds: Dataset) -> dict[tuple[str, str], list[str]]:
    """Return for each feature run, by feature and run id, the runs and models that read it."""
    found: dict[tuple[str, str], list[str]] = {}
    for run in _feature_runs(ds):
        for upstream in ds.registry.get_dependencies(run.name, run.run_id):
            found.setdefault(upstream, []).append(f"{run.name} {run.run_id}")
    for model in _models(ds):
        for upstream in model.inputs:
            found.setdefault(upstream, []).append(f"model {model.name}@{model.run_id}")
    return found
