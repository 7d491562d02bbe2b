"""GET /pipelines: how the pipelines that the operator named stand, step by step, and why. Nothing is ever run here."""

from __future__ import annotations

import shlex
import threading
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from gapless.errors import NotFound
from gapless.serve.http.asking import Asking, HttpCall
from gapless.serve.http.names import PathName
from gapless.serve.http.pipeline_looks import PipelineLook, PipelineLooks
from gapless.serve.http.whole_store import require_whole_store

router = APIRouter(tags=["features"])
_MAKING: Final = threading.Lock()
_WAIT_S: Final = 20.0
_MOST_ENTRIES: Final = 1000
Status = Literal["ok", "empty", "failed", "pending", "stale", "running"]


class NamedPipeline(BaseModel):
    """A pipeline that the operator named; ``command`` computes what is missing in it."""

    model_config = ConfigDict(extra="forbid")
    name: str
    file: str
    command: str


class Pipelines(BaseModel):
    """The pipelines of this server in the operator's order."""

    model_config = ConfigDict(extra="forbid")
    pipelines: list[NamedPipeline]


class Counts(BaseModel):
    """How many entries of a step stand how."""

    model_config = ConfigDict(extra="forbid")
    ok: int
    empty: int
    failed: int
    pending: int
    stale: int
    running: int


class Reason(BaseModel):
    """Why entries are not done, and the first sequences of which it is so."""

    model_config = ConfigDict(extra="forbid")
    status: Status
    why: str
    count: int
    sequences: list[str]


class Step(BaseModel):
    """One step. ``reads`` are steps, ``topics`` recorded topics that it reads besides.

    ``state``: ``waiting`` for a step before it, ``error`` when it cannot even be named, ``none`` when nothing is in
    scope. ``code_changed`` counts entries that other source code made than the present one.
    """

    model_config = ConfigDict(extra="forbid")
    name: str
    kind: Literal["feature", "model", "callback"]
    feature: str
    run_id: str
    reads: list[str]
    topics: list[str]
    state: Literal["ok", "running", "stale", "failed", "pending", "waiting", "error", "none"]
    why: str
    modified: str
    runs: int
    entries: int
    code_changed: int
    counts: Counts
    reasons: list[Reason]


class Fault(BaseModel):
    """Why a pipeline cannot be looked at, as the command line says it."""

    model_config = ConfigDict(extra="forbid")
    error: str
    code: str
    message: str
    found: str | None
    expected: str | None
    next: str


class PipelineStatus(NamedPipeline):
    """How a pipeline stands; ``steps`` is null while the first look is under way, and when ``error`` says why not."""

    topic: str | None
    where: str | None
    steps: list[Step] | None
    error: Fault | None
    looked_ns: str | None
    is_current: bool = Field(description="nothing changed since it was looked at")
    is_looking: bool = Field(description="it is being looked at, or soon will be: ask again")


class StepEntry(BaseModel):
    """One entry of a step, in the words of ``gapless features why``."""

    model_config = ConfigDict(extra="forbid")
    group: str | None
    sequence: str
    status: Status
    words: str


class StepEntries(BaseModel):
    """One page of entries, those that are not done first; ``total`` is that of the status asked for."""

    model_config = ConfigDict(extra="forbid")
    entries: list[StepEntry]
    total: int
    next: int | None


@router.get("/pipelines")
def pipelines(call: Asking, request: Request) -> Pipelines:
    """Return the pipelines that this server shows."""
    require_whole_store(call)
    names = _looks(request, call).names
    return Pipelines(pipelines=[NamedPipeline(**_named(call, name, file)) for name, file in names.items()])


@router.get("/pipelines/{name}/status")
def pipeline_status(
    call: Asking,
    request: Request,
    name: PathName,
    fresh: Annotated[bool, Query(description="look again, also when nothing seems to have changed")] = False,
) -> PipelineStatus:
    """Return how a pipeline stands, as it was when it was last looked at.

    The first look is waited for, at most twenty seconds. A pipeline that cannot be loaded is an ``error`` here.
    """
    require_whole_store(call)
    look = _looks(request, call).look(name, fresh=fresh, wait_s=_WAIT_S, gone=call.cancelled)
    return _status(call, look)


@router.get("/pipelines/{name}/steps/{step}/entries")
def step_entries(
    call: Asking,
    request: Request,
    name: PathName,
    step: PathName,
    status: Status | None = None,
    limit: Annotated[int, Query(ge=1, le=_MOST_ENTRIES)] = 200,
    after: Annotated[int, Query(ge=0, le=2**31, description="how many to leave out")] = 0,
) -> StepEntries:
    """Return what became of each entry of a step and why, as the last look found it."""
    require_whole_store(call)
    look = _looks(request, call).look(name, wait_s=_WAIT_S, gone=call.cancelled)
    steps = [] if look.report is None else look.report["steps"]
    found = next((item for item in steps if item["name"] == step), None)
    if found is None:
        raise NotFound("the pipeline has no such step", found=step,
                       expected=", ".join(item["name"] for item in steps) or None,
                       next_step=f"/api/v1/pipelines/{name}/status lists the steps")  # fmt: skip
    told = [entry for entry in found["told"] if status in (None, entry[2])]
    page = told[after : after + limit]
    return StepEntries(
        entries=[
            StepEntry(group=group or None, sequence=sequence, status=state, words=words)
            for group, sequence, state, words in page
        ],
        total=found["told_total"] if status is None else found["counts"][status],
        next=after + limit if len(told) > after + limit else None,
    )


def _looks(request: Request, call: HttpCall) -> PipelineLooks:
    """Return the looks of the app that is asked, which all its requests share."""
    state = request.app.state
    with _MAKING:
        if not hasattr(state, "pipeline_looks"):
            served = call.served
            state.pipeline_looks = PipelineLooks(served.root, call.site.pipelines, served.draining)
        looks: PipelineLooks = state.pipeline_looks
        return looks


def _named(call: HttpCall, name: str, file: Path) -> dict[str, Any]:
    command = ["gapless", "features", "run", str(file), "--store", str(call.served.root)]
    return {"name": name, "file": str(file), "command": shlex.join(command)}


def _status(call: HttpCall, look: PipelineLook) -> PipelineStatus:
    report = look.report or {}
    steps = report.get("steps")
    return PipelineStatus(
        **_named(call, look.name, look.file),
        topic=report.get("topic"),
        where=report.get("where"),
        steps=None if steps is None else [_step(step) for step in steps],
        error=None if look.error is None else Fault(**look.error),
        looked_ns=None if look.looked_ns is None else str(look.looked_ns),
        is_current=look.is_current,
        is_looking=look.is_looking,
    )


def _step(step: dict[str, Any]) -> Step:
    return Step(**{name: value for name, value in step.items() if name not in ("told", "told_total")})
