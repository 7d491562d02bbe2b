"""A pipeline as it stands, as one plain document: the graph of its steps, their counts, and why what is not done.

The document is made of JSON values only::

    {"topic", "where", "steps": [
        {"name", "kind": "feature" | "model" | "callback", "feature", "run_id", "reads": [step, …], "topics": [topic],
         "state", "why", "modified", "runs", "entries", "code_changed",
         "counts": {"ok", "empty", "failed", "pending", "stale", "running"},
         "reasons": [{"status", "why", "count", "sequences": [the first few]}],
         "told": [[group, sequence, status, words], …], "told_total"}],
     "places": [path, …]}

``state`` is ``ok``, ``running``, ``stale``, ``failed``, ``pending``, ``waiting`` (for a step before it), ``error`` (it
cannot even be named) or ``none`` (nothing is in scope). The words of an entry are those of ``gapless features why``.
``places`` are files and folders outside of the catalog that change when the report does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.features.claims import claimed_now
from gapless.features.identity import named_run
from gapless.features.owner import Owner
from gapless.features.pipeline import StepSurvey, words_of
from gapless.features.pipeline_status import status_row
from gapless.features.step import CallbackStep, FeatureStep, ModelStep
from gapless.features.training.model_run import ModelRun

if TYPE_CHECKING:
    from gapless.features.dataset import Dataset
    from gapless.features.entry import EntryKey
    from gapless.features.pipeline_file import PipelineFile
    from gapless.features.survey import Survey

MOST_ENTRIES = 5_000  # of one step that are told one by one; those that are not done come first
_MOST_NAMES = 10  # of the sequences that a reason names
_COUNTS = ("ok", "empty", "failed", "pending", "stale", "running")


def pipeline_report(ds: Dataset, loaded: PipelineFile) -> dict[str, Any]:
    """Return the document; nothing is computed and no Parquet file is opened."""
    surveys = loaded.pipeline.survey(ds)
    pairs = [item.bound.pair for item in surveys if item.bound is not None]
    claimed = claimed_now(ds.client.catalog.database, pairs, lambda owner: Owner.alive(ds.root, owner))
    reads = loaded.pipeline.dag()
    return {
        "topic": loaded.topic,
        "where": None if loaded.where is None else str(loaded.where),
        "steps": [_step(ds, item, reads[item.step.name], claimed) for item in surveys],
        "places": [str(place) for place in _places(ds, surveys)],
    }


def _places(ds: Dataset, surveys: Sequence[StepSurvey]) -> list[Path]:
    """Return where accepted code, outputs and models lie: the catalog's stamps tell of none of them."""
    found = [ds.root / "state.db", ds.root / "state.db-wal"]
    for item in surveys:
        if item.bound is not None:
            found.append(item.bound.folder.path)
        elif item.model is not None and item.run_id:
            run = ModelRun.of(ds.models_root, item.model.name, item.run_id)
            found += [run.path.parent, run.path]
    return found


def _step(
    ds: Dataset, item: StepSurvey, reads: list[str], claimed: dict[tuple[str, str], set[EntryKey]]
) -> dict[str, Any]:
    row = status_row(ds, item)
    busy = claimed.get(item.bound.pair, set()) if item.bound is not None else set()
    told = _told(item.survey, busy)
    counts = dict.fromkeys(_COUNTS, 0)
    for *_, status, _words in told:
        counts[status] += 1
    return {
        "name": item.step.name,
        "kind": _kind(item),
        "feature": item.label.removeprefix("(model) ") or _class_name(item),
        "run_id": item.run_id,
        "reads": reads,
        "topics": _topics(item, ds.topic),
        "state": _state(ds, item, counts),
        "why": row["why"],
        "modified": "" if row["modified"] == "-" else row["modified"],
        "runs": row["runs"],
        "entries": len(told),
        "code_changed": 0 if item.survey is None else sum(s.code_changed for s in item.survey.states),
        "counts": counts,
        "reasons": _reasons(told),
        "told": [list(entry) for entry in told[:MOST_ENTRIES]],
        "told_total": len(told),
    }


def _kind(item: StepSurvey) -> str:
    return {FeatureStep: "feature", ModelStep: "model", CallbackStep: "callback"}[type(item.step)]


def _class_name(item: StepSurvey) -> str:
    """Return what is known of a step that cannot be named."""
    step = item.step
    cls = step.feature_cls if isinstance(step, FeatureStep) else getattr(step, "model_cls", None)
    return "" if cls is None else str(getattr(cls, "name", cls.__name__))


def _topics(item: StepSurvey, tracks: str) -> list[str]:
    """Return the recorded topics that a step reads, besides the outputs of other steps."""
    if isinstance(item.step, CallbackStep):
        return []
    names = item.step.input_names
    found = {tracks} if "tracks" in names or not names else set()
    if item.bound is not None:
        found |= {each.name for each in item.bound.feature.inputs.topic_inputs if named_run(each) is None}
    return sorted(found)


def _state(ds: Dataset, item: StepSurvey, counts: dict[str, int]) -> str:
    if item.error is not None:
        return "error"
    if isinstance(item.step, ModelStep):
        return _model_state(ds, item)
    if item.survey is None:
        return "ok" if item.complete else "waiting" if item.why.startswith("waits") else "pending"
    if item.survey.absent is not None:
        return "error"
    if counts["running"]:
        return "running"
    if item.survey.blocked:
        return "waiting"
    if item.survey.state_why:
        return "stale"
    found = next((status for status in ("failed", "stale", "pending") if counts[status]), "")
    return found or ("ok" if item.survey.states else "none")


def _model_state(ds: Dataset, item: StepSurvey) -> str:
    if item.complete:
        return "ok"
    if item.why.startswith("waits"):
        return "waiting"
    status = ModelRun.of(ds.models_root, item.model.name, item.run_id).status()
    found = {"running": "running", "failed": "failed", "damaged": "stale"}.get(status, "pending")
    trained_before = found == "pending" and item.why.startswith("since it was trained")
    return "stale" if trained_before else found


Told = tuple[str, str, str, str]  # group, sequence, status, words


def _told(survey: Survey | None, busy: set[EntryKey]) -> list[Told]:
    """Return every entry with its status and its words, those that are not done first."""
    if survey is None:
        return []
    found = [
        (*state.key, "running", "is being computed now")
        if state.key in busy and not state.done
        else (*state.key, state.status, words_of(state, survey))
        for state in survey.states
    ]
    return sorted(found, key=lambda entry: entry[2] in ("ok", "empty"))


def _reasons(told: Sequence[Told]) -> list[dict[str, Any]]:
    """Return why entries are not done, each reason once, the most frequent first."""
    found: dict[tuple[str, str], list[str]] = {}
    for _, sequence, status, words in _not_done(told):
        found.setdefault((status, words.removeprefix(f"{status}: ")), []).append(sequence)
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    return [
        {"status": status, "why": why, "count": len(names), "sequences": names[:_MOST_NAMES]}
        for (status, why), names in ordered
    ]


def _not_done(told: Sequence[Told]) -> Iterable[Told]:
    return (entry for entry in told if entry[2] not in ("ok", "empty"))
