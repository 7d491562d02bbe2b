"""Trainings that tell of their progress in a file: which there are, what they train, and how they stand.

A *job* is one id under which a training appends events. Which run it trains, since when and how it ended stands
beside the events, in a table of its own, whose rows are appended like them.
"""

from __future__ import annotations

import json
import os
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from gapless.catalog.state_database import look
from gapless.errors import NotFound
from gapless.features.training.model_run import ModelRun
from gapless.store.platform import PLATFORM

JOB_TABLE = (
    "CREATE TABLE IF NOT EXISTS training_job (job_id TEXT NOT NULL, number INTEGER NOT NULL,"
    " model TEXT NOT NULL, run_id TEXT NOT NULL, started_at TEXT NOT NULL, status TEXT NOT NULL DEFAULT '',"
    " ended_at TEXT NOT NULL DEFAULT '', PRIMARY KEY (job_id, number)) STRICT"
)
_BEGIN = (
    "INSERT INTO training_job (job_id, number, model, run_id, started_at)"
    " SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4 FROM training_job WHERE job_id=?1"
)
_END = (
    "UPDATE training_job SET status=?, ended_at=? WHERE job_id=? AND status=''"
    " AND number=(SELECT max(number) FROM training_job WHERE job_id=?)"
)
_EVENTS = (
    "SELECT number, step_type, step_index, step_total, metric_json, message, timestamp FROM training_progress"
    " WHERE job_id=? AND number>? ORDER BY number LIMIT ?"
)
_TELLING = (
    "SELECT ids.job_id, (SELECT count(*) FROM training_progress AS p WHERE p.job_id=ids.job_id),"
    " (SELECT timestamp FROM training_progress AS p WHERE p.job_id=ids.job_id ORDER BY number LIMIT 1),"
    " (SELECT timestamp FROM training_progress AS p WHERE p.job_id=ids.job_id ORDER BY number DESC LIMIT 1)"
)
_JOBS = (
    f"{_TELLING}, j.model, j.run_id, j.started_at, j.status, j.ended_at"
    " FROM (SELECT job_id FROM training_progress UNION SELECT job_id FROM training_job) AS ids"
    " LEFT JOIN training_job AS j ON j.job_id=ids.job_id"
    " AND j.number=(SELECT max(number) FROM training_job WHERE job_id=ids.job_id)"
)
_OLDER_JOBS = (  # of a file in which nobody told which runs are trained
    f"{_TELLING}, NULL, NULL, NULL, NULL, NULL FROM (SELECT DISTINCT job_id FROM training_progress) AS ids"
)
_QUIET = timedelta(minutes=10)  # a training of unknown kind that told nothing for so long is taken to be over
State = Literal["running", "finished", "failed", "interrupted", "unknown"]


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One job. Times are ISO 8601 in UTC; ``model`` and ``run_id`` are "" where nobody told which run it trains.

    ``state``: ``interrupted`` is a training whose process died, ``unknown`` one that never said how it ended.
    """

    job_id: str
    model: str
    run_id: str
    state: State
    events: int
    started_at: str
    last_at: str
    ended_at: str

    @property
    def is_live(self) -> bool:
        """Whether more events may come."""
        return self.state == "running"


def note_begin(connection: sqlite3.Connection, job_id: str, model: str, run_id: str) -> None:
    """Append which run a job trains from now on."""
    connection.execute(JOB_TABLE)
    connection.execute(_BEGIN, (job_id, model, run_id, _now()))


def note_end(connection: sqlite3.Connection, job_id: str, status: str) -> None:
    """Note how the training that a job began last ended; nothing where it said so before."""
    connection.execute(JOB_TABLE)
    connection.execute(_END, (status, _now(), job_id, job_id))


def new_job_id(model: str) -> str:
    """Return an id for a training of a model that begins now."""
    return f"{model} {datetime.now(UTC).isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


def training_jobs(root: str | os.PathLike[str]) -> list[TrainingJob]:
    """Return the jobs in a store's ``state.db``, those that run first, then the newest; nothing is changed.

    Raises IntegrityError for a damaged file, StorageFailed.
    """
    store = Path(root)
    jobs = [_job(store, row) for row in look(store, _jobs_statement(store))]
    return sorted(jobs, key=lambda job: (job.is_live, job.last_at, job.job_id), reverse=True)


def training_job(root: str | os.PathLike[str], job_id: str) -> TrainingJob:
    """Return one job; NotFound where the store knows none of that id."""
    store = Path(root)
    for row in look(store, f"{_jobs_statement(store)} WHERE ids.job_id=?", (job_id,)):
        return _job(store, row)
    raise NotFound(
        "there is no training of that id", found=job_id,
        next_step="SQLiteProgressCallback(store, id) tells of one; `gapless features run` does so by itself",
    )  # fmt: skip


def job_events(
    root: str | os.PathLike[str], job_id: str, *, after: int = 0, limit: int = 1000
) -> list[dict[str, Any]]:
    """Return at most ``limit`` events of a job behind the one numbered ``after``, as read_progress gives them."""
    rows = look(Path(root), _EVENTS, (job_id, after, limit))
    return [
        {
            "number": number,
            "step_type": kind,
            "step_index": index,
            "step_total": total,
            "metrics": json.loads(metrics),
            "message": message,
            "timestamp": timestamp,
        }
        for number, kind, index, total, metrics, message, timestamp in rows
    ]


def _jobs_statement(store: Path) -> str:
    told = look(store, "SELECT 1 FROM sqlite_schema WHERE type='table' AND name='training_job'")
    return _JOBS if told else _OLDER_JOBS


def _job(store: Path, row: tuple[Any, ...]) -> TrainingJob:
    job_id, events, first, last, model, run_id, started_at, status, ended_at = row
    began = started_at or first
    state = _untold(last) if model is None else status or _not_told(store, model, run_id, began)
    return TrainingJob(job_id, model or "", run_id or "", state, events, began, last or began, ended_at or "")


def _not_told(store: Path, model: str, run_id: str, began: str) -> State:
    """Return how a training stands that did not say how it ended: its process may have died over that."""
    run = ModelRun.of(store / "models", model, run_id)
    if PLATFORM.is_locked(run.lock):
        return "running"
    known = run.manifest()
    ended = known.get("status") in ("finished", "failed") and str(known.get("finished_at", "")) > began
    return known["status"] if ended else "interrupted"


def _untold(last: str) -> State:
    silence = datetime.now(UTC) - datetime.fromisoformat(last)
    return "running" if silence < _QUIET else "unknown"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
