"""The hub over HTTP: who waits, decisions that are kept, and the reports of episodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import gapless
from gapless.observe.hub.ledger import HubLedger

from .conftest import Begin, Site
from .test_core import refusal

REQUEST = {"session": "pick", "tasks": ["lift the cube"], "total_episodes": 3, "metadata": {"cell": 4}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the hub's ledger lies."""
    return tmp_path / "hub.db"


@pytest.fixture
def ledger(file: Path) -> Iterator[HubLedger]:
    """Return the ledger, as the hub's own process has it open."""
    with closing(HubLedger(file)) as opened:
        yield opened


@pytest.fixture
def site(begin: Begin, root: Path, ledger: HubLedger, file: Path) -> Site:
    """Return a server that was given the hub."""
    return begin(root, hub=file)


def told(site: Site, path: str = "/hub/tasks", **params: Any) -> Any:
    """Return the JSON of an answer that went well."""
    answer = site.api(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_sessions_that_wait_come_first(site: Site, ledger: HubLedger) -> None:
    """The one that waits longest leads, with all that it asked for."""
    first = ledger.create_task("arm-1", REQUEST, approved=False)["id"]
    done = ledger.create_task("arm-1", REQUEST, approved=True)["id"]
    second = ledger.create_task("arm-2", REQUEST, approved=False)["id"]
    tasks = told(site)
    assert [task["id"] for task in tasks["waiting"]] == [first, second]
    assert [(task["id"], task["status"]) for task in tasks["history"]] == [(done, "approved")]
    assert tasks["waiting"][0]["request"] == REQUEST
    assert (tasks["waiting"][1]["owner"], tasks["waiting"][1]["reason"]) == ("arm-2", None)
    assert isinstance(tasks["waiting"][0]["created_ns"], str)


def test_the_history_comes_by_page(site: Site, ledger: HubLedger) -> None:
    """Each session once, the newest first."""
    ids = [ledger.create_task("arm-1", REQUEST, approved=True)["id"] for _ in range(5)]
    found: list[str] = []
    before: dict[str, str] = {}
    for _ in range(3):
        page = told(site, limit=2, **before)
        found += [task["id"] for task in page["history"]]
        before = {"before": page["next_before"]}
    assert found == ids[::-1]
    assert page["next_before"] is None
    assert told(site, before="nobody")["history"] == []


def test_a_decision_is_kept_and_audited(site: Site, ledger: HubLedger) -> None:
    """The ledger has it with its reason, and the audit who decided."""
    one = ledger.create_task("arm-1", REQUEST, approved=False)["id"]
    other = ledger.create_task("arm-1", REQUEST, approved=False)["id"]
    approved = site.api(f"/hub/tasks/{one}/approve", "POST", json={})
    assert (approved.status_code, approved.json()["status"]) == (200, "approved")
    rejected = site.api(f"/hub/tasks/{other}/reject", "POST", json={"reason": " the cell is open "})
    assert (rejected.json()["status"], rejected.json()["reason"]) == ("rejected", "the cell is open")
    assert ledger.task(one)["status"] == "approved"
    assert ledger.task(other)["reason"] == "the cell is open"
    acts = [row[1:] for row in site.audit() if row[1].startswith("hub")]
    assert acts == [("hub approved", one, "done"), ("hub rejected", other, "done")]


def test_what_is_decided_is_not_decided_again(site: Site, ledger: HubLedger) -> None:
    """A conflict, which is audited; one who stopped asking cannot be approved any more."""
    task = ledger.create_task("arm-1", REQUEST, approved=False)["id"]
    assert site.api(f"/hub/tasks/{task}/reject", "POST", json={"reason": "no"}).status_code == 200
    refusal(site.api(f"/hub/tasks/{task}/approve", "POST", json={}), 409, "StateError")
    gone = ledger.create_task("arm-1", REQUEST, approved=False)["id"]
    ledger.stop(gone, "key", {})
    refusal(site.api(f"/hub/tasks/{gone}/approve", "POST", json={}), 409, "StateError")
    outcomes = [row[3] for row in site.audit() if row[1] == "hub approved"]
    assert len(outcomes) == 2
    assert "done" not in outcomes
    refusal(site.api("/hub/tasks/nobody/approve", "POST", json={}), 404, "NotFound")


@pytest.mark.parametrize(
    "body", [{}, {"reason": ""}, {"reason": "  "}, {"reason": "x" * 2001}, {"reason": 5}]
)
def test_a_refusal_says_why(site: Site, ledger: HubLedger, body: dict[str, Any]) -> None:
    """Without a reason nothing is decided."""
    task = ledger.create_task("arm-1", REQUEST, approved=False)["id"]
    assert site.api(f"/hub/tasks/{task}/reject", "POST", json=body).status_code == 422
    assert ledger.task(task)["status"] == "pending"


def test_reports_of_episodes(site: Site, ledger: HubLedger) -> None:
    """In their order, by page; each says whether this store has the sequence with that content."""
    with gapless.connect(site.root) as client:
        for name in ("pick/0", "pick/1"):
            with client.sequence_create(name) as writer:
                writer.log("a", 1.0, timestamp_ns=1)
        digest = client.sequence_handler("pick/0").content_digest
    task = ledger.create_task("arm-1", REQUEST, approved=True)["id"]
    reports: list[dict[str, Any]] = [
        {"sequence": "pick/0", "outcome": "completed", "content_digest": digest},
        {"sequence": "pick/1", "outcome": "completed", "content_digest": "f" * 64},
        {"sequence": "pick/2", "outcome": "failed", "loss": float("nan")},
        {"what": "anything"},
    ]
    for number, report in enumerate(reports):
        ledger.submit(task, f"key-{number}", report)
    assert told(site, f"/hub/tasks/{task}")["ending"] is None
    ledger.stop(task, "end", {"episodes": 4})
    found: list[Any] = []
    after: int | None = 0
    while after is not None:
        page = told(site, f"/hub/tasks/{task}/episodes", limit=3, after=after)
        found += page["episodes"]
        after = page["next"]
    assert [episode["here"] for episode in found] == ["same", "other", "no", "no"]
    assert [episode["report"].get("sequence") for episode in found] == ["pick/0", "pick/1", "pick/2", None]
    assert found[2]["report"]["loss"] is None
    detail = told(site, f"/hub/tasks/{task}")
    assert (detail["status"], detail["episodes"], detail["ending"]["summary"]) == (
        "stopped",
        4,
        {"episodes": 4},
    )


def test_who_may_look_and_who_may_decide(site: Site, ledger: HubLedger) -> None:
    """Reading wants a key for all groups, deciding one that may write; a refusal decides nothing."""
    task = ledger.create_task("arm-1", REQUEST, approved=False)["id"]
    reader, grouped, writer = site.key("read"), site.key("write", "day-0"), site.key("write")
    act = f"/hub/tasks/{task}/approve"
    assert site.api("/hub/tasks", key=reader).status_code == 200
    for path in ("/hub/tasks", f"/hub/tasks/{task}", f"/hub/tasks/{task}/episodes"):
        refusal(site.api(path), 401, "KeyRefused")
        refusal(site.api(path, key=grouped), 403, "RightMissing")
    for key, status in ((None, 401), (reader, 403), (grouped, 403)):
        assert site.api(act, "POST", key=key, json={}).status_code == status
    assert ledger.task(task)["status"] == "pending"
    assert site.api(act, "POST", key=writer, json={}).status_code == 200


def test_without_a_hub_there_is_nothing(begin: Begin, root: Path, tmp_path: Path) -> None:
    """Neither with none named, nor with a file that is not there, which is not made either."""
    site = begin(root)
    refusal(site.api("/hub/tasks"), 404, "NotFound")
    missing = tmp_path / "nowhere.db"
    other = begin(tmp_path / "other", hub=missing)
    refusal(other.api("/hub/tasks"), 404, "NotFound")
    assert not missing.exists()
