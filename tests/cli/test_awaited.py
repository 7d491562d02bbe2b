"""What the verbs say of a recording whose client, on another machine, may come back to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serve.native.raw_writer import RawWriter

import gapless
from gapless.cli.main import run
from gapless.serve.native.reading import NativeReading
from gapless.serve.native.writing import NativeWriting
from gapless.serve.server import Server


@pytest.fixture(params=["folder", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return a store, by its folder or its server, with the open sequence of a client that is away."""
    leave_open(tmp_path, "night")
    if request.param == "folder":
        yield str(tmp_path)
        return
    with Server(tmp_path, "127.0.0.1", 0, doors=[NativeReading]) as server:
        yield server.url


def leave_open(root: Path, name: str, layer_of: str | None = None) -> None:
    """Record two rows from afar and let the server end meanwhile."""
    with Server(root, "127.0.0.1", 0, doors=[NativeWriting]) as server:
        known = {"spooled": True} if layer_of is None else {"spooled": True, "layer_of": layer_of}
        writer = RawWriter(server.url, name, **known)
        writer.open()
        server.stop(0.1)
        writer.close()


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
            assert client.sequence_handler("base").unsealed_layers == {"late": "open"}
            told(capsys, place, "recover", "base")
            assert client.sequence_handler("base").unsealed_layers == {}
