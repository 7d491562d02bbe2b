"""What a pipeline has, as tables for a person: one row for each step, or for each entry still to compute."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.errors.extra import need
from gapless.features.run_folder import RunFolder
from gapless.model.names import to_component

if TYPE_CHECKING:
    import pandas as pd

    from gapless.features.dataset import Dataset
    from gapless.features.pipeline import StepSurvey

STATUS_COLUMNS = [
    "step", "feature", "run_id", "n_seq", "runs", "cached", "modified",
    "ok", "empty", "failed", "pending", "stale", "why",
]  # fmt: skip
PLAN_COLUMNS = ["step", "group", "sequence", "status", "why"]
_COUNTS = ("ok", "empty", "failed", "pending", "stale")


def status_table(ds: Dataset, surveys: Sequence[StepSurvey]) -> pd.DataFrame:
    """Return the table of :meth:`Pipeline.status`."""
    need("pandas", extra="features")
    import pandas as pd

    rows = [status_row(ds, item) for item in surveys]
    return pd.DataFrame(rows, columns=STATUS_COLUMNS).astype({"cached": object})


def status_row(ds: Dataset, item: StepSurvey) -> dict[str, Any]:
    """Return one step's row as plain values."""
    row: dict[str, Any] = dict.fromkeys(STATUS_COLUMNS, 0)
    row |= {
        "step": item.step.name,
        "feature": item.label or "-",
        "run_id": item.run_id or "-",
        "cached": item.cached,
        "modified": "-",
        "why": item.why,
    }
    if item.error is not None:
        row["cached"] = False
    elif item.bound is None:
        if item.label == "(callback)" and not item.complete:
            row["cached"] = "stale" if item.why.startswith("waits") else "-"
    else:
        assert item.survey is not None
        counts = item.survey.counts()
        row |= counts
        row["n_seq"] = len(item.survey.states)
        row["runs"] = run_count(ds.features_root / to_component(item.label))
        row["modified"] = modified(item.bound.folder)
        row["cached"] = _cached(item.cached, counts, bool(item.survey.state_why))
        changed = sum(state.code_changed for state in item.survey.states)
        if changed:
            told = f"source code changed since {changed} entries were computed: accept it, or force the step"
            row["why"] = "; ".join(filter(None, [item.why, told]))
    return row


def _cached(cached: bool, counts: dict[str, int], state_stale: bool) -> bool | str:
    if cached:
        return True
    if counts["stale"] or state_stale:
        return "stale"
    return "partial" if counts["ok"] + counts["empty"] else False


def plan_table(surveys: Sequence[StepSurvey]) -> pd.DataFrame:
    """Return the table of :meth:`Pipeline.plan`."""
    need("pandas", extra="features")
    import pandas as pd

    rows = []
    for item in surveys:
        if item.survey is None:
            if not item.complete:
                rows.append(
                    (item.step.name, "", "", "error" if item.error else "runs", item.why or "runs every time")
                )
            continue
        if not item.survey.states:
            rows.append((item.step.name, "", "", "no entries", item.why))
        rows += [
            (item.step.name, state.key[0], state.key[1], state.status, state.why)
            for state in item.survey.states
            if not state.done
        ]
    return pd.DataFrame(rows, columns=PLAN_COLUMNS)


def run_count(storage: Path) -> int:
    """Return how many runs of a feature lie on disk."""
    try:
        return sum(1 for entry in os.scandir(storage) if entry.is_dir() and not entry.name.startswith("."))
    except FileNotFoundError:
        return 0


def modified(folder: RunFolder) -> str:
    """Return when a run last recorded something, as ISO 8601 in UTC; ``-`` if it never did."""
    try:
        stamp = os.stat(folder.entries).st_mtime
    except FileNotFoundError:
        return "-"
    return datetime.fromtimestamp(stamp, UTC).isoformat(timespec="seconds")
