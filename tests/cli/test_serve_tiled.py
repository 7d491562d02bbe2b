"""`gapless serve STORE --tiled` as a process: the real server, the real client, real signals."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tiled.client import from_uri

import gapless

from .conftest import Cli, environment

DEADLINE_S = 90
Start = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return the folder of a store with one sequence."""
    with gapless.connect(tmp_path / "store") as client, client.sequence_create("walking") as sequence:
        topic = sequence.topic_create("imu", schema=pa.schema([("a", pa.float64())]))
        for i in range(3):
            topic.push_row(i, i / 2)
    return tmp_path / "store"


@pytest.fixture
def start(tmp_path: Path, store: Path) -> Iterator[Start]:
    """Return a function that starts the verb on a free port and returns process and URL."""
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **extra: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gapless.cli.main",
                "serve",
                str(store),
                "--tiled",
                "--port",
                "0",
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment(HOME=str(tmp_path), **extra),
        )
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"serving on (http://\S+)\n", line)
        assert found is not None, (line, process.communicate(timeout=DEADLINE_S))
        return process, found[1]

    yield begin
    for process in running:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate(timeout=DEADLINE_S)


def status(url: str) -> int:
    """Return the HTTP status of a GET."""
    try:
        with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def read_imu(url: str, **words: Any) -> list[float]:
    """Read the column with Tiled's client."""
    client = from_uri(url, **words)
    try:
        found: list[float] = client["walking"]["imu"].read()["a"].tolist()
        return found
    finally:
        client.context.close()


def end(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """End the process with one signal, cleanly, and return what it complained of."""
    process.send_signal(number)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return err


def test_it_serves_until_a_signal_and_ends_cleanly(
    start: Start, cli: Cli, store: Path, tmp_path: Path
) -> None:
    """The printed URL has the key and opens with Tiled's client; its port is taken, which is said in words.

    Folders of external data may be given more than once.
    """
    folders = [tmp_path / name for name in ("eiger", "pilatus")]
    for folder in folders:
        folder.mkdir()
    process, url = start(*(word for folder in folders for word in ("--external-root", str(folder))))
    assert "?api_key=" in url
    assert read_imu(url) == [0.0, 0.5, 1.0]
    assert process.stdout is not None
    assert process.stdout.readline().startswith("web page: http://127.0.0.1:")
    port = url.partition("127.0.0.1:")[2].partition("?")[0]
    done = cli("serve", str(store), "--tiled", "--port", port)
    assert done.returncode != 0
    assert f"127.0.0.1:{port}" in done.stderr
    end(process, signal.SIGINT)


def test_nobody_reads_without_the_key(start: Start) -> None:
    """Tiled's own authentication stands in front; a key of one's own is not printed."""
    process, url = start("--api-key", "sesame")
    assert "sesame" not in url
    assert status(f"{url}/api/v1/metadata/walking") == 401
    assert status(f"{url}/api/v1/metadata/walking?api_key=wrong") == 401
    assert read_imu(url, api_key="sesame") == [0.0, 0.5, 1.0]
    assert status(f"{url}/ui/") == 200
    end(process, signal.SIGTERM)


def test_the_key_may_come_from_the_environment(start: Start) -> None:
    """$TILED_SINGLE_USER_API_KEY works as it does for Tiled."""
    _, url = start(TILED_SINGLE_USER_API_KEY="sesame")
    assert "sesame" not in url
    assert read_imu(url, api_key="sesame") == [0.0, 0.5, 1.0]


def test_an_external_root_that_is_not_there_is_said_in_words(cli: Cli, store: Path, tmp_path: Path) -> None:
    """Each names a folder that exists."""
    done = cli("serve", str(store), "--tiled", "--external-root", str(tmp_path / "nothing"))
    assert done.returncode == 3
    assert "nothing" in done.stderr


def test_public_lets_anyone_read_and_says_so(start: Start) -> None:
    """--public needs no key, warns, and still lets nobody write."""
    process, url = start("--public")
    assert "api_key" not in url
    assert status(f"{url}/api/v1/metadata/walking") == 200
    assert "anyone who can connect may read" in end(process, signal.SIGINT)


def test_what_cannot_be_served_is_said_in_words(cli: Cli, store: Path, tmp_path: Path) -> None:
    """Without a store, with a useless key, with what only works without Tiled: usage and not-found, no traceback."""
    assert cli("serve", str(store), "--tiled", "--insecure").returncode == 2
    assert "--tiled" in cli("serve", str(store), "--tiled", "--insecure").stderr
    assert cli("serve", str(tmp_path / "nothing"), "--tiled").returncode == 3
    assert cli("serve", str(store), "--tiled", "--api-key", "a b").returncode == 2
    assert cli("serve", str(store), "--tiled", "--port", "70000").returncode == 2
    assert cli("serve", str(store), "--tiled", "--store", str(store)).returncode == 2
    assert cli("serve", "--tiled", "--store", str(tmp_path / "nothing")).returncode == 3


def test_a_configuration_of_tiled_serves_the_same_tree(store: Path, tmp_path: Path) -> None:
    """`tree: gapless.bluesky.tiled:tree` is a tree of Tiled's own `serve config`."""
    from tiled.config import parse_configs

    config = tmp_path / "config.yml"
    config.write_text(
        f"authentication:\n  single_user_api_key: sesame\ntrees:\n  - path: /\n"
        f"    tree: gapless.bluesky.tiled:tree\n    args:\n      root: {store}\n"
    )
    known = parse_configs(config)
    assert list(known.merged_trees) == ["walking"]
    assert "application/json-seq" in known.serialization_registry().media_types("BlueskyRun")
