"""What operators do to a run over HTTP: who may, under which name, and that an emergency stop waits for nothing."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gapless
from gapless.acquire.command import Command
from gapless.catalog.state_database import StateDatabase
from gapless.serve.audit import audit_rows
from gapless.serve.keys import make_key
from gapless.serve.rights import Right

from .conftest import Site
from .live_recorder import DEADLINE_S, SmallRecording, hearing, until

ORDER = {"device": "oven", "name": "write", "arguments": {"value": 3.5}, "confirmed": True}


@pytest.fixture
def recording(root: Path) -> Iterator[SmallRecording]:
    """Record a run of a group into the store."""
    with SmallRecording(root, group="lab") as found:
        yield found


def act(site: Site, verb: str, body: dict[str, Any], key: str | None = None) -> Any:
    """Ask for an act and return the answer's JSON, which must be a success."""
    answer = site.api(f"/live/oven-1/{verb}", "POST", key=key, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_act_reaches_the_run_under_a_name(site: Site, recording: SmallRecording) -> None:
    """The given one, or `page`; each leaves an audit row that says done."""
    recording.run.prompts = [{"prompt_id": "p1", "text": "go?", "choices": ["yes"]}]
    assert act(site, "note", {"text": "lid closed", "by": "ada"}) == {"by": "ada"}
    assert act(site, "confirm", {"prompt_id": "p1", "answer": "yes"}) == {"by": "page"}
    assert act(site, "stop", {"reason": "lunch", "by": "bob"}) == {"by": "bob"}
    assert act(site, "stop", {}) == {"by": "page"}
    assert recording.run.asked == [
        ("note", "lid closed", "ada"),
        ("confirm", "p1", "yes", "page"),
        ("stop", "lunch", "bob"),
        ("stop", "stopped by the operator", "page"),
    ]
    assert [(verb, outcome) for _, verb, _, outcome in site.audit()] == [
        ("note", "done"), ("confirm", "done"), ("stop", "done"), ("stop", "done"),
    ]  # fmt: skip


def test_a_command_is_the_persons_who_confirmed_it(site: Site, recording: SmallRecording) -> None:
    """The device's answer comes back; without a confirmation the run refuses."""
    done = act(site, "command", {**ORDER, "by": "ada", "timeout_s": 2})
    assert (done["status"], done["accepted"], done["value"], done["by"]) == ("done", True, 3.5, "ada")
    refused = act(site, "command", {**ORDER, "confirmed": False})
    assert (refused["status"], refused["accepted"]) == ("refused", False)
    first, second = (asked[2] for asked in recording.run.asked)
    assert isinstance(first, Command)
    assert (first.confirmed_by, first.issued_by, first.timeout_s) == ("ada", "ada", 2.0)
    assert (second.confirmed_by, second.issued_by) == (None, "page")


def test_a_key_acts_under_its_label(site: Site, root: Path, recording: SmallRecording) -> None:
    """Nobody has to type a name."""
    with StateDatabase(root) as database:
        known, key = make_key(database, Right.WRITE, label="bench tablet")
    assert act(site, "note", {"text": "a"}, key) == {"by": "bench tablet"}
    assert act(site, "note", {"text": "a", "by": "the boss"}, key) == {
        "by": f"the boss (key {key.split('_')[1]})"
    }
    with hearing(site, "/live/oven-1/stream", key) as heard:
        hello = heard.until("hello")[0]
    assert (hello["by"], hello["may"]) == ("bench tablet", "write")
    assert site.audit() == [
        (known.key_id, "note", "oven-1: a note by bench tablet", "done"),
        (known.key_id, "note", f"oven-1: a note by the boss (key {known.key_id})", "done"),
    ]


@pytest.mark.parametrize("verb", ["note", "command", "confirm", "stop", "emergency-stop"])
def test_acts_need_the_right_to_write_in_the_group(site: Site, recording: SmallRecording, verb: str) -> None:
    """A key that reads is refused, and to one of another group the run does not exist."""
    reads, foreign = site.key("read", "lab"), site.key("delete", "other")
    bodies: dict[str, dict[str, Any]] = {
        "note": {"text": "a"}, "command": ORDER, "confirm": {"prompt_id": "p", "answer": "a"},
    }  # fmt: skip
    body = bodies.get(verb, {})
    with hearing(site, "/live/oven-1/stream", reads) as heard:  # watched: known from memory
        heard.until("status")
        for key, status in ((reads, 403), (foreign, 404), (None, 401)):
            answer = site.api(f"/live/oven-1/{verb}", "POST", key=key, json=body)
            assert answer.status_code == status, answer.text
    assert recording.run.asked == []
    assert audit_rows(site.root) == []


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("note", {}),
        ("note", {"text": ""}),
        ("note", {"text": "a", "by": ""}),
        ("note", {"text": "a", "more": 1}),
        ("command", {"device": "oven"}),
        ("command", {**ORDER, "timeout_s": 0}),
        ("command", {**ORDER, "timeout_s": 601}),
        ("confirm", {"prompt_id": "p"}),
        ("stop", {"by": "x" * 201}),
        ("emergency-stop", {"reason": 5}),
    ],
)
def test_nonsense_is_refused_before_the_run_hears_of_it(
    site: Site, recording: SmallRecording, verb: str, body: dict[str, Any]
) -> None:
    """422 with the field."""
    answer = site.api(f"/live/oven-1/{verb}", "POST", json=body)
    assert (answer.status_code, bool(answer.json()["field"])) == (422, True)
    assert recording.run.asked == []


def test_no_name_is_too_long_for_an_emergency_stop(site: Site, recording: SmallRecording) -> None:
    """It is cut, as the reason is; one that is empty counts as none."""
    assert act(site, "emergency-stop", {"by": "a" * 500, "reason": "r" * 20_000})["by"] == "a" * 180
    assert act(site, "emergency-stop", {"by": "", "reason": ""})["by"] == "page"


def test_what_the_run_refuses_is_told_as_it_said_it(site: Site, recording: SmallRecording) -> None:
    """Its class, its words and the audit's outcome."""
    answer = site.api("/live/oven-1/confirm", "POST", json={"prompt_id": "gone", "answer": "yes"})
    assert (answer.status_code, answer.json()["error"]) == (404, "NotFound")
    assert "no such prompt" in answer.json()["message"]
    assert site.audit()[0][3] == answer.json()["code"]


def test_a_recorder_without_a_socket_takes_no_acts(site: Site) -> None:
    """It is in no state for them, and no fault of a server: the refusal says of which recording, and why."""
    bodies: dict[str, dict[str, Any]] = {
        "note": {"text": "a"}, "command": ORDER, "confirm": {"prompt_id": "p", "answer": "a"},
    }  # fmt: skip
    with gapless.connect(site.root) as client, client.sequence_create("bench/plain"):
        for verb in ("note", "command", "confirm", "stop", "emergency-stop"):
            answer = site.api(f"/live/bench%2Fplain/{verb}", "POST", json=bodies.get(verb, {}))
            told = answer.json()
            assert (answer.status_code, told["error"]) == (409, "StateError")
            assert told["sequence"] == "bench/plain"
            assert told["message"] == "bench/plain takes no commands: its recorder has no control socket"
            assert (told["found"], told["expected"]) == ("a recording that is no run", "a run of a rig")
            assert told["next"].startswith("end it where it was started")
    assert {outcome for _, verb, _, outcome in site.audit() if verb != "emergency-stop"} == {"E500"}


# -- the emergency stop ----------------------------------------------------------------------------


def test_an_emergency_stop_tells_what_became_of_each_device(site: Site, recording: SmallRecording) -> None:
    """Safe and unsafe ones; the audit row says who."""
    recording.run.unsafe = ["pump"]
    told = act(site, "emergency-stop", {"by": "eve", "reason": "smoke"})
    assert recording.run.asked == [("emergency_stop", "smoke", "eve")]
    assert told["unsafe"] == ["pump"]
    assert [(one["device"], one["status"]) for one in told["outcomes"]] == [
        ("oven", "safe"),
        ("pump", "unsafe"),
    ]
    assert told["unnoted"] is None
    assert [row[1:] for row in site.audit()] == [("emergency-stop", "oven-1: by eve", "done")]


def test_an_emergency_stop_overtakes_everything_that_waits(site: Site, recording: SmallRecording) -> None:
    """Sixteen requests that the run does not answer fill pool and socket; the stop is answered before them."""
    recording.run.held = threading.Event()
    waiting = [
        threading.Thread(target=site.api, args=("/live/oven-1/note", "POST"), kwargs={"json": {"text": "x"}})
        for _ in range(16)
    ]
    try:
        for one in waiting:
            one.start()
        for _ in waiting:
            assert recording.run.entered.acquire(timeout=DEADLINE_S)
        assert act(site, "emergency-stop", {})["outcomes"][0]["status"] == "safe"
        assert all(one.is_alive() for one in waiting)
    finally:
        recording.run.held.set()
        for one in waiting:
            one.join(DEADLINE_S)


def test_an_emergency_stop_needs_no_audit_row(site: Site, recording: SmallRecording) -> None:
    """Somebody keeps state.db locked: the devices are safe, and the answer says that the row is missing."""
    site.api("/info")
    lock = sqlite3.connect(site.root / "state.db", isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
        told = act(site, "emergency-stop", {"by": "eve"})
    finally:
        lock.close()
    assert recording.run.asked[0][0] == "emergency_stop"
    assert told["outcomes"][0]["status"] == "safe"
    assert "audit row" in told["unnoted"]


def test_a_stop_of_a_watched_run_needs_no_look_at_the_store(site: Site, recording: SmallRecording) -> None:
    """The folder of the sequences is gone from under the server: whoever watches can still stop the devices."""
    with hearing(site, "/live/oven-1/stream") as heard:
        heard.until("status")
        until(lambda: recording.watched == 1, "nobody watches the run")
        away = site.root / "away"
        (site.root / "sequences").rename(away)
        try:
            assert act(site, "emergency-stop", {"by": "eve"})["unsafe"] == []
        finally:
            away.rename(site.root / "sequences")
    assert ("emergency_stop", "emergency stop by the operator", "eve") in recording.run.asked
