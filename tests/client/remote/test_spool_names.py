"""Spooled sequences whose name another recording has on the server: delivered under another one, once."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
from tests.client.remote.write_server import NUMBERS, assert_counted, server, spooling, stored

import gapless
from gapless.catalog.state_database import StateDatabase
from gapless.cli.main import main
from gapless.client.remote import protocol
from gapless.client.remote.connection import Connection
from gapless.client.remote.delivery_command import delivery_command
from gapless.client.remote.spool import SpoolStore, note_name, noted_name
from gapless.errors import IntegrityError, NameTaken, NotFound, RightMissing, Unreachable, UsageError
from gapless.serve.keys import make_key
from gapless.serve.rights import Right
from gapless.serve.server import Server
from gapless.store.platform import PLATFORM
from gapless.store.recover import read_header
from gapless.testing.network import Link

AWAY = "grpc://127.0.0.1:9"
ROWS = 50


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Where the spool is."""
    return tmp_path / "spool"


def record(spool: Path, name: str) -> str:
    """Spool rows, a gap and an event; return the uid of the recording."""
    with spooling(AWAY, spool) as client, client.sequence_create(name, {"k": 1}) as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        for n in range(ROWS):
            topic.push_row(n, 0.0, n)
        topic.gap(2, "pause")
    return str(read_header(SpoolStore(spool).bundle(name))["uid"])


def take(root: Path, name: str) -> None:
    """Let somebody else have the name."""
    with gapless.connect(root) as local, local.sequence_create(name) as seq:
        seq.topic_create("t", schema=NUMBERS).push_row(0, 0.0, 0)


def deliver(spool: Path, running: Server, *words: str) -> int:
    """Call `gapless deliver` and return its exit code."""
    return main(["deliver", "--spool", str(spool), "--to", running.url, *words])


def test_another_name_is_given_where_the_own_is_taken(
    root: Path, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The refusal says how; rows and uid stay, and both sides keep the name that it was recorded with."""
    take(root, "night")
    uid = record(spool, "night")
    with server(root) as running:
        assert deliver(spool, running) == NameTaken.exit_code
        assert f"--spool {spool} --to {running.url} --rename night=NEW" in capsys.readouterr().err
        assert deliver(spool, running, "--rename", "night=night-2", "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["name"], told["recorded_as"], told["rows"]) == ("night-2", "night", {"t": ROWS})
    assert_counted(stored(root, "night", "t"), 1)
    assert_counted(stored(root, "night-2", "t"), ROWS)
    with gapless.connect(root) as local:
        handler = local.sequence_handler("night-2")
        assert (handler.outcome, handler.metadata) == ("completed", {"k": 1})
        assert handler.topic("t").ledger["gapped"] == 2
        manifest = handler.reader.manifest
        assert manifest is not None
        assert (manifest["record"]["uid"], manifest["record"]["producer"]["recorded_as"]) == (uid, "night")
        assert local.verify("night-2", deep=True) == []
    (tombstone,) = (spool / "discarded").glob("*.json")
    words = json.loads(tombstone.read_bytes())
    assert (words["name"], words["delivered_as"]) == ("night", "night-2")


def test_a_name_that_is_free_is_kept(root: Path, spool: Path) -> None:
    """What is said of a name that nobody took changes nothing."""
    record(spool, "night")
    with server(root) as running:
        assert deliver(spool, running, "--rename", "night=other") == 0
    with gapless.connect(root) as local:
        assert local.list_sequences() == ["night"]


def test_a_part_that_the_server_has_keeps_its_name(root: Path, spool: Path) -> None:
    """The same recording under its own name is no other one."""
    with server(root) as running, Link(("127.0.0.1", running.port)) as link:
        url = f"grpc://127.0.0.1:{link.port}"
        with spooling(url, spool) as client, client.sequence_create("both") as seq:
            topic = seq.topic_create("t", schema=NUMBERS)
            topic.push_row(0, 0.0, 0)
            seq.flush()
            link.cut()
            topic.push_row(1, 0.0, 1)
        assert deliver(spool, running, "--rename", "both=other") == 0
    assert_counted(stored(root, "both", "t"), 2)
    with gapless.connect(root) as local:
        assert local.list_sequences() == ["both"]


def test_the_next_attempt_goes_on_under_the_name_of_the_last(
    root: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut before its end, and its own name free by then: one sequence all the same."""
    take(root, "night")
    record(spool, "night")
    action = Connection.action

    def broken(connection: Connection, kind: str, *words: Any, **known: Any) -> dict[str, Any]:
        if kind == protocol.END:
            raise Unreachable("the end does not arrive")
        return action(connection, kind, *words, **known)

    with server(root) as running:
        monkeypatch.setattr(Connection, "action", broken)
        assert deliver(spool, running, "--rename", "night=night-2") == Unreachable.exit_code
        monkeypatch.setattr(Connection, "action", action)
        with gapless.connect(running.url) as client:
            client.discard("night")
        assert deliver(spool, running) == 0
    assert_counted(stored(root, "night-2", "t"), ROWS)
    with gapless.connect(root) as local:
        assert local.list_sequences() == ["night-2"]


def test_a_new_name_that_is_taken_too_is_refused(
    root: Path, spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is lost by it, and a third one is taken."""
    take(root, "a=b")
    take(root, "taken")
    record(spool, "a=b")
    with server(root) as running:
        assert deliver(spool, running, "--rename", "a=b=taken") == NameTaken.exit_code
        assert "--rename a=b=NEW" in capsys.readouterr().err
        assert deliver(spool, running, "--rename", "a=b=free") == 0
    assert_counted(stored(root, "free", "t"), ROWS)


def test_what_does_not_wait_or_is_no_name_is_refused(root: Path, spool: Path) -> None:
    """Before anything is delivered."""
    record(spool, "night")
    with server(root) as running:
        assert deliver(spool, running, "--rename", "day=other") == NotFound.exit_code
        assert deliver(spool, running, "--rename", "night=@last") == UsageError.exit_code
    assert SpoolStore(spool).names() == ["night"]


def test_a_dry_run_tells_what_waits(spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As text and as JSON; no server is asked."""
    record(spool, "night")
    words = ["deliver", "--spool", str(spool), "--to", AWAY, "--dry-run"]
    assert main([*words, "--rename", "night=other"]) == 0
    assert capsys.readouterr().out == f"would deliver night to {AWAY} (as other if its name is taken there)\n"
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "dry_run": True,
            "name": "night",
            "to": AWAY,
            "rename": None,
            "noted": None,
            "recorded_for": AWAY,
        }
    ]
    assert SpoolStore(spool).names() == ["night"]


def test_a_dry_run_tells_the_noted_name(spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is the one that the server will be asked for; a note that is damaged is told as the delivery tells it."""
    record(spool, "night")
    record(spool, "other")
    note_name(SpoolStore(spool).bundle("night"), "night-2", PLATFORM)
    words = ["deliver", "--spool", str(spool), "--to", AWAY, "--dry-run"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"would deliver night to {AWAY} as night-2, which an earlier delivery noted",
        f"would deliver other to {AWAY}",
    ]
    assert main([*words, "--json"]) == 0
    assert [one["noted"] for one in json.loads(capsys.readouterr().out)] == ["night-2", None]
    damage_note(spool)
    assert main(words) == IntegrityError.exit_code
    told = capsys.readouterr()
    assert told.out == f"would deliver other to {AWAY}\n"
    assert told.err.startswith("error: night: ")


def damage_note(spool: Path) -> None:
    """Flip a bit in the note of the name that `night` has on the server."""
    path = SpoolStore(spool).bundle("night").journal / "name.json"
    raw = bytearray(path.read_bytes())
    raw[3] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("answered", [False, True])
def test_a_damaged_note_begins_no_second_sequence(
    root: Path,
    spool: Path,
    answered: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whether the server ended the first one or not: nothing is sent until somebody has looked there."""
    take(root, "night")
    uid = record(spool, "night")
    action = Connection.action

    def broken(connection: Connection, kind: str, *words: Any, **known: Any) -> dict[str, Any]:
        answer = action(connection, kind, *words, **known) if answered or kind != protocol.END else {}
        if kind == protocol.END:
            raise Unreachable("the answer does not arrive")
        return answer

    with server(root) as running:
        monkeypatch.setattr(Connection, "action", broken)
        assert deliver(spool, running, "--rename", "night=night-2") == Unreachable.exit_code
        monkeypatch.setattr(Connection, "action", action)
        damage_note(spool)
        capsys.readouterr()
        for words in ([], ["--rename", "night=night-3"]):
            assert deliver(spool, running, *words) == IntegrityError.exit_code
            assert f"uid {uid}" in capsys.readouterr().err
        (SpoolStore(spool).bundle("night").journal / "name.json").unlink()
        assert deliver(spool, running, "--rename", "night=night-2") == 0
    with gapless.connect(root) as local:
        assert local.list_sequences() == ["night", "night-2"]
    assert_counted(stored(root, "night-2", "t"), ROWS)


def test_what_the_server_has_open_goes_on_under_its_name_only(
    root: Path, spool: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the note is gone: the refusal names the one that it has, and no other is noted."""
    take(root, "night")
    record(spool, "night")
    action = Connection.action

    def broken(connection: Connection, kind: str, *words: Any, **known: Any) -> dict[str, Any]:
        if kind == protocol.END:
            raise Unreachable("the end does not arrive")
        return action(connection, kind, *words, **known)

    with server(root) as running:
        monkeypatch.setattr(Connection, "action", broken)
        assert deliver(spool, running, "--rename", "night=night-2") == Unreachable.exit_code
        monkeypatch.setattr(Connection, "action", action)
        note = SpoolStore(spool).bundle("night").journal / "name.json"
        note.unlink()
        capsys.readouterr()
        assert deliver(spool, running, "--rename", "night=night-3") == NameTaken.exit_code
        assert "--rename night=night-2`" in capsys.readouterr().err
        assert not note.exists()
        assert deliver(spool, running, "--rename", "night=night-2") == 0
    with gapless.connect(root) as local:
        assert local.list_sequences() == ["night", "night-2"]


def test_a_name_that_was_refused_is_not_noted(root: Path, spool: Path) -> None:
    """The next attempt asks for what it asked for before: its own name, or the one that was noted then."""
    for name in ("night", "day", "noon"):
        take(root, name)
    record(spool, "night")
    bundle = SpoolStore(spool).bundle("night")
    header = read_header(bundle)
    with server(root) as running:
        assert deliver(spool, running, "--rename", "night=day") == NameTaken.exit_code
        assert noted_name(bundle, header) is None
        note_name(bundle, "noon", PLATFORM)
        assert deliver(spool, running, "--rename", "night=day") == NameTaken.exit_code
        assert noted_name(bundle, header) == "noon"
        with gapless.connect(root) as local:
            local.discard("noon")
        assert deliver(spool, running) == 0
    assert_counted(stored(root, "noon", "t"), ROWS)


def test_two_names_for_one_sequence_are_refused(spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody can tell which one was meant."""
    record(spool, "night")
    words = ["deliver", "--spool", str(spool), "--to", AWAY]
    assert main([*words, "--rename", "night=x", "--rename", "night=y"]) == UsageError.exit_code
    assert "given two names" in capsys.readouterr().err


def test_the_command_of_a_refusal_can_be_pasted(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into a shell, whatever the folder and the sequence are called."""
    spool = tmp_path / "my spool"
    take(root, "a b")
    record(spool, "a b")
    with server(root) as running:
        assert deliver(spool, running) == NameTaken.exit_code
        command = capsys.readouterr().err.split("`")[1]
    expected = ["gapless", "deliver", "--spool", str(spool), "--to", running.url, "--rename", "a b=NEW"]
    assert shlex.split(command) == expected
    assert delivery_command(Path("s"), "grpc+tls://h:1").endswith("--to grpc+tls://h:1 --tls-roots PEM")


def test_another_key_needs_the_right_to_manage(
    root: Path, spool: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of what the server has a part of; the refusal names the command that makes such a key."""
    gapless.connect(root).close()
    database = StateDatabase(root)
    rights = (Right.WRITE, Right.WRITE, Right.MANAGE)
    first, second, manager = (make_key(database, right, groups=[])[1] for right in rights)
    database.close()
    with server(root) as running, Link(("127.0.0.1", running.port)) as link:
        url = f"grpc://127.0.0.1:{link.port}"
        with spooling(url, spool, api_key=first) as client, client.sequence_create("both") as seq:
            topic = seq.topic_create("t", schema=NUMBERS)
            topic.push_row(0, 0.0, 0)
            seq.flush()
            link.cut()
            topic.push_row(1, 0.0, 1)
        monkeypatch.setenv("GAPLESS_API_KEY", second)
        assert deliver(spool, running) == RightMissing.exit_code
        assert "gapless keys make --right manage" in capsys.readouterr().err
        monkeypatch.setenv("GAPLESS_API_KEY", manager)
        assert deliver(spool, running) == 0
    assert_counted(stored(root, "both", "t"), 2)
    assert os.listdir(spool / "spool") == []
