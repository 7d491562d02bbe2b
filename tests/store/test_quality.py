"""The quality report on the producer's clock: constant stamps, and stamps that jump back."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.store.live_recording import Recording

from gapless import connect
from gapless.store import quality
from gapless.store.quality import QualityFinding, TopicQuality, check

MS = 1_000_000


def report(path: Path, blocks: list[list[int]]) -> tuple[TopicQuality, dict[str, QualityFinding]]:
    """Record the stamps in this order and return figures and findings by code."""
    with Recording(path) as recording:
        for times in blocks:
            recording.push(times)
        recording.seal()
    found = check(path)
    return found.topics["t"], {finding.code: finding for finding in found.findings}


def test_equal_stamps_are_told(tmp_path: Path) -> None:
    """Rows that all carry one time make the verdict doubtful."""
    figures, found = report(tmp_path, [[7] * 20])
    assert (found["C013"].severity, figures.verdict) == ("warning", "doubtful")


def test_different_stamps_are_not_told_as_equal(tmp_path: Path) -> None:
    """One row, or two times, are no constant."""
    assert "C013" not in report(tmp_path / "one", [[7]])[1]
    assert "C013" not in report(tmp_path / "two", [[7] * 20, [8]])[1]


def test_a_clock_that_jumps_back_is_a_warning(tmp_path: Path) -> None:
    """A block of rows whose stamps begin 2 s before the last one: the finding says how late they are."""
    first = [10 * MS * k for k in range(500)]
    figures, found = report(tmp_path, [first, [t + 3_000 * MS for t in first]])
    assert figures.late_max_ns == 1_990 * MS
    assert found["C003"].severity == "warning"
    assert "1.99 s" in found["C003"].message


def test_a_row_a_little_late_is_no_warning(tmp_path: Path) -> None:
    """Neighbours that changed places are what networks do."""
    figures, found = report(tmp_path, [[0, 20 * MS, 10 * MS, 30 * MS, 40 * MS]])
    assert (figures.late_max_ns, found["C003"].severity, figures.verdict) == (10 * MS, "info", "good")


def test_more_than_ten_intervals_late_is_a_warning(tmp_path: Path) -> None:
    """What is late is measured by the topic's own pace, too."""
    figures, found = report(tmp_path, [[MS * k for k in range(100)], [50 * MS]])
    assert (figures.late_max_ns, found["C003"].severity) == (49 * MS, "warning")


@pytest.mark.parametrize("marks", [8, 1 << 16])
def test_lateness_is_what_comparing_all_pairs_gives(monkeypatch: pytest.MonkeyPatch, marks: int) -> None:
    """With all marks it is exact; with few of them never more than it is."""
    monkeypatch.setattr(quality, "_MARKS", marks)
    random = np.random.default_rng(7)
    for _ in range(50):
        times = np.sort(random.integers(-1000, 1000, 60))
        seqs = random.permutation(60)
        running = quality._Lateness()
        for start in range(0, 60, 20):
            begin = max(0, start - 1)  # batches overlap by the last row, as in the pass
            running.add(times[begin : start + 20], seqs[begin : start + 20])
        arrival = np.argsort(seqs)
        highest = np.maximum.accumulate(times[arrival])
        exact = int((highest - times[arrival]).max())
        assert running.max_ns == exact if marks > 60 else 0 <= running.max_ns <= exact


def test_extreme_stamps_do_not_overflow(tmp_path: Path) -> None:
    """The whole range of int64 can be late."""
    figures, _ = report(tmp_path, [[2**63 - 1], [-(2**63) + 1]])
    assert figures.late_max_ns == 2**64 - 2


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.float16(), 1.5),
        (pa.duration("us"), dt.timedelta(seconds=2)),
        (pa.decimal128(8, 2), Decimal("1.50")),
        (pa.bool_(), True),
        (pa.binary(2), b"ab"),
        (pa.large_string(), "a"),
        (pa.date32(), dt.date(2024, 2, 29)),
        (pa.timestamp("ns", "UTC"), 5),
        (pa.list_(pa.float16()), [1.5]),
    ],
    ids=str,
)
def test_columns_of_every_type_are_judged(tmp_path: Path, kind: pa.DataType, value: Any) -> None:
    """Each has its nulls counted; rows that are the same twice are duplicates, except where they hold lists."""
    with connect(tmp_path) as client, client.sequence_create("s") as sequence:
        topic = sequence.topic_create("t", schema=pa.schema([("v", kind)]))
        for time_ns, pushed in ((1, value), (1, value), (2, None), (2, None), (3, value)):
            topic.push_row(time_ns, pushed)
    figures = check(tmp_path / "sequences" / "s").topics["t"]
    assert (figures.rows, figures.null_values) == (5, 2)
    assert figures.duplicates == (0 if pa.types.is_nested(kind) else 2)
