"""Reports reach the hub once and in order, whatever it does meanwhile, and never disturb who reports."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gapless.errors import MetadataRefused, NotFound
from gapless.observe.approval import EpisodeReports
from gapless.observe.hub.server import Hub
from gapless.observe.hub_client import HubRecordingClient
from gapless.observe.outbox import Outbox, ReportKind, ReportState
from gapless.observe.report_streamer import EpisodeReportStreamer

from .hub_proxy import HubProxy, until

FAULTS = [
    "500",
    "garbage",
    "slow",
    "die",
    "drip",
    "swallow",
    "page",
    "redirect",
    "401",
    "429",
    "huge",
    "long",
]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Return a hub that approves by itself."""
    with Hub(tmp_path / "hub.db") as hub:
        yield hub


@pytest.fixture
def token(hub: Hub) -> str:
    """Return a token of the hub."""
    return hub.ledger.add_token("arm-1")


@pytest.fixture
def proxy(hub: Hub) -> Iterator[HubProxy]:
    """Return what stands between a client and the hub."""
    with HubProxy.of(hub.url) as proxy:
        yield proxy


def client_of(url: str, folder: Path, token: str, **options: float) -> HubRecordingClient:
    """Return a client that is quick to try again and to give up a request."""
    quick = {"timeout_s": 0.5, "retry_s": 0.01, "retry_max_s": 0.05, "drain_s": 0.0, **options}
    return HubRecordingClient(url, token, outbox_path=folder / "outbox.db", **quick)


def new_task(hub: Hub) -> str:
    """Return the id of an approved task."""
    return str(hub.ledger.create_task("arm-1", {"session": "pick"}, approved=True)["id"])


def indices(hub: Hub, task: str) -> list[int]:
    """Return the episodes that a hub has, in the order in which they came."""
    return [episode["executionMetadata"]["index"] for episode in hub.ledger.episodes(task)]


def states(folder: Path) -> list[str]:
    """Return the states of all reports in an outbox."""
    outbox = Outbox(folder / "outbox.db")
    try:
        return [str(report.state) for report in outbox.reports()]
    finally:
        outbox.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_before_each_report(
    hub: Hub, proxy: HubProxy, token: str, tmp_path: Path, fault: str
) -> None:
    """Every report fails once in the same way; all arrive once, in order, the stop last."""
    task = new_task(hub)
    with client_of(proxy.url, tmp_path, token) as client:
        reports: EpisodeReports = EpisodeReportStreamer(task, client)
        proxy.faults = [fault, "pass"] * 4
        for index in range(3):
            reports.submit({"index": index})
        reports.stop({"episodes": 3})
        assert client.drain(60)
    assert indices(hub, task) == [0, 1, 2]
    assert hub.ledger.task(task)["status"] == "stopped"
    assert len(proxy.seen) == 8
    assert states(tmp_path) == ["sent"] * 4


def test_all_faults_in_a_row(hub: Hub, proxy: HubProxy, token: str, tmp_path: Path) -> None:
    """One report meets every fault there is before it gets through; those behind it wait."""
    task = new_task(hub)
    with client_of(proxy.url, tmp_path, token) as client:
        proxy.faults = list(FAULTS)
        for index in range(5):
            client.submit(task, {"index": index})
        client.stop(task, {})
        assert client.drain(60)
        first = client.outbox.reports()[0]
    assert first.attempts == len(FAULTS) + 1
    assert indices(hub, task) == [0, 1, 2, 3, 4]
    keys = [seen.headers["idempotency-key"] for seen in proxy.seen]
    assert len(set(keys[: len(FAULTS) + 1])) == 1  # the same key for every attempt


def test_a_hub_that_was_down(
    hub: Hub, proxy: HubProxy, token: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Reports of two tasks wait while the hub is down, with one log line for each task; then all arrive."""
    tasks = [new_task(hub), new_task(hub)]
    proxy.down()
    with client_of(proxy.url, tmp_path, token) as client:
        for index in range(4):
            for task in tasks:
                client.submit(task, {"index": index})
        for task in tasks:
            client.stop(task, {})
        until(lambda: all(report.attempts > 3 for report in client.outbox.heads(proxy.url)))
        assert [record.name for record in caplog.records] == ["gapless.observe"] * 2
        assert not client.drain(0.0)
        proxy.up()
        assert client.drain(60)
    for task in tasks:
        assert indices(hub, task) == [0, 1, 2, 3]
        assert hub.ledger.task(task)["status"] == "stopped"


def test_what_is_left_is_sent_by_the_next(hub: Hub, proxy: HubProxy, token: str, tmp_path: Path) -> None:
    """A program that ends while the hub is down leaves its reports; the next program sends them."""
    task = new_task(hub)
    proxy.down()
    with client_of(proxy.url, tmp_path, token) as client:
        client.submit(task, {"index": 0})
        client.submit(task, {"index": 1})
    assert states(tmp_path) == ["waiting"] * 2
    proxy.up()
    with client_of(proxy.url, tmp_path, token) as client:
        assert client.drain(60)
    assert indices(hub, task) == [0, 1]


def test_closing_drains(hub: Hub, token: str, tmp_path: Path) -> None:
    """What a hub takes in time is sent before the thread ends."""
    task = new_task(hub)
    with client_of(hub.url, tmp_path, token, drain_s=60.0) as client:
        for index in range(10):
            client.submit(task, {"index": index})
    assert indices(hub, task) == list(range(10))


def test_reporting_waits_for_no_network(hub: Hub, proxy: HubProxy, token: str, tmp_path: Path) -> None:
    """While the hub keeps one report waiting, a hundred more are durable and not one has left."""
    task = new_task(hub)
    proxy.faults = ["slow"]
    with client_of(proxy.url, tmp_path, token, timeout_s=600.0) as client:
        reports = EpisodeReportStreamer(task, client)
        reports.submit({"index": 0})
        until(proxy.held.is_set)
        for index in range(1, 101):
            reports.submit({"index": index})
        assert len(client.outbox.reports([ReportState.WAITING])) == 101
        assert len(proxy.seen) == 1
        assert reports.failures == []


def test_an_interrupted_request_ends_with_the_client(
    hub: Hub, proxy: HubProxy, token: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing calls off a request that would last ten minutes; that counts as no attempt."""
    proxy.faults = ["slow"]
    with client_of(proxy.url, tmp_path, token, timeout_s=600.0) as client:
        client.submit(new_task(hub), {"index": 0})
        until(proxy.held.is_set)
    assert client.outbox.reports()[0].attempts == 0
    assert client.failure is None
    assert caplog.records == []
    client.outbox.close()


def test_a_refused_report_is_kept_and_the_rest_goes_on(
    hub: Hub, proxy: HubProxy, token: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer that no attempt can change: one log line, the report is listed, the others arrive."""
    task = new_task(hub)
    with client_of(proxy.url, tmp_path, token) as client:
        proxy.faults = ["404", "pass", "404"]
        for index in range(3):
            client.submit(task, {"index": index})
        client.stop(task, {})
        assert client.drain(60)
        refused = client.outbox.reports([ReportState.REFUSED])
        assert [r.last_error for r in refused] == ['404 {"error": "no task"}'] * 2
        assert len(caplog.records) == 2
        assert indices(hub, task) == [1]


def test_a_report_after_the_stop_is_refused(hub: Hub, token: str, tmp_path: Path) -> None:
    """The order is kept to the end: the hub takes nothing after the stop, and the report says so."""
    task = new_task(hub)
    with client_of(hub.url, tmp_path, token) as client:
        client.stop(task, {})
        client.submit(task, {"index": 0})
        assert client.drain(60)
        found = [(r.kind, r.state) for r in client.outbox.reports()]
    assert found == [(ReportKind.STOP, ReportState.SENT), (ReportKind.SUBMIT, ReportState.REFUSED)]


def test_another_hub_gets_nothing(
    hub: Hub, token: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Reports go to the hub that approved their task; a client of another counts them and says so once."""
    with HubProxy() as other:
        with client_of(other.url, tmp_path, token) as client:
            other.down()
            client.submit("task", {"index": 0})
        other.up()
        with client_of(hub.url, tmp_path, token) as client:
            task = new_task(hub)
            client.submit(task, {"index": 0})
            assert client.drain(60)
            assert client.drain(60)
            assert client.waiting_elsewhere == {other.url: 1}
        assert other.seen == []
        (line,) = [text for text in caplog.messages if "other hubs" in text]
        assert f"1 for {other.url}" in line
    assert states(tmp_path) == ["waiting", "sent"]


@pytest.mark.parametrize("metadata", [{"a": float("inf")}, {"a": object()}, {"a": "x" * 2_000_000}])
def test_what_is_not_json_is_one_log_line(
    hub: Hub, token: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, metadata: dict[str, Any]
) -> None:
    """A report that cannot be kept is logged and remembered, and does not raise."""
    with client_of(hub.url, tmp_path, token) as client:
        reports = EpisodeReportStreamer("task", client)
        reports.submit(metadata)
        reports.stop(metadata)
        assert [type(error) for error in reports.failures] == [MetadataRefused] * 2
        assert [record.name for record in caplog.records] == ["gapless.observe"] * 2


def test_an_outbox_that_is_gone_is_one_log_line(
    hub: Hub, token: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The folder vanished: the simulation goes on."""
    store = tmp_path / "store"
    store.mkdir()
    with client_of(hub.url, store, token, retry_max_s=600.0) as client:
        until(lambda: not client.outbox.heads(client.url))
        client.outbox.close()
        shutil.rmtree(store)
        reports = EpisodeReportStreamer("task", client)
        reports.submit({"index": 0})
        assert [type(error) for error in reports.failures] == [NotFound]
        assert len(caplog.records) == 1
