"""Approval by a hub: what approves, what refuses, and that nothing leaves without a token."""

from __future__ import annotations

import base64
import html
import json
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from gapless.errors import (
    ApprovalRefused,
    HubFailed,
    MetadataRefused,
    NotAuthenticated,
    StateError,
    UsageError,
)
from gapless.observe.approval import Approver, Decision, SessionRequest
from gapless.observe.http_approval import HttpApproval, HttpApprover
from gapless.observe.hub.server import Hub
from gapless.observe.hub.token import new_token, stated_expiry_s
from gapless.observe.hub_client import HubRecordingClient
from gapless.observe.hub_request import Answer
from gapless.observe.outbox import ReportKind

from .hub_proxy import HubProxy, until

SESSION = SessionRequest(
    "pick", ("lift the cube",), 3, "simulated", "30", "30", ("arm", "front"), {"lab": "b2"}
)


def decided(approval: HttpApproval) -> Decision:
    """Poll as an observer does until there is a decision."""
    until(lambda: approval.poll() is not Decision.PENDING)
    return approval.poll()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Return a hub that approves by itself."""
    with Hub(tmp_path / "hub.db") as hub:
        yield hub


@pytest.fixture
def manual_hub(tmp_path: Path) -> Iterator[Hub]:
    """Return a hub at which a person approves."""
    with Hub(tmp_path / "hub.db", manual=True) as hub:
        yield hub


@pytest.fixture
def proxy() -> Iterator[HubProxy]:
    """Return a server that is no hub."""
    with HubProxy() as proxy:
        yield proxy


def patience_s(fault: str) -> float:
    """Return how long to wait for an answer: long, but for what gives none."""
    return 2.0 if fault in ("slow", "drip") else 30.0


def client_of(
    url: str, folder: Path, token: str | None = "secret-word", **options: float
) -> HubRecordingClient:
    """Return a client that is quick to try again and to give up."""
    quick = {"poll_s": 0.02, "retry_s": 0.02, "retry_max_s": 0.1, "drain_s": 0.0, **options}
    return HubRecordingClient(url, token, outbox_path=folder / "outbox.db", **quick)


def test_an_automatic_hub_approves(hub: Hub, tmp_path: Path) -> None:
    """The hub gets the whole request, and the approval brings reports."""
    with client_of(hub.url, tmp_path, hub.ledger.add_token("arm-1")) as client:
        approver: Approver = HttpApprover(client)
        approval = approver.request(SESSION)
        until(lambda: approval.poll() is Decision.APPROVED)
        assert approval.error is None
        assert approval.reports is not None
    (task,) = hub.ledger.tasks()
    assert task["status"] == "approved"
    assert task["owner"] == "arm-1"
    assert task["request"] == {
        "session": "pick",
        "tasks": ["lift the cube"],
        "total_episodes": 3,
        "mode": "simulated",
        "data_hz": "30",
        "video_hz": "30",
        "recorders": ["arm", "front"],
        "metadata": {"lab": "b2"},
    }


@pytest.mark.parametrize(
    ("verdict", "decision"), [("approved", Decision.APPROVED), ("rejected", Decision.REFUSED)]
)
def test_a_person_decides(manual_hub: Hub, tmp_path: Path, verdict: str, decision: Decision) -> None:
    """A task stays pending until a person approves or rejects it; the reason reaches the one who asked."""
    with (
        HubProxy.of(manual_hub.url) as proxy,
        client_of(proxy.url, tmp_path, manual_hub.ledger.add_token("arm-1")) as client,
    ):
        approval = HttpApprover(client).request(SESSION)
        until(lambda: len(proxy.seen) > 3)  # the request and some polls
        assert approval.poll() is Decision.PENDING
        manual_hub.ledger.decide(manual_hub.ledger.tasks()[0]["id"], verdict, "the cell is open")
        assert decided(approval) is decision
        if decision is Decision.REFUSED:
            assert isinstance(approval.error, ApprovalRefused)
            assert "rejected" in str(approval.error)
            assert "the cell is open" in str(approval.error)
            assert approval.reports is None
    assert [seen.line.split()[0] for seen in proxy.seen][:2] == ["POST", "GET"]
    assert manual_hub.ledger.tasks()[0]["status"] == verdict


def test_without_a_token_nothing_leaves(
    proxy: HubProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No token, or one that says that it has ended, is refused at once and on the spot."""
    monkeypatch.delenv("GAPLESS_HUB_TOKEN", raising=False)
    claims = base64.urlsafe_b64encode(json.dumps({"exp": 1_000_000_000}).encode()).decode().rstrip("=")
    for token in (None, "", new_token(1_000_000_000), f"aaaa.{claims}.bbbb"):
        with client_of(proxy.url, tmp_path, token) as client:
            with pytest.raises(NotAuthenticated):
                HttpApprover(client).request(SESSION)
            client.submit("task", {"index": 0})
            until(lambda: client.outbox.heads(proxy.url)[0].attempts > 0)
    assert proxy.seen == []


def test_the_environment_gives_the_token(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$GAPLESS_HUB_TOKEN is used where no token is given."""
    monkeypatch.setenv("GAPLESS_HUB_TOKEN", hub.ledger.add_token("arm-1", expires_s=int(time.time()) + 3600))
    with client_of(hub.url, tmp_path, None) as client:
        assert decided(HttpApprover(client).request(SESSION)) is Decision.APPROVED


@pytest.mark.parametrize(
    "text", ["", "a.b", "a.b.c", "a.bm8.c", "glh.x.y", "glh.0.y", "a..c", "a." + "9" * 9999 + ".c"]
)
def test_most_tokens_state_no_end(text: str) -> None:
    """A token of another make is taken as it is; only the hub can tell."""
    assert stated_expiry_s(text) is None


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("500", HubFailed, '500 {"error": "disk"}'),
        ("404", ApprovalRefused, '404 {"error": "no task"}'),
        ("401", ApprovalRefused, "401"),
        ("429", ApprovalRefused, "429"),
        ("redirect", HubFailed, "redirects"),
        ("garbage", HubFailed, "BadStatusLine"),
        ("page", HubFailed, "please log in"),
        ("list", HubFailed, "no JSON object"),
        ("nameless", HubFailed, "names no task"),
        ("contrary", HubFailed, "contradicts"),
        ("huge", HubFailed, "more than"),
        ("long", HubFailed, "IncompleteRead"),
        ("slow", HubFailed, "in time"),
        ("drip", HubFailed, "in time"),
        ("die", HubFailed, "IncompleteRead"),
        ("swallow", HubFailed, "RemoteDisconnected"),
    ],
)
def test_what_is_no_approval_refuses(hub: Hub, tmp_path: Path, fault: str, error: type, words: str) -> None:
    """Whatever a hub does but approve ends in a refusal that a person can read, without the token."""
    token = hub.ledger.add_token("arm-1")
    with (
        HubProxy.of(hub.url) as proxy,
        client_of(proxy.url, tmp_path, token, timeout_s=patience_s(fault)) as client,
    ):
        proxy.faults = [fault]
        approval = HttpApprover(client).request(SESSION)
        assert decided(approval) is Decision.REFUSED
        assert type(approval.error) is error
        assert words in str(approval.error)
        assert token not in str(approval.error)
        assert approval.reports is None
        assert len(proxy.seen) == 1  # asked once


@pytest.mark.parametrize("fault", ["500", "404", "garbage", "die", "drip"])
def test_a_poll_that_fails_refuses_and_stops(manual_hub: Hub, tmp_path: Path, fault: str) -> None:
    """A hub that breaks while a person thinks disarms; the task is stopped when the hub is back."""
    token = manual_hub.ledger.add_token("arm-1")
    with (
        HubProxy.of(manual_hub.url) as proxy,
        client_of(proxy.url, tmp_path, token, timeout_s=patience_s(fault)) as client,
    ):
        proxy.faults = ["pass", fault]
        approval = HttpApprover(client).request(SESSION)
        assert decided(approval) is Decision.REFUSED
        assert isinstance(approval.error, HubFailed | ApprovalRefused)
        assert client.drain(30)
    assert [task["status"] for task in manual_hub.ledger.tasks()] == ["stopped"]


def test_a_hub_that_is_down_refuses(proxy: HubProxy, tmp_path: Path) -> None:
    """Nobody listens: refused with the address."""
    proxy.down()
    with client_of(proxy.url, tmp_path) as client:
        approval = HttpApprover(client).request(SESSION)
        assert decided(approval) is Decision.REFUSED
        assert isinstance(approval.error, HubFailed)
        assert proxy.url in str(approval.error)


def test_nobody_approves_in_time(manual_hub: Hub, tmp_path: Path) -> None:
    """The wait for a person has its own end, and the hub hears of it."""
    token = manual_hub.ledger.add_token("arm-1")
    with client_of(manual_hub.url, tmp_path, token, approval_timeout_s=0.1) as client:
        approval = HttpApprover(client).request(SESSION)
        assert decided(approval) is Decision.REFUSED
        assert "nobody approved" in str(approval.error)
        assert client.drain(30)
    assert [task["status"] for task in manual_hub.ledger.tasks()] == ["stopped"]


def test_a_cancelled_request_stays_cancelled(manual_hub: Hub, tmp_path: Path) -> None:
    """Cancelling refuses at once; an approval that comes later changes nothing, and the task is stopped."""
    with client_of(manual_hub.url, tmp_path, manual_hub.ledger.add_token("arm-1")) as client:
        approval = HttpApprover(client).request(SESSION)
        until(manual_hub.ledger.tasks)
        approval.cancel()
        assert approval.poll() is Decision.REFUSED
        assert "cancelled" in str(approval.error)
        until(lambda: manual_hub.ledger.tasks()[0]["status"] == "stopped")
        assert approval.poll() is Decision.REFUSED


def test_closing_tells_the_hub_of_a_request_that_was_cancelled(manual_hub: Hub, tmp_path: Path) -> None:
    """Also when it is closed at once, while the thread waits for an answer: nobody approves what has ended."""
    with (
        HubProxy.of(manual_hub.url) as proxy,
        client_of(proxy.url, tmp_path, manual_hub.ledger.add_token("arm-1"), drain_s=60.0) as client,
    ):
        approval = HttpApprover(client).request(SESSION)
        until(lambda: approval._task.id is not None)
        proxy.faults = ["late"]  # the next look at the task
        until(proxy.held.is_set)
        approval.cancel()
        assert not client.drain(0.0)
        proxy.release()
    assert [task["status"] for task in manual_hub.ledger.tasks()] == ["stopped"]


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_request_that_the_hub_cannot_be_told_of_now_is_told_later(
    manual_hub: Hub, tmp_path: Path, *, cancelled: bool
) -> None:
    """Its end waits in the outbox when the client is closed before the hub answers, and the next client sends it."""
    token = manual_hub.ledger.add_token("arm-1")
    with HubProxy.of(manual_hub.url) as proxy:
        with client_of(proxy.url, tmp_path, token) as client:
            approval = HttpApprover(client).request(SESSION)
            until(lambda: approval._task.id is not None)
            proxy.faults = ["slow"]
            until(proxy.held.is_set)
            if cancelled:
                approval.cancel()
        assert approval.poll() is Decision.REFUSED
        assert [task["status"] for task in manual_hub.ledger.tasks()] == ["pending"]
        with client_of(proxy.url, tmp_path, token) as client:
            assert client.drain(60)
    assert [task["status"] for task in manual_hub.ledger.tasks()] == ["stopped"]


def test_cancelled_while_the_hub_approves(hub: Hub, tmp_path: Path) -> None:
    """Approved by the hub but never taken here: the task is stopped. Taken: cancelling changes nothing."""
    with client_of(hub.url, tmp_path, hub.ledger.add_token("arm-1")) as client:
        untaken = HttpApprover(client).request(SESSION)
        until(lambda: [t["status"] for t in hub.ledger.tasks()] == ["approved"])
        untaken.cancel()
        assert untaken.poll() is Decision.REFUSED
        until(lambda: [t["status"] for t in hub.ledger.tasks()] == ["stopped"])
        taken = HttpApprover(client).request(SESSION)
        assert decided(taken) is Decision.APPROVED
        taken.cancel()
        assert taken.poll() is Decision.APPROVED
        assert [t["status"] for t in hub.ledger.tasks()] == ["stopped", "approved"]


def test_an_approval_on_its_way_comes_too_late(hub: Hub, tmp_path: Path) -> None:
    """Cancelled while the hub's yes travels: it stays refused, and the task is stopped."""
    with (
        HubProxy.of(hub.url) as proxy,
        client_of(proxy.url, tmp_path, hub.ledger.add_token("arm-1")) as client,
    ):
        proxy.faults = ["late"]
        approval = HttpApprover(client).request(SESSION)
        until(proxy.held.is_set)
        approval.cancel()
        proxy.release()
        until(lambda: [task["status"] for task in hub.ledger.tasks()] == ["stopped"])
        assert approval.poll() is Decision.REFUSED
        assert "cancelled" in str(approval.error)


@pytest.mark.parametrize("timeout_s", [0.3, 600.0])
def test_a_handshake_ends(tmp_path: Path, timeout_s: float) -> None:
    """A peer that takes the connection and never shakes hands keeps neither the request nor the closing."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        client_of(f"https://127.0.0.1:{silent.getsockname()[1]}", tmp_path, timeout_s=timeout_s) as client,
    ):
        approval = HttpApprover(client).request(SESSION)
        connection, _ = silent.accept()
        with connection:
            if timeout_s > 1:
                client.close()
            assert decided(approval) is Decision.REFUSED
        assert isinstance(approval.error, HubFailed)
        assert "in time" in str(approval.error)


def test_closing_ends_a_request_under_way(proxy: HubProxy, tmp_path: Path) -> None:
    """Closing does not wait for a slow hub; what was asked is refused, and nothing can be asked any more."""
    proxy.faults = ["slow"]
    client = client_of(proxy.url, tmp_path)
    first, second = HttpApprover(client).request(SESSION), HttpApprover(client).request(SESSION)
    until(proxy.held.is_set)
    client.close()
    assert [first.poll(), second.poll()] == [Decision.REFUSED, Decision.REFUSED]
    assert [type(first.error), type(second.error)] == [HubFailed, HubFailed]
    assert len(proxy.seen) == 1
    with pytest.raises(StateError):
        HttpApprover(client).request(SESSION)
    client.close()


def test_a_thread_that_dies_refuses_what_waits(
    proxy: HubProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A defect in the thread is kept, logged once, and leaves nobody waiting."""
    proxy.faults = ["slow"]
    with client_of(proxy.url, tmp_path) as client:
        first = HttpApprover(client).request(SESSION)
        until(proxy.held.is_set)
        client._jobs.put("no job")  # type: ignore[arg-type]  # the defect
        second = HttpApprover(client).request(SESSION)
        proxy.release()
        assert (decided(first), decided(second)) == (Decision.REFUSED, Decision.REFUSED)
        assert "closed before" in str(second.error)
        assert isinstance(client.failure, ValueError)
        assert len(caplog.records) == 1
        with pytest.raises(StateError):
            HttpApprover(client).request(SESSION)


def test_what_is_not_json_is_refused_here(proxy: HubProxy, tmp_path: Path) -> None:
    """A request that JSON cannot carry is refused before anything is sent."""
    with client_of(proxy.url, tmp_path) as client:
        for metadata in ({"a": float("nan")}, {"a": object()}, {"a": "x" * 2_000_000}):
            with pytest.raises(MetadataRefused):
                client.ask({"metadata": metadata})
    assert proxy.seen == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hub",
        "ftp://hub",
        "http://",
        "http://u:secret-word@hub",
        "http://h?q=secret-word",
        "http://h:x",
        "http://h:0",
    ],
)
def test_an_address_of_no_hub_is_refused(tmp_path: Path, url: str) -> None:
    """Only http(s) without credentials; a password in an address is not repeated."""
    with pytest.raises(UsageError) as refused:
        client_of(url, tmp_path)
    assert "secret-word" not in str(refused.value)


def test_a_token_that_breaks_the_header_is_refused(tmp_path: Path) -> None:
    """A line break would smuggle in a header; the message does not repeat the token."""
    with pytest.raises(UsageError) as refused:
        client_of("http://127.0.0.1:1", tmp_path, "secret\r\nX: y")
    assert "secret" not in str(refused.value)


def test_the_token_is_never_logged(hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither side logs it, whatever goes wrong; it stands in no database either."""
    caplog.set_level(logging.DEBUG)
    token = hub.ledger.add_token("arm-1")
    with (
        HubProxy.of(hub.url) as proxy,
        client_of(proxy.url, tmp_path, token, timeout_s=patience_s("slow")) as client,
    ):
        assert decided(HttpApprover(client).request(SESSION)) is Decision.APPROVED
        proxy.faults = ["500", "garbage", "slow", "401", "die"]
        client.submit(hub.ledger.tasks()[0]["id"], {"index": 0})
        assert client.drain(30)
        assert all(seen.headers["authorization"] == f"Bearer {token}" for seen in proxy.seen)
    assert caplog.text
    assert token not in caplog.text
    for file in tmp_path.iterdir():
        assert token.encode() not in file.read_bytes()


TOKEN = 'Se/cr"et<&>word'
ECHOES = {
    "plain": TOKEN,
    "json": json.dumps([TOKEN]),
    "php": json.dumps(TOKEN).replace("/", "\\/"),
    "url": quote(TOKEN, safe=""),
    "html": html.escape(TOKEN),
    "python": str({"Authorization": TOKEN + "'"}),
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize(
    "start", ["HTTP/1.1 500 Oops\r\n\r\n", "HTTP/1.1 400 Bad\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", ""]
)
def test_a_hub_that_echoes_the_token(
    proxy: HubProxy, tmp_path: Path, caplog: pytest.LogCaptureFixture, start: str, echo: str
) -> None:
    """An answer that repeats the token is quoted without it: in the refusal, the log and the outbox."""
    proxy.answers["echo"] = f"{start}{echo}\r\n\r\n".encode()
    proxy.faults = ["echo", "echo"]
    with client_of(proxy.url, tmp_path, TOKEN, retry_s=600.0, retry_max_s=600.0) as client:
        approval = HttpApprover(client).request(SESSION)
        assert decided(approval) is Decision.REFUSED
        client.submit("task", {"index": 0})
        until(lambda: client.outbox.reports()[0].attempts > 0)
        (report,) = client.outbox.reports()
    for text in (str(approval.error), str(report.last_error), caplog.text):
        assert "[token]" in text
        assert not any(word in text for word in ("Se/cr", "Se\\/cr", "Se%2F"))


def test_an_excerpt_that_ends_within_the_token() -> None:
    """The token is taken out before the answer is cut, so that no part of it is left."""
    answer = Answer(500, "x" * 195 + TOKEN, TOKEN)
    assert answer.excerpt == "500 " + "x" * 195 + "[toke"
    assert TOKEN not in repr(answer).replace(repr(answer.text), "")


def test_a_reason_that_echoes_the_token(proxy: HubProxy, tmp_path: Path) -> None:
    """The hub's words for a rejection are quoted without the token too."""
    proxy.answers["made"] = b'HTTP/1.1 202 Wait\r\n\r\n{"id": "a", "status": "pending"}'
    rejected = json.dumps({"id": "a", "status": "rejected", "reason": f"unfit: {TOKEN}"})
    proxy.answers["no"] = f"HTTP/1.1 200 OK\r\n\r\n{rejected}".encode()
    proxy.faults = ["made", "no"]
    with client_of(proxy.url, tmp_path, TOKEN) as client:
        approval = HttpApprover(client).request(SESSION)
        assert decided(approval) is Decision.REFUSED
    assert "unfit: [token]" in str(approval.error)


def test_tokens_travel_unencrypted_only_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """http:// beyond this machine is one log line; within it, none."""
    for url, lines in (("http://127.0.0.1:1", 0), ("http://localhost:1", 0), ("http://[2001:db8::1]:1", 1)):
        caplog.clear()
        client_of(url, tmp_path).close()
        assert len(caplog.records) == lines


def test_a_stop_for_an_unknown_kind_of_id(hub: Hub, tmp_path: Path) -> None:
    """An id is quoted into the address: it cannot lead to another place."""
    with client_of(hub.url, tmp_path, hub.ledger.add_token("arm-1")) as client:
        client.stop("../tasks?x=1#", {})
        until(lambda: not client.outbox.heads(hub.url))
        (report,) = client.outbox.reports()
        assert report.kind is ReportKind.STOP
        assert "there is no task of that id" in str(report.last_error)
