"""Zooming ten million rows: at most four row groups of the pyramid and two of the rows, and the value as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.serve.http.frames import Decoded, api, decode

from gapless import connect
from gapless.store.part_reader import Part
from gapless.store.pyramid_read import downsample
from gapless.store.reader import TopicReader, open_bundle

ROWS = 10_000_000
SPIKE_ROW, SPIKE = 7_654_321, 2**62 + 1  # no float64
START_NS, STEP_NS = 1_700_000_000_000_000_000, 1_000_000
POINTS = 2000
GROUP_ROWS = 65_536


@pytest.fixture(scope="module")
def values() -> npt.NDArray[np.int64]:
    """What is recorded, row by row."""
    noise = np.random.default_rng(8).integers(-1000, 1000, ROWS)
    noise[SPIKE_ROW] = SPIKE
    return noise


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, values: npt.NDArray[np.int64]) -> Path:
    """A store with one sequence of ten million rows."""
    root = tmp_path_factory.mktemp("zoom") / "store"
    schema = pa.schema([("timestamp_ns", pa.int64()), ("x", pa.int64())])
    with connect(root) as client, client.sequence_create("long") as sequence:
        topic = sequence.topic_create("signal", schema=schema)
        for first in range(0, ROWS, 500_000):
            part = values[first : first + 500_000]
            topic.push_columns(START_NS + np.arange(first, first + len(part)) * STEP_NS, {"x": part})
    return root


@pytest.fixture
def topic(root: Path) -> TopicReader:
    """The reader of the topic."""
    return open_bundle(root / "sequences" / "long").topic("signal")


@pytest.fixture
def parts_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The row groups of the parts that were read, in order."""
    read: list[int] = []
    own = Part._read_group

    def counted(part: Part, file: pq.ParquetFile, group: int, names: list[str]) -> object:
        read.append(group)
        return own(part, file, group, names)

    monkeypatch.setattr(Part, "_read_group", counted)
    return read


def windows() -> list[tuple[int, int]]:
    """Return rows of windows: random ones of every width, whole ones, and those at edges of groups and buckets."""
    rng = np.random.default_rng(88)
    widths = np.exp(rng.uniform(np.log(3000), np.log(ROWS), 150)).astype(int)
    starts = (rng.random(150) * (ROWS - widths)).astype(int)
    edges = [(0, ROWS), (1, ROWS - 1), (GROUP_ROWS, 40 * GROUP_ROWS), (GROUP_ROWS - 1, 40 * GROUP_ROWS + 1)]
    last = 16_384 * 256  # buckets of 256 rows change their row group there
    edges += [
        (last - 300_000, last + 300_000),
        (2 * last - 1_600_000, 2 * last + 1_600_000),
        (0, 4096 * 1000),
    ]
    return [*edges, *zip(starts.tolist(), (starts + widths).tolist(), strict=True)]


def test_any_window_reads_few_row_groups(
    topic: TopicReader, values: npt.NDArray[np.int64], parts_read: list[int]
) -> None:
    """At most four of the pyramid and, but for windows of some seconds, two of the rows; extremes are exact."""
    for first, last in windows():
        parts_read.clear()
        curve = downsample(topic, "x", POINTS, START_NS + first * STEP_NS, START_NS + last * STEP_NS)
        asked = f"rows {first} to {last}"
        assert curve.row_groups <= 4, asked
        short = last - first <= 256 * (POINTS // 2 + 2)  # fewer buckets than wanted: its rows are read
        assert len(parts_read) <= (6 if short else 2), asked
        assert (curve.minimum.min(), curve.maximum.max()) == (
            values[first:last].min(),
            values[first:last].max(),
        ), asked
        assert curve.rows.sum() == last - first, asked
        assert POINTS // 8 <= len(curve) <= POINTS // 2, asked


def test_two_zooms_lead_from_a_spike_to_its_row(root: Path, tmp_path: Path) -> None:
    """Over HTTP: the one row in ten million is its bucket's maximum, and in the end the value that the Parquet has."""
    with api(root, tmp_path / "work") as client:

        def zoomed(**window: int) -> Decoded:
            asked: dict[str, str | int] = {"fields": "signal:x", "points": POINTS, **window}
            answer = client.get("/sequences/long/curves", params=asked)
            assert answer.status_code == 200, answer.text
            frame = decode(answer.content)
            assert frame.size_bytes <= 64 << 10
            assert frame.field(0)["row_groups"] <= 4
            return frame

        frame = zoomed()
        for _ in range(2):
            assert frame.field(0)["kind"] == "buckets"
            spike = int(frame.columns["0.max"].argmax())
            assert frame.columns["0.max"][spike] == SPIKE
            frame = zoomed(start_ns=frame.times("0.start")[spike], end_ns=frame.times("0.end")[spike] + 1)
    assert frame.field(0)["kind"] == "rows"
    row = int(frame.columns["0.value"].argmax())
    stored = pq.read_table(root / "sequences" / "long" / "topics" / "signal", filters=[("x", "==", SPIKE)])
    assert frame.columns["0.value"][row] == stored["x"][0].as_py() == SPIKE
    assert frame.times("0.time")[row] == stored["timestamp_ns"][0].as_py() == START_NS + SPIKE_ROW * STEP_NS
