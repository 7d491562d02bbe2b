"""Rows of an open sequence between requests: each decoded once, and none missing or twice while it is recorded."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.serve.http.frames import decode
from tests.store.live_recording import SMALL_PARTS, Recording

from gapless import connect
from gapless.serve.http import open_rows
from gapless.serve.http.open_rows import Look, OpenRows
from gapless.store import journal_view, topic_sealer
from gapless.store.journal_view import Position
from gapless.store.live_rows import snapshot

from .conftest import Begin

X = pa.schema([("timestamp_ns", pa.int64()), ("x", pa.int64())])


def values(look: Look) -> list[float]:
    """Return all rows that a look sees, in the parts by their number and in the journal by their value."""
    parts, rows = snapshot(look, "t", ["x"])
    found = [
        float(n) for n in range(sum(part["rows"] for part in parts))
    ]  # SMALL_PARTS are filled as rows arrive
    return found + sorted(value for piece in rows for value in piece.table["x"].to_pylist())


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first arrival number of each frame that was decoded."""
    frames: list[int] = []
    own = topic_sealer.read_frame

    def counted(frame: Any, *rest: Any) -> pa.RecordBatch:
        frames.append(frame.first_seq)
        return own(frame, *rest)

    monkeypatch.setattr(journal_view, "read_frame", counted)
    return frames


def test_a_second_look_decodes_what_is_new(tmp_path: Path, decoded: list[int]) -> None:
    """Each frame once, over as many questions as there are."""
    with Recording(tmp_path / "live") as recording:
        recording.push_many(100)
        rows = OpenRows(tmp_path / "live" / "journal")
        for _ in range(3):
            assert values(rows.look()) == [float(n) for n in range(5000)]
        assert sorted(decoded) == sorted(set(decoded))
        before = len(decoded)
        recording.push_many(1)
        assert len(values(rows.look())) == 5050
        assert len(decoded) == before + 1


def test_a_look_stands_still(tmp_path: Path) -> None:
    """What comes meanwhile is seen by the next one."""
    with Recording(tmp_path / "live") as recording:
        recording.push_many(2)
        rows = OpenRows(tmp_path / "live" / "journal")
        look = rows.look()
        assert len(values(look)) == 100
        recording.push_many(1)
        assert look.ledger["t"].written == 100
        assert rows.look().ledger["t"].written == 150


def test_no_row_is_missing_or_twice_while_segments_become_parts(tmp_path: Path) -> None:
    """Every look sees the first so many rows, however many others look at the same time."""
    with Recording(tmp_path / "live", cuts=SMALL_PARTS) as recording:
        recording.writer.flush()
        rows = OpenRows(tmp_path / "live" / "journal")
        faults: list[object] = []
        producer = threading.Thread(target=recording.push_many, args=(150,))

        def watch() -> None:
            seen = 0
            while producer.is_alive():
                found = values(rows.look())
                if found != [float(n) for n in range(len(found))] or len(found) < seen:
                    faults.append(found)
                seen = len(found)

        others = [threading.Thread(target=watch) for _ in range(2)]
        producer.start()
        for other in others:
            other.start()
        for thread in (producer, *others):
            thread.join()
        assert faults == []
        assert len(values(rows.look())) == recording.pushed


def test_what_is_too_large_is_not_kept(
    tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read from the journal each time, to the same rows."""
    monkeypatch.setattr(open_rows, "MOST_BYTES", 1000)
    with Recording(tmp_path / "live") as recording:
        recording.push_many(10)
        rows = OpenRows(tmp_path / "live" / "journal")
        for _ in range(2):
            assert values(rows.look()) == [float(n) for n in range(500)]
    assert len(decoded) == 10 + 1 + 10  # one was enough to see it


def test_a_look_goes_on_after_a_position(tmp_path: Path) -> None:
    """As the journal's own view does."""
    with Recording(tmp_path / "live") as recording:
        recording.push_many(2)
        look = OpenRows(tmp_path / "live" / "journal").look()
        batches = list(look.batches("t", after=Position(70)))
        assert [value for _, batch in batches for value in batch["x"].to_pylist()] == [
            float(n) for n in range(70, 100)
        ]
        assert batches[-1][0] == Position(100)


def test_a_curve_follows_a_sequence_through_its_seal(root: Path, begin: Begin) -> None:
    """Over HTTP: all rows before, and all after, from the same address."""
    site = begin(root)

    def total() -> int:
        answer = site.api("/sequences/s/curves?fields=t:x&points=10")
        assert answer.status_code == 200, answer.text
        return int(decode(answer.content).field(0)["total"])

    with connect(root) as client:
        with client.sequence_create("s") as sequence:
            topic = sequence.topic_create("t", schema=X)
            for block in range(3):
                count = np.arange(block * 100, block * 100 + 100)
                topic.push_columns(count, {"x": count})
                sequence.flush()
                assert total() == block * 100 + 100
        assert total() == 300
        client.discard("s")
        assert site.api("/sequences/s/curves?fields=t:x").status_code == 404
        with client.sequence_create("s") as sequence:  # another one of that name
            topic = sequence.topic_create("t", schema=X)
            topic.push_columns(np.arange(7), {"x": np.arange(7)})
            sequence.flush()
            assert total() == 7


def test_an_open_sequence_of_another_group_is_not_there(root: Path, begin: Begin) -> None:
    """As a sealed one."""
    site = begin(root)
    with connect(root) as client, client.sequence_create("s", group="lab") as sequence:
        sequence.topic_create("t", schema=X).push_columns(np.arange(3), {"x": np.arange(3)})
        sequence.flush()
        own, foreign = site.key("read", "lab"), site.key("read", "barn")
        assert site.api("/sequences/s/sparkline", key=own).status_code == 200
        assert site.api("/sequences/s/sparkline", key=foreign).status_code == 404
