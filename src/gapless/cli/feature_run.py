"""What a run of a pipeline would compute, and what it has computed: entries of each step, and models."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gapless.cli import output
from gapless.errors import AllEntriesFailed, GaplessError

if TYPE_CHECKING:
    from gapless.features.dataset import Dataset
    from gapless.features.pipeline import Pipeline, StepSurvey
    from gapless.features.result import Result

Row = dict[str, Any]


@contextmanager
def told_warnings() -> Iterator[None]:
    """Print what a run warns of as lines for a person, each time it says so."""
    import warnings

    from gapless.features.feature_warning import FeatureWarning

    with warnings.catch_warnings():
        warnings.simplefilter("always", FeatureWarning)
        warnings.showwarning = lambda message, *_, **__: output.note(f"warning: {message}")
        yield


@dataclass(frozen=True)
class Outcome:
    """What one run made of one step: ``entries`` in scope; of a model the sequences it learned from."""

    step: str
    feature: str
    run_id: str
    entries: int
    computed: int
    failed: tuple[tuple[str, str], ...]
    is_model: bool = False

    def line(self) -> str:
        """Return the outcome as a line for a person."""
        if self.is_model:
            told = "trained" if self.computed else "trained before"
        elif not self.entries:
            told = "no entries"
        elif self.computed:
            told = f"computed {self.computed} of {_entries(self.entries)}"
        else:
            told = f"cached, {_entries(self.entries - len(self.failed))}"
        return f"{self.step}: {told}  {self.feature} {self.run_id}"

    def document(self) -> Row:
        """Return the outcome as JSON."""
        return {
            "feature": self.feature,
            "run_id": self.run_id,
            "cached": not self.computed and not self.failed,
            "computed": self.computed,
            "entries": self.entries,
        }


def run_pipeline(ds: Dataset, pipeline: Pipeline, name: str, force_from: str | None, *, as_json: bool) -> int:
    """Run a pipeline, print what became of each step, and return the exit code.

    What a step raises is raised again when the outcome of the others has been printed.
    """
    since_ns = time.time_ns()
    try:
        pipeline.run(ds, force_from, progress=False if as_json else None)
    except GaplessError:
        _tell(_outcomes(ds, pipeline, since_ns), name, as_json=as_json)
        raise
    return _tell(_outcomes(ds, pipeline, since_ns), name, as_json=as_json)


def _tell(outcomes: Sequence[Outcome], name: str, *, as_json: bool) -> int:
    failed = {item.step: [list(key) for key in item.failed] for item in outcomes if item.failed}
    if as_json:
        made = {
            kind: {o.step: o.document() for o in outcomes if o.is_model == kind} for kind in (False, True)
        }
        output.say_json({"results": made[False], "models": made[True], "failed": failed})
    else:
        for item in outcomes:
            output.say(item.line())
    for step, keys in failed.items():
        sequences = ", ".join(sequence for _, sequence in keys[:3]) + (", …" if len(keys) > 3 else "")
        output.note(
            f"{step}: {_entries(len(keys))} failed: {sequences};"
            f" `gapless features why {name} {step} {keys[0][1]}` tells the error"
        )
    return AllEntriesFailed.exit_code if failed else 0


def _outcomes(ds: Dataset, pipeline: Pipeline, since_ns: int) -> list[Outcome]:
    """Return what is there of each step that was run; a step that was not has none."""
    found = []
    for item in pipeline.survey(ds):
        if item.survey is not None and item.step.name in pipeline.results:
            found.append(_of_feature(item, since_ns))
        elif item.model is not None and item.complete:
            found.append(_of_model(ds, item, since_ns))
    return found


def _of_feature(item: StepSurvey, since_ns: int) -> Outcome:
    assert item.survey is not None
    states = item.survey.states
    new = [s for s in states if s.record is not None and s.record.recorded_ns >= since_ns and s.done]
    failed = tuple(state.key for state in states if state.status == "failed")
    return Outcome(item.step.name, item.label, item.run_id, len(states), len(new), failed)


def _of_model(ds: Dataset, item: StepSurvey, since_ns: int) -> Outcome:
    from gapless.features.training.model_run import MANIFEST, ModelRun

    run = ModelRun.of(ds.models_root, item.model.name, item.run_id)
    entries = len(run.manifest()["entries"])
    new = (run.path / MANIFEST).stat().st_mtime_ns >= since_ns
    return Outcome(item.step.name, item.model.name, item.run_id, entries, int(new), (), is_model=True)


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def computed(ds: Dataset, pipeline: Pipeline) -> dict[str, Result[str]]:
    """Return the results of the feature steps of which all is computed and up to date, by step; nothing runs."""
    from gapless.features.result import Result

    return {
        item.step.name: Result(feature=item.label, run_id=item.run_id)
        for item in pipeline.survey(ds)
        if item.bound is not None and item.cached
    }


# -- what would be computed --------------------------------------------------------------------


def plan_rows(ds: Dataset, pipeline: Pipeline, force_from: str | None) -> list[Row]:
    """Return a row for each entry that a run would compute now, in the order of the steps.

    ``force_from``: that step and all that read it are computed again.
    """
    rows: list[Row] = pipeline.plan(ds).to_dict(orient="records")  # type: ignore[assignment]
    if force_from is not None:
        planned = {(row["step"], row["sequence"]) for row in rows}
        rows += [
            row for row in _forced(ds, pipeline, force_from) if (row["step"], row["sequence"]) not in planned
        ]
    order = list(pipeline.steps)
    return sorted(rows, key=lambda row: order.index(row["step"]))


def _forced(ds: Dataset, pipeline: Pipeline, start: str) -> Iterator[Row]:
    forced = {start}
    for name, read in pipeline.dag().items():
        if forced & set(read):
            forced.add(name)
    why = f"computed again from {start} on"
    for item in pipeline.survey(ds):
        if item.step.name not in forced:
            continue
        keys = [("", "")] if item.survey is None else [state.key for state in item.survey.states]
        for group, sequence in keys:
            row = {"step": item.step.name, "group": group, "sequence": sequence}
            yield {**row, "status": "forced" if item.survey is not None else "runs", "why": why}
