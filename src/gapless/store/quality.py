"""The quality report: is what was recorded good? Rates, jitter, gaps, duplicates, clock steps, dead columns.

One streaming pass over each topic; memory does not grow with its length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.store.reader import BundleReader, TopicReader, open_bundle

FINDINGS = {
    "C001": "Messages are missing; rows of _gaps say which and why.",
    "C002": "Messages were dropped by a policy that the recording chose.",
    "C003": "Rows arrived later than rows with a later time; reading puts them in order. A warning when they"
    " are later than 1 s or ten usual intervals: the producer's clock may have jumped back.",
    "C004": "Rows are exact copies of the row before them, time included.",
    "C005": "The wall clock was stepped while recording; rows stamped by the sequence's clock do not show it.",
    "C006": "A column never changes its value: a dead sensor, a wrong channel, or a constant.",
    "C007": "A column holds NaN.",
    "C008": "The topic is silent for more than ten times its usual interval and no gap row says why.",
    "C009": "The recording did not end as completed.",
    "C010": "A ledger does not balance.",
    "C011": "The topic has no rows.",
    "C012": "The disk, or sealing, held producers up while recording.",
    "C013": "All rows carry the same time: the producer stamps with a constant, not with a clock.",
}
_STEP_NS = 20_000_000  # wall against monotonic within one health period; slewing by NTP stays below 5 ms
_PAUSE_FACTOR = 10
_LATE_NS = 1_000_000_000
_MARKS = 1 << 16  # rows remembered to tell how late others are; beyond it every second one
_SAMPLE_ROWS = 1 << 20  # intervals kept for the quantiles
_DEAD_ROWS = 10  # fewer rows say nothing about a constant column


@dataclass(frozen=True, slots=True)
class QualityFinding:
    """One thing worth knowing: ``problem`` makes the verdict bad, ``warning`` doubtful, ``info`` neither."""

    code: str
    severity: str
    message: str
    topic: str | None = None


@dataclass(slots=True)
class TopicQuality:
    """One topic's figures; intervals in ns, rate in rows per second."""

    rows: int = 0
    rate_hz: float | None = None
    interval_median_ns: float | None = None
    interval_max_ns: int | None = None
    jitter_ns: float | None = None
    gaps: int = 0
    missing: int = 0
    dropped: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    late_max_ns: int = 0
    pauses: int = 0
    nan_values: int = 0
    null_values: int = 0
    nan_by_column: dict[str, int] = field(default_factory=dict)
    dead_columns: list[str] = field(default_factory=list)
    constant_time: bool = False
    verdict: str = "good"


@dataclass(frozen=True, slots=True)
class Report:
    """The report of one sequence: figures by topic, findings, and the worst verdict (good, doubtful, bad)."""

    topics: dict[str, TopicQuality]
    clock_steps: list[tuple[int, int]]
    findings: list[QualityFinding]
    verdict: str


def _unwatched() -> None:
    """Let the pass go on."""


def check(path: Path, *, watch: Callable[[], None] = _unwatched) -> Report:
    """Return the quality report of a bundle in any state, layers included.

    ``watch`` is called for each batch of rows; what it raises ends the pass.
    """
    reader = open_bundle(path)
    gaps = _gap_rows(reader)
    topics: dict[str, TopicQuality] = {}
    findings: list[QualityFinding] = []
    if reader.outcome not in (None, "completed"):
        findings.append(QualityFinding("C009", "warning", f"the outcome is {reader.outcome}"))
    unknown = [g for g in gaps if g["topic"] == "*"]
    if unknown:
        findings.append(
            QualityFinding(
                "C001", "warning", f"the end is missing ({unknown[0]['cause']}): how much, nobody knows"
            )
        )
    for name, topic in reader.topics.items():
        figures = _topic_figures(topic, [g for g in gaps if g["topic"] == name], watch)
        found = list(_judge(name, figures, topic))
        figures.verdict = _verdict(found)
        topics[name] = figures
        findings += found
    steps, blocked_ns = _clock_steps(reader)
    findings += [
        QualityFinding("C005", "warning", f"the wall clock moved by {by / 1e9:+.3f} s", None)
        for _, by in steps
    ]
    if blocked_ns > 1_000_000:
        findings.append(
            QualityFinding("C012", "warning", f"producers waited {blocked_ns / 1e9:.3f} s in all")
        )
    return Report(topics, steps, findings, _verdict(findings))


def _verdict(findings: list[QualityFinding]) -> str:
    severities = {f.severity for f in findings}
    return "bad" if "problem" in severities else "doubtful" if "warning" in severities else "good"


def _gap_rows(reader: BundleReader) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = reader.topic("_gaps").to_arrow().to_pylist()
    return rows


def _clock_steps(reader: BundleReader) -> tuple[list[tuple[int, int]], int]:
    """Return (time, size) of each step of the wall clock, and how long producers were held up, in ns."""
    table = reader.topic("_health").to_arrow()
    if not table.num_rows:
        return [], 0
    drift = table["wall_ns"].to_numpy() - table["boot_ns"].to_numpy()
    moved = np.diff(drift)
    at = np.flatnonzero(np.abs(moved) > _STEP_NS)
    times = table["timestamp_ns"].to_numpy()
    return [(int(times[i + 1]), int(moved[i])) for i in at], int(table["blocked_ns"].to_numpy().max())


class _Lateness:
    """How late the latest row came: the longest way back in time from a row to one that arrived after it."""

    def __init__(self) -> None:
        self.max_ns = 0
        self._seqs = np.empty(0, np.int64)  # rising: rows that arrived after every row of an earlier time
        self._times = np.empty(0, np.int64)

    def add(self, times: np.ndarray[Any, Any], seqs: np.ndarray[Any, Any]) -> None:
        """Take the next rows, in order of time, into account."""
        highest = np.maximum.accumulate(np.concatenate([self._seqs[-1:], seqs]))[-len(seqs) :]
        first = len(self._seqs) == 0
        before = highest[:-1] if first else np.concatenate([self._seqs[-1:], highest[:-1]])
        new = np.concatenate([[True], seqs[1:] > before]) if first else seqs > before
        self._seqs = np.concatenate([self._seqs, seqs[new]])
        self._times = np.concatenate([self._times, times[new]])
        overtaken = np.flatnonzero(~new)
        if len(overtaken):
            at = np.searchsorted(self._seqs, seqs[overtaken], side="right")
            known = at < len(self._seqs)
            late = times[overtaken][known].astype(object) - self._times[at[known]].astype(object)
            self.max_ns = max(self.max_ns, *late.tolist()) if len(late) else self.max_ns
        while len(self._seqs) > _MARKS:
            keep = np.arange(len(self._seqs)) % 2 == (len(self._seqs) - 1) % 2  # the last stays
            self._seqs, self._times = self._seqs[keep], self._times[keep]


class _Pass:
    """The running figures of one pass over a topic in time order."""

    def __init__(self, schema: pa.Schema) -> None:
        self.figures = TopicQuality()
        self.names = [f.name for f in schema if f.name != "timestamp_ns"]
        self._comparable = [n for n in self.names if not pa.types.is_nested(schema.field(n).type)]
        self._all_comparable = len(self._comparable) == len(self.names)
        self._bounds: dict[str, tuple[Any, Any]] = {}
        self._intervals: list[np.ndarray[Any, Any]] = []
        self._kept = 0
        self._typical: float | None = None
        self._last: pa.RecordBatch | None = None
        self._sum = self._squares = 0.0
        self._count = 0
        self.pauses: list[tuple[int, int]] = []
        self._late = _Lateness()
        self._span: tuple[int, int] | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the next rows into account."""
        if not batch.num_rows:
            return
        joined = (
            batch
            if self._last is None
            else pa.Table.from_batches([self._last, batch]).combine_chunks().to_batches()[0]
        )
        self._times(joined)
        self._copies(joined)
        self._values(batch)
        self.figures.rows += batch.num_rows
        self._last = batch.slice(batch.num_rows - 1)

    def _times(self, joined: pa.RecordBatch) -> None:
        times = joined.column("timestamp_ns").to_numpy()
        seqs = joined.column("_seq").to_numpy()
        self.figures.out_of_order += int((seqs[1:] < seqs[:-1]).sum())
        self._late.add(times, seqs)
        self._span = (int(times[0]) if self._span is None else self._span[0], int(times[-1]))
        steps = np.diff(times)
        if not len(steps):
            return
        if self._typical is None:
            self._typical = float(np.median(steps))
        if self._typical > 0:
            for i in np.flatnonzero(steps > _PAUSE_FACTOR * self._typical).tolist():
                self.pauses.append((int(times[i]), int(times[i + 1])))
        self._sum += float(steps.sum(dtype=np.float64))
        self._squares += float((steps.astype(np.float64) ** 2).sum())
        self._count += len(steps)
        self.figures.interval_max_ns = max(self.figures.interval_max_ns or 0, int(steps.max()))
        if self._kept < _SAMPLE_ROWS:
            self._intervals.append(steps)
            self._kept += len(steps)

    def _copies(self, joined: pa.RecordBatch) -> None:
        times = joined.column("timestamp_ns").to_numpy()
        same = np.flatnonzero(times[1:] == times[:-1])
        if not len(same) or not self._all_comparable:
            return
        first, second = joined.take(pa.array(same)), joined.take(pa.array(same + 1))
        equal = np.ones(len(same), bool)
        for name in self._comparable:
            left, right = _comparable(first.column(name)), _comparable(second.column(name))
            alike = pc.equal(left, right).fill_null(pa.scalar(value=False))
            both_null = pc.and_(pc.is_null(left, nan_is_null=True), pc.is_null(right, nan_is_null=True))
            equal &= pc.or_(alike, both_null).to_numpy(zero_copy_only=False)
        self.figures.duplicates += int(equal.sum())

    def _values(self, batch: pa.RecordBatch) -> None:
        for name in self.names:
            column = batch.column(name)
            self.figures.null_values += column.null_count
            if pa.types.is_floating(column.type):
                nans = pc.sum(pc.is_nan(column)).as_py() or 0
                if nans:
                    self.figures.nan_by_column[name] = self.figures.nan_by_column.get(name, 0) + nans
                    self.figures.nan_values += nans
            if name in self._comparable and len(column) > column.null_count:
                column = _comparable(column)
                bounds = (
                    pc.min_max(column).as_py()
                    if not pa.types.is_binary(column.type) and not pa.types.is_large_binary(column.type)
                    else {"min": 0, "max": 1}
                )
                low, high = self._bounds.get(name, (bounds["min"], bounds["max"]))
                self._bounds[name] = (min(low, bounds["min"]), max(high, bounds["max"]))

    def finish(self) -> TopicQuality:
        """Return the figures."""
        figures = self.figures
        figures.late_max_ns = self._late.max_ns
        figures.constant_time = figures.rows > 1 and self._span is not None and self._span[0] == self._span[1]
        if self._count:
            mean = self._sum / self._count
            figures.rate_hz = 1e9 / mean if mean > 0 else None
            figures.jitter_ns = max(0.0, self._squares / self._count - mean * mean) ** 0.5
            figures.interval_median_ns = float(np.median(np.concatenate(self._intervals)))
        if figures.rows >= _DEAD_ROWS:
            figures.dead_columns = [n for n, (low, high) in self._bounds.items() if low == high]
        return figures


def _comparable(column: pa.Array) -> pa.Array:
    """Return the same values as a type that Arrow compares and orders."""
    kind = column.type
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    if pa.types.is_duration(kind):
        return column.cast(pa.int64())
    return column


def _topic_figures(topic: TopicReader, gaps: list[dict[str, Any]], watch: Callable[[], None]) -> TopicQuality:
    running = _Pass(topic.schema)
    for batch in topic.scan(with_seq=True):
        watch()
        running.add(batch)
    figures = running.finish()
    ledger = topic.ledger
    figures.gaps = len(gaps)
    figures.missing = ledger["gapped"]
    figures.dropped = ledger["dropped"]
    explained = [(g["timestamp_ns"], g["end_ns"]) for g in gaps if g["end_ns"] is not None]
    figures.pauses = sum(
        not any(start <= end and begin <= stop for start, stop in explained) for begin, end in running.pauses
    )
    return figures


def _judge(name: str, figures: TopicQuality, topic: TopicReader) -> list[QualityFinding]:
    found: list[tuple[str, str, str]] = []
    ledger = topic.ledger
    if ledger["produced"] != ledger["written"] + ledger["dropped"] + ledger["gapped"]:
        found.append(("C010", "problem", f"{ledger}"))
    if not figures.rows:
        found.append(("C011", "warning", "no rows"))
    if figures.missing or figures.gaps:
        found.append(
            (
                "C001",
                "problem" if figures.missing else "warning",
                f"{figures.missing:,} messages missing in {figures.gaps:,} gaps",
            )
        )
    if figures.dropped:
        found.append(("C002", "warning", f"{figures.dropped:,} messages dropped by policy"))
    if figures.out_of_order:
        usual_ns = figures.interval_median_ns or 0
        bad = figures.late_max_ns > _LATE_NS or 0 < _PAUSE_FACTOR * usual_ns < figures.late_max_ns
        times = f"{figures.out_of_order:,} times a row came late"
        found.append(
            ("C003", "warning" if bad else "info", f"{times}, at most by {figures.late_max_ns / 1e9:.6g} s")
        )
    if figures.constant_time:
        found.append(("C013", "warning", f"all {figures.rows:,} rows carry the same time"))
    if figures.duplicates:
        found.append(("C004", "warning", f"{figures.duplicates:,} rows are copies of the row before"))
    if figures.dead_columns:
        found.append(("C006", "info", f"constant: {', '.join(figures.dead_columns)}"))
    if figures.nan_values:
        found.append(
            ("C007", "warning", ", ".join(f"{n:,} NaN in {c}" for c, n in figures.nan_by_column.items()))
        )
    if figures.pauses:
        found.append(
            ("C008", "warning", f"{figures.pauses:,} pauses longer than {_PAUSE_FACTOR} usual intervals")
        )
    return [QualityFinding(code, severity, message, name) for code, severity, message in found]
