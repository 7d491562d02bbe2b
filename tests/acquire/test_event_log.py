"""Events that do not get into a sequence: kept, each with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

import gapless
from gapless.acquire.event_log import EventLog
from gapless.errors import WriterClosed

DEADLINE_S = 60.0


def test_an_event_after_the_end_is_kept_and_accuses_no_disk(tmp_path: Path) -> None:
    """What came in time is in the sequence; what came later is told as late, with its words."""
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("x") as sequence:
            log = EventLog(sequence, lambda: 1_000)
            assert log.record("info", "note", "in time").result(DEADLINE_S) is None
            log.close(DEADLINE_S)
            late = log.record("warning", "emergency_stop", "smoke", source="ada")
            with pytest.raises(WriterClosed):
                late.result(0)
        assert client.sequence_handler("x").reader.topic("_events").to_arrow()["message"].to_pylist() == [
            "in time"
        ]
    [kept] = [unwritten.to_json() for unwritten in log.unwritten]
    assert (kept["kind"], kept["message"], kept["source"]) == ("emergency_stop", "smoke", "ada")
    assert kept["why"] == "it came when the run was over"
