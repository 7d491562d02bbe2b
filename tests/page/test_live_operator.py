"""What an operator needs to see and reach while a run lives, and what is left of it when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from tests.serve.http.live_recorder import SmallRecording

from gapless.acquire.emission import ChannelSample, FrameReceipt, Reading, SourceRecord
from gapless.acquire.safe_state import SafeOutcome, SafeReport, SafeStatus
from gapless.catalog.state_database import StateDatabase
from gapless.client.client import connect
from gapless.client.media_writer import MediaTopicWriter
from gapless.model.ontology import Image
from gapless.serve.keys import make_key
from gapless.serve.rights import Right

from .harness import Screen, Site, end, screen_on, serving, until
from .recorded import numbered
from .rig_run import running_rig
from .test_live import HOLD_MS, asked, hold, place

LAPTOP = (1280, 800)
LARGE = 2**53 + 1


@pytest.fixture
def small(site: Site, request: pytest.FixtureRequest) -> Iterator[SmallRecording]:
    """Record a run whose answers the test chooses, under the name of the test."""
    with SmallRecording(site.root, f"operator/{request.node.name}") as found:
        yield found


def test_note_command_and_events_are_seen_without_scrolling(
    browser: Browser, site: Site, tmp_path: Path
) -> None:
    """On the screen of a laptop, beside the channels; figures of queues come after them."""
    with (
        running_rig(site.root, tmp_path, "operator/laptop", 4),
        screen_on(browser, site, size=LAPTOP) as screen,
    ):
        page = screen.open(place("operator/laptop"))
        expect(page.get_by_label("field, text")).to_be_visible()
        for heading in ("Operate", "Command", "Events"):
            expect(page.get_by_role("heading", name=heading)).to_be_in_viewport(ratio=1)
        expect(page.get_by_role("button", name="Give the command")).to_be_in_viewport(ratio=1)
        expect(page.locator(".deadline-words")).to_be_in_viewport(ratio=1)
        expect(page.get_by_text("Curves: the last minute")).to_be_visible()


def test_a_camera_shows_its_newest_picture(screen: Screen, small: SmallRecording) -> None:
    """Of those that are durable, renewed by itself; all of them are one click away."""
    topic = small.sequence.topic_create("window", ontology_type=Image, media="png")
    assert isinstance(topic, MediaTopicWriter)
    page = screen.open(place(small.run.name))
    until(lambda: small.watched == 1, "nobody watches the run")
    shown = page.get_by_role("img", name="window, picture")
    for number in (3, 7):
        for one in range(number):
            topic.push_image((number * 100 + one) * 1_000_000, numbered(one))
        small.sequence.flush()
        small.run.mirror(FrameReceipt("window", number, number * 1_000_000_000, 5, 0.0))
        expect(shown).to_have_attribute("alt", f"window, picture {(2 if number == 3 else 9)}")
    assert shown.evaluate("(picture) => picture.naturalWidth") == numbered(0).shape[1]
    expect(page.get_by_role("link", name="All pictures so far")).to_be_visible()


def test_what_stands_still_does_not_look_alive(screen: Screen, small: SmallRecording) -> None:
    """At the end figures of devices and queues go, and values say that they were the last."""
    page = screen.open(place(small.run.name))
    channel = page.locator('.channel[data-channel="heater_pv"]')
    expect(channel.locator(".channel-value")).to_have_text("580.25")
    expect(page.get_by_role("table", name="Devices")).to_be_visible()
    small.end()
    expect(page.locator(".ended")).to_be_visible()
    for name in ("Devices", "Queues"):
        expect(page.get_by_role("table", name=name)).to_be_hidden()
    expect(page.locator("#deadline")).to_be_hidden()
    expect(channel.locator(".channel-state")).to_contain_text("last value of the run")


def test_a_run_whose_recorder_was_killed_says_what_is_not_known(
    screen: Screen, site: Site, tmp_path: Path
) -> None:
    """Nothing on the page claims that the devices are watched or safe."""
    with running_rig(site.root, tmp_path, "operator/killed", 2) as process:
        page = screen.open(place("operator/killed"))
        expect(page.locator(".deadline-words")).to_contain_text("Everything keeps up")
        process.kill()
        expect(page.get_by_text("Whether its devices were made safe is not known here")).to_be_visible()
        expect(page.get_by_text("Everything keeps up")).to_be_hidden()
        expect(page.get_by_role("table", name="Devices")).to_be_hidden()


def test_integers_of_a_channel_keep_every_digit(screen: Screen, small: SmallRecording) -> None:
    """A counter beyond 2**53 is read as it is, and drawn."""
    page = screen.open(place(small.run.name))
    until(lambda: small.watched == 1, "nobody watches the run")
    record = SourceRecord("sim", "oven", 1, 1, 1, (), 1)
    small.run.mirror(Reading(record, [ChannelSample("counter", 1, LARGE, "", record.source_record_id)]))
    channel = page.locator('.channel[data-channel="counter"]')
    expect(channel.locator(".channel-value")).to_have_text(str(LARGE))
    expect(channel.locator(".channel-range")).to_contain_text("…")


def test_a_value_beyond_its_setpoint_is_marked_before_it_is_sent(
    screen: Screen, small: SmallRecording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question names the limit in red; the value of a point is offered as the rig knows it."""
    described = small.run.describe()
    point = {"name": "point", "type": "str", "required": True, "default": None}
    described["devices"]["oven"]["commands"]["write"]["parameters"].insert(0, point)
    limits = {
        "unit": "degC",
        "low": 0.0,
        "high": 600.0,
        "value_argument": "value",
        "arguments": {"point": "sp"},
    }
    described["setpoints"] = {"heater": {"device": "oven", "command": "write", **limits}}
    monkeypatch.setattr(small.run, "describe", lambda: described)
    page = screen.open(place(small.run.name))
    expect(page.get_by_text("setpoint heater: 0 to 600 degC")).to_be_visible()
    assert page.locator("datalist option").evaluate_all("(all) => all.map(({ value }) => value)") == ["sp"]
    page.get_by_label("point, text").fill("sp")
    page.get_by_label("value, number").fill("900")
    page.get_by_role("button", name="Give the command").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("alert")).to_contain_text("900 is above the setpoint heater: 0 to 600 degC")
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_label("value, number").fill("90")
    page.get_by_role("button", name="Give the command").click()
    expect(dialog.get_by_role("definition").first).to_be_visible()
    expect(dialog.get_by_role("alert")).to_have_count(0)
    assert asked(small) == []


def test_an_emergency_stop_without_any_safe_state_is_no_good_news(
    screen: Screen, small: SmallRecording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was made safe, says the report, and is not green."""

    def stop(reason: str, by: str) -> SafeReport:
        return SafeReport(reason, (SafeOutcome(device="oven", status=SafeStatus.NOT_DECLARED, took_s=0.0),))

    monkeypatch.setattr(small.run, "emergency_stop", stop)
    page = screen.open(place(small.run.name))
    hold(screen, HOLD_MS + 200)
    report = page.locator("#emergency-told")
    expect(report).to_contain_text("nothing was made safe")
    expect(report.locator(".estop-report")).to_have_count(0)


def test_after_the_server_was_started_anew_the_emergency_stop_of_an_open_page_works(
    browser: Browser, tmp_path: Path
) -> None:
    """The page gets itself a new token, for notes as well; nobody has to load it again first."""
    root = tmp_path / "store"
    with SmallRecording(root, "again") as small, serving(root, tmp_path / "first") as first:
        port = first.url.rpartition(":")[2]
        with screen_on(browser, first) as screen:
            screen.allow("ERR_", "WebSocket", "request failed", "503", "403")
            page = screen.open(place("again"))
            expect(page.locator("#state")).to_have_text("running")
            end(first.process)
            with serving(root, tmp_path / "second", "--http-port", port):
                page.get_by_label("Note").fill("still here")
                expect(page.locator("#trouble, .hint[role=status]").first).to_have_text("")
                page.get_by_role("button", name="Keep the note").click()
                until(lambda: "note" in asked(small), "the run heard no note")
                hold(screen, HOLD_MS + 200)
                expect(page.locator("#emergency-told .estop-report")).to_be_visible()
                assert "emergency_stop" in asked(small)


def test_a_run_that_is_not_there_is_said_once(screen: Screen) -> None:
    """The server's words, and nothing about a server that does not answer."""
    screen.allow("404", "WebSocket")
    page = screen.open(place("nowhere"))
    expect(page.get_by_text("There is no sequence of that name")).to_be_visible()
    expect(page.get_by_text("The server does not answer")).to_have_count(0)
    expect(page.get_by_text("No values yet")).to_be_hidden()


def test_a_key_that_reads_is_not_offered_what_it_may_not_do(
    browser: Browser, serve: Any, tmp_path: Path
) -> None:
    """No form that would be refused once it is filled in."""
    root = tmp_path / "read"
    with connect(root) as client, client.sequence_create("run") as sequence:
        sequence.log("a", 1.0, timestamp_ns=1)
        sequence.log("a", 2.0, timestamp_ns=10**9)
    with StateDatabase(root) as database:
        key = make_key(database, Right.READ)[1]
    with screen_on(browser, serve(root)) as screen:
        page = screen.page
        page.goto(f"{screen.site.url}/login?next=/sequences/run%3Ftab=plots")
        page.get_by_label("key").fill(key)
        page.keyboard.press("Enter")
        expect(page.get_by_text("may read")).to_be_visible()
        expect(page.get_by_role("button", name="Zoom box")).to_be_visible()
        for name in ("Add…", "Draw label"):
            expect(page.get_by_role("button", name=name)).to_be_hidden()
        screen.wait_idle()
