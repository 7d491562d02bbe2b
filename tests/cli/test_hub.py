"""`gapless hub` as a team uses it: serve, tokens, tasks, decisions, and the outbox on the other side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.observe.hub_proxy import until

import gapless
from gapless.observe.approval import Decision, SessionRequest
from gapless.observe.http_approval import HttpApprover
from gapless.observe.hub_client import HubRecordingClient

from .conftest import Cli, environment

SESSION = SessionRequest("pick", ("lift",), None, "simulated", "30", "30", ("arm",))


@contextmanager
def served(folder: Path, *arguments: str, ending: int = signal.SIGTERM) -> Iterator[str]:
    """Run `gapless hub serve` on a free port, give its URL, end it with a signal; it ends with 0."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gapless.cli.main", "hub", "serve", "--port", "0", *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().removeprefix("listening on ").strip()
        process.send_signal(ending)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "")
        (folder / "served.err").write_text(err)
    finally:
        process.kill()
        process.wait()


def test_a_session_that_a_person_approves(cli: Cli, tmp_path: Path) -> None:
    """From the token to the list of episodes, with nothing but the command line on the hub's side."""
    token = cli("hub", "token", "add", "arm-1", "--days", "1").stdout.strip()
    with served(tmp_path, "--manual") as url:
        with HubRecordingClient(url, token, outbox_path=tmp_path / "outbox.db", poll_s=0.02) as client:
            first, second = HttpApprover(client).request(SESSION), HttpApprover(client).request(SESSION)
            until(lambda: cli("hub", "tasks").stdout.count("pending") == 2)
            ids = [task["id"] for task in json.loads(cli("hub", "tasks", "--json").stdout)["tasks"]]
            assert cli("hub", "approve", ids[0]).returncode == 0
            assert cli("hub", "reject", ids[1], "--reason", "the cell is open").returncode == 0
            until(lambda: first.poll() is Decision.APPROVED)
            until(lambda: second.poll() is Decision.REFUSED)
            assert "the cell is open" in str(second.error)
            assert first.reports is not None
            first.reports.submit({"sequence": "pick/episode-000000", "outcome": "completed", "frames": 150})
            first.reports.stop({"episodes": 1})
            assert client.drain(60)
        lines = cli("hub", "tasks", ids[0]).stdout.splitlines()
        assert lines[1].split()[:5] == [ids[0], "stopped", "pick", "1", "arm-1"]
        assert lines[-1].split() == ["pick/episode-000000", "completed", "-", "150", "-"]
        shown = json.loads(cli("hub", "tasks", ids[0], "--json").stdout)
        assert [episode["frames"] for episode in shown["episodes"]] == [150]
        assert cli("hub", "approve", ids[1]).returncode != 0


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_on_a_signal(tmp_path: Path, ending: int) -> None:
    """Ctrl-C and SIGTERM end it with 0; without a token it says how to make one; at home it does not warn."""
    with served(tmp_path, ending=ending) as url:
        assert url.startswith("http://127.0.0.1:")
    assert "hub token add" in (tmp_path / "served.err").read_text()
    assert "warning" not in (tmp_path / "served.err").read_text()


def test_beyond_this_machine_it_warns(tmp_path: Path) -> None:
    """Listening for everybody without TLS is said aloud."""
    with served(tmp_path, "--host", "0.0.0.0"):
        pass
    assert "not TLS" in (tmp_path / "served.err").read_text()


def test_tokens_are_listed_and_removed(cli: Cli) -> None:
    """Names, rights and ends; never the token itself."""
    token = cli("hub", "token", "add", "ada", "--approver").stdout.strip()
    assert cli("hub", "token", "add", "ada").returncode == 2
    listed = cli("hub", "token", "list")
    assert listed.stdout.splitlines()[1].split() == ["ada", "approver", "never"]
    assert token not in listed.stdout + listed.stderr
    assert cli("hub", "token", "remove", "ada").returncode == 0
    assert json.loads(cli("hub", "token", "list", "--json").stdout) == {"tokens": []}
    assert cli("hub", "token", "remove", "ada").returncode == 3


@pytest.mark.parametrize("arguments", [("tasks",), ("approve", "x"), ("token", "list")])
def test_a_hub_that_is_not_there(cli: Cli, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Looking at a hub does not make one."""
    done = cli("hub", *arguments)
    assert done.returncode == 3
    assert "hub token add" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [(), ("serve", "--port", "70000"), ("serve", "--tls-key", "k"), ("token",)]
)
def test_wrong_arguments(cli: Cli, arguments: tuple[str, ...]) -> None:
    """A usage error ends with 2."""
    assert cli("hub", *arguments).returncode == 2


def test_a_port_in_use_is_said(cli: Cli, tmp_path: Path) -> None:
    """Two hubs on one port: the second ends with 5."""
    with served(tmp_path) as url:
        assert cli("hub", "serve", "--port", url.rpartition(":")[2]).returncode == 5


def test_the_outbox_of_a_store(cli: Cli, tmp_path: Path) -> None:
    """What waits is listed, sent to its hub on request, and gone from the list then."""
    gapless.connect(str(tmp_path / "gapless-data"))
    assert "no report waits" in cli("hub", "outbox").stderr
    token = cli("hub", "token", "add", "arm-1").stdout.strip()
    with served(tmp_path) as url:
        outbox_path = tmp_path / "gapless-data" / "outbox.db"
        with HubRecordingClient(url, token, outbox_path=outbox_path) as client:
            approval = HttpApprover(client).request(SESSION)
            until(lambda: approval.poll() is Decision.APPROVED)
            client.submit("no-such-task", {"index": 0})
            assert client.drain(60)
        port = url.rpartition(":")[2]
    assert approval.reports is not None
    approval.reports.submit({"index": 0})  # after its client has ended: it waits
    client.outbox.close()
    shown = json.loads(cli("hub", "outbox", "--json").stdout)["reports"]
    assert [(r["kind"], r["state"]) for r in shown] == [("submit", "refused"), ("submit", "waiting")]
    assert cli("hub", "outbox", "--send", url).returncode == 5  # no token
    down = cli("hub", "outbox", "--send", url, "--timeout", "200ms", GAPLESS_HUB_TOKEN=token)
    assert down.returncode == 1
    assert "waiting" in down.stdout
    with served(tmp_path, "--port", port):
        sent = cli("hub", "outbox", "--send", url, "--again", GAPLESS_HUB_TOKEN=token)
    assert sent.returncode == 1  # the refused one was refused again
    assert [line.split()[3] for line in sent.stdout.splitlines()[1:]] == ["refused"]
    assert os.path.getsize(outbox_path) > 0
