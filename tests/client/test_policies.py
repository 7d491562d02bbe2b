"""What happens when something goes wrong inside the block: sequence policies and topic policies."""

# ruff: noqa: PT012, SIM117 - the block of a recording is what raises here
from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import gapless
from gapless.errors import NotFound, ValueRefused, WriterClosed
from gapless.model.outcome import OnErrorPolicy, TopicErrorPolicy, TopicStatus

SCHEMA = pa.schema([("n", pa.int64()), ("x", pa.float64())])


def write(seq: gapless.SequenceWriter, rows: int = 5) -> gapless.TopicWriter:
    """Make a topic with some rows that are not flushed."""
    topic = seq.topic_create("t", schema=SCHEMA)
    for k in range(rows):
        topic.push_row(k, k, k / 2)
    return topic


def rows(client: gapless.Client, name: str = "s", topic: str = "t") -> list[int]:
    """Return the numbers that were recorded."""
    numbers: list[int] = client.sequence_handler(name).topic(topic).to_arrow()["n"].to_pylist()
    return numbers


def test_delete_moves_the_sequence_to_the_trash_and_leaves_a_tombstone(tmp_path: Path) -> None:
    """After an exception nothing is listed, the name is free, and the tombstone tells what it was."""
    with gapless.connect(tmp_path) as client:
        with pytest.raises(ZeroDivisionError):
            with client.sequence_create("s", metadata={"a": 1}) as seq:
                write(seq)
                _ = 1 / 0
        assert client.list_sequences() == []
        with pytest.raises(NotFound):
            client.sequence_handler("s")
        (stone,) = client._store.tombstones()
        assert (stone["name"], stone["metadata"], stone["rows"]) == ("s", {"a": 1}, {"t": 5})
        assert "ZeroDivisionError" in stone["error"]
        with client.sequence_create("s") as seq:
            write(seq, 3)
        assert rows(client) == [0, 1, 2]


def test_report_keeps_everything_as_pending_with_the_error_as_a_notification(tmp_path: Path) -> None:
    """Unflushed rows are kept; seal ends it as failed."""
    with gapless.connect(tmp_path) as client:
        with pytest.raises(ZeroDivisionError):
            with client.sequence_create("s", on_error=OnErrorPolicy.Report) as seq:
                write(seq)
                _ = 1 / 0
        handler = client.sequence_handler("s")
        assert (handler.state, rows(client)) == ("pending", [0, 1, 2, 3, 4])
        assert any("ZeroDivisionError" in n.message for n in handler.notifications())
        client.seal("s")
        handler = client.sequence_handler("s")
        assert (handler.state, handler.outcome, rows(client)) == ("sealed", "failed", [0, 1, 2, 3, 4])
        assert any("ZeroDivisionError" in n.message for n in handler.notifications())
        assert client.verify("s", deep=True) == []


def test_a_pending_sequence_can_be_discarded(tmp_path: Path) -> None:
    """Discarding frees the name and leaves a tombstone with the rows."""
    with gapless.connect(tmp_path) as client:
        with pytest.raises(KeyError):
            with client.sequence_create("s", on_error=OnErrorPolicy.Report) as seq:
                write(seq)
                raise KeyError("x")
        client.discard("s")
        assert client.list_sequences() == []
        (stone,) = client._store.tombstones()
        assert stone["rows"] == {"t": 5}
        assert "KeyError" in stone["error"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("on_error", list(OnErrorPolicy))
def test_a_stop_by_a_person_seals_as_aborted_under_every_policy(
    tmp_path: Path, stop: type[BaseException], on_error: OnErrorPolicy
) -> None:
    """Ctrl-C and SystemExit never delete: the sequence is sealed with all its rows."""
    with gapless.connect(tmp_path) as client:
        with pytest.raises(stop):
            with client.sequence_create("s", on_error=on_error) as seq:
                write(seq)
                raise stop
        handler = client.sequence_handler("s")
        assert (handler.state, handler.outcome, rows(client)) == ("sealed", "aborted", [0, 1, 2, 3, 4])


def test_raise_tells_the_field_and_harms_nothing(tmp_path: Path) -> None:
    """A refused push names sequence, topic, field and value; rows before and after it are recorded."""
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            topic = write(seq, 2)
            with pytest.raises(ValueRefused) as caught:
                topic.push_row(7, "text", 1.0)
            assert (caught.value.sequence, caught.value.topic, caught.value.field) == ("s", "t", "n")
            assert "text" in str(caught.value)
            topic.push_row(2, 2, 1.0)
        assert rows(client) == [0, 1, 2]
        assert client.sequence_handler("s").ledger["dropped"] == 0


@pytest.mark.parametrize(
    "bad",
    [
        (1, 1),
        (1, 1, 1.0, 2),
        (1, None, "x"),
        ("1", 1, 1.0),
        (1.5, 1, 1.0),
        (-(2**63), 1, 1.0),
        (2**63, 1, 1.0),
        (1, 2**63, 1.0),
        (1, 1.5, 1.0),
    ],
)
def test_a_row_that_does_not_fit_is_refused_at_that_call(tmp_path: Path, bad: tuple[object, ...]) -> None:
    """Wrong number, type or range: ValueRefused, and the next good row is taken."""
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            topic = write(seq, 1)
            with pytest.raises(ValueRefused):
                topic.push_row(*bad)  # type: ignore[arg-type] # what must be refused
            topic.push_row(1, 1, 1.0)
        assert rows(client) == [0, 1]


def test_ignore_counts_a_dropped_row_and_goes_on(tmp_path: Path) -> None:
    """The row becomes a drop with its cause in _gaps and a notification; the ledger balances."""
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            topic = seq.topic_create("t", schema=SCHEMA, on_error=TopicErrorPolicy.Ignore)
            topic.push_row(0, 0, 0.0)
            topic.push_row(1, "bad", 0.0)
            assert topic.status is TopicStatus.IGNORED_LAST_ERROR
            assert isinstance(topic.last_error, ValueRefused)
            topic.push_row(2, 2, 0.0)
        handler = client.sequence_handler("s")
        assert rows(client) == [0, 2]
        assert handler.ledger == {"produced": 3, "written": 2, "dropped": 1, "gapped": 0}
        (gap,) = handler.topic("_gaps").to_arrow().to_pylist()
        assert (gap["topic"], gap["first_seq"], gap["count"], gap["cause"]) == ("t", 1, 1, "ignore")
        assert (gap["timestamp_ns"], gap["end_ns"]) == (0, 2)
        assert [n.source for n in handler.notifications()] == ["t"]
        assert client.verify("s", deep=True) == []


def test_finalize_closes_the_topic_and_only_that_one(tmp_path: Path) -> None:
    """Later pushes raise WriterClosed; the sequence goes on with its other topics and seals completed."""
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            topic = seq.topic_create("t", schema=SCHEMA, on_error=TopicErrorPolicy.Finalize)
            topic.push_row(0, 0, 0.0)
            topic.push_row(1, "bad", 0.0)
            assert topic.status is TopicStatus.FINALIZED_WITH_ERROR
            with pytest.raises(WriterClosed):
                topic.push_row(2, 2, 0.0)
            seq.log("other", 1.0, timestamp_ns=3)
        assert rows(client) == [0]
        assert client.sequence_handler("s").outcome == "completed"


def test_quarantine_keeps_refused_rows_with_their_reason_and_pushes_them_again(tmp_path: Path) -> None:
    """A fix can be pushed; what the fix leaves alone stays; everything is in _quarantine for ever."""
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            topic = seq.topic_create("t", schema=SCHEMA, on_error=TopicErrorPolicy.Quarantine)
            topic.push_row(0, 0, 0.0)
            topic.push_row(1, "1", 0.0)
            topic.push_row(2, 2**70, 0.0)
            topic.push_row(3, "no", 0.0)
            kept = topic.quarantined()
            assert len(kept) == 3
            assert kept[0].values == ["1", 0.0]
            assert "n" in kept[0].reason
            accepted = topic.repush(
                lambda k: (k.timestamp_ns, int(k.values[0]), 0.0) if k.values[0] == "1" else None  # type: ignore[index]
            )
            assert accepted == 1
            assert len(topic.quarantined()) == 2
        handler = client.sequence_handler("s")
        assert rows(client) == [0, 1]
        assert handler.topic("_quarantine").rows == 3
        assert handler.ledger == {"produced": 5, "written": 2, "dropped": 3, "gapped": 0}


def test_a_block_is_refused_whole_under_every_way_to_push_it(tmp_path: Path) -> None:
    """push_columns and push_batch take all rows or none, and name the column at fault."""
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            topic = write(seq, 1)
            for columns in (
                {"n": np.arange(3), "x": np.array(["a", "b", "c"])},
                {"n": np.arange(2), "x": np.zeros(3)},
                {"n": np.arange(3), "y": np.zeros(3)},
                {"n": np.array([1, 2, 2**63], np.uint64), "x": np.zeros(3)},
                {"n": np.array([0.5, 1, 2]), "x": np.zeros(3)},
            ):
                with pytest.raises(ValueRefused) as caught:
                    topic.push_columns(np.arange(3), columns)
                assert caught.value.field in ("n", "x", "y")
            with pytest.raises(ValueRefused):
                topic.push_batch(pa.record_batch({"n": pa.array([1]), "x": pa.array(["a"])}))
            topic.push_columns(np.array([1]), {"n": np.array([1]), "x": np.array([0.0])})
        assert rows(client) == [0, 1]


@pytest.mark.parametrize("policy", [TopicErrorPolicy.Ignore, TopicErrorPolicy.Quarantine])
def test_a_refused_message_with_a_number_of_its_own_is_counted_once(
    tmp_path: Path, policy: TopicErrorPolicy
) -> None:
    """It is dropped, and its number is no hole; numbers that never came are."""
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("s") as seq:
            topic = seq.topic_create("t", schema=SCHEMA, producer_seq=True, on_error=policy)
            for k in [*range(10), *range(14, 20)]:
                topic.push_row(k, k, k, "bad" if k in (3, 4, 5, 9, 17) else k / 2)
                if k in (4, 15, 19):
                    seq.flush()
            live = topic.ledger
        handler = client.sequence_handler("s")
        gaps = handler.topic("_gaps").to_arrow().to_pylist()
        holes = [(g["first_seq"], g["count"]) for g in gaps if g["cause"] == "producer_seq"]
        assert (live.produced, live.written, live.dropped) == (16, 11, 5)
        assert handler.ledger == {"produced": 20, "written": 11, "dropped": 5, "gapped": 4}
        assert holes == [(9, 4)]
        assert client.verify("s", deep=True) == []
