"""What a feature run was made from, back to the recordings and their calibration, and what was made from it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gapless.catalog.feature_rows import RunTables
from gapless.catalog.record_lines import read_object
from gapless.errors import NotFound
from gapless.features.entry import GLOBAL_ENTRY
from gapless.features.trained_models import TrainedModel, find_trained, trained_models
from gapless.store.layout import Bundle

_NODES = 10_000  # beyond these a run that was told in full is only named
_CALIBRATION = (
    "calibration.json",
    "recalibration.json",
)  # the artifacts in which recordings keep their curves
MODEL_LABEL = "model "  # begins the input of an entry that is the content of a model
Pair = tuple[str, str]  # (feature, run_id)


def lineage_of(
    database: RunTables, root: Path | None, feature: str, run_id: str, *, deep: bool
) -> dict[str, Any]:
    """Return the tree of runs above a run.

    ``deep`` adds the recordings and the models to its root, and to each run the models that it predicts with;
    NotFound for an unknown run.
    """
    if deep and not database.rows(
        "SELECT 1 FROM feature_runs WHERE feature=? AND run_id=?", (feature, run_id)
    ):
        raise NotFound("there is no such feature run", found=f"{feature} {run_id}",
                       next_step="`gapless features list` lists the runs")  # fmt: skip
    start = (feature, run_id)
    upstream = _edges(database, start, up=True)
    tree = _tree(start, upstream)
    if deep:
        tree["sequences"] = _sequences(database, root, {start, *_ends(upstream)})
        below = {start, *_ends(_edges(database, start, up=False))}
        models = [] if root is None else trained_models(root)
        tree["models"] = [
            {"name": m.name, "run_id": m.run_id, "status": m.status} for m in models if m.reads_any(below)
        ]
        _add_predictors(database, tree, models)
    return tree


def lineage_of_model(database: RunTables, root: Path, name: str, run_id: str | None) -> dict[str, Any]:
    """Return what a training was made from: its runs and the recordings, and the kinds of its labels.

    Without a run id: the newest finished run. Raises NotFound for a model that was never trained.
    """
    mine = [m for m in trained_models(root) if m.name == name and run_id in (None, m.run_id)]
    if not mine:
        raise NotFound("there is no such model run", found=f"{name} {run_id or ''}".rstrip(),
                       next_step="`gapless features list` lists models and runs")  # fmt: skip
    newest = max(mine, key=lambda m: (m.status == "finished", m.finished_at, m.started_at))
    tree = _model_node(database, newest)
    tree["sequences"] = [
        {"sequence": sequence, "group": None, **_UNKNOWN, **known}
        for sequence, known in sorted({
            **{key: {} for key in newest.sequences}, **_recordings(database, root, sorted(newest.sequences))
        }.items())
    ]  # fmt: skip
    return tree


def _model_node(database: RunTables, model: TrainedModel) -> dict[str, Any]:
    upstream = [_tree(pair, _edges(database, pair, up=True)) for pair in model.inputs]
    return {
        "model": model.name, "run_id": model.run_id, "status": model.status, "labels": list(model.labels),
        "upstream": upstream,
    }  # fmt: skip


def predictors(database: RunTables, run: Pair, models: Iterable[TrainedModel]) -> list[TrainedModel]:
    """Return the models that the entries of a run were computed with, as the run's records tell."""
    rows = database.rows(
        "SELECT DISTINCT i.key FROM feature_entries AS e, json_each(e.record, '$.inputs') AS i"
        " WHERE e.feature=? AND e.run_id=? AND substr(i.key, 1, ?)=? ORDER BY 1",
        (*run, len(MODEL_LABEL), MODEL_LABEL),
    )
    found = [find_trained(models, label.removeprefix(MODEL_LABEL)) for (label,) in rows]
    return [model for model in found if model is not None]


def _add_predictors(database: RunTables, tree: dict[str, Any], models: list[TrainedModel]) -> None:
    """Add to each run of a tree that predicts what it predicts with."""
    waiting = [tree] if models else []
    while waiting:
        node = waiting.pop()
        found = predictors(database, (node["feature"], node["run_id"]), models)
        if found:
            node["predicts_with"] = [_model_node(database, model) for model in found]
        waiting += node["upstream"]


def downstream_of(database: RunTables, run: Pair) -> set[Pair]:
    """Return the runs that read a run, or read one that does; not the run itself unless it is in a cycle."""
    return set(_ends(_edges(database, run, up=False)))


def _edges(database: RunTables, start: Pair, *, up: bool) -> dict[Pair, list[Pair]]:
    """Return the edges reachable from a run, by one statement; every run is visited once."""
    here, there = ("feature, run_id", "upstream_feature, upstream_run_id")[:: 1 if up else -1]
    rows = database.rows(
        "WITH RECURSIVE reached (f, r) AS (VALUES (?, ?) UNION"
        f" SELECT {there} FROM dependencies JOIN reached ON ({here}) = (f, r))"
        f" SELECT {here}, {there} FROM dependencies WHERE ({here}) IN (SELECT f, r FROM reached)"
        " ORDER BY 1, 2, 3, 4",
        start,
    )
    found: dict[Pair, list[Pair]] = {}
    for feature, run_id, other, other_id in rows:
        found.setdefault((feature, run_id), []).append((other, other_id))
    return found


def _ends(edges: Mapping[Pair, Iterable[Pair]]) -> Iterator[Pair]:
    for ends in edges.values():
        yield from ends


def _tree(start: Pair, upstream: Mapping[Pair, list[Pair]]) -> dict[str, Any]:
    """Return nested nodes, breadth first; each run is told in full at least once, where it is nearest."""
    root = _node(start)
    waiting: deque[tuple[dict[str, Any], _Path]] = deque([(root, _Path(start, None))])
    told: set[Pair] = set()
    count = 1
    while waiting:
        node, path = waiting.popleft()
        if path.repeats():
            node["cycle"] = True
            continue
        above = upstream.get(path.run, ())
        if above and count > _NODES and path.run in told:
            node["repeated"] = True
            continue
        told.add(path.run)
        for pair in above:
            child = _node(pair)
            node["upstream"].append(child)
            waiting.append((child, _Path(pair, path)))
            count += 1
    return root


class _Path:
    """A run and the way down to it."""

    __slots__ = ("below", "run")

    def __init__(self, run: Pair, below: _Path | None) -> None:
        self.run = run
        self.below = below

    def repeats(self) -> bool:
        """Tell whether the run is on its own way down."""
        step = self.below
        while step is not None:
            if step.run == self.run:
                return True
            step = step.below
        return False


def _node(run: Pair) -> dict[str, Any]:
    return {"feature": run[0], "run_id": run[1], "upstream": []}


def _sequences(database: RunTables, root: Path | None, runs: Iterable[Pair]) -> list[dict[str, Any]]:
    """Return the recordings that the runs have entries of, as they are now."""
    rows = database.rows(
        "SELECT DISTINCT e.group_, e.sequence FROM json_each(?) AS pair CROSS JOIN feature_entries AS e"
        " ON e.feature=json_extract(pair.value, '$[0]') AND e.run_id=json_extract(pair.value, '$[1]')"
        " ORDER BY 1, 2",
        (json.dumps(sorted(runs)),),
    )
    known = {} if root is None else _recordings(database, root, [sequence for _, sequence in rows])
    return [
        {"sequence": sequence, "group": group or None, **known.get(sequence, _UNKNOWN)}
        for group, sequence in rows
        if (group, sequence) != GLOBAL_ENTRY
    ]


_UNKNOWN: Mapping[str, Any] = {"content_digest": None, "calibration": []}


def _recordings(database: RunTables, root: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    rows = database.rows(
        "SELECT name, component, content_digest FROM sequence WHERE name IN (SELECT value FROM json_each(?))",
        (json.dumps(names),),
    )
    return {
        name: {"content_digest": digest, "calibration": _calibration(root / "sequences" / component)}
        for name, component, digest in rows
    }


def _calibration(path: Path) -> list[dict[str, Any]]:
    """Return the calibration artifacts of a recording and of its layers."""
    bundle = Bundle(path)
    found = []
    for manifest in (bundle.manifest, *(Bundle(layer).manifest for layer in bundle.layer_paths())):
        artifacts = read_object(manifest).get("content", {}).get("artifacts", {})
        for name, entry in artifacts.items():
            if name in _CALIBRATION and "path" in entry:
                place = (manifest.parent / entry["path"]).relative_to(path).as_posix()
                found.append({"name": name, "path": place, "sha256": entry.get("sha256")})
    return found
