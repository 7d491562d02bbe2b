"""The reading verbs on a server: what they say of a folder they say of the server that serves it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Cli, environment
from tests.client.remote.parity_store import SPEED, fill

import gapless
from gapless.catalog.state_database import StateDatabase
from gapless.cli.main import run
from gapless.serve.keys import make_key
from gapless.serve.native.reading import NativeReading
from gapless.serve.rights import Right
from gapless.serve.server import Server

SAME = [
    ["ls", "--json"],
    ["ls"],
    ["ls", "--last", "1"],
    ["ls", "--group", "g1"],
    ["ls", "--where", 'metadata.vehicle.id == "x"'],
    ["ls", "--discarded"],
    ["show", "walk"],
    ["show", "layered"],
    ["show", "kept"],
    ["show", "lay", "--json"],
    ["show", "walk", "--topic", "mixed"],
    ["show", "walk", "--topic", SPEED, "--json"],
    ["show", "walk", "--topic", "nope"],
    ["show", "walk", "--topic", "_gaps", "--json"],
    ["show", "walk", "--topic", "_health", "--json"],
    ["show", "kept", "--topic", "_gaps", "--json"],
    ["show", "nope"],
    ["show", "@last-1"],
    ["show", "walk", "--plot", "mixed:x"],
    ["show", "walk", "--plot"],
    ["tree", "--features"],
    ["tree", "walk", "--json"],
    ["query", "mixed.x > 0.99", "--json"],
    ["query", 'metadata.vehicle.ix == "x"'],
    ["query", "mixd.x > 0.5"],
    ["query", "mixed.x >"],
    ["watch", "walk"],
    ["check", "walk"],
    ["check", "walk", "--json"],
    ["verify"],
    ["verify", "walk", "--deep", "--json"],
    ["recover"],
    ["recover", "kept"],
    ["seal", "kept", "--dry-run"],
    ["discard", "kept", "--dry-run"],
    ["discard", "walk", "--dry-run"],
    ["label", "walk", "0", "0.1", "a", "--dry-run"],
    ["label", "walk", "0", "9000", "a", "--dry-run"],
    ["export", "walk", "out", "--topic", "mixed", "--dry-run"],
]
FOLDER_ONLY = [
    ["reindex"],
    ["gc"],
    ["features", "list"],
    ["label", "walk", "--import", "labels.csv"],
    ["export", "walk", "out", "--to", "lerobot"],
    ["keys", "ls"],
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Return a store and the URL of its server."""
    root = tmp_path_factory.mktemp("store")
    fill(root)
    with Server(root, "127.0.0.1", 0, doors=[NativeReading]) as server:
        yield root, server.url


def told(capsys: pytest.CaptureFixture[str], arguments: list[str], place: str) -> tuple[int, str, str]:
    """Run a verb; return exit code and output, with what a server does not tell taken out."""
    code = run(arguments)
    done = capsys.readouterr()
    out = re.sub(r'"path": (null|".*?")|^ +(folder|size) .*$', "", done.out, flags=re.MULTILINE)
    return code, re.sub(r"\s+\n", "\n", out.replace(place, "PLACE")), done.err.replace(place, "PLACE")


@pytest.mark.parametrize("arguments", SAME, ids=" ".join)
def test_a_verb_says_the_same_of_a_server(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    served: tuple[Path, str],
    arguments: list[str],
) -> None:
    """Output, errors and exit code are those of the folder; --store and $GAPLESS_STORE mean the same."""
    root, url = served
    here = told(capsys, [*arguments, "--store", str(root)], str(root))
    monkeypatch.setenv("GAPLESS_STORE", url)
    assert told(capsys, arguments, url) == here


def test_a_type_that_no_sequence_has_is_named(
    capsys: pytest.CaptureFixture[str], served: tuple[Path, str]
) -> None:
    """On stderr, with the nearest one; stdout stays data."""
    for place in map(str, served):
        code, out, err = told(capsys, ["query", "mixd.x > 0.5", "--store", place], place)
        assert (code, out) == (0, "0 sequences\n")
        assert err.startswith("note: no topic is of the type 'mixd'; there is ")
        assert "topic 'mixed' is written \"mixed\":x" in err


@pytest.mark.parametrize("arguments", FOLDER_ONLY, ids=" ".join)
def test_what_needs_the_folder_says_so(
    capsys: pytest.CaptureFixture[str], served: tuple[Path, str], arguments: list[str]
) -> None:
    """Exit code 2, and where to run it instead."""
    assert run([*arguments, "--store", served[1]]) == 2
    assert "server's machine" in capsys.readouterr().err


def test_what_changes_a_sequence_changes_it_on_the_server(cli: Cli, tmp_path: Path) -> None:
    """label, seal, export and discard from afar."""
    root = tmp_path / "store"
    fill(root)
    with Server(root, "127.0.0.1", 0, doors=[NativeReading]) as server:
        store = ("--store", server.url)
        assert cli("label", "layered", "0", "1", "late", *store).stdout.startswith("layered: labelled late")
        assert "kept: sealed, failed" in cli("seal", "kept", *store).stdout
        assert "the server's trash" in cli("discard", "kept", "--yes", *store).stdout
        done = cli("export", "walk", "out.parquet", "--topic", "mixed", *store)
        assert (done.returncode, "150,000 rows" in done.stdout) == (0, True)
    with gapless.connect(root) as client:
        assert [note.name for note in client.sequence_handler("layered").annotations()] == ["late"]
        assert client.list_sequences() == ["walk", "layered"]


def test_a_server_that_is_away_is_exit_code_5(cli: Cli, tmp_path: Path) -> None:
    """With the address and what to look at."""
    with Server(tmp_path, "127.0.0.1", 0, doors=[NativeReading]) as server:
        url = server.url
    done = cli("ls", "--store", url)
    assert done.returncode == 5
    assert url in done.stderr
    assert cli("ls", "--store", "http://localhost").returncode == 2


def test_the_key_comes_from_the_environment(cli: Cli, tmp_path: Path) -> None:
    """A store that asks for keys is read with $GAPLESS_API_KEY; without one the exit code is 5."""
    database = StateDatabase(tmp_path)
    _, key = make_key(database, Right.READ)
    database.close()
    with Server(tmp_path, "127.0.0.1", 0, doors=[NativeReading]) as server:
        assert cli("ls", "--store", server.url).returncode == 5
        assert cli("ls", "--store", server.url, GAPLESS_API_KEY=key).returncode == 0


def test_watch_follows_a_recording_on_a_server(tmp_path: Path) -> None:
    """A line for each look, the last value with it, and how it ended."""
    with (
        Server(tmp_path, "127.0.0.1", 0, doors=[NativeReading]) as server,
        gapless.connect(tmp_path, flush_ms=20) as client,
    ):
        with client.sequence_create("live") as seq:
            seq.log("x", 1.0)
            seq.flush()
            command = [
                sys.executable,
                "-m",
                "gapless.cli.main",
                "watch",
                "live",
                "--json",
                "--every",
                "100ms",
            ]
            watching = subprocess.Popen(
                [*command, "--store", server.url], stdout=subprocess.PIPE, text=True, env=environment()
            )
            assert watching.stdout is not None
            first = json.loads(watching.stdout.readline())
            seq.log("x", 2.5)
            seq.flush()
            lines = [first]
            until_s = time.monotonic() + 60
            while lines[-1]["topics"]["x"]["rows"] < 2 and time.monotonic() < until_s:
                lines.append(json.loads(watching.stdout.readline()))
        rest, _ = watching.communicate(timeout=60)
    assert (first["state"], first["topics"]["x"]["rows"]) == ("open", 1)
    assert lines[-1]["topics"]["x"]["last"]["value"] == 2.5
    assert json.loads(rest.splitlines()[-1])["state"] == "sealed"
    assert watching.returncode == 0
