"""GET /jobs: trainings that tell of their progress, and their events while they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from gapless.errors import QuestionRefused
from gapless.features.training.job import TrainingJob, job_events, training_job, training_jobs
from gapless.serve.http.asking import Asking
from gapless.serve.http.event_stream import EventStream, Told
from gapless.serve.http.finite import finite
from gapless.serve.http.names import PathName
from gapless.serve.http.whole_store import require_whole_store

router = APIRouter(tags=["features"])
_MOST = 2**53
_MOST_EVENTS = 5000
_LOOK_S = 0.5


class Job(BaseModel):
    """One training that tells of its progress; times are ISO 8601 in UTC.

    ``model`` and ``run_id`` are null where nobody told what it trains. ``state``: ``interrupted`` is a training
    whose process died, ``unknown`` one that was silent for ten minutes and never said how it ended.
    """

    model_config = ConfigDict(extra="forbid")
    job_id: str
    model: str | None
    run_id: str | None
    state: Literal["running", "finished", "failed", "interrupted", "unknown"]
    events: int
    started_at: str
    last_at: str
    ended_at: str | None


class Jobs(BaseModel):
    """All of them: those that run first, then the newest."""

    model_config = ConfigDict(extra="forbid")
    jobs: list[Job]


class Progress(BaseModel):
    """One event. Epochs have metrics, classes their name as the message, phases theirs under ``metrics.phase``."""

    model_config = ConfigDict(extra="forbid")
    number: int
    step_type: str
    step_index: int
    step_total: int
    metrics: dict[str, Any]
    message: str
    timestamp: str


class JobDetail(Job):
    """A training with one page of its events; ``next`` is given as ``after`` for those behind them."""

    progress: list[Progress]
    next: int | None = Field(description="null: these are the last ones so far")


@router.get("/jobs")
def jobs(call: Asking) -> Jobs:
    """Return the trainings that the store knows the progress of."""
    require_whole_store(call)
    return Jobs(jobs=[Job(**_facts(job)) for job in training_jobs(call.served.root)])


@router.get("/jobs/{job_id}")
def job(
    call: Asking,
    job_id: PathName,
    after: Annotated[int, Query(ge=0, le=_MOST, description="only events behind this number")] = 0,
    limit: Annotated[int, Query(ge=1, le=_MOST_EVENTS)] = 1000,
) -> JobDetail:
    """Return one training and its events."""
    require_whole_store(call)
    found = training_job(call.served.root, job_id)
    events = job_events(call.served.root, job_id, after=after, limit=limit + 1)
    told = [Progress(**finite(event)) for event in events[:limit]]
    return JobDetail(**_facts(found), progress=told, next=told[-1].number if len(events) > limit else None)


@router.get(
    "/jobs/{job_id}/stream",
    response_class=EventStream,
    responses={200: {"content": {"text/event-stream": {}}, "description": "the events of the training"}},
)
async def job_stream(
    call: Asking,
    job_id: PathName,
    after: Annotated[int, Query(ge=0, le=_MOST)] = 0,
    last_event_id: Annotated[str | None, Header(max_length=15)] = None,
) -> EventStream:
    """Stream the events of a training, each once, until it ends.

    ``progress`` is one event, its id the number; ``end`` is the last one and has the job as it ended.
    """
    require_whole_store(call)
    start = after if last_event_id is None else _number(last_event_id)
    await run_in_threadpool(training_job, call.served.root, job_id)
    return EventStream(_coming(call.served.root, job_id, start))


async def _coming(root: Path, job_id: str, after: int) -> AsyncGenerator[Told, None]:
    while True:
        found = await run_in_threadpool(
            training_job, root, job_id
        )  # before the events: none comes after its end
        while events := await run_in_threadpool(job_events, root, job_id, after=after, limit=_MOST_EVENTS):
            for event in events:
                after = event["number"]
                yield Told("progress", finite(event), str(after))
        if not found.is_live:
            yield Told("end", _facts(found))
            return
        await asyncio.sleep(_LOOK_S)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise QuestionRefused("no event has this id", found=text, field="Last-Event-ID")
    return int(text)


def _facts(job: TrainingJob) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "model": job.model or None,
        "run_id": job.run_id or None,
        "state": job.state,
        "events": job.events,
        "started_at": job.started_at,
        "last_at": job.last_at,
        "ended_at": job.ended_at or None,
    }
