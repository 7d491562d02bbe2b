"""A hub in any state: what is recorded is what would be recorded without one, and every report arrives once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.observe.hub_proxy import HubProxy, until
from tests.observe.toy import World, run, toy

import gapless
from gapless.errors import ApprovalRefused
from gapless.observe import DataState, HttpApprover, HubRecordingClient, NoApproval, Observer
from gapless.observe.approval import Approver
from gapless.observe.hub.server import Hub

EPISODES = 4
FAULTS = ["500", "garbage", "slow", "die", "swallow", "drip", "page"]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """Give a hub that approves by itself."""
    with Hub(tmp_path / "hub.db") as hub:
        yield hub


@pytest.fixture
def proxy(hub: Hub) -> Iterator[HubProxy]:
    """Give what stands between the recorder and the hub."""
    with HubProxy.of(hub.url) as proxy:
        yield proxy


def client_of(url: str, folder: Path, token: str, fault: str = "") -> HubRecordingClient:
    """Return a client of a hub that tries again soon, and gives up soon on what never answers."""
    folder.mkdir(exist_ok=True)
    return HubRecordingClient(
        url,
        token,
        outbox_path=folder / "outbox.db",
        timeout_s=2.0 if fault in ("slow", "drip") else 30.0,
        retry_s=0.01,
        retry_max_s=0.05,
        drain_s=0.0,
    )


def recorded(
    store: Path, approver: Approver, proxy: HubProxy | None = None, fault: str = ""
) -> list[str | None]:
    """Record some episodes, one of them discarded; the fault begins after the approval. Return all identities."""
    world = World()
    with gapless.connect(store) as client, Observer(client, [toy(world)], approver, data_hz=100) as observer:
        observer.start_session("s", ["turn the wheel"])
        until(lambda: observer.tick() is DataState.RECORDING)
        if proxy is not None and fault == "down":
            proxy.down()
        elif proxy is not None:
            proxy.faults = [fault] * 3 + ["pass"] + [fault, "pass"] * 10
        for number in range(EPISODES):
            observer.begin_episode(seed=number)
            world.reset()
            run(observer, world, 20 + number)
            if number == 1:
                observer.discard_episode("the cube fell")
            else:
                observer.end_episode(success=number % 2 == 0)
        return [client.sequence_handler(name).content_digest for name in sorted(client.list_sequences())]


@pytest.mark.parametrize("fault", [*FAULTS, "down"])
def test_a_broken_hub_changes_no_byte(hub: Hub, proxy: HubProxy, tmp_path: Path, fault: str) -> None:
    """Down, slow, wrong, or dying in the middle of an answer: the identities are those of a run without a hub."""
    alone = recorded(tmp_path / "alone", NoApproval())
    assert len(alone) == EPISODES - 1
    store = tmp_path / "store"
    token = hub.ledger.add_token("arm-1")
    with client_of(proxy.url, store, token, fault) as client:
        assert recorded(store, HttpApprover(client), proxy, fault) == alone
        if fault == "down":
            proxy.up()
        assert client.drain(60)
    (task,) = hub.ledger.tasks()
    told = [episode["executionMetadata"] for episode in hub.ledger.episodes(task["id"])]
    assert [(t["index"], t["success"], t["discarded"]) for t in told] == [
        (0, True, None),
        (1, None, "the cube fell"),
        (2, True, None),
        (3, False, None),
    ]
    assert [t["content_digest"] for t in told if t["discarded"] is None] == alone
    assert hub.ledger.task(task["id"])["status"] == "stopped"


def test_the_hub_never_sees_the_data(hub: Hub, proxy: HubProxy, tmp_path: Path) -> None:
    """Reports are facts of an episode: a few hundred bytes, whatever was recorded."""
    token = hub.ledger.add_token("arm-1")
    with client_of(proxy.url, tmp_path / "store", token) as client:
        recorded(tmp_path / "store", HttpApprover(client), proxy, "pass")
        assert client.drain(60)
    posted = [seen for seen in proxy.seen if seen.line.startswith("POST")]
    assert len(posted) == 1 + EPISODES + 1
    assert all(len(seen.body) < 1500 for seen in posted)


@pytest.mark.parametrize("answer", ["500", "404", "garbage", "slow", "down", "401"])
def test_a_session_that_is_not_approved_leaves_nothing(
    hub: Hub, proxy: HubProxy, tmp_path: Path, answer: str
) -> None:
    """Whatever keeps the approval away: the state is Rejected, the error is readable, the folder is empty."""
    store = tmp_path / "store"
    token = hub.ledger.add_token("arm-1")
    if answer == "down":
        proxy.down()
    proxy.faults = [answer] * 5
    world = World()
    with client_of(proxy.url, store, token, answer) as client, gapless.connect(store) as own:
        with Observer(own, [toy(world)], HttpApprover(client), data_hz=100) as observer:
            observer.start_session("s")
            until(lambda: observer.tick() is DataState.REJECTED)
            assert observer.last_error is not None
            assert str(observer.last_error)
            run(observer, world, 3)
        assert own.list_sequences() == []
    assert not any((store / "sequences").glob("*"))


def test_a_person_says_no(tmp_path: Path) -> None:
    """A manual hub keeps the session pending; its refusal carries the reason."""
    store = tmp_path / "store"
    with Hub(tmp_path / "hub.db", manual=True) as hub:
        token = hub.ledger.add_token("arm-1")
        with (
            client_of(hub.url, store, token) as client,
            gapless.connect(store) as own,
            Observer(own, [toy(World())], HttpApprover(client), data_hz=100) as observer,
        ):
            observer.start_session("s")
            until(lambda: observer.tick() is DataState.PENDING_APPROVAL and bool(hub.ledger.tasks()))
            hub.ledger.decide(hub.ledger.tasks()[0]["id"], "rejected", "the arm is in repair")
            until(lambda: observer.tick() is DataState.REJECTED)
            assert isinstance(observer.last_error, ApprovalRefused)
            assert "the arm is in repair" in str(observer.last_error)
    assert not any((store / "sequences").glob("*"))
