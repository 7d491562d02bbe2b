"""Progress of a training: everything is kept, reading makes nothing, and a listener never ends the work."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from tests.features.tracks import record_topics, times_of, tree
from tests.features.training.toy_model import MeanModel

from gapless.features import (
    CompositeProgressCallback,
    CSVProgressCallback,
    Dataset,
    SQLiteProgressCallback,
    read_progress,
    train_model,
)


def test_s26_every_phase_and_every_repeated_epoch_is_kept(tmp_path: Path) -> None:
    """In order, numbered, each job by itself."""
    callback = SQLiteProgressCallback(tmp_path / "progress.db", "job")
    callback.on_phase("load", "reading")
    callback.on_phase("fit", "fitting")
    callback.on_class_start(0, 2, "walk")
    callback.on_epoch_end(1, 2, {"loss": 0.5})
    callback.on_epoch_end(1, 2, {"loss": 0.4})
    callback.on_phase("load", "again")
    SQLiteProgressCallback(tmp_path / "progress.db", "other").on_phase("fit", "elsewhere")
    events = callback.get_progress()
    assert events == read_progress(tmp_path / "progress.db", "job")
    assert [event["number"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert [event["step_type"] for event in events] == ["phase", "phase", "class", "epoch", "epoch", "phase"]
    assert [event["message"] for event in events] == ["reading", "fitting", "walk", "", "", "again"]
    assert [event["metrics"] for event in events if event["step_type"] == "epoch"] == [
        {"loss": 0.5}, {"loss": 0.4}
    ]  # fmt: skip


def test_s26_a_second_writer_of_the_same_job_appends(tmp_path: Path) -> None:
    """It goes on with the numbers."""
    for n in range(2):
        SQLiteProgressCallback(tmp_path / "progress.db", "job").on_epoch_end(n, 2, {})
        CSVProgressCallback(tmp_path / "progress.csv").on_epoch_end(n, 2, {})
    assert [event["number"] for event in read_progress(tmp_path / "progress.db", "job")] == [1, 2]
    with (tmp_path / "progress.csv").open() as file:
        assert [row["number"] for row in csv.DictReader(file)] == ["1", "2"]


def test_s26_reading_never_makes_a_file(tmp_path: Path) -> None:
    """Nor changes one."""
    assert read_progress(tmp_path / "none.db", "job") == []
    assert read_progress(tmp_path / "no folder" / "none.db", "job") == []
    assert read_progress(tmp_path, "job") == []
    assert list(tmp_path.iterdir()) == []
    SQLiteProgressCallback(tmp_path / "progress.db", "job").on_phase("fit", "")
    before = tree(tmp_path)
    assert read_progress(tmp_path / "progress.db", "another") == []
    assert len(read_progress(tmp_path / "progress.db", "job")) == 1
    assert tree(tmp_path) == before


class Broken:
    """Fails at every call."""

    def on_epoch_end(self, epoch: int, total_epochs: int, metrics: Mapping[str, float]) -> None:
        """Spoil the metrics and raise."""
        assert isinstance(metrics, dict)
        metrics.clear()
        raise RuntimeError(f"no epoch {epoch} of {total_epochs}")

    def on_class_start(self, class_idx: int, total_classes: int, class_name: str) -> None:
        """Raise."""
        raise RuntimeError(f"no {class_name}, {class_idx} of {total_classes}")

    def on_phase(self, phase: str, message: str) -> None:
        """Raise."""
        raise RuntimeError(f"no {phase} {message}")


def test_s26_a_listener_that_fails_takes_nothing_from_the_others(tmp_path: Path) -> None:
    """Its first error is kept."""
    first = SQLiteProgressCallback(tmp_path / "first.db", "job")
    last = SQLiteProgressCallback(tmp_path / "last.db", "job")
    both = CompositeProgressCallback(first, Broken(), last)
    both.on_phase("fit", "now")
    both.on_class_start(0, 1, "walk")
    both.on_epoch_end(1, 1, {"loss": 0.5})
    assert len(first.get_progress()) == len(last.get_progress()) == 3
    assert last.get_progress()[2]["metrics"] == {"loss": 0.5}
    assert [str(failure) for failure in both.errors] == ["Broken: RuntimeError: no fit now"]


def test_s26_a_training_whose_listener_fails_is_trained(tmp_path: Path) -> None:
    """The error is no error of the training."""
    schema = pa.schema([pa.field("X", pa.float64())])
    for number in range(4):
        topic = (schema, times_of(number, 5), {"X": np.arange(5.0)})
        record_topics(tmp_path / "store", f"s{number:03d}", {"tracks": topic})
    kept = SQLiteProgressCallback(tmp_path / "progress.db", "job")
    both = CompositeProgressCallback(Broken(), kept)
    with Dataset(tmp_path / "store") as ds:
        first = train_model(ds, MeanModel(), progress_callback=both)
        assert train_model(ds, MeanModel(), {"rate": 0.1}, progress_callback=Broken()) != first
    assert both.errors
    assert [event["step_index"] for event in kept.get_progress() if event["step_type"] == "epoch"] == [0, 1]
