"""The page of the hub: a real observer asks, a person decides, and the episodes are reported."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.observe.toy import World, run, toy

import gapless
from gapless.catalog.state_database import StateDatabase
from gapless.observe import DataState, Observer
from gapless.observe.approval import SessionRequest
from gapless.observe.http_approval import HttpApprover
from gapless.observe.hub.server import Hub
from gapless.observe.hub_client import HubRecordingClient
from gapless.serve.keys import make_key
from gapless.serve.rights import Right

from .harness import DEADLINE_S, NARROW, Screen, Site, screen_on, serving, until

EPISODES = 3


@dataclass
class Lab:
    """A hub that a person decides at, and the store whose server shows it."""

    hub: Hub
    root: Path

    def link(self, name: str) -> HubRecordingClient:
        """Return the connection of a program that has a token of its own."""
        token = self.hub.ledger.add_token(name)
        return HubRecordingClient(self.hub.url, token, outbox_path=self.root / f"{name}.db", poll_s=0.05)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Return a hub that listens, and an empty store."""
    folder = tmp_path_factory.mktemp("lab")
    gapless.connect(folder / "store").close()
    with Hub(folder / "hub.db", manual=True) as hub:
        yield Lab(hub, folder / "store")


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    """Return a server of the store that shows the hub."""
    work = lab.root.parent
    with serving(lab.root, work / "server", "--hub", str(work / "hub.db")) as served:
        yield served


def observe(lab: Lab, session: str, found: list[Any]) -> None:
    """Ask for a session, wait for the decision, record its episodes; ``found`` gets the observer's last state."""
    world = World()
    with gapless.connect(lab.root) as client, lab.link(session) as link:
        observer = Observer(client, [toy(world, cameras=False)], approver=HttpApprover(link), data_hz=100)
        observer.start_session(session, ["turn the wheel"], metadata={"cell": 4})
        patience = threading.Event()
        while observer.tick() is DataState.PENDING_APPROVAL:
            patience.wait(0.02)
        found.append((observer.state, observer.last_error))
        if observer.last_error is None:
            for _ in range(EPISODES):
                world.reset()
                observer.begin_episode()
                run(observer, world, 5)
                observer.end_episode()
            observer.end_session()
            assert link.drain(DEADLINE_S)


def asking(lab: Lab, session: str, found: list[Any]) -> threading.Thread:
    """Begin to observe in a thread and return it once the hub knows that somebody waits."""
    thread = threading.Thread(target=observe, args=(lab, session, found))
    thread.start()
    until(lambda: any(t["request"]["session"] == session for t in lab.hub.ledger.waiting(10)), "nobody asks")
    return thread


def task_of(lab: Lab, session: str) -> dict[str, Any]:
    """Return the task of a session as the hub has it."""
    return next(task for task in lab.hub.ledger.tasks() if task["request"]["session"] == session)


def test_approve_a_session_and_see_its_episodes(screen: Screen, lab: Lab) -> None:
    """Somebody asks while the page is open; approving lets them record, and their reports come in."""
    page = screen.open("/hub")
    expect(page.get_by_text("No session waits.")).to_be_visible()
    found: list[Any] = []
    observer = asking(lab, "pick", found)
    card = page.get_by_role("article", name="pick")
    for words in ("waits", "turn the wheel", "cell", "toy"):
        expect(card).to_contain_text(words)
    assert screen.axe() == []
    card.get_by_role("button", name="Approve pick").press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Approve pick?")
    page.keyboard.press("Enter")
    expect(card).to_have_count(0)
    observer.join(DEADLINE_S)
    assert not observer.is_alive()
    assert [error for _, error in found] == [None]
    row = page.locator(f'tr[data-task="{task_of(lab, "pick")["id"]}"]')
    expect(row).to_contain_text("stopped")
    expect(row).to_contain_text(str(EPISODES))
    row.get_by_role("button", name="pick").click()
    session = page.locator("[data-session]")
    episodes = session.locator("tr[data-episode]")
    expect(episodes).to_have_count(EPISODES)
    expect(episodes.first).to_contain_text("pick/episode-000000")
    expect(episodes.first).to_contain_text("completed")
    expect(episodes.first).to_contain_text("here, the same content")
    assert screen.axe() == []
    page.reload()
    expect(page.locator("tr[data-episode]")).to_have_count(EPISODES)
    page.get_by_role("link", name="pick/episode-000001").click()
    expect(page).to_have_url(f"{screen.site.url}/sequences/pick%2Fepisode-000001")


def test_reject_a_session_with_a_reason(screen: Screen, lab: Lab) -> None:
    """Without a reason nothing happens; with one the observer is refused in these words."""
    found: list[Any] = []
    observer = asking(lab, "throw", found)
    page = screen.open("/hub")
    page.get_by_role("article", name="throw").get_by_role("button", name="Reject throw").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()
    assert task_of(lab, "throw")["status"] == "pending"
    page.keyboard.type("the cell is open")
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    observer.join(DEADLINE_S)
    assert not observer.is_alive()
    [(_, error)] = found
    assert "the cell is open" in str(error)
    row = page.locator(f'tr[data-task="{task_of(lab, "throw")["id"]}"]')
    expect(row).to_contain_text("rejected")
    expect(row).to_contain_text("the cell is open")


def test_a_session_that_another_decided_meanwhile(screen: Screen, lab: Lab) -> None:
    """The dialog says what the hub says, and the list is right after it."""
    with lab.link("late") as link:
        approval = HttpApprover(link).request(
            SessionRequest("late", ("hurry",), 1, "simulated", "30", "30", ("arm",))
        )
        until(lambda: lab.hub.ledger.waiting(10), "nobody asks")
        page = screen.open("/hub")
        page.get_by_role("button", name="Approve late").click()
        lab.hub.ledger.decide(task_of(lab, "late")["id"], "rejected", "too late")
        screen.allow("409")
        page.get_by_role("dialog").get_by_role("button", name="Approve").click()
        expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("The task was decided before")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.get_by_role("article", name="late")).to_have_count(0)
        approval.cancel()


def test_a_key_that_reads_only_looks_on(browser: Browser, lab: Lab, tmp_path: Path) -> None:
    """No button, and a word why; narrow, and in the dark."""
    task = lab.hub.ledger.create_task("arm", {"session": "watch", "tasks": ["wait"]}, approved=False)
    root = tmp_path / "store"
    gapless.connect(root).close()
    with StateDatabase(root) as database:
        key = make_key(database, Right.READ)[1]
    with (
        serving(root, tmp_path / "server", "--hub", str(lab.root.parent / "hub.db")) as served,
        screen_on(browser, served, size=NARROW, dark=True, bearer=key) as screen,
    ):
        page: Page = screen.open("/hub")
        card = page.get_by_role("article", name="watch")
        expect(card).to_contain_text("Your key may look on.")
        expect(card.get_by_role("button")).to_have_count(0)
        assert screen.axe() == []
    lab.hub.ledger.decide(task["id"], "rejected", "only a test")
