"""A sequence whose owner died is gone on with by name."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pyarrow as pa
import pytest

from gapless.client.client import connect
from gapless.errors import NameTaken, NotFound, SequenceOwned, SequenceSealed
from gapless.store.reader import open_bundle
from gapless.store.verify import verify

SCHEMA = pa.schema([pa.field("timestamp_ns", pa.int64(), nullable=False), pa.field("n", pa.int64())])


def die_in_the_middle(store: Path) -> None:
    """Record 100 rows, an event and a gap in a child that is killed."""
    pid = os.fork()
    if pid == 0:
        client = connect(store)
        seq = client.sequence_create("run", {"m": 1}).__enter__()
        topic = seq.topic_create("t", schema=SCHEMA)
        for n in range(100):
            topic.push_row(n, n)
        topic.gap(2, "pause")
        seq.event("info", "mark", "before")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def test_the_next_owner_goes_on_and_seals(tmp_path: Path) -> None:
    """Rows, events and new topics follow; the sealed sequence knows of one owner only."""
    die_in_the_middle(tmp_path)
    with connect(tmp_path) as client:
        with client.sequence_resume("run") as seq:
            topic = seq.get_topic_writer("t")
            assert topic.durable_rows == 100
            with pytest.raises(NameTaken):
                seq.topic_create("t", schema=SCHEMA)
            with pytest.raises(SequenceOwned), client.sequence_resume("run"):
                pass
            for n in range(100, 200):
                topic.push({"n": n}, timestamp_ns=n)
            seq.event("info", "mark", "after")
            seq.topic_create("u", schema=SCHEMA).push_row(5, 5)
            assert seq.ledger.written == 201
        with pytest.raises(SequenceSealed):
            client.sequence_resume("run")
        with pytest.raises(NotFound):
            client.sequence_resume("none")
    reader = open_bundle(tmp_path / "sequences" / "run")
    assert reader.outcome == "completed"
    assert reader.topic("t").to_arrow()["n"].to_pylist() == list(range(200))
    assert reader.topic("_events").to_arrow()["message"].to_pylist() == ["before", "after"]
    assert [row["cause"] for row in reader.topic("_gaps").to_arrow().to_pylist()] == ["pause"]
    assert verify(tmp_path / "sequences" / "run", deep=True) == []
