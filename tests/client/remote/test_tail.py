"""Following an open sequence over the network, and what a server tells of what still changes."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.client.remote.parity_store import served

import gapless
from gapless import OnErrorPolicy, SequenceWriter
from gapless.client.client import Client
from gapless.client.remote.remote_client import RemoteClient
from gapless.errors import NotFound, ServingFailed, Unreachable
from gapless.serve.connections import close_connections
from gapless.serve.server import Server

Both = tuple[Client, RemoteClient]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Server, RemoteClient]]:
    """Return a server of an empty store and a client of it."""
    with served(tmp_path) as both:
        yield both


@pytest.fixture
def both(tmp_path: Path, server: tuple[Server, RemoteClient]) -> Iterator[Both]:
    """Return a client of the folder and the one of its server."""
    with gapless.connect(tmp_path, flush_ms=20) as local:
        yield local, server[1]


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait, generously, until something holds."""
    until_s = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def log(seq: SequenceWriter, *values: float) -> None:
    """Record values, durably."""
    for value in values:
        seq.log("x", value, timestamp_ns=int(value))
    seq.flush()


def values(batches: Iterator[object], count: int) -> list[float]:
    """Return the next values of a tail."""
    rows = (value for batch in batches for value in batch.column("value").to_pylist())  # type: ignore[attr-defined]
    return list(itertools.islice(rows, count))


def test_rows_come_as_they_become_durable(both: Both) -> None:
    """Those after the call, each once, from the journal and from parts, until the sequence is sealed."""
    local, remote = both
    with local.sequence_create("live") as seq:
        log(seq, 1, 2)
        topic = remote.sequence_handler("live").topic("x")
        tail, whole = topic.tail(), topic.tail(from_start=True)
        log(seq, 3, 4)
        assert values(tail, 2) == [3, 4]
        log(seq, 5)
    assert values(tail, 9) == [5]
    assert values(whole, 9) == [1, 2, 3, 4, 5]


def test_a_tail_ends_after_its_timeout(both: Both) -> None:
    """Without a row for that long; signs of life of the server are no rows."""
    local, remote = both
    with local.sequence_create("live") as seq:
        log(seq, 1)
        assert list(remote.sequence_handler("live").topic("x").tail(timeout_s=1.5)) == []


def test_a_tail_that_nobody_reads_ends_on_the_server(server: tuple[Server, RemoteClient], both: Both) -> None:
    """Closing the iterator lets the server's thread go, though no row comes."""
    local, remote = both
    with local.sequence_create("live") as seq:
        log(seq, 1)
        calls = server[0].traffic.calls
        tail = remote.sequence_handler("live").topic("x").tail(from_start=True)
        assert values(tail, 1) == [1]
        assert server[0].traffic.calls == calls + 1
        tail.close()  # type: ignore[attr-defined]
        wait_for(lambda: server[0].traffic.calls == calls)


def test_a_cut_is_no_end(server: tuple[Server, RemoteClient], both: Both) -> None:
    """A reader whose connection is cut gets Unreachable, and can go on with a new call."""
    local, remote = both
    with local.sequence_create("live") as seq:
        log(seq, 1)
        topic = remote.sequence_handler("live").topic("x")
        tail = topic.tail(from_start=True)
        assert values(tail, 1) == [1]
        close_connections(server[0].port)
        with pytest.raises(Unreachable):
            next(tail)
        again = topic.tail()
        log(seq, 2)
        assert values(again, 1) == [2]


def test_a_server_that_goes_down_says_so(server: tuple[Server, RemoteClient], both: Both) -> None:
    """A tail is ended by the server with an error, never as if the recording had ended."""
    local, remote = both
    with local.sequence_create("live") as seq:
        log(seq, 1)
        tail = remote.sequence_handler("live").topic("x").tail(from_start=True)
        assert values(tail, 1) == [1]
        stopping = threading.Thread(target=server[0].stop)
        stopping.start()
        with pytest.raises(ServingFailed):
            next(tail)
        stopping.join()


def test_what_is_open_is_told_as_it_is_now(both: Both) -> None:
    """Rows, times, ledger and state follow the recording without a reload; a seal is seen after one."""
    local, _ = both
    with local.sequence_create("live", {"k": 1}, group="g") as seq:
        log(seq, 5)
        seen = [client.sequence_handler("live") for client in both]
        for rows in (1, 3):
            found = [
                (
                    h.state,
                    h.owner_alive,
                    h.outcome,
                    h.topic("x").rows,
                    h.topic("x").ledger,
                    h.start_ns,
                    h.end_ns,
                )
                for h in seen
            ]
            assert found[0] == found[1]
            assert found[0][3] == rows
            log(seq, 6, 7)
        with pytest.raises(NotFound):
            seen[1].topic("y")
        seq.log("y", 1.0)
        seq.flush()
        seen[1].reload()
        assert seen[1].topics == ["x", "y"]
    assert seen[1].topic("x").rows == 5
    seen[1].reload()
    assert (seen[1].state, seen[1].outcome, seen[1].owner_alive) == ("sealed", "completed", False)


def test_layers_that_are_not_sealed_are_named(both: Both) -> None:
    """Open and pending layers are listed by state and not read."""
    local, remote = both
    with local.sequence_create("base") as seq:
        log(seq, 1)
    handler = remote.sequence_handler("base")
    with local.sequence_update("base", "late") as layer:
        layer.log("x", 2.0)
        assert handler.unsealed_layers == {"late": "open"}
        assert handler.layers == []
    handler.reload()
    assert (handler.unsealed_layers, handler.layers) == ({}, ["late"])
    assert remote.sequence_handler("base", layers=[]).topic("x").rows == 1


def test_a_pending_sequence_is_sealed_or_discarded_from_afar(both: Both) -> None:
    """seal keeps it as failed, discard moves it to the trash and leaves a tombstone."""
    local, remote = both
    for name in ("one", "two"):
        with suppress(RuntimeError), local.sequence_create(name, on_error=OnErrorPolicy.Report) as seq:
            log(seq, 1)
            raise RuntimeError("the pump stopped")
    assert [remote.sequence_handler(name).state for name in ("one", "two")] == ["pending", "pending"]
    manifest = remote.seal("one")
    assert manifest == local.sequence_handler("one").reader.manifest
    remote.discard("two")
    assert (remote.list_sequences(), remote.was_discarded("two")) == (["one"], True)
    assert [stone["name"] for stone in remote.list_discarded()] == ["two"]


def test_a_tail_that_is_dropped_unread_ends_on_the_server(
    server: tuple[Server, RemoteClient], both: Both
) -> None:
    """Nobody has to close an iterator that was never begun."""
    local, remote = both
    with local.sequence_create("live") as seq:
        log(seq, 1)
        calls = server[0].traffic.calls
        tail = remote.sequence_handler("live").topic("x").tail()
        assert server[0].traffic.calls == calls + 1
        del tail
        wait_for(lambda: server[0].traffic.calls == calls)


def test_what_is_written_from_afar_is_followed_from_afar(tmp_path: Path) -> None:
    """Writer, tail, query and reader are all clients of one server."""
    with (
        Server(tmp_path, "127.0.0.1", 0) as running,
        gapless.connect(running.url, flush_ms=20) as writer,
        gapless.connect(running.url) as reader,
    ):
        with writer.sequence_create("live", group="g") as seq:
            log(seq, 1)
            handler = reader.sequence_handler("live")
            assert (handler.state, handler.owner_alive, handler.group) == ("open", True, "g")
            tail = handler.topic("x").tail(from_start=True)
            assert values(tail, 1) == [1]
            log(seq, 2)
            assert values(tail, 1) == [2]
            assert reader.query(gapless.Field("x", "value").gt(1.5)).names == ["live"]
        assert values(tail, 9) == []
        handler.reload()
        assert (handler.outcome, handler.topic("x").rows, reader.verify("live", deep=True)) == (
            "completed",
            2,
            [],
        )
