"""Progress of trainings: nothing replaced, nothing made by reading, no listener in the way."""

from __future__ import annotations

import csv
import json
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli.conftest import environment
from tests.unprivileged import run_again

import gapless
from gapless.errors import IntegrityError
from gapless.features.training.progress import (
    CompositeProgressCallback,
    NullProgressCallback,
    TrainingProgressCallback,
)
from gapless.features.training.progress_file import (
    CSVProgressCallback,
    SQLiteProgressCallback,
    read_progress,
)


def tell_a_story(callback: TrainingProgressCallback) -> None:
    """Make every call, some of them twice with the same index."""
    callback.on_phase("read", "two sequences")
    callback.on_phase("fit", "logistic")
    callback.on_class_start(0, 2, "run")
    callback.on_epoch_end(1, 2, {"loss": 0.5})
    callback.on_epoch_end(1, 2, {"loss": 0.4})


class Broken(NullProgressCallback):
    """Raises at every epoch."""

    def on_epoch_end(self, epoch: int, total_epochs: int, metrics: Mapping[str, float]) -> None:
        """Raise."""
        raise OSError(f"no disk for epoch {epoch}")


def test_statement_26_progress_is_append_only_and_isolated(tmp_path: Path) -> None:
    """All phases and repeated epochs stay, reading makes no file, one broken backend stops nobody."""
    assert read_progress(tmp_path / "absent.db", "job") == []
    assert read_progress(tmp_path / "no folder" / "absent.db", "job") == []
    assert list(tmp_path.iterdir()) == []
    backend, broken = SQLiteProgressCallback(tmp_path / "p.db", "job"), Broken()
    both = CompositeProgressCallback(broken, backend)
    tell_a_story(both)
    events = read_progress(tmp_path / "p.db", "job")
    assert [event["number"] for event in events] == [1, 2, 3, 4, 5]
    assert [event["step_type"] for event in events] == ["phase", "phase", "class", "epoch", "epoch"]
    assert [event["metrics"] for event in events[-2:]] == [{"loss": 0.5}, {"loss": 0.4}]
    assert [(item.callback, str(item.error)) for item in both.errors] == [(broken, "no disk for epoch 1")]


def test_an_event_says_everything(tmp_path: Path) -> None:
    """An event has exactly the documented keys, and its time is one of UTC."""
    callback = SQLiteProgressCallback(tmp_path / "p.db", "job")
    callback.on_class_start(3, 7, "run")
    callback.on_phase("fit", "slowly")
    first, second = callback.get_progress()
    assert list(first) == [
        "step_type", "step_index", "step_total", "metrics", "message", "timestamp", "number",
    ]  # fmt: skip
    assert (first["step_index"], first["step_total"], first["message"]) == (3, 7, "run")
    assert first["timestamp"].endswith("+00:00")
    assert (second["metrics"], second["message"]) == ({"phase": "fit"}, "slowly")


def test_jobs_share_a_file(tmp_path: Path) -> None:
    """Each job counts for itself, and another one is not seen."""
    for job in ("a", "b", "a"):
        SQLiteProgressCallback(tmp_path / "p.db", job).on_phase("fit", job)
    assert [event["number"] for event in read_progress(tmp_path / "p.db", "a")] == [1, 2]
    assert [event["message"] for event in read_progress(tmp_path / "p.db", "b")] == ["b"]
    assert read_progress(tmp_path / "p.db", "c") == []


def test_a_store_keeps_progress_in_its_state(tmp_path: Path) -> None:
    """Given a store, the events go to its ``state.db``, and are read from there."""
    with gapless.connect(str(tmp_path / "store")):
        SQLiteProgressCallback(tmp_path / "store", "job").on_phase("fit", "")
    assert (tmp_path / "store" / "state.db").exists()
    assert len(read_progress(tmp_path / "store", "job")) == 1
    assert read_progress(tmp_path / "store" / "state.db", "job") == read_progress(tmp_path / "store", "job")


def test_reading_changes_nothing(tmp_path: Path) -> None:
    """Reading leaves the folder as it is, also for a database without progress; no database is an error."""
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE something (x)")
    other.close()
    (tmp_path / "text.db").write_text("this is no database, and long enough to be read as one" * 40)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert read_progress(tmp_path / "other.db", "job") == []
    with pytest.raises(IntegrityError):
        read_progress(tmp_path / "text.db", "job")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_reading_makes_no_file_and_sees_what_is_being_written(tmp_path: Path) -> None:
    """Neither beside a database that nobody has open, nor beside one that somebody writes."""
    with gapless.connect(str(tmp_path / "store")):
        pass
    SQLiteProgressCallback(tmp_path / "store", "job").on_phase("fit", "one")
    before = sorted(tmp_path.rglob("*"))
    assert not [path for path in before if path.suffix.endswith(("-wal", "-shm"))]
    assert len(read_progress(tmp_path / "store", "job")) == 1
    assert sorted(tmp_path.rglob("*")) == before
    writer = sqlite3.connect(tmp_path / "store" / "state.db")
    try:
        writer.execute("UPDATE training_progress SET message = 'two'")
        writer.commit()  # only the log holds it
        assert [event["message"] for event in read_progress(tmp_path / "store", "job")] == ["two"]
    finally:
        writer.close()


def test_a_file_that_cannot_be_written_is_read(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A read-only file in a read-only folder is read."""
    if run_again(request):
        return
    SQLiteProgressCallback(tmp_path / "in" / "p.db", "job").on_phase("fit", "")
    (tmp_path / "in" / "p.db").chmod(0o444)
    (tmp_path / "in").chmod(0o555)
    try:
        assert len(read_progress(tmp_path / "in" / "p.db", "job")) == 1
    finally:
        (tmp_path / "in").chmod(0o755)


def test_two_processes_write_one_job(tmp_path: Path) -> None:
    """Events of two processes at once all stay, and no number is given twice."""
    code = (
        "import sys\n"
        "from gapless.features.training.progress_file import SQLiteProgressCallback\n"
        "callback = SQLiteProgressCallback(sys.argv[1], 'job')\n"
        "for epoch in range(25): callback.on_epoch_end(epoch, 25, {'loss': 1.0})\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "p.db")], env=environment())
        for _ in range(2)
    ]
    assert [writer.wait(100) for writer in writers] == [0, 0]
    assert [event["number"] for event in read_progress(tmp_path / "p.db", "job")] == list(range(1, 51))


def test_numbers_of_numpy_are_metrics(tmp_path: Path) -> None:
    """NumPy scalars become plain numbers; what is no number is refused before anything is written."""
    callback = SQLiteProgressCallback(tmp_path / "p.db", "job")
    metrics: dict[str, Any] = {"loss": np.float32(0.5), "hits": np.int64(3)}
    callback.on_epoch_end(0, 1, metrics)
    assert callback.get_progress()[0]["metrics"] == {"loss": 0.5, "hits": 3}
    with pytest.raises(TypeError):
        callback.on_epoch_end(1, 1, {"loss": object()})  # type: ignore[dict-item]
    assert len(callback.get_progress()) == 1


def test_csv_has_a_line_for_each_event(tmp_path: Path) -> None:
    """The file has one header and a line for each event, and a second training goes on in it."""
    path = tmp_path / "deep" / "progress.csv"
    tell_a_story(CSVProgressCallback(path))
    CSVProgressCallback(path).on_phase("fit", 'a "quoted",\nlong message')
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert [json.loads(row["metrics"]) for row in rows[3:5]] == [{"loss": 0.5}, {"loss": 0.4}]
    assert rows[5]["message"] == 'a "quoted",\nlong message'


def test_csv_ends_a_torn_line(tmp_path: Path) -> None:
    """A line that a crash cut is ended before the next one begins."""
    path = tmp_path / "progress.csv"
    CSVProgressCallback(path).on_phase("read", "")
    with path.open("a", encoding="utf-8") as file:
        file.write("2,2026-01-")
    CSVProgressCallback(path).on_phase("fit", "")
    assert path.read_text(encoding="utf-8").splitlines()[-1].startswith("3,")


def test_composites_nest_and_null_is_silent(tmp_path: Path) -> None:
    """A composite takes composites, the null callback takes everything, and all of them are callbacks."""
    inner = SQLiteProgressCallback(tmp_path / "p.db", "job")
    outer = CompositeProgressCallback(CompositeProgressCallback(inner, NullProgressCallback()), Broken())
    tell_a_story(outer)
    assert len(inner.get_progress()) == 5
    assert [str(failure) for failure in outer.errors] == ["Broken: OSError: no disk for epoch 1"]
    for callback in (inner, outer, NullProgressCallback(), CSVProgressCallback(tmp_path / "x")):
        assert isinstance(callback, TrainingProgressCallback)


def test_no_callback_changes_the_metrics_of_another(tmp_path: Path) -> None:
    """A backend that empties the metrics it got takes nothing from the next one."""

    class Greedy(NullProgressCallback):
        def on_epoch_end(self, epoch: int, total_epochs: int, metrics: Mapping[str, float]) -> None:
            metrics.clear()  # type: ignore[attr-defined]

    kept = SQLiteProgressCallback(tmp_path / "p.db", "job")
    CompositeProgressCallback(Greedy(), kept).on_epoch_end(0, 1, {"loss": 0.5})
    assert kept.get_progress()[0]["metrics"] == {"loss": 0.5}


def test_a_stop_is_no_failure_of_a_callback() -> None:
    """Ctrl-C in a callback ends the training; it is not kept as a backend's error."""

    class Stopping(NullProgressCallback):
        def on_phase(self, phase: str, message: str) -> None:
            raise KeyboardInterrupt

    both = CompositeProgressCallback(Stopping())
    with pytest.raises(KeyboardInterrupt):
        both.on_phase("fit", "")
    assert both.errors == []
