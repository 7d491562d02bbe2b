"""What a topic does when its server accepts nothing and the bound of its queue is reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.client.remote.write_server import NUMBERS, PATIENCE_S, assert_counted, stored, wait_for

import gapless
from gapless.client.remote.lane_parcel import Parcel
from gapless.client.sequence_writer import SequenceWriter
from gapless.client.topic_writer import TopicWriter
from gapless.errors import DeadlinePassed, RecordingFailed
from gapless.serve.server import Server
from gapless.testing.network import Link

BLOCK = 1_000
BOUND_BYTES = 400_000
BYTES = pa.schema([pa.field("data", pa.large_binary())])


def push_block(topic: TopicWriter, index: int) -> None:
    """Push the block of this number."""
    n = np.arange(index * BLOCK, (index + 1) * BLOCK)
    topic.push_columns(n, {"x": np.zeros(BLOCK), "n": n})


@contextmanager
def recording(
    port: int, deadline_s: float = PATIENCE_S, bound_bytes: int = BOUND_BYTES
) -> Iterator[SequenceWriter]:
    """Record the sequence ``bound`` with little room."""
    url = f"grpc://127.0.0.1:{port}"
    with (
        gapless.connect(url, max_unsynced_bytes=bound_bytes, flush_ms=10, deadline_s=deadline_s) as client,
        client.sequence_create("bound") as seq,
    ):
        yield seq


def push_blocks(topic: TopicWriter, pushed: list[int]) -> None:
    """Push the blocks that follow, until one is refused."""
    while True:
        push_block(topic, len(pushed))
        pushed.append(len(pushed))


def test_drop_oldest_gives_up_what_waits_longest_and_counts_it(link: Link, root: Path) -> None:
    """The producer never waits, and what is missing is in the ledger."""
    with recording(link.port) as seq:
        topic = seq.topic_create("t", schema=NUMBERS, on_full="drop_oldest")
        push_block(topic, 0)
        seq.flush()
        link.cut()
        for index in range(1, 100):
            push_block(topic, index)
        link.mend()
        seq.flush()
        ledger = topic.ledger
    assert ledger.produced == 100 * BLOCK
    assert ledger.dropped > 0
    assert ledger.dropped % BLOCK == 0
    table = stored(root, "bound", "t")
    assert table.num_rows == ledger.written
    kept = table["n"].to_numpy()
    assert kept[0] == 0
    assert kept[-1] == 100 * BLOCK - 1
    assert (np.diff(kept) > 0).all()
    with gapless.connect(root) as local:
        assert local.sequence_handler("bound").topic("t").ledger == ledger.to_json()
        assert local.verify("bound", deep=True) == []


def test_fail_says_so_and_the_same_row_may_be_pushed_later(link: Link, root: Path) -> None:
    """The refusal takes nothing, and the recording goes on."""
    pushed = [0]
    with recording(link.port) as seq:
        topic = seq.topic_create("t", schema=NUMBERS, on_full="fail")
        push_block(topic, 0)
        seq.flush()
        link.cut()
        with pytest.raises(RecordingFailed, match="the server does not keep up"):
            push_blocks(topic, pushed)
        link.mend()
        seq.flush()
        push_block(topic, len(pushed))
    assert_counted(stored(root, "bound", "t"), (len(pushed) + 1) * BLOCK)


def test_block_waits_for_the_deadline_and_names_the_server(link: Link) -> None:
    """A producer does not wait for ever."""

    def record() -> None:
        with recording(link.port, deadline_s=1.5) as seq:
            topic = seq.topic_create("t", schema=NUMBERS)
            push_block(topic, 0)
            seq.flush(PATIENCE_S)
            link.cut()
            push_blocks(topic, [0])

    with pytest.raises(DeadlinePassed, match="server"):
        record()


def test_what_was_accepted_before_an_absence_is_not_discarded(link: Link, root: Path) -> None:
    """Also where the server is back by the time that the policy is carried out."""

    def record() -> None:
        with recording(link.port, deadline_s=1.5) as seq:
            topic = seq.topic_create("t", schema=NUMBERS)
            push_block(topic, 0)
            seq.flush(PATIENCE_S)
            link.cut()
            push_block(topic, 1)
            try:
                seq.flush(PATIENCE_S)
            finally:
                link.mend()

    with pytest.raises(DeadlinePassed, match="could not be reached") as raised:
        record()
    assert raised.value.__notes__ == ["what the server had accepted of 'bound' is left there, open"]
    with gapless.connect(root) as local:
        assert local.list_discarded() == []
        assert local.sequence_handler("bound").state == "open"


def test_a_topic_that_waits_holds_up_no_other(served: Server, root: Path) -> None:
    """Each topic has its own queue: one whose way is blocked is full, and the other goes on."""
    with recording(served.port, bound_bytes=1 << 20) as seq:
        slow = seq.topic_create("slow", schema=BYTES, on_full="fail")
        fast = seq.topic_create("fast", schema=NUMBERS)
        slow.push_row(0, b"first")
        fast.push_row(0, 0.0, 0)
        seq.flush()
        way = seq._writer._senders[16]._way  # type: ignore[attr-defined] # of the slow topic
        send, held = way.send, [True]

        def hold(parcel: Parcel) -> None:
            wait_for(lambda: not held, "the way was opened again")
            send(parcel)

        way.send = hold
        with pytest.raises(RecordingFailed):
            push_large(slow)
        for n in range(1, 50_000):
            fast.push_row(n, 0.0, n)
        fast.flush()
        seq.event("info", "note", "an event is accepted meanwhile")
        assert fast.accepted_rows == 50_000
        assert slow.accepted_rows == 1
        held.clear()
        seq.flush()
    assert_counted(stored(root, "bound", "fast"), 50_000)


def push_large(topic: TopicWriter) -> None:
    """Push large rows until one is refused."""
    while True:
        topic.push_row(1, b"x" * 100_000)
