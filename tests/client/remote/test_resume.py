"""A cut, a dead server, a network that hangs: what was accepted is there once, and the rest follows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.client.remote.write_server import (
    NUMBERS,
    PATIENCE_S,
    TEXTS,
    ServerProcess,
    assert_counted,
    stored,
    uplink_threads,
    wait_for,
)

import gapless
from gapless import OnErrorPolicy, TopicErrorPolicy
from gapless.errors import RecordingFailed
from gapless.testing.network import Link

ROWS = 30_000


def url_of(link: Link) -> str:
    """Return the address behind the bad network."""
    return f"grpc://127.0.0.1:{link.port}"


def test_cuts_in_the_middle_lose_and_double_nothing(link: Link, root: Path, tmp_path: Path) -> None:
    """Rows, gaps and files, with connections cut while they travel."""
    file = tmp_path / "file.bin"
    file.write_bytes(b"x" * 100_000)
    with gapless.connect(url_of(link), flush_ms=10) as client, client.sequence_create("cut") as seq:
        numbers = seq.topic_create("numbers", schema=NUMBERS)
        texts = seq.topic_create("texts", schema=TEXTS)
        for n in range(ROWS):
            numbers.push_row(n, 0.0, n)
            if n % 10 == 0:
                texts.push_row(n, str(n // 10))
            if n % 10_000 == 5_000:
                numbers.gap(1, f"cut {n}", durable=False)
                link.cut(refuse=False)
            if n % 10_000 == 5_100:
                seq.add_artifact(file, f"file {n}")
        seq.flush()
        assert numbers.accepted_rows == ROWS
    assert_counted(stored(root, "cut", "numbers"), ROWS)
    assert stored(root, "cut", "texts")["s"].to_pylist() == [str(n) for n in range(ROWS // 10)]
    with gapless.connect(root) as local:
        handler = local.sequence_handler("cut")
        assert handler.topic("numbers").ledger["gapped"] == 3
        assert len(handler.artifacts) == 3
        assert handler.outcome == "completed"
        assert local.verify("cut", deep=True) == []


def test_a_silent_network_is_found_and_left(link: Link, root: Path) -> None:
    """The connections stay open and nothing passes: no error tells of it."""
    with gapless.connect(url_of(link), flush_ms=10, deadline_s=60) as client:
        client._pool._silence_s = 1.0  # type: ignore[attr-defined] # half a minute is the default
        with client.sequence_create("held") as seq:
            topic = seq.topic_create("t", schema=NUMBERS)
            topic.push_row(0, 0.0, 0)
            seq.flush()
            sender = seq._writer._senders[16]  # type: ignore[attr-defined] # of the first topic
            link.hold()
            for n in range(1, 1_000):
                topic.push_row(n, 0.0, n)
            wait_for(lambda: sender._trouble_since is not None, "the client left the silent connection")
            link.mend()
            seq.flush()
    assert_counted(stored(root, "held", "t"), 1_000)


def test_a_slow_and_distant_server_gets_everything(link: Link, root: Path) -> None:
    """10 Mbit/s and 200 ms there and back."""
    link.delay_s, link.bytes_per_s = 0.1, 1_250_000
    with gapless.connect(url_of(link)) as client, client.sequence_create("far") as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        for n in range(100_000):
            topic.push_row(n, 0.0, n)
    assert_counted(stored(root, "far", "t"), 100_000)


def test_a_killed_server_is_met_again(root: Path) -> None:
    """What it had not made durable is sent again, what it had is not."""
    with (
        ServerProcess(root) as child,
        gapless.connect(child.url, flush_ms=10, deadline_s=60) as client,
        client.sequence_create("killed") as seq,
    ):
        numbers = seq.topic_create("numbers", schema=NUMBERS)
        texts = seq.topic_create("texts", schema=TEXTS, on_error=TopicErrorPolicy.Ignore)
        for n in range(ROWS):
            numbers.push_row(n, 0.0, n)
            if n % 100 == 0:
                texts.push_row(n, str(n // 100))
            if n % 10_000 == 5_000:
                numbers.gap(1, "killed", durable=False)
                accepted = numbers.accepted_rows
                child.kill()
                child.start()
            if n % 10_000 == 5_001:
                texts.push_row(n, n)  # refused, and counted in its place
                assert numbers.accepted_rows >= accepted
        seq.flush()
    assert_counted(stored(root, "killed", "numbers"), ROWS)
    assert stored(root, "killed", "texts")["s"].to_pylist() == [str(n) for n in range(ROWS // 100)]
    with gapless.connect(root) as local:
        handler = local.sequence_handler("killed")
        assert handler.topic("numbers").ledger["gapped"] == 3
        assert handler.topic("texts").ledger["dropped"] == 3
        assert len(handler.notifications()) == 3
        assert handler.outcome == "completed"
        assert local.verify("killed", deep=True) == []


def test_a_server_killed_before_the_end_seals_when_it_is_back(root: Path) -> None:
    """A server that is killed just before it is asked for the end seals when it is back."""
    with ServerProcess(root) as child, gapless.connect(child.url, deadline_s=60) as client:
        with client.sequence_create("ended") as seq:
            topic = seq.topic_create("t", schema=NUMBERS)
            topic.push_row(0, 0.0, 0)
            seq.flush()
            child.kill()
            child.start()
        assert client.sequence_handler("ended").content_digest == seq.content_digest


def test_a_server_that_stays_away_ends_the_recording_and_keeps_the_users_exception(root: Path) -> None:
    """The policy cannot be carried out; a note on the exception says so."""

    def record() -> None:
        with client.sequence_create("alone", on_error=OnErrorPolicy.Report) as seq:
            topic = seq.topic_create("t", schema=NUMBERS)
            topic.push_row(0, 0.0, 0)
            seq.flush()
            child.kill()
            topic.push_row(1, 0.0, 1)
            with pytest.raises(RecordingFailed):
                seq.flush(PATIENCE_S)
            with pytest.raises(RecordingFailed):
                topic.push_row(2, 0.0, 2)
            raise ZeroDivisionError("the user's own")

    with ServerProcess(root) as child, gapless.connect(child.url, deadline_s=2, flush_ms=10) as client:
        with pytest.raises(ZeroDivisionError) as raised:
            record()
        assert any("as its policy says" in note for note in raised.value.__notes__)
        assert uplink_threads() == []
    with gapless.connect(root) as local:
        local.recover("alone")
        assert local.sequence_handler("alone").outcome == "interrupted"
    assert_counted(stored(root, "alone", "t"), 1)


def test_an_idle_recording_outlives_its_servers_absence(root: Path) -> None:
    """Nothing waits to be accepted, so no deadline runs."""
    with (
        ServerProcess(root) as child,
        gapless.connect(child.url, deadline_s=1, flush_ms=10) as client,
        client.sequence_create("idle") as seq,
    ):
        topic = seq.topic_create("t", schema=NUMBERS)
        topic.push_row(0, 0.0, 0)
        seq.flush(PATIENCE_S)
        sender = seq._writer._senders[16]  # type: ignore[attr-defined] # of the first topic
        child.kill()
        wait_for(lambda: sender._pause_s >= 0.8, "a few attempts to reach it")
        assert seq._writer.failure is None
        child.start()
        wait_for(lambda: sender._way is not None, "it was reached again")
        topic.push_row(1, 0.0, 1)
        seq.flush(PATIENCE_S)
    assert_counted(stored(root, "idle", "t"), 2)
