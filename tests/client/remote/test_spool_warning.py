"""A program that ends while sequences wait in its spool is told, once."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from tests.client.remote.write_server import NUMBERS, server, wait_for

import gapless
from gapless import SpoolWarning
from gapless.client.remote.remote_client import RemoteClient
from gapless.client.remote.spool import SpoolStore
from gapless.errors import IntegrityError
from gapless.store.folder import FolderStore

AWAY = "grpc://127.0.0.1:9"


def record(client: gapless.Client, name: str) -> None:
    """Record one row."""
    with client.sequence_create(name) as seq:
        seq.topic_create("t", schema=NUMBERS).push_row(0, 0.0, 0)


def told(caught: list[warnings.WarningMessage]) -> list[str]:
    """Return the texts of what was said of spools."""
    return [str(one.message) for one in caught if one.category is SpoolWarning]


def test_a_client_that_is_closed_tells_what_waits(tmp_path: Path) -> None:
    """How many, where, and what delivers them; closing it again says nothing more."""
    client = gapless.connect(AWAY, spool=tmp_path)
    record(client, "one")
    record(client, "two")
    with pytest.warns(SpoolWarning) as caught:
        client.close()
    client.close()
    (text,) = told(list(caught))
    assert text.startswith(f"2 sequences (one, two) not on the server {AWAY}: ")
    assert f"gapless deliver --spool {tmp_path} --to {AWAY}" in text


def test_a_recording_that_ends_behind_its_client_is_told(tmp_path: Path) -> None:
    """Nobody delivers it any more; what was told at the close is not told again."""
    client = gapless.connect(AWAY, spool=tmp_path)
    record(client, "before")
    behind = client.sequence_create("behind")
    behind.__enter__().topic_create("t", schema=NUMBERS).push_row(0, 0.0, 0)
    with pytest.warns(SpoolWarning) as first:
        client.close()
    with pytest.warns(SpoolWarning) as second:
        behind.__exit__(None, None, None)
    assert [text[:20] for text in told(list(first))] == ["1 sequence (before) "]
    assert [text[:20] for text in told(list(second))] == ["1 sequence (behind) "]


def test_what_arrived_or_is_for_another_server_is_not_told(tmp_path: Path) -> None:
    """The suite takes every warning for an error."""
    with pytest.warns(SpoolWarning), gapless.connect(AWAY, spool=tmp_path / "spool") as away:
        record(away, "elsewhere")
    with (
        server(tmp_path / "store") as running,
        gapless.connect(running.url, spool=tmp_path / "spool") as client,
    ):
        record(client, "there")
        wait_for(lambda: SpoolStore(tmp_path / "spool").names() == ["elsewhere"], "it was looked at")
    with gapless.connect(AWAY, spool=tmp_path / "nothing"):
        assert not (tmp_path / "nothing").exists()


def told_at_the_close(client: gapless.Client) -> str:
    """Close a client once it knows what hinders the delivery, and return the only text that is said."""
    assert isinstance(client, RemoteClient)
    wait_for(lambda: client.undelivered, "it was tried")
    with pytest.warns(SpoolWarning) as caught:
        client.close()
    (text,) = told(list(caught))
    return text


def test_what_cannot_be_read_is_told_too(tmp_path: Path) -> None:
    """Nobody knows for which server it is, and that nothing is lost is not said of it."""
    with pytest.warns(SpoolWarning), gapless.connect(AWAY, spool=tmp_path) as client:
        record(client, "torn")
    bundle = SpoolStore(tmp_path).bundle("torn")
    for path in (bundle.journal / "open.json", *bundle.journal.glob("*.seg")):
        path.write_bytes(bytes(200) + path.read_bytes()[200:])
    text = told_at_the_close(gapless.connect(AWAY, spool=tmp_path))
    assert text.startswith("1 sequence (torn) not on the server")
    assert "neither open.json nor any segment" in text
    assert "Nothing is lost" not in text


def test_nothing_is_lost_where_only_the_server_is_away(tmp_path: Path) -> None:
    """So it is said where that is known."""
    client = gapless.connect(AWAY, spool=tmp_path)
    record(client, "whole")
    assert f"Nothing is lost; the spool {tmp_path} keeps what waits." in told_at_the_close(client)


def test_a_spool_without_an_identity_is_told(tmp_path: Path) -> None:
    """A typed error of the store, and a warning of the client that is closed."""
    SpoolStore(tmp_path).sequences.mkdir()
    for text in ("{", "[]", '{"format": 1}'):
        (tmp_path / "gapless.json").write_text(text, encoding="utf-8")
        with pytest.raises(IntegrityError, match=r"gapless\.json"):
            FolderStore(tmp_path)
    with pytest.warns(SpoolWarning, match=r"cannot be read.*gapless\.json"):
        gapless.connect(AWAY, spool=tmp_path).close()


def fail_inside(spool: Path) -> None:
    """Fail in the block of a client."""
    with gapless.connect(AWAY, spool=spool) as client:
        record(client, "before")
        raise ValueError("mine")


def fail_behind(spool: Path) -> None:
    """Fail in a recording that goes on behind its client."""
    client = gapless.connect(AWAY, spool=spool)
    with client.sequence_create("behind") as seq:
        seq.topic_create("t", schema=NUMBERS).push_row(0, 0.0, 0)
        client.close()
        raise ValueError("mine")


def test_an_exception_of_the_program_goes_on_where_warnings_are_errors(tmp_path: Path) -> None:
    """At the end of the client as at that of a recording behind it; the warning is a note of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="mine") as own:
            fail_inside(tmp_path / "one")
        assert "1 sequence (before)" in own.value.__notes__[-1]
        with pytest.raises(ValueError, match="mine") as own:
            fail_behind(tmp_path / "two")
        assert "1 sequence (behind)" in own.value.__notes__[-1]
    store = SpoolStore(tmp_path / "two")
    assert not store.owner_alive(store.bundle("behind"))


def test_what_this_process_delivers_at_the_moment_waits(tmp_path: Path) -> None:
    """Also what another program left; what somebody else holds is being recorded there."""
    words = [sys.executable, "-c", _PROGRAM, AWAY, str(tmp_path)]
    subprocess.run(words, check=True, capture_output=True)
    store = SpoolStore(tmp_path)
    bundle = store.bundle("night")
    with store.on_its_way(bundle):
        assert SpoolStore(tmp_path).waiting_for(AWAY) == ["night"]
    fd = store.platform.lock(bundle.lock)
    assert store.waiting_for(AWAY) == []
    store.platform.close(fd)
    assert store.waiting_for(AWAY) == ["night"]


_PROGRAM = """
import sys, gapless
with gapless.connect(sys.argv[1], spool=sys.argv[2]) as client, client.sequence_create("night") as seq:
    seq.log("x", 1.0)
"""


def test_a_person_reads_it_on_the_terminal(tmp_path: Path) -> None:
    """On stderr, without any filter set, and the program ends as it would."""
    words = [sys.executable, "-c", _PROGRAM, AWAY, str(tmp_path)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(re.findall("SpoolWarning: 1 sequence", done.stderr)) == 1
