"""GET /features/runs: the runs of features, what one of them is made of, and its entries.

A caller whose key is for some groups sees the entries of sequences in these groups, and the runs that have any.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from gapless.catalog.feature_rows import RunTables
from gapless.errors import NotFound
from gapless.features.accepted_code import accepted_code
from gapless.features.owner import Owner
from gapless.features.registry import FeatureRegistry
from gapless.features.run_folder import RunFolder
from gapless.features.run_list import (
    ListedEntry,
    ListedRun,
    count_runs,
    list_entries,
    list_runs,
    listed_run,
    output_fields,
    running_runs,
    seen_runs,
    seen_sequences,
)
from gapless.serve.http.asking import Asking, HttpCall
from gapless.serve.http.finite import finite
from gapless.serve.http.list_place import from_cursor, to_cursor
from gapless.serve.http.names import PathName
from gapless.serve.rights import Right
from gapless.serve.visible import looked_at

router = APIRouter(tags=["features"])
_MOST_FAILURES = 50
_MOST_RUNS = 500
_MOST_ENTRIES = 1000


class FeatureRun(BaseModel):
    """One run of a feature. ``feature`` is the name under which it is stored, ``topic`` that of its outputs.

    ``state``: ``running`` while a process computes entries of it, ``failed`` if entries failed, ``unfinished``
    if not all entries that were asked for are there. Times are ISO 8601 in UTC.
    """

    model_config = ConfigDict(extra="forbid")
    feature: str
    run_id: str
    topic: str
    version: str
    state: Literal["running", "finished", "failed", "unfinished"]
    params: Any
    started_at: str
    finished_at: str | None
    ok: int
    empty: int
    failed: int
    rows: int
    bytes: int
    recorded_ns: str | None


class FeatureRuns(BaseModel):
    """One page of the runs, the newest start first."""

    model_config = ConfigDict(extra="forbid")
    runs: list[FeatureRun]
    next_cursor: str | None
    total: int


class Failure(BaseModel):
    """An entry that failed once; it may have been computed well since."""

    model_config = ConfigDict(extra="forbid")
    group: str
    sequence: str
    recorded_ns: str
    type: str | None
    message: str | None
    traceback: str | None


class OutputField(BaseModel):
    """A column of the outputs with its Arrow type."""

    model_config = ConfigDict(extra="forbid")
    name: str
    type: str


class FeatureRunDetail(FeatureRun):
    """One run with all that is known of it. ``accepted``: changes of code, ``older>newer``, that a person accepted."""

    inputs: Any
    upstream: list[tuple[str, str]] = Field(description="feature and run id of each run that it read")
    code: str | None = Field(description="digest of the source code that began the run")
    accepted: list[str]
    state_digest: str | None = Field(description="digest of what the feature learned from all entries")
    fields: list[OutputField]
    failures: list[Failure] = Field(description="the newest ones, the newest first")


class FeatureEntry(BaseModel):
    """What became of one sequence in a run."""

    model_config = ConfigDict(extra="forbid")
    group: str | None
    sequence: str
    status: Literal["ok", "empty", "failed"]
    rows: int
    bytes: int
    start_ns: str | None
    end_ns: str | None
    recorded_ns: str
    elapsed_s: float
    inputs: dict[str, str] = Field(description="what it was computed from: input -> digest")
    error_type: str | None
    error: str | None
    traceback: str | None


class FeatureEntries(BaseModel):
    """One page of entries in the order of group and sequence."""

    model_config = ConfigDict(extra="forbid")
    entries: list[FeatureEntry]
    next_cursor: str | None


@router.get("/features/runs")
def feature_runs(
    call: Asking,
    text: Annotated[str, Query(max_length=200, description="features whose name holds this")] = "",
    limit: Annotated[int, Query(ge=1, le=_MOST_RUNS)] = 100,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
) -> FeatureRuns:
    """Return one page of the runs of all features."""
    call.require(Right.READ)
    place = from_cursor(cursor, 3)
    before = None if place is None else (place[0], place[1], place[2])
    database, groups = looked_at(call.served).database, call.access.groups
    found = list_runs(database, groups=groups, text=text, limit=limit + 1, before=before)
    running = _running(database, call.served.root)
    return FeatureRuns(
        runs=[FeatureRun(**_facts(run, running)) for run in found[:limit]],
        next_cursor=to_cursor(found[limit - 1].place) if len(found) > limit else None,
        total=count_runs(database, groups=groups, text=text),
    )


@router.get("/features/runs/{feature}/{run_id}")
def feature_run(call: Asking, feature: PathName, run_id: PathName) -> FeatureRunDetail:
    """Return what one run is and what it was made with."""
    catalog = looked_at(call.served)
    run = _reached(call, catalog.database, feature, run_id)
    fields = output_fields(catalog.database, feature, run_id, groups=call.access.groups)
    upstream = FeatureRegistry.in_catalog(catalog).get_dependencies(feature, run_id)
    return FeatureRunDetail(
        **_facts(run, _running(catalog.database, call.served.root)),
        inputs=_parsed(run.inputs_json),
        upstream=sorted(seen_runs(catalog.database, upstream, call.access.groups)),
        code=run.code_digest,
        accepted=sorted(accepted_code(call.served.root).get((feature, run_id), ())),
        state_digest=run.state_digest,
        fields=[OutputField(name=name, type=kind) for name, kind in fields.items()],
        failures=_failures(call, catalog.database, feature, run_id),
    )


@router.get("/features/runs/{feature}/{run_id}/entries")
def feature_entries(
    call: Asking,
    feature: PathName,
    run_id: PathName,
    status: Literal["", "ok", "empty", "failed"] = "",
    limit: Annotated[int, Query(ge=1, le=_MOST_ENTRIES)] = 200,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
) -> FeatureEntries:
    """Return one page of the entries of a run."""
    database = looked_at(call.served).database
    _reached(call, database, feature, run_id)
    place = from_cursor(cursor, 2)
    found = list_entries(
        database,
        feature,
        run_id,
        groups=call.access.groups,
        status=status,
        limit=limit + 1,
        after=None if place is None else (place[0], place[1]),
    )
    last = found[limit - 1] if len(found) > limit else None
    return FeatureEntries(
        entries=[_entry(entry) for entry in found[:limit]],
        next_cursor=None if last is None else to_cursor((last.group, last.sequence)),
    )


def _reached(call: HttpCall, database: RunTables, feature: str, run_id: str) -> ListedRun:
    call.require(Right.READ)
    run = listed_run(database, feature, run_id, groups=call.access.groups)
    if run is None:
        raise NotFound("there is no such feature run", found=f"{feature} {run_id}",
                       next_step="`gapless features list` lists the runs")  # fmt: skip
    return run


def _running(database: RunTables, root: Path) -> set[tuple[str, str]]:
    return running_runs(database, lambda owner: Owner.alive(root, owner))


def _facts(run: ListedRun, running: set[tuple[str, str]]) -> dict[str, Any]:
    ended = "failed" if run.failed else "finished" if run.finished_at else "unfinished"
    return {
        "feature": run.feature,
        "run_id": run.run_id,
        "topic": f"features/{run.feature}@{run.run_id}",
        "version": run.version,
        "state": "running" if (run.feature, run.run_id) in running else ended,
        "params": _parsed(run.params_json),
        "started_at": run.started_at,
        "finished_at": run.finished_at or None,
        "ok": run.ok,
        "empty": run.empty,
        "failed": run.failed,
        "rows": run.rows,
        "bytes": run.size_bytes,
        "recorded_ns": _text(run.recorded_ns),
    }


def _failures(call: HttpCall, database: RunTables, feature: str, run_id: str) -> list[Failure]:
    told = RunFolder.of(call.served.root, feature, run_id).failures(_MOST_FAILURES)
    seen = seen_sequences(database, {str(line["sequence"]) for line in told}, call.access.groups)
    return [
        Failure(
            group=line["group"],
            sequence=line["sequence"],
            recorded_ns=str(line["recorded_ns"]),
            type=line.get("type"),
            message=line.get("message"),
            traceback=line.get("traceback"),
        )
        for line in told
        if line["sequence"] in seen and call.sees(line["group"] or None)
    ]


def _entry(entry: ListedEntry) -> FeatureEntry:
    record = entry.record
    return FeatureEntry(
        group=entry.group or None,
        sequence=entry.sequence,
        status=record.status,
        rows=record.n_rows,
        bytes=record.bytes,
        start_ns=_text(record.start_ns),
        end_ns=_text(record.end_ns),
        recorded_ns=str(record.recorded_ns),
        elapsed_s=record.elapsed_s,
        inputs=dict(record.inputs),
        error_type=record.error_type,
        error=record.error_message,
        traceback=record.error_traceback,
    )


def _parsed(text: str | None) -> Any:
    """Return JSON text as values; a run recorded by hand may hold any text."""
    if text is None:
        return None
    try:
        return finite(json.loads(text))
    except ValueError:
        return text


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
