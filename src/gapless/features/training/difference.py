"""Why a model is to be trained again: what differs between what it would be made from and its newest training."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gapless.errors import IntegrityError
from gapless.features.training.model_run import MANIFEST
from gapless.features.training.plan import PLAN_FILE, TrainingPlan
from gapless.model.names import to_component

_PLAIN = (("version", "another version"), ("config", "another configuration"), ("seed", "another seed"),
          ("columns", "other names of columns"))  # fmt: skip
_NAMED = 3  # entries that are named; more are counted


def training_difference(models_root: Path, plan: TrainingPlan) -> str:
    """Return what changed since the newest finished training of a model, "" where there is none.

    Raises IntegrityError for a training whose manifest or plan cannot be read.
    """
    newest = _newest(models_root / to_component(plan.model))
    if newest is None:
        return ""
    manifest, then = newest
    now = plan.document
    told = [text for name, text in _PLAIN if then.get(name) != now.get(name)]
    if then["inputs"] != now["inputs"]:
        told.append("another run of an input")
    told += _entries("entries", _by_key(then["entries"]), _by_key(now["entries"]))
    told += _labels(then, now, manifest.get("label_entries", []), plan.label_entries)
    if not told and then != now:
        told.append("another split")
    return f"since it was trained: {', '.join(told)}" if told else ""


def _newest(folder: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return manifest and plan of the newest finished run of a model."""
    found = [(_read(path), path.parent) for path in folder.glob(f"[!.]*/{MANIFEST}")]
    finished = [(known, path) for known, path in found if known.get("status") == "finished"]
    if not finished:
        return None
    known, path = max(finished, key=lambda item: str(item[0].get("finished_at", "")))
    return known, _read(path / PLAN_FILE)


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise IntegrityError("a file of a model run cannot be read", found=str(path)) from error
    return document


def _labels(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    known: list[list[list[str]]],
    entries: Iterable[Mapping[tuple[str, str], str]],
) -> list[str]:
    """Return which labels changed, and of which entries where the training kept that."""
    if [source for source, _ in then["labels"]] != [source for source, _ in now["labels"]]:
        return ["labels of another source"]
    told = []
    for place, (present, (source, digest)) in enumerate(zip(entries, now["labels"], strict=True)):
        if then["labels"][place][1] == digest:
            continue
        name = f"labels {source['kind']}"
        told += _entries(name, _by_key(known[place]), present) if place < len(known) else [f"{name} changed"]
    return told


def _entries(what: str, then: Mapping[tuple[str, str], str], now: Mapping[tuple[str, str], str]) -> list[str]:
    """Return which entries are new, gone or changed."""
    kinds = {
        "new": [key for key in now if key not in then],
        "gone": [key for key in then if key not in now],
        "changed": [key for key in now if key in then and then[key] != now[key]],
    }
    return [f"{what} {kind} ({_names(keys)})" for kind, keys in kinds.items() if keys]


def _names(keys: list[tuple[str, str]]) -> str:
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(sequence for _, sequence in sorted(keys)[:_NAMED]) + more


def _by_key(rows: Iterable[list[str]]) -> dict[tuple[str, str], str]:
    return {(group, sequence): digest for group, sequence, digest in rows}
