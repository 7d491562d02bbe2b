"""The thread that seals in the background ends with an error behind the end of a recording: nothing durable is lost."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.crash.small_bundle import SMALL

import gapless
from gapless.errors import StorageFailed
from gapless.model.outcome import OnErrorPolicy
from gapless.store import sealer as sealing
from gapless.store.sealer import Sealer
from gapless.store.writer import BundleWriter

ROWS = 6_000
NUMBERS = pa.schema([("x", pa.float64())])
PLACES = [(Sealer, "read_segment"), (Sealer, "publish"), (sealing, "carry")]


@pytest.fixture
def backlog(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Small segments that nobody seals until the recording is closed; the event says that it is."""
    defaults: dict[str, Any] = vars(BundleWriter)["__init__"].__kwdefaults__
    monkeypatch.setitem(defaults, "segment_bytes", 16 << 10)
    monkeypatch.setitem(defaults, "cuts", SMALL)
    closed = threading.Event()
    close, read = BundleWriter.close, Sealer.read_segment

    def close_and_tell(writer: BundleWriter, *words: Any) -> None:
        close(writer, *words)
        closed.set()

    def read_late(sealer: Sealer, path: Path) -> Any:
        assert closed.wait(60)
        return read(sealer, path)

    monkeypatch.setattr(BundleWriter, "close", close_and_tell)
    monkeypatch.setattr(Sealer, "read_segment", read_late)
    return closed


def fail_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, closed: threading.Event) -> list[str]:
    """Let the sealer's thread meet a full disk at its first call there; return where it did."""
    whole: Callable[..., Any] = getattr(owner, name)
    met: list[str] = []

    def fail(*arguments: Any) -> Any:
        thread = threading.current_thread().name
        if thread.startswith("gapless-sealer") and not met:
            assert closed.wait(60)
            met.append(thread)
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(*arguments)

    monkeypatch.setattr(owner, name, fail)
    return met


def record(client: gapless.Client) -> None:
    """Record a fast topic and one that holds its segments back."""
    with client.sequence_create("s", on_error=OnErrorPolicy.Report) as seq:
        fast, slow = (seq.topic_create(name, schema=NUMBERS) for name in ("fast", "slow"))
        for k in range(ROWS):
            fast.push_row(k, float(k))
            if k % 200 == 0:
                slow.push_row(k, float(k))
                seq.flush()


def values(client: gapless.Client, topic: str) -> list[float]:
    """Return what was recorded."""
    found: list[float] = client.sequence_handler("s").topic(topic).to_arrow()["x"].to_pylist()
    return found


@pytest.mark.parametrize(("owner", "name"), PLACES, ids=[name for _, name in PLACES])
def test_an_error_in_the_background_behind_the_end_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backlog: threading.Event, owner: Any, name: str
) -> None:
    """The seal reads the journal again: every row is there, once, and nothing is a gap."""
    met = fail_once(monkeypatch, owner, name, backlog)
    with gapless.connect(tmp_path) as client:
        record(client)
        assert len(met) == 1
        handler = client.sequence_handler("s")
        assert (handler.state, handler.outcome) == ("sealed", "completed")
        assert values(client, "fast") == [float(k) for k in range(ROWS)]
        assert values(client, "slow") == [float(k) for k in range(0, ROWS, 200)]
        assert handler.ledger["gapped"] == 0
        assert client.verify("s", deep=True) == []


def test_a_disk_that_stays_full_keeps_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backlog: threading.Event
) -> None:
    """The end of the block says so, and a recovery finds every row."""
    whole = Sealer.publish

    def refuse(_sealer: Sealer) -> None:
        assert backlog.wait(60)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Sealer, "publish", refuse)
    with gapless.connect(tmp_path) as client:
        with pytest.raises(StorageFailed, match="in the journal"):
            record(client)
        monkeypatch.setattr(Sealer, "publish", whole)
        client.recover("s")
        assert client.sequence_handler("s").outcome == "completed"
        assert values(client, "fast") == [float(k) for k in range(ROWS)]
