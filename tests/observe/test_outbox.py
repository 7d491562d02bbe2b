"""The outbox: ordered, shared by processes, and never without a report that was put in; SIGKILL included."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Self

import pytest

import gapless
from gapless.errors import CatalogBusy, IntegrityError, MetadataRefused, NotFound, StorageFailed
from gapless.observe.hub.server import Hub
from gapless.observe.hub_client import HubRecordingClient
from gapless.observe.outbox import Outbox, ReportKind, ReportState
from gapless.observe.outbox_writer import PATIENCE_S

from .hub_proxy import HubProxy, until

HUB = "http://127.0.0.1:1"
PROGRAM = """
import sys, time
from gapless.observe.hub_client import HubRecordingClient

url, token, path, task, first, count, drain_s = sys.argv[1:]
client = HubRecordingClient(
    url, token, outbox_path=path, retry_s=0.01, retry_max_s=0.05, drain_s=float(drain_s), timeout_s=60
)
print("ready", flush=True)
sys.stdin.readline()
for index in range(int(first), int(first) + int(count)):
    client.submit(task, {"index": index})
    print(index, flush=True)
if sys.stdin.readline() != "die":
    client.close()
"""


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    """Return an empty outbox."""
    with closing(Outbox(tmp_path / "outbox.db")) as outbox:
        yield outbox


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Return a hub that approves by itself."""
    with Hub(tmp_path / "hub.db") as hub:
        yield hub


class Reporter:
    """A process that reports episodes; it begins when told and waits before it ends."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(Path(gapless.__path__[0]).parent)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def say(self, text: str = "\n") -> None:
        """Let it begin, or end."""
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def read(self) -> int:
        """Return the next episode that it reported."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def kill(self) -> list[int]:
        """Kill it with SIGKILL and return what else it had reported."""
        assert self.process.stdout is not None
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGKILL)
        rest = self.process.stdout.read().split("\n")
        assert self.process.wait(60) == -signal.SIGKILL
        self.process.stdin.close()
        self.process.stdout.close()
        return [int(line) for line in rest[:-1]]  # a line without its end was not reported yet

    def end(self) -> None:
        """Let it close its client and wait for it."""
        self.process.communicate("\n", timeout=100)
        assert self.process.returncode == 0


def indices(hub: Hub, task: str) -> list[int]:
    """Return the episodes that a hub has, in the order in which they came."""
    return [episode["executionMetadata"]["index"] for episode in hub.ledger.episodes(task)]


def send_the_rest(url: str, token: str, path: Path) -> None:
    """Do what the next program does."""
    with HubRecordingClient(url, token, outbox_path=path, retry_s=0.01, retry_max_s=0.05) as client:
        assert client.drain(60)


def test_the_head_of_each_task(outbox: Outbox) -> None:
    """Heads are the oldest waiting report of each task of a hub; marking one brings up the next."""
    for task in ("a", "b", "a"):
        outbox.add(HUB, task, ReportKind.SUBMIT, {"task": task})
    outbox.add(HUB, "a", ReportKind.STOP, {})
    outbox.add("http://another", "c", ReportKind.SUBMIT, {})
    first, second = outbox.heads(HUB)
    assert (first.task, first.number, second.task, second.number) == ("a", 1, "b", 2)
    outbox.failed(first, "down", forever=False)
    assert [report.number for report in outbox.heads(HUB)] == [1, 2]
    assert (outbox.heads(HUB)[0].attempts, outbox.heads(HUB)[0].last_error) == (1, "down")
    outbox.sent(first)
    outbox.failed(second, "never", forever=True)
    assert [(report.number, report.kind) for report in outbox.heads(HUB)] == [(3, ReportKind.SUBMIT)]
    assert [report.state for report in outbox.reports()] == [
        "sent",
        "refused",
        "waiting",
        "waiting",
        "waiting",
    ]


def test_refused_reports_can_wait_again(outbox: Outbox) -> None:
    """They come back with their keys, their order and their attempts."""
    key = outbox.add(HUB, "a", ReportKind.SUBMIT, {})
    outbox.failed(outbox.heads(HUB)[0], "409", forever=True)
    assert outbox.heads(HUB) == []
    assert outbox.try_again() == 1
    (report,) = outbox.heads(HUB)
    assert (report.key, report.attempts) == (key, 1)
    assert outbox.try_again() == 0


def test_reports_outlive_the_object(tmp_path: Path) -> None:
    """Another object reads what the first wrote, every key its own."""
    with closing(Outbox(tmp_path / "outbox.db")) as first:
        keys = [first.add(HUB, "a", ReportKind.SUBMIT, {"index": index}) for index in range(3)]
    with closing(Outbox(tmp_path / "outbox.db")) as second:
        found = second.reports([ReportState.WAITING])
    assert [report.key for report in found] == keys
    assert len(set(keys)) == 3
    assert [json.loads(report.body) for report in found] == [{"index": index} for index in range(3)]


def test_what_cannot_be_kept_is_refused(outbox: Outbox, tmp_path: Path) -> None:
    """No JSON, no folder, no database."""
    with pytest.raises(MetadataRefused):
        outbox.add(HUB, "a", ReportKind.SUBMIT, {"a": float("nan")})
    assert outbox.reports() == []
    with pytest.raises(NotFound):
        Outbox(tmp_path / "absent" / "outbox.db")
    (tmp_path / "bad.db").write_bytes(b"no database at all " * 100)
    with pytest.raises(IntegrityError):
        Outbox(tmp_path / "bad.db")


def test_one_sends_at_a_time(outbox: Outbox) -> None:
    """A claim keeps others out, in this process and in others, and is free again afterwards."""
    asking = (
        "import sys; from gapless.observe.outbox import Outbox\n"
        "with Outbox(sys.argv[1]).claim() as mine: print(mine)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(gapless.__path__[0]).parent)}

    def elsewhere() -> str:
        command = [sys.executable, "-c", asking, str(outbox.path)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    with outbox.claim() as mine:
        assert mine
        with outbox.claim() as second:
            assert not second
        assert elsewhere() == "False\n"
    assert elsewhere() == "True\n"
    with outbox.claim() as mine:
        assert mine


@pytest.mark.crash
def test_killed_before_sending(hub: Hub, tmp_path: Path) -> None:
    """The report is committed, the hub has not seen it, the process dies: the next one sends it, once."""
    token = hub.ledger.add_token("arm-1")
    task = hub.ledger.create_task("arm-1", {}, approved=True)["id"]
    path = tmp_path / "outbox.db"
    with HubProxy.of(hub.url) as proxy:
        proxy.down()
        reporter = Reporter(proxy.url, token, path, task, 0, 3, 0)
        reporter.say()
        assert [reporter.read() for _ in range(3)] == [0, 1, 2]
        reporter.kill()
        assert proxy.seen == []
        proxy.up()
        send_the_rest(proxy.url, token, path)
        assert len(proxy.seen) == 3
    assert indices(hub, task) == [0, 1, 2]


@pytest.mark.crash
def test_killed_between_sending_and_marking(hub: Hub, tmp_path: Path) -> None:
    """The hub has the report, the process dies before it knows: sent again, under the same key, kept once."""
    token = hub.ledger.add_token("arm-1")
    task = hub.ledger.create_task("arm-1", {}, approved=True)["id"]
    path = tmp_path / "outbox.db"
    with HubProxy.of(hub.url) as proxy:
        proxy.faults = ["hold"]
        reporter = Reporter(proxy.url, token, path, task, 0, 2, 0)
        reporter.say()
        until(proxy.held.is_set)
        assert indices(hub, task) == [0]
        assert [reporter.read(), reporter.read()] == [0, 1]
        reporter.kill()
        with closing(Outbox(path)) as outbox:
            assert [report.state for report in outbox.reports()] == ["waiting", "waiting"]
        send_the_rest(proxy.url, token, path)
        keys = [seen.headers["idempotency-key"] for seen in proxy.seen]
    assert keys[0] == keys[1] != keys[2]
    assert indices(hub, task) == [0, 1]


@pytest.mark.crash
def test_killed_at_random_moments(hub: Hub, tmp_path: Path) -> None:
    """Eight lives in a row, each killed after some reports while sending: all that were reported arrive once."""
    token = hub.ledger.add_token("arm-1")
    task = hub.ledger.create_task("arm-1", {}, approved=True)["id"]
    path = tmp_path / "outbox.db"
    dice = random.Random(7)
    reported: list[int] = []
    for life in range(8):
        reporter = Reporter(hub.url, token, path, task, life * 1000, 1000, 0)
        reporter.say()
        reported += [reporter.read() for _ in range(dice.randrange(1, 25))]
        reported += reporter.kill()
    send_the_rest(hub.url, token, path)
    arrived = indices(hub, task)
    assert len(set(arrived)) == len(arrived)
    assert arrived == sorted(arrived)
    assert set(reported) <= set(arrived)
    assert (
        len(arrived) - len(reported) <= 8
    )  # at most the one of each life that was committed but not yet told


def test_several_processes_share_an_outbox(hub: Hub, tmp_path: Path) -> None:
    """Three processes report and send at once: no report leaves twice, none out of its task's order."""
    token = hub.ledger.add_token("arm-1")
    tasks = [hub.ledger.create_task("arm-1", {}, approved=True)["id"] for _ in range(3)]
    with HubProxy.of(hub.url) as proxy:
        reporters = [Reporter(proxy.url, token, tmp_path / "outbox.db", task, 0, 15, 100) for task in tasks]
        for reporter in reporters:
            reporter.say()
        for reporter in reporters:
            reporter.end()
        keys = [seen.headers["idempotency-key"] for seen in proxy.seen]
    assert len(set(keys)) == len(keys) == 45
    for task in tasks:
        assert indices(hub, task) == list(range(15))


LOCKING = """
import sqlite3, sys
file = sqlite3.connect(sys.argv[1], isolation_level=None)
file.execute("BEGIN IMMEDIATE")
for statement in sys.argv[2:]:
    file.execute(statement)
print("locked", flush=True)
sys.stdin.readline()
file.execute("COMMIT")
"""


class Lock:
    """Another process that keeps a database locked until :meth:`release`, and then commits what it ``changes``."""

    def __init__(self, path: Path, *changes: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", LOCKING, str(path), *changes],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "locked\n"

    def release(self) -> None:
        """Let go of the lock."""
        self._process.communicate("\n", timeout=60)
        assert self._process.returncode == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def client_of(hub: Hub, path: Path, **options: float) -> HubRecordingClient:
    """Return a client with a new token that is quick to try again."""
    quick = {"retry_s": 0.01, "retry_max_s": 0.05, **options}
    return HubRecordingClient(hub.url, hub.ledger.add_token("arm-1"), outbox_path=path, **quick)


def test_a_locked_outbox_holds_nobody_and_loses_nothing(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Reports return while another process keeps the lock, are counted, and arrive in order once it is gone."""
    task = hub.ledger.create_task("arm-1", {}, approved=True)["id"]
    path = tmp_path / "outbox.db"
    with client_of(hub, path) as client:
        client.submit(task, {"index": 0})
        assert client.drain(60)
        assert PATIENCE_S <= 0.25
        with Lock(path):  # it is let go only after the last of these calls has returned
            for index in range(1, 6):
                client.submit(task, {"index": index})
            client.stop(task, {})
            assert not client.drain(0.0)
            assert len(client.outbox.reports()) == 1
            assert indices(hub, task) == [0]
        assert client.drain(60)
        assert [report.kind for report in client.outbox.reports()] == ["submit"] * 6 + ["stop"]
        assert client.failure is None
    assert indices(hub, task) == list(range(6))
    assert hub.ledger.task(task)["status"] == "stopped"
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["reports wait in memory"]


def test_what_a_report_says_is_taken_at_once(hub: Hub, tmp_path: Path) -> None:
    """A body that its owner changes while the outbox is locked arrives as it was; one that is no JSON raises."""
    task = hub.ledger.create_task("arm-1", {}, approved=True)["id"]
    inner = {"a": 1}
    with client_of(hub, tmp_path / "outbox.db") as client:
        with Lock(client.outbox.path):
            client.submit(task, {"index": inner})
            inner["a"] = 2
            with pytest.raises(MetadataRefused):
                client.submit(task, {"index": float("nan")})
        assert client.drain(60)
    assert [episode["executionMetadata"] for episode in hub.ledger.episodes(task)] == [{"index": {"a": 1}}]


def test_closing_waits_for_a_locked_outbox(hub: Hub, tmp_path: Path) -> None:
    """Closing ends only when what is in memory is durable, also when it does not wait for the hub."""
    client = client_of(hub, tmp_path / "outbox.db", drain_s=0.0)
    with Lock(client.outbox.path):
        for index in range(3):
            client.submit("task", {"index": index})
        closing_thread = threading.Thread(target=client.close)
        closing_thread.start()
        until(lambda: "gapless-hub" not in [thread.name for thread in threading.enumerate()])
        assert closing_thread.is_alive()
    closing_thread.join(60)
    with closing(Outbox(tmp_path / "outbox.db")) as outbox:
        assert [json.loads(report.body)["executionMetadata"]["index"] for report in outbox.reports()] == [
            0,
            1,
            2,
        ]
    assert client.failure is None


def test_what_stays_locked_is_said(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that outlasts the closing is an error that counts the reports; they are written when it ends."""
    monkeypatch.setattr("gapless.observe.hub_client._LOCKED_S", 0.1)
    client = client_of(hub, tmp_path / "outbox.db", drain_s=0.0)
    with Lock(client.outbox.path):
        client.submit("task", {"index": 0})
        client.submit("task", {"index": 1})
        client.close()
        assert isinstance(client.failure, CatalogBusy)
        assert "2 reports that are not in" in caplog.records[-1].getMessage()
    with closing(Outbox(tmp_path / "outbox.db")) as outbox:
        until(lambda: len(outbox.reports()) == 2)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("ALTER TABLE reports RENAME COLUMN body TO words", StorageFailed),
        (
            "CREATE TRIGGER refuse BEFORE INSERT ON reports BEGIN SELECT RAISE(ABORT, 'no'); END",
            sqlite3.IntegrityError,
        ),
    ],
)
def test_a_report_that_fails_after_a_lock_is_said(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture, change: str, error: type[Exception]
) -> None:
    """Who kept the lock left a table that takes no report: each in memory is one log line, the next one raises."""
    path = tmp_path / "outbox.db"
    with client_of(hub, path, drain_s=0.0) as client:
        with Lock(path, change):
            client.submit("task", {"index": 0})
            client.submit("task", {"index": 1})
        until(lambda: caplog.text.count("a report is lost for the hub") == 2)
        assert isinstance(client.failure, error)
        with pytest.raises(error):
            client.submit("task", {"index": 2})
    assert caplog.text.count("a report is lost for the hub") == 2


def test_a_report_while_the_program_ends(hub: Hub, tmp_path: Path) -> None:
    """After its client was closed and threads can no longer be started, a report is durable all the same."""
    program = (
        "import atexit, sys\n"
        "from gapless.observe.hub_client import HubRecordingClient\n"
        "client = HubRecordingClient(sys.argv[1], 'word', outbox_path=sys.argv[2], drain_s=0.0)\n"
        "client.close()\n"
        "atexit.register(client.submit, 'task', {'index': 0})\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, hub.url, str(tmp_path / "outbox.db")],
        env={**os.environ, "PYTHONPATH": str(Path(gapless.__path__[0]).parent)},
        timeout=100,
        check=True,
    )
    with closing(Outbox(tmp_path / "outbox.db")) as outbox:
        assert [report.state for report in outbox.reports()] == ["waiting"]


def test_a_key_is_kept_once(outbox: Outbox) -> None:
    """Writing a report again, as after an attempt of unknown end, changes nothing."""
    for text in ("{}", '{"a": 1}'):
        outbox.put(HUB, "a", ReportKind.SUBMIT, text, "key")
    assert [report.body for report in outbox.reports()] == ["{}"]
