"""Progress of trainings in files: nothing that was written is ever replaced, and every event has a number.

An event is a dict of ``step_type`` (``epoch``, ``class`` or ``phase``), ``step_index``, ``step_total``,
``metrics``, ``message``, ``timestamp`` (ISO 8601, UTC) and ``number``, which counts from 1 in its job.
Epochs are numbered as the model does, classes from 0; a phase has its name under ``metrics["phase"]``.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gapless.catalog.state_database import StateDatabase
from gapless.errors import IntegrityError, StorageFailed
from gapless.features.training.job import new_job_id, note_begin, note_end
from gapless.store.platform import PLATFORM

_TABLE = (
    "CREATE TABLE IF NOT EXISTS training_progress (job_id TEXT NOT NULL, number INTEGER NOT NULL,"
    " step_type TEXT NOT NULL, step_index INTEGER NOT NULL, step_total INTEGER NOT NULL,"
    " metric_json TEXT NOT NULL, message TEXT NOT NULL, timestamp TEXT NOT NULL,"
    " PRIMARY KEY (job_id, number)) STRICT"
)
_INSERT = (
    "INSERT INTO training_progress SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5, ?6, ?7"
    " FROM training_progress WHERE job_id = ?1"
)
_SELECT = (
    "SELECT step_type, step_index, step_total, metric_json, message, timestamp, number"
    " FROM training_progress WHERE job_id = ? ORDER BY number"
)
_FIELDS = ("number", "timestamp", "step_type", "step_index", "step_total", "metrics", "message")
_BUSY_S = 20.0


class _EventWriter(ABC):
    """Turns the calls of a training into events; subclasses keep them."""

    def on_epoch_end(self, epoch: int, total_epochs: int, metrics: Mapping[str, float]) -> None:
        """Append the end of an epoch with its metrics."""
        self._append("epoch", epoch, total_epochs, metrics, "")

    def on_class_start(self, class_idx: int, total_classes: int, class_name: str) -> None:
        """Append the beginning of a class; its name is the message."""
        self._append("class", class_idx, total_classes, {}, class_name)

    def on_phase(self, phase: str, message: str) -> None:
        """Append the beginning of a phase."""
        self._append("phase", 0, 0, {"phase": phase}, message)

    @abstractmethod
    def _append(
        self, step_type: str, step_index: int, step_total: int, metrics: Mapping[str, object], message: str
    ) -> None:
        """Keep one event."""


class SQLiteProgressCallback(_EventWriter):
    """Appends events to a database file, each durable when the call returns; any number of jobs share it.

    ``db_path`` is a file, made if it is not there, or the folder of a store, whose ``state.db`` is used.
    """

    def __init__(self, db_path: str | os.PathLike[str], job_id: str) -> None:
        self.db_path = Path(db_path)
        self.job_id = job_id
        if self.db_path.is_dir():
            with StateDatabase(self.db_path) as database:
                database.ensure(_TABLE)
        else:
            self.db_path.parent.mkdir(parents=True, exist_ok=True)
            with _connection(str(_file_of(self.db_path))) as connection:
                connection.execute(_TABLE)

    def on_begin(self, model: str, run_id: str) -> None:
        """Keep which run the job trains."""
        with _connection(str(_file_of(self.db_path))) as connection:
            note_begin(connection, self.job_id, model, run_id)

    def on_end(self, status: str) -> None:
        """Keep how the training ended: ``finished`` or ``failed``."""
        with _connection(str(_file_of(self.db_path))) as connection:
            note_end(connection, self.job_id, status)

    def get_progress(self) -> list[dict[str, Any]]:
        """Return the events of the job, the oldest first."""
        return read_progress(self.db_path, self.job_id)

    def _append(
        self, step_type: str, step_index: int, step_total: int, metrics: Mapping[str, object], message: str
    ) -> None:
        # The callback may run in any thread or in a forked child, so no connection outlives the call.
        event = (self.job_id, step_type, int(step_index), int(step_total), _json(metrics), message, _now())
        with _connection(str(_file_of(self.db_path))) as connection:
            connection.execute(_INSERT, event)


class StoreProgress:
    """Tells a store's ``state.db`` of one training, under an id of its own; nothing is written before it begins."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = Path(root)
        self._kept: SQLiteProgressCallback | None = None

    def on_begin(self, model: str, run_id: str) -> None:
        """Begin a job for the run."""
        self._kept = SQLiteProgressCallback(self._root, new_job_id(model))
        self._kept.on_begin(model, run_id)

    def on_epoch_end(self, epoch: int, total_epochs: int, metrics: Mapping[str, float]) -> None:
        """Append the end of an epoch with its metrics."""
        if self._kept is not None:
            self._kept.on_epoch_end(epoch, total_epochs, metrics)

    def on_class_start(self, class_idx: int, total_classes: int, class_name: str) -> None:
        """Append the beginning of a class."""
        if self._kept is not None:
            self._kept.on_class_start(class_idx, total_classes, class_name)

    def on_phase(self, phase: str, message: str) -> None:
        """Append the beginning of a phase."""
        if self._kept is not None:
            self._kept.on_phase(phase, message)

    def on_end(self, status: str) -> None:
        """Keep how the training ended."""
        if self._kept is not None:
            self._kept.on_end(status)


class CSVProgressCallback(_EventWriter):
    """Appends events to a CSV file with a header; ``metrics`` is a JSON object. One training writes it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._number: int | None = None

    def _append(
        self, step_type: str, step_index: int, step_total: int, metrics: Mapping[str, object], message: str
    ) -> None:
        with self._lock:
            lead = ""
            if self._number is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._number, lead = _csv_beginning(self.path)
            number = self._number + 1
            event = (number, _now(), step_type, step_index, step_total, _json(metrics), message)
            fd = PLATFORM.open_append(self.path)
            try:
                PLATFORM.write(fd, [(lead + _csv_line(event)).encode()])
            finally:
                PLATFORM.close(fd)
            self._number = number


def read_progress(db_path: str | os.PathLike[str], job_id: str) -> list[dict[str, Any]]:
    """Return the events of a job, the oldest first; [] where there is no file or nothing of that job.

    The file is opened for reading only and never made. Raises IntegrityError for a file that is no database,
    StorageFailed for one that cannot be read now.
    """
    file = _file_of(Path(db_path))
    try:
        rows = _rows_of(file, job_id)
    except sqlite3.OperationalError as error:
        if not file.exists():
            return []
        raise StorageFailed(
            "the progress file cannot be read", found=f"{file}: {error}", next_step="try again"
        ) from error
    except sqlite3.DatabaseError as error:
        raise IntegrityError("the progress file is no database", found=str(file)) from error
    return [
        {
            "step_type": kind,
            "step_index": index,
            "step_total": total,
            "metrics": json.loads(metrics),
            "message": message,
            "timestamp": timestamp,
            "number": number,
        }
        for kind, index, total, metrics, message, timestamp, number in rows
    ]


def _rows_of(file: Path, job_id: str) -> list[tuple[Any, ...]]:
    """Return the rows of a job, making no file.

    A reader of a database in WAL mode leaves a ``-wal`` and a ``-shm`` where there were none, so a file that
    nobody has open is read as one that cannot change; and again as any other if it did change.
    """
    quiet = _quiet(file)
    if quiet is not None:
        try:
            rows = _selected(f"{file.absolute().as_uri()}?mode=ro&immutable=1", job_id)
        except sqlite3.DatabaseError:
            if _quiet(file) == quiet:
                raise
        else:
            if _quiet(file) == quiet:
                return rows
    return _selected(f"{file.absolute().as_uri()}?mode=ro", job_id)


def _quiet(file: Path) -> tuple[int, int] | None:
    """Return time and size of a database that nobody has open; None for one that may be open, or is not there."""
    if any(Path(f"{file}{suffix}").exists() for suffix in ("-wal", "-shm", "-journal")) or not file.exists():
        return None
    found = file.stat()
    return found.st_mtime_ns, found.st_size


def _selected(uri: str, job_id: str) -> list[tuple[Any, ...]]:
    with _connection(uri, uri=True) as connection:
        known = connection.execute(
            "SELECT count(*) FROM sqlite_schema WHERE type='table' AND name='training_progress'"
        ).fetchone()
        return connection.execute(_SELECT, (job_id,)).fetchall() if known[0] else []


def _file_of(path: Path) -> Path:
    return path / "state.db" if path.is_dir() else path


@contextmanager
def _connection(address: str, *, uri: bool = False) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(address, timeout=_BUSY_S, isolation_level=None, uri=uri)
    try:
        yield connection
    finally:
        connection.close()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _json(metrics: Mapping[str, object]) -> str:
    return json.dumps(dict(metrics), sort_keys=True, default=_number)


def _number(value: object) -> object:
    """Return the Python number of a NumPy or tensor scalar."""
    item = getattr(value, "item", None)
    if item is None:
        raise TypeError(f"a metric is a number or text, not {type(value).__name__}")
    return item()


def _csv_line(values: tuple[object, ...]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _csv_beginning(path: Path) -> tuple[int, str]:
    """Return how many events the file holds, and what must come before the next one."""
    try:
        data = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        data = ""
    if not data:
        return 0, _csv_line(_FIELDS)
    torn = not data.endswith("\n")  # a crash cut the last line
    return max(0, sum(1 for _ in csv.reader(io.StringIO(data))) - 1), "\n" if torn else ""
