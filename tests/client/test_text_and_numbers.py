"""Numbers and words of the callers that JSON, UTF-8 or a column cannot hold as they are: no recording ends for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import gapless
from gapless import TopicErrorPolicy
from gapless.errors import MetadataRefused
from gapless.model.outcome import Outcome
from gapless.store.frame import Kind

NUMBERS = pa.schema([("x", pa.float64())])
NO_UTF8 = "cannot open 'caf\udce9.csv'"
SPELLED = "cannot open 'caf\\udce9.csv'"


@pytest.fixture
def client(tmp_path: Path) -> gapless.Client:
    """A client of an empty store."""
    return gapless.connect(tmp_path)


def test_the_numbers_of_a_gap_may_come_from_an_array(client: gapless.Client) -> None:
    """They are stored as whole numbers, and the recording goes on."""
    times = np.arange(1_000, dtype=np.int64)
    with client.sequence_create("s") as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        topic.push_columns(times, {"x": np.ones(1_000)})
        topic.gap(np.int64(3), "overrun", start_ns=times[-1], end_ns=np.uint32(2_000))  # type: ignore[arg-type]
        topic.gap(None, "pause", start_ns=times[-1], durable=False)
        topic.push_row(2_000, 1.0)
        assert topic.ledger.gapped == 3
        assert type(topic.ledger.gapped) is int
    gaps = client.sequence_handler("s").topic("_gaps").to_arrow().to_pylist()
    assert [(g["timestamp_ns"], g["count"], g["end_ns"]) for g in gaps] == [
        (999, 3, 2_000),
        (999, None, None),
    ]
    assert client.sequence_handler("s").ledger["written"] == 1_001


@pytest.mark.parametrize("wait", [True, False])
def test_a_note_that_json_cannot_hold_is_refused_to_its_caller_alone(
    client: gapless.Client, wait: bool
) -> None:
    """The writer's thread never meets it."""
    with client.sequence_create("s") as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        topic.push_row(1, 1.0)
        with pytest.raises(MetadataRefused):
            seq._writer.note(Kind.GAP, {"topic": "t", "count": {1, 2}}, wait=wait)
        topic.push_row(2, 1.0)
    assert client.sequence_handler("s").topic("t").rows == 2


def test_a_cause_with_half_characters_is_spelled_out(client: gapless.Client) -> None:
    """As Python gives names of files that are no UTF-8."""
    with client.sequence_create("s") as seq:
        seq.log("v", 1.0)
        seq.end(Outcome.FAILED, cause=NO_UTF8)
    handler = client.sequence_handler("s")
    assert (handler.state, handler.outcome) == ("sealed", "failed")
    assert json.loads((handler.path / "manifest.json").read_bytes())["record"]["cause"] == SPELLED


def test_a_reason_with_half_characters_is_spelled_out(client: gapless.Client) -> None:
    """The sequence is in the trash, with its reason."""
    with client.sequence_create("s") as seq:
        seq.log("v", 1.0)
        seq.discard(NO_UTF8)
    assert client.list_sequences() == []
    assert [stone["reason"] for stone in client.list_discarded()] == [SPELLED]


@pytest.mark.parametrize("stamp", [2**70, -(2**63), 2**63])
def test_a_stamp_that_is_too_large_is_put_into_quarantine(client: gapless.Client, stamp: int) -> None:
    """The push does not raise, and what was pushed is kept as text or number."""
    with client.sequence_create("s") as seq:
        topic = seq.topic_create("t", schema=NUMBERS, on_error=TopicErrorPolicy.Quarantine)
        topic.push_row(1, 1.0)
        topic.push_row(stamp, 2.0)
        [kept] = topic.quarantined()
        assert kept.timestamp_ns is None
        assert str(stamp) in str(kept.values)
        topic.push_row(3, 3.0)
    handler = client.sequence_handler("s")
    assert handler.topic("t").rows == 2
    assert handler.topic("_quarantine").rows == 1


def test_a_catalog_that_cannot_grow_does_not_fail_the_end_of_a_recording(client: gapless.Client) -> None:
    """The sequence is sealed; why the catalog does not know it is kept, and told in words when it is asked."""
    with client.sequence_create("first") as seq:
        seq.log("v", 1.0)
    [(pages,)] = client.catalog.database.rows("PRAGMA page_count")
    client.catalog.database.rows(f"PRAGMA max_page_count={pages}")
    for number in range(60):
        with client.sequence_create(f"s{number}", metadata={"k": "v" * 500}) as seq:
            seq.log("v", 1.0)
        assert client.sequence_handler(f"s{number}").state == "sealed"
    assert isinstance(client.catalog_error, gapless.errors.StorageFailed)
    assert "full" in str(client.catalog_error)
