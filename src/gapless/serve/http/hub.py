"""GET and POST /hub: sessions that wait for approval, the decision, and what was reported of their episodes.

The hub is the ledger file that the operator named with ``--hub``; without one there is nothing at these addresses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from gapless.errors import NotFound
from gapless.observe.hub.ledger import HubLedger
from gapless.serve.http.asking import Asking, HttpCall
from gapless.serve.http.finite import finite
from gapless.serve.http.names import PathName
from gapless.serve.http.whole_store import require_whole_store
from gapless.serve.rights import Right
from gapless.serve.visible import looked_at

router = APIRouter(tags=["hub"])
_MOST_WAITING: Final = 500
_MOST_TASKS: Final = 500
_MOST_EPISODES: Final = 1000
_LONGEST_REASON: Final = 2000


class Task(BaseModel):
    """A session that asked for approval. ``request`` is what it sent: session, tasks, recorders, rates and so on."""

    model_config = ConfigDict(extra="forbid")
    id: str
    owner: str = Field(description="whose token asked")
    status: Literal["pending", "approved", "rejected", "stopped"]
    reason: str | None
    request: dict[str, Any]
    created_ns: str
    episodes: int


class Tasks(BaseModel):
    """The sessions that wait, the longest first, and one page of the others, the newest first."""

    model_config = ConfigDict(extra="forbid")
    waiting: list[Task]
    history: list[Task]
    next_before: str | None


class Ending(BaseModel):
    """What a session told when it ended."""

    model_config = ConfigDict(extra="forbid")
    summary: dict[str, Any]
    received_ns: str


class TaskDetail(Task):
    """One session; ``ending`` is null while it goes on."""

    ending: Ending | None


class Report(BaseModel):
    """The report of one episode, as it was sent.

    ``here`` tells about the sequence that it names: not in this store, there with the content that was reported
    (``same``) or with other content (``other``), or ``unknown`` where one of the two has no digest.
    """

    model_config = ConfigDict(extra="forbid")
    number: int
    received_ns: str
    report: dict[str, Any]
    here: Literal["no", "same", "other", "unknown"]


class Reports(BaseModel):
    """One page of the reports of a session's episodes, in the order in which they came."""

    model_config = ConfigDict(extra="forbid")
    episodes: list[Report]
    next: int | None


class Approving(BaseModel):
    """An approval; the one who asked reads the reason."""

    model_config = ConfigDict(extra="forbid")
    reason: str | None = Field(default=None, max_length=_LONGEST_REASON)


class Rejecting(BaseModel):
    """A refusal, which says why."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)
    reason: str = Field(min_length=1, max_length=_LONGEST_REASON)


@router.get("/hub/tasks")
def tasks(
    call: Asking,
    limit: Annotated[int, Query(ge=1, le=_MOST_TASKS)] = 50,
    before: Annotated[str | None, Query(max_length=200, description="the last id of the page before")] = None,
) -> Tasks:
    """Return the sessions that wait for a decision and one page of those that do not."""
    with _ledger(call) as ledger:
        waiting = ledger.waiting(_MOST_WAITING)
        history = ledger.decided(limit + 1, before)
    last = history[limit - 1]["id"] if len(history) > limit else None
    return Tasks(
        waiting=[Task(**_told(task)) for task in waiting],
        history=[Task(**_told(task)) for task in history[:limit]],
        next_before=last,
    )


@router.get("/hub/tasks/{task_id}")
def task(call: Asking, task_id: PathName) -> TaskDetail:
    """Return one session."""
    with _ledger(call) as ledger:
        return TaskDetail(**_told(ledger.task(task_id)), ending=_ending(ledger.ending(task_id)))


@router.get("/hub/tasks/{task_id}/episodes")
def episodes(
    call: Asking,
    task_id: PathName,
    limit: Annotated[int, Query(ge=1, le=_MOST_EPISODES)] = 200,
    after: Annotated[int, Query(ge=0, le=2**53, description="only reports behind this number")] = 0,
) -> Reports:
    """Return one page of the reports of a session's episodes."""
    with _ledger(call) as ledger:
        found = ledger.episodes(task_id, after=after, limit=limit + 1)
    page = found[:limit]
    digests = _digests(call, [str(each["executionMetadata"].get("sequence", "")) for each in page])
    return Reports(
        episodes=[_report(each, digests) for each in page],
        next=page[-1]["number"] if len(found) > limit else None,
    )


@router.post("/hub/tasks/{task_id}/approve")
def approve(call: Asking, task_id: PathName, body: Approving) -> Task:
    """Let a session that waits record."""
    return _decide(call, task_id, "approved", body.reason)


@router.post("/hub/tasks/{task_id}/reject")
def reject(call: Asking, task_id: PathName, body: Rejecting) -> Task:
    """Refuse a session that waits, and say why."""
    return _decide(call, task_id, "rejected", body.reason)


def _decide(call: HttpCall, task_id: str, status: str, reason: str | None) -> Task:
    with _ledger(call, Right.WRITE) as ledger:
        ledger.task(task_id)
        with call.audited(f"hub {status}", task_id):
            return Task(**_told(ledger.decide(task_id, status, reason or None)))


@contextmanager
def _ledger(call: HttpCall, right: Right = Right.READ) -> Iterator[HubLedger]:
    """Give the hub's ledger to a caller who may have it; raises RightMissing, NotFound without a hub."""
    require_whole_store(call, right)
    file = call.site.hub
    if file is None:
        raise NotFound("this server shows no hub", next_step="start it with --hub FILE")
    if not file.exists():
        raise NotFound(
            "there is no hub in the file that the server was given", found=file.name,
            next_step="`gapless hub token add NAME --db FILE` makes one",
        )  # fmt: skip
    with closing(HubLedger(file)) as ledger:
        yield ledger


def _told(task: dict[str, Any]) -> dict[str, Any]:
    return {
        **task,
        "reason": task.get("reason"),
        "request": finite(task["request"]),
        "created_ns": str(task["created_ns"]),
    }


def _ending(told: dict[str, Any] | None) -> Ending | None:
    if told is None:
        return None
    return Ending(summary=finite(told["summary"]), received_ns=str(told["received_ns"]))


def _report(episode: dict[str, Any], digests: dict[str, str | None]) -> Report:
    told = finite(episode["executionMetadata"])
    return Report(
        number=episode["number"],
        received_ns=str(episode["received_ns"]),
        report=told,
        here=_here(str(told.get("sequence", "")), told.get("content_digest"), digests),
    )


def _here(
    sequence: str, reported: object, digests: dict[str, str | None]
) -> Literal["no", "same", "other", "unknown"]:
    if sequence not in digests:
        return "no"
    if not reported or not digests[sequence]:
        return "unknown"
    return "same" if digests[sequence] == reported else "other"


def _digests(call: HttpCall, names: list[str]) -> dict[str, str | None]:
    """Return the content digests of those sequences that this store has."""
    rows = looked_at(call.served).database.rows(
        "SELECT name, content_digest FROM sequence WHERE name IN (SELECT value FROM json_each(?))",
        (json.dumps(names),),
    )
    return dict(rows)
