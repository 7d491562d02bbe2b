"""`gapless keys`: made once and shown once, listed without the secret, revoked, audited."""

from __future__ import annotations

import json
from pathlib import Path

import gapless

from .conftest import Cli


def test_a_key_is_shown_once(cli: Cli, tmp_path: Path) -> None:
    """stdout has the key and nothing else; a store that was not there is made; the list has no secret."""
    made = cli("keys", "make", "--right", "write", "--group", "lab", "--group", "air", "--label", "robot 7")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    key_id = token.split("_")[1]
    assert made.stdout.count("\n") == 1
    assert f"gapless keys revoke {key_id}" in made.stderr
    listed = cli("keys", "ls")
    assert token.split("_")[2] not in listed.stdout
    assert f"{key_id}  write  air, lab  counts" in listed.stdout
    assert "robot 7" in listed.stdout
    (told,) = json.loads(cli("keys", "ls", "--json").stdout)["keys"]
    assert (told["id"], told["right"], told["groups"], told["counts"]) == (
        key_id,
        "write",
        ["air", "lab"],
        True,
    )
    assert told["used_ns"] is None


def test_a_revoked_and_an_ended_key_are_told_apart(cli: Cli) -> None:
    """The list says which counts, until when, or no longer."""
    first = json.loads(cli("keys", "make", "--right", "read", "--json").stdout)
    cli("keys", "make", "--right", "manage", "--expires", "3")
    assert cli("keys", "revoke", first["id"]).returncode == 0
    lines = cli("keys", "ls").stdout.splitlines()
    assert "revoked" in lines[1]
    assert " ends 20" in lines[2]
    counts = [key["counts"] for key in json.loads(cli("keys", "ls", "--json").stdout)["keys"]]
    assert counts == [False, True]


def test_who_made_and_revoked_keys_is_noted(cli: Cli) -> None:
    """The audit has rows about the keys themselves; --limit takes the latest."""
    made = json.loads(cli("keys", "make", "--right", "delete", "--json").stdout)
    cli("keys", "revoke", made["id"])
    rows = json.loads(cli("keys", "audit", "--json").stdout)["audit"]
    assert [(row["verb"], row["what"], row["outcome"]) for row in rows] == [
        ("manage", f"make key {made['id']}: delete", "done"),
        ("manage", f"revoke key {made['id']}", "done"),
    ]
    assert rows[0]["peer"].startswith("user:")
    lines = cli("keys", "audit", "--limit", "1").stdout.splitlines()
    assert len(lines) == 2
    assert f"revoke key {made['id']}" in lines[1]


def test_mistakes_are_said_in_words(cli: Cli, tmp_path: Path) -> None:
    """A right that is none, an id that is none, a store that is not there."""
    assert cli("keys", "make", "--right", "own").returncode == 2
    assert cli("keys", "make").returncode == 2
    assert cli("keys").returncode == 2
    assert cli("keys", "make", "--right", "read", "--expires", "0").returncode == 2
    assert cli("keys", "ls").returncode == 3
    assert not (tmp_path / "gapless-data").exists()
    cli("keys", "make", "--right", "read", "--store", "store")
    done = cli("keys", "revoke", "00000000", "--store", "store")
    assert done.returncode == 3
    assert "gapless keys ls" in done.stderr


def test_a_store_without_keys_says_what_is_next(cli: Cli, tmp_path: Path) -> None:
    """An empty list names the verb that fills it, and an empty audit says so."""
    gapless.connect(tmp_path / "gapless-data").close()
    listed = cli("keys", "ls")
    assert (listed.returncode, listed.stdout) == (0, "")
    assert "gapless keys make" in listed.stderr
    assert "nothing was changed" in cli("keys", "audit").stderr
    assert json.loads(cli("keys", "ls", "--json").stdout) == {"keys": []}
