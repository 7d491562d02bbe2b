"""The reference hub over its wire: who may do what, every report once, and no peer that hurts another."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gapless.errors import HubFailed, NameTaken, NotFound, StateError, UsageError
from gapless.observe.approval import Decision, SessionRequest
from gapless.observe.http_approval import HttpApprover
from gapless.observe.hub.ledger import HubLedger
from gapless.observe.hub.server import Hub
from gapless.observe.hub_client import HubRecordingClient

from .hub_proxy import until

TASKS = "/api/luckyengine/tasks"


class Caller:
    """Speaks to a hub without any code of ours."""

    def __init__(self, hub: Hub, token: str | None) -> None:
        self.port = int(hub.url.rpartition(":")[2])
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Send a request and return status and answer; ``body`` bytes go as they are."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, data, {**self.headers, **named})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Return a hub that approves by itself."""
    with Hub(tmp_path / "hub.db") as hub:
        yield hub


@pytest.fixture
def call(hub: Hub) -> Caller:
    """Return one that may record."""
    return Caller(hub, hub.ledger.add_token("arm-1"))


def test_the_life_of_a_task(hub: Hub, call: Caller) -> None:
    """Created, submitted to, stopped; listed with its episodes."""
    status, task = call("POST", TASKS, {"session": "pick"})
    assert (status, task["status"]) == (201, "approved")
    place = f"{TASKS}/{task['id']}"
    for index in range(2):
        body = {"executionMetadata": {"index": index}}
        answer = call("POST", f"{place}/episodes/submit", body, Idempotency_Key=f"k{index}")
        assert answer == (200, {"id": task["id"], "number": index + 1, "known": False})
    assert call("POST", f"{place}/stop", {"summary": {"episodes": 2}}, Idempotency_Key="s")[0] == 200
    status, found = call("GET", place)
    assert (status, found["status"], found["episodes"], found["owner"]) == (200, "stopped", 2, "arm-1")
    assert found["request"] == {"session": "pick"}
    assert call("GET", TASKS)[1]["tasks"] == [found]
    episodes = call("GET", f"{place}/episodes")[1]["episodes"]
    assert [(e["number"], e["key"], e["executionMetadata"]) for e in episodes] == [
        (1, "k0", {"index": 0}),
        (2, "k1", {"index": 1}),
    ]


def test_nobody_speaks_without_a_token(hub: Hub, call: Caller) -> None:
    """None, a wrong one, one that ended, one that was removed: 401 for every address, and nothing happens."""
    ended = hub.ledger.add_token("old", expires_s=int(time.time()) - 1)
    removed = hub.ledger.add_token("gone")
    hub.ledger.remove_token("gone")
    for token in (None, "", "wrong", ended, removed):
        caller = Caller(hub, token)
        for method, path in (
            ("POST", TASKS),
            ("GET", TASKS),
            ("GET", f"{TASKS}/x"),
            ("GET", "/"),
            ("POST", "/x"),
        ):
            status, answer = caller(method, path, {} if method == "POST" else None)
            assert (status, answer["error"]) == (401, "NotAuthenticated")
    assert Caller(hub, None)("GET", TASKS, Authorization="Basic YTpi")[0] == 401
    assert hub.ledger.tasks() == []
    assert call("GET", TASKS) == (200, {"tasks": []})


def test_a_token_is_kept_as_a_digest(hub: Hub, tmp_path: Path) -> None:
    """The hub's files do not hold what would let anybody in; one name has one token."""
    token = hub.ledger.add_token("ada", approver=True)
    for file in tmp_path.iterdir():
        assert token.encode() not in file.read_bytes()
        assert token.rpartition(".")[2].encode() not in file.read_bytes()
    with pytest.raises(NameTaken):
        hub.ledger.add_token("ada")
    with pytest.raises(NotFound):
        hub.ledger.remove_token("bob")
    for name in ("", " ", "a\nb", "x" * 101):
        with pytest.raises(UsageError):
            hub.ledger.add_token(name)
    assert hub.ledger.tokens() == [{"name": "ada", "approver": True, "expires_s": None}]


def test_only_approvers_decide(tmp_path: Path) -> None:
    """Who records cannot approve its own session; a decision is made once."""
    with Hub(tmp_path / "hub.db", manual=True) as hub:
        recorder = Caller(hub, hub.ledger.add_token("arm-1"))
        approver = Caller(hub, hub.ledger.add_token("ada", approver=True))
        ids = []
        for _ in range(2):
            status, task = recorder("POST", TASKS, {})
            assert (status, task["status"]) == (202, "pending")
            ids.append(task["id"])
        assert recorder("POST", f"{TASKS}/{ids[0]}/approve", {})[0] == 403
        assert recorder("GET", f"{TASKS}/{ids[0]}")[1]["status"] == "pending"
        assert approver("POST", f"{TASKS}/{ids[0]}/approve")[1]["status"] == "approved"
        assert approver("POST", f"{TASKS}/{ids[1]}/reject", {"reason": "no"})[1]["reason"] == "no"
        assert approver("POST", f"{TASKS}/{ids[1]}/approve", {})[0] == 409
        assert approver("POST", f"{TASKS}/{ids[0]}/approve", {"reason": 3})[0] == 400
        body: dict[str, Any] = {"executionMetadata": {}}
        for task_id, status in ((ids[0], 200), (ids[1], 409)):
            path = f"{TASKS}/{task_id}/episodes/submit"
            assert recorder("POST", path, body, Idempotency_Key="a")[0] == status


def test_a_task_belongs_to_who_made_it(hub: Hub, call: Caller) -> None:
    """Another token may look, and not report."""
    task_id = call("POST", TASKS, {})[1]["id"]
    other = Caller(hub, hub.ledger.add_token("arm-2"))
    body: dict[str, Any] = {"executionMetadata": {}, "summary": {}}
    for action in ("episodes/submit", "stop"):
        assert other("POST", f"{TASKS}/{task_id}/{action}", body, Idempotency_Key="a")[0] == 403
    assert other("GET", f"{TASKS}/{task_id}")[1]["status"] == "approved"


def test_the_same_report_counts_once(hub: Hub, call: Caller) -> None:
    """The same key again is answered like the first, also after the stop; with another body it is a conflict."""
    task_id = call("POST", TASKS, {})[1]["id"]
    submit, stop = f"{TASKS}/{task_id}/episodes/submit", f"{TASKS}/{task_id}/stop"
    first = call("POST", submit, {"executionMetadata": {"index": 0}}, Idempotency_Key="a")[1]
    again = call("POST", submit, {"executionMetadata": {"index": 0}}, Idempotency_Key="a")[1]
    assert (first["known"], again["known"], again["number"]) == (False, True, first["number"])
    assert call("POST", submit, {"executionMetadata": {"index": 1}}, Idempotency_Key="a")[0] == 409
    assert call("POST", stop, {"summary": {"index": 0}}, Idempotency_Key="a")[0] == 409
    assert [call("POST", stop, {"summary": {}}, Idempotency_Key="s")[0] for _ in range(2)] == [200, 200]
    assert call("POST", submit, {"executionMetadata": {"index": 0}}, Idempotency_Key="a")[0] == 200
    assert call("POST", submit, {"executionMetadata": {"index": 9}}, Idempotency_Key="b")[0] == 409
    assert call("POST", stop, {"summary": {}}, Idempotency_Key="t")[0] == 409
    assert len(hub.ledger.episodes(task_id)) == 1


def test_the_same_report_at_the_same_time(hub: Hub, call: Caller) -> None:
    """Eight at once under one key are one episode."""
    task_id = call("POST", TASKS, {})[1]["id"]
    answers: list[tuple[int, Any]] = []

    def submit() -> None:
        body = {"executionMetadata": {"index": 0}}
        answers.append(call("POST", f"{TASKS}/{task_id}/episodes/submit", body, Idempotency_Key="a"))

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answer["known"] for _, answer in answers) == [False] + [True] * 7
    assert len(hub.ledger.episodes(task_id)) == 1


@pytest.mark.parametrize(
    ("path", "body", "key", "status"),
    [
        ("episodes/submit", {"executionMetadata": {}}, "", 400),
        ("episodes/submit", {"executionMetadata": {}}, "k" * 201, 400),
        ("episodes/submit", {"executionMetadata": []}, "k", 400),
        ("episodes/submit", {}, "k", 400),
        ("episodes/submit", [], "k", 400),
        ("episodes/submit", b"{", "k", 400),
        ("episodes/submit", b"\xff\xfe{", "k", 400),
        ("episodes/submit", b"[" * 100_000, "k", 400),
        ("stop", {"executionMetadata": {}}, "k", 400),
        ("nothing", {}, "k", 404),
        ("episodes/submit/more", {}, "k", 404),
    ],
)
def test_what_is_no_report_changes_nothing(
    hub: Hub, call: Caller, path: str, body: Any, key: str, status: int
) -> None:
    """Answered with what is wrong, and the task is as before."""
    task = call("POST", TASKS, {})[1]
    found, answer = call("POST", f"{TASKS}/{task['id']}/{path}", body, Idempotency_Key=key)
    assert (found, bool(answer["message"])) == (status, True)
    assert hub.ledger.task(task["id"])["status"] == "approved"
    assert hub.ledger.episodes(task["id"]) == []


def test_a_task_that_is_not_there(call: Caller) -> None:
    """404 for reading it and reporting to it."""
    body: dict[str, Any] = {"executionMetadata": {}}
    assert call("GET", f"{TASKS}/absent")[0] == 404
    assert call("GET", f"{TASKS}/absent/episodes")[0] == 404
    assert call("POST", f"{TASKS}/absent/episodes/submit", body, Idempotency_Key="k")[0] == 404


@pytest.mark.parametrize("length", ["1048577", "99999999999999999999", "-1", "x", "1e3"])
def test_a_body_has_a_bound(hub: Hub, length: str) -> None:
    """Refused by its stated length, before a byte of it is read."""
    with socket.create_connection(("127.0.0.1", int(hub.url.rpartition(":")[2])), 30) as sock:
        sock.sendall(f"POST {TASKS} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode())
        assert sock.recv(1000).split(b" ")[1] == b"413"


def test_a_silent_peer_keeps_nobody_waiting(hub: Hub, call: Caller) -> None:
    """Connections that say nothing, or stop in the middle, are no business of others."""
    port = int(hub.url.rpartition(":")[2])
    silent = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(5)]
    for sock in silent[1:]:
        sock.sendall(b"POST /api HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
    assert call("POST", TASKS, {})[0] == 201
    for sock in silent:
        sock.close()


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    """Tokens, tasks and reports are in the file."""
    with Hub(tmp_path / "hub.db") as hub:
        token = hub.ledger.add_token("arm-1")
        task_id = Caller(hub, token)("POST", TASKS, {})[1]["id"]
        path = f"{TASKS}/{task_id}/episodes/submit"
        Caller(hub, token)("POST", path, {"executionMetadata": {"index": 0}}, Idempotency_Key="a")
    with Hub(tmp_path / "hub.db") as hub:
        answer = Caller(hub, token)("POST", path, {"executionMetadata": {"index": 0}}, Idempotency_Key="a")
        assert answer[1]["known"]
        assert len(hub.ledger.episodes(task_id)) == 1


def test_a_decision_is_made_once(tmp_path: Path) -> None:
    """Approved may be approved again; nothing else changes."""
    with closing(HubLedger(tmp_path / "hub.db")) as ledger:
        task_id = ledger.create_task("arm-1", {}, approved=False)["id"]
        assert ledger.decide(task_id, "approved")["status"] == "approved"
        assert ledger.decide(task_id, "approved")["status"] == "approved"
        with pytest.raises(StateError):
            ledger.decide(task_id, "rejected")


def test_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client speaks to a hub whose certificate it trusts, and to no other."""
    certificate = tmp_path / "hub.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
            ),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key.pem", "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, tmp_path / "key.pem")
    session = SessionRequest("pick", (), None, "simulated", "30", "30", ())
    with Hub(tmp_path / "hub.db", tls=context) as hub:
        assert hub.url.startswith("https://")
        silent = socket.create_connection(("127.0.0.1", int(hub.url.rpartition(":")[2])), 30)
        token = hub.ledger.add_token("arm-1")
        with HubRecordingClient(hub.url, token, outbox_path=tmp_path / "outbox.db", drain_s=0.0) as client:
            stranger = HttpApprover(client).request(session)
            until(lambda: stranger.poll() is Decision.REFUSED)
            assert isinstance(stranger.error, HubFailed)
            assert "CERTIFICATE_VERIFY_FAILED" in str(stranger.error.found)
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            trusted = HttpApprover(client).request(session)
            until(lambda: trusted.poll() is Decision.APPROVED)
            client.submit(hub.ledger.tasks()[0]["id"], {"index": 0})
            assert client.drain(60)
        silent.close()
        assert len(hub.ledger.tasks()) == 1
