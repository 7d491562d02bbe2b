"""The statistics of an episode, from the rows of an open or sealed sequence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import gapless
from gapless.model.picture_summary import PictureSummary
from gapless.observe.statistics import write_statistics

ROWS = 70_000
SCHEMA = pa.schema(
    [
        pa.field("position.shoulder", pa.float64()),
        pa.field("gripper", pa.float32()),
        pa.field("closed", pa.bool_()),
        pa.field("count", pa.int64()),
        pa.field("note", pa.string()),
        *(pa.field(f"extra.{n}", pa.float64()) for n in range(20)),
    ]
)


def columns(rows: int) -> dict[str, Any]:
    """Return columns with a dead one, nulls, NaN and infinities."""
    random = np.random.default_rng(5)
    shoulder = random.normal(size=rows) + 1e5
    shoulder[3:5] = np.nan
    shoulder[7] = -np.inf
    return {
        "position.shoulder": shoulder,
        "gripper": np.full(rows, 0.5, np.float32),
        "closed": np.arange(rows) % 4 == 0,
        "count": pa.array([None, *range(1, rows)], pa.int64()),
        "note": ["x"] * rows,
        **{f"extra.{n}": random.normal(size=rows) for n in range(20)},
    }


def record(client: gapless.Client, name: str, *, block_rows: int, sealed: bool) -> bytes:
    """Record the columns in blocks and return the statistics of the sequence, open or sealed."""
    values, times_ns = columns(ROWS), np.arange(ROWS, dtype=np.int64) * 1000
    with client.sequence_create(name) as sequence:
        robot = sequence.topic_create("robot", {"every": "tick"}, schema=SCHEMA)
        empty = sequence.topic_create("arm/steps", {"every": "step"}, schema=SCHEMA)
        assert empty is not None
        other = sequence.topic_create("frames", schema=pa.schema([pa.field("frame_index", pa.int64())]))
        other.push_row(0, 0)
        for start in range(0, ROWS, block_rows):
            block = {key: column[start : start + block_rows] for key, column in values.items()}
            robot.push_columns(times_ns[start : start + block_rows], block)
        sequence.flush()
        if not sealed:
            return write_statistics(client.sequence_handler(name), cameras())
    return write_statistics(client.sequence_handler(name), cameras())


def cameras() -> dict[str, PictureSummary]:
    """Return a frozen camera and one that lives."""
    frozen, alive = PictureSummary(), PictureSummary()
    for index in range(40):
        frozen.add(index, np.full((4, 6, 3), 7, np.uint8))
        alive.add(index, np.full((4, 6), 1000 * index, np.uint16))
    return {"eye": frozen, "depth": alive}


@pytest.fixture
def client(tmp_path: Path) -> gapless.Client:
    """Return a client of a new store."""
    return gapless.connect(str(tmp_path / "store"))


def test_the_figures_are_those_of_all_rows(client: gapless.Client) -> None:
    """Each scalar column of each table has numpy's figures; time, text and other topics have none."""
    written = json.loads(record(client, "run", block_rows=1_000, sealed=False))
    values = columns(ROWS)
    assert set(written) == {"format", "topics", "cameras", "findings"}
    assert set(written["topics"]) == {"robot", "arm/steps"}
    robot = written["topics"]["robot"]
    assert robot["rows"] == ROWS
    assert set(robot["columns"]) == {name for name in SCHEMA.names if name != "note"}
    shoulder = robot["columns"]["position.shoulder"]
    finite = values["position.shoulder"][np.isfinite(values["position.shoulder"])]
    assert (shoulder["count"], shoulder["nan_count"], shoulder["infinite_count"]) == (ROWS - 3, 2, 1)
    assert shoulder["std"] == pytest.approx(float(finite.std()), rel=1e-6)
    assert shoulder["mean"] == pytest.approx(float(finite.mean()), rel=1e-12)
    assert shoulder["q99"] == pytest.approx(float(np.quantile(finite, 0.99)), rel=1e-15)
    assert robot["columns"]["count"]["null_count"] == 1
    assert robot["columns"]["count"]["min"] == 1
    assert robot["columns"]["closed"]["mean"] == 0.25
    for n in range(20):
        extra = values[f"extra.{n}"]
        assert robot["columns"][f"extra.{n}"]["q10"] == pytest.approx(float(np.quantile(extra, 0.1)))


def test_a_topic_without_rows_has_figures_that_are_null(client: gapless.Client) -> None:
    """What does not exist is null: there is no NaN in JSON."""
    text = record(client, "run", block_rows=5_000, sealed=True)
    assert b"NaN" not in text.replace(b"are NaN", b"")
    column = json.loads(text)["topics"]["arm/steps"]["columns"]["gripper"]
    assert column["count"] == 0
    assert column["mean"] is None
    assert column["q50"] is None


def test_the_same_rows_give_the_same_bytes(client: gapless.Client) -> None:
    """However the rows were pushed, and whether they are in the journal or in parts."""
    texts = {
        record(client, "a", block_rows=1_000, sealed=False),
        record(client, "b", block_rows=33_333, sealed=False),
        record(client, "c", block_rows=70_000, sealed=True),
    }
    assert len(texts) == 1


def test_findings_are_words(client: gapless.Client) -> None:
    """A dead column, a frozen camera and unusable values are named."""
    found = json.loads(record(client, "run", block_rows=7_000, sealed=True))["findings"]
    assert found == [
        {"topic": "robot", "column": "position.shoulder", "finding": "2 of 70000 values are NaN"},
        {"topic": "robot", "column": "position.shoulder", "finding": "1 of 70000 values are infinite"},
        {"topic": "robot", "column": "gripper", "finding": "never changes: 70000 times 0.5"},
        {"topic": "robot", "column": "count", "finding": "1 of 70000 values are null"},
        {"topic": "eye", "finding": "frozen: all 3 sampled pictures are identical"},
    ]
