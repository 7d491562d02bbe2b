"""Spooled rows whose sequence was ended on the server before they came: every one of them has a way there."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.client.remote.write_server import NUMBERS, assert_counted, server, spooling, stored

import gapless
from gapless.cli.main import main
from gapless.client.remote import protocol
from gapless.client.remote.connection import Connection
from gapless.client.remote.spool import SpoolStore
from gapless.errors import DeliveryFailed, NotFound, Unreachable
from gapless.serve.server import Server
from gapless.testing.network import Link

ROWS = 10
HALF = ROWS // 2


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Where the spool is."""
    return tmp_path / "spool"


def push(seq: gapless.SequenceWriter, link: Link, spooled: int = HALF) -> None:
    """Push rows, a gap each and a file: half of the rows to the server, the rest into the spool."""
    topic, other = (seq.topic_create(name, schema=NUMBERS) for name in ("t", "before"))
    for n in range(HALF):
        topic.push_row(n, 0.0, n)
    other.push_row(0, 0.0, 0)
    topic.gap(1, "there")
    seq.flush()
    link.cut()
    for n in range(HALF, HALF + spooled):
        topic.push_row(n, 0.0, n)
    if spooled:
        topic.gap(2, "here")
    seq.flush()


def record(root: Path, spool: Path, name: str = "early", **words: Any) -> None:
    """Record a sequence of which the server has one half, and the spool the other."""
    with server(root) as running, Link(("127.0.0.1", running.port)) as link:
        url = f"grpc://127.0.0.1:{link.port}"
        with spooling(url, spool, flush_ms=10) as client, client.sequence_create(name, {"k": 1}) as seq:
            push(seq, link, **words)


def deliver(spool: Path, running: Server, *words: str) -> int:
    """Call `gapless deliver` and return its exit code."""
    return main(["deliver", "--spool", str(spool), "--to", running.url, *words])


def waiting(spool: Path) -> list[str]:
    """Return what is in the spool."""
    return SpoolStore(spool).names()


@contextmanager
def without(monkeypatch: pytest.MonkeyPatch, kind: str) -> Iterator[None]:
    """Let no request of this kind reach the server."""
    action = Connection.action

    def broken(connection: Connection, asked: str, *words: Any, **known: Any) -> dict[str, Any]:
        if asked == kind:
            raise Unreachable("it does not arrive")
        return action(connection, asked, *words, **known)

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "action", broken)
        yield


def recover(root: Path, name: str = "early") -> None:
    """Seal what is open, as a person or the server's retention does."""
    with gapless.connect(root) as local:
        local.recover(name)


def test_the_rest_of_a_sealed_sequence_becomes_a_layer_of_it(
    root: Path, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each row once, read as one; how it ended and what it lacks is in the layer."""
    record(root, spool)
    recover(root)
    with server(root) as running:
        assert deliver(spool, running) == 0
    assert "spooled (recorded as early), a layer of early: completed" in capsys.readouterr().out
    assert waiting(spool) == []
    assert_counted(stored(root, "early", "t"), ROWS)
    assert_counted(stored(root, "early", "t", layers=[]), HALF)
    with gapless.connect(root) as local:
        handler = local.sequence_handler("early")
        assert handler.layers == ["spooled"]
        assert handler.topic("t").ledger == {"produced": ROWS + 3, "written": ROWS, "dropped": 0, "gapped": 3}
        assert handler.topic("before").ledger["written"] == 1
        assert local.verify("early", deep=True) == []


def test_a_layer_that_was_begun_is_gone_on_with(
    root: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery that is cut before its end makes no second layer; one that was sealed meanwhile gets one."""
    record(root, spool)
    recover(root)
    with server(root) as running:
        with without(monkeypatch, protocol.END):
            assert deliver(spool, running) == Unreachable.exit_code
        assert deliver(spool, running) == 0
    with gapless.connect(root) as local:
        assert local.sequence_handler("early").layers == ["spooled"]
    record(root, spool, "again")
    recover(root, "again")
    with server(root) as running, without(monkeypatch, protocol.END):
        assert deliver(spool, running) == Unreachable.exit_code
    recover(root, "again")
    with server(root) as running:
        assert deliver(spool, running) == 0
    for name in ("early", "again"):
        assert_counted(stored(root, name, "t"), ROWS)
    with gapless.connect(root) as local:
        assert local.sequence_handler("again").layers == ["spooled", "spooled"]
        assert local.verify("again", deep=True) == []


def test_an_end_that_came_too_late_is_kept_as_a_layer(root: Path, spool: Path) -> None:
    """The server had every row and was told nothing of the end: it is not left to wait for ever."""
    record(root, spool, spooled=0)
    recover(root)
    with server(root) as running:
        assert deliver(spool, running) == 0
    assert waiting(spool) == []
    assert_counted(stored(root, "early", "t"), HALF)
    with gapless.connect(root) as local:
        handler = local.sequence_handler("early")
        assert (handler.outcome, handler.layers) == ("interrupted", ["spooled"])


def test_the_rest_of_a_discarded_sequence_becomes_one_of_its_own(
    root: Path, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the refusal says; what was discarded is told in it."""
    record(root, spool)
    recover(root)
    with server(root) as running:
        with gapless.connect(running.url) as client:
            client.discard("early")
        assert deliver(spool, running) == DeliveryFailed.exit_code
        command = shlex.split(capsys.readouterr().err.split("`")[1])
        assert command[-2:] == ["--rename", "early=NEW"]
        assert waiting(spool) == ["early"]
        assert main(command[1:]) == 0
    assert waiting(spool) == []
    assert stored(root, "NEW", "t")["n"].to_pylist() == list(range(HALF, ROWS))
    with gapless.connect(root) as local:
        handler = local.sequence_handler("NEW")
        assert handler.topic("t").ledger["dropped"] == HALF
        assert (handler.outcome, handler.metadata) == ("completed", {"k": 1})
        assert local.verify("NEW", deep=True) == []


def test_a_new_name_is_gone_on_with(root: Path, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut before its end: the next delivery needs no word, and begins no other sequence."""
    record(root, spool)
    with server(root) as running:
        with gapless.connect(running.url) as client:
            recover(root)
            client.discard("early")
        with without(monkeypatch, protocol.END):
            assert deliver(spool, running, "--rename", "early=new") == Unreachable.exit_code
        assert deliver(spool, running) == 0
    assert stored(root, "new", "t")["n"].to_pylist() == list(range(HALF, ROWS))
    with gapless.connect(root) as local:
        assert local.list_sequences() == ["new"]


def test_a_layer_whose_sequence_is_gone_becomes_one_of_its_own(
    root: Path, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under the name that is said."""
    with server(root) as running, Link(("127.0.0.1", running.port)) as link:
        url = f"grpc://127.0.0.1:{link.port}"
        with gapless.connect(running.url) as other, other.sequence_create("base") as seq:
            seq.topic_create("x", schema=NUMBERS).push_row(0, 0.0, 0)
        with spooling(url, spool) as client, client.sequence_update("base", "late") as seq:
            push(seq, link)
    with gapless.connect(root) as local:
        local.recover("base")
        local.discard("base")
    with server(root) as running:
        assert deliver(spool, running) == NotFound.exit_code
        assert "--rename base+late=NEW" in capsys.readouterr().err
        assert deliver(spool, running, "--rename", "base+late=own") == 0
    assert stored(root, "own", "t")["n"].to_pylist() == list(range(HALF, ROWS))
