"""What the verbs say of a recording whose client, on another machine, may come back to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serve.native.client_away import leave_open

import gapless
from gapless.cli.main import run
from gapless.client.remote import reading
from gapless.client.remote.remote_client import RemoteClient
from gapless.serve.native.reading import NativeReading
from gapless.serve.server import Server
from gapless.store.platform import PLATFORM


@pytest.fixture(params=["folder", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return a store, by its folder or its server, with the open sequence of a client that is away."""
    leave_open(tmp_path, "night")
    if request.param == "folder":
        yield str(tmp_path)
        return
    with Server(tmp_path, "127.0.0.1", 0, doors=[NativeReading]) as server:
        yield server.url


def told(capsys: pytest.CaptureFixture[str], place: str, *arguments: str) -> str:
    """Return what a verb that succeeds says."""
    assert run([*arguments, "--store", place]) == 0
    return capsys.readouterr().out


def test_recover_leaves_what_a_client_may_come_back_to(
    capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """It is named, with how long it waits and what seals it; asked for by name it is sealed."""
    assert "night: left open, its client is away and may come back until 2" in told(capsys, place, "recover")
    assert "`gapless recover night`" in told(capsys, place, "recover", "--dry-run")
    assert "its client is away and may come back until 2" in told(capsys, place, "show", "night")
    assert json.loads(told(capsys, place, "show", "night", "--json"))["awaited_until_ns"] > 0
    assert "night: sealed, interrupted" in told(capsys, place, "recover", "night")
    assert "nothing to recover" in told(capsys, place, "recover")


def test_the_list_says_that_its_client_is_away(capsys: pytest.CaptureFixture[str], place: str) -> None:
    """As `gapless show` does, and until when; sealed it waits for nobody."""
    assert " open, client away " in told(capsys, place, "ls")
    assert "would recover night (open, client away)" in told(capsys, place, "recover", "night", "--dry-run")
    (row,) = json.loads(told(capsys, place, "ls", "--json"))["sequences"]
    known = json.loads(told(capsys, place, "show", "night", "--json"))
    assert row["awaited_until_ns"] == known["awaited_until_ns"] > 0
    told(capsys, place, "recover", "night")
    (row,) = json.loads(told(capsys, place, "ls", "--json"))["sequences"]
    assert (row["state"], row["awaited_until_ns"]) == ("sealed", None)


def test_whom_nobody_waits_for_any_more_is_gone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A week after the last write of a client with a spool."""
    leave_open(tmp_path, "night")
    (row,) = json.loads(told(capsys, str(tmp_path), "ls", "--json"))["sequences"]
    monkeypatch.setattr(PLATFORM, "wall_ns", lambda: row["awaited_until_ns"])
    assert " open, owner gone " in told(capsys, str(tmp_path), "ls")
    assert "open, owner gone" in told(capsys, str(tmp_path), "show", "night")


def test_a_server_tells_an_older_client_no_word_that_it_does_not_know(tmp_path: Path) -> None:
    """Until when a sequence is awaited comes to who asks for it."""
    leave_open(tmp_path, "night")
    with (
        Server(tmp_path, "127.0.0.1", 0, doors=[NativeReading]) as server,
        gapless.connect(server.url) as client,
    ):
        assert isinstance(client, RemoteClient)
        [page] = client._asking.actions(reading.ROWS, {})
        assert page["rows"][0].keys() == set(reading.ROW_FIELDS)
        assert client._asking.action(reading.ROW, {"ref": "night"}).keys() == set(reading.ROW_FIELDS)


def test_doctor_sends_nobody_to_seal_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """That would end what a client elsewhere may go on with."""
    leave_open(tmp_path, "night")
    assert "D009" not in told(capsys, str(tmp_path), "doctor")


@pytest.mark.parametrize("by_server", [False, True])
def test_recover_leaves_a_layer_that_a_client_may_come_back_to(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, *, by_server: bool
) -> None:
    """The sequence is named, and the layer stays as it is."""
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("base") as sequence:
            sequence.log("t", 1.0)
        leave_open(tmp_path, "late", "base")
        with Server(tmp_path, "127.0.0.1", 0, doors=[NativeReading]) as server:
            place = server.url if by_server else str(tmp_path)
            assert "base: left open, its client is away" in told(capsys, place, "recover")
            assert "sealed, layer open, client away" in told(capsys, place, "ls")
            assert "open, its client is away and may come back" in told(capsys, place, "show", "base")
            assert client.sequence_handler("base").unsealed_layers == {"late": "open"}
            told(capsys, place, "recover", "base")
            assert client.sequence_handler("base").unsealed_layers == {}
