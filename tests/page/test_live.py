"""Watching what is recorded and acting on it, in a browser: a real run of a rig in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect
from tests.acquire.small_run import event, reading
from tests.serve.http.live_recorder import SmallRecording

import gapless
from gapless.acquire.emission import FrameReceipt
from gapless.catalog.state_database import StateDatabase
from gapless.serve.keys import make_key
from gapless.serve.rights import Right

from .harness import NARROW, Screen, Site, end, screen_on, until
from .rig_run import running_rig

HOLD_MS = 1_000
CHANNELS = 60


@pytest.fixture
def small(site: Site, request: pytest.FixtureRequest) -> Iterator[SmallRecording]:
    """Record a run whose answers the test chooses, under the name of the test."""
    with SmallRecording(site.root, f"small/{request.node.name}") as found:
        yield found


def place(name: str) -> str:
    """Return the path of the page of a run."""
    return f"/live/{quote(name, safe='')}"


def estop(page: Page) -> Locator:
    """Return the emergency stop."""
    return page.get_by_role("button", name="EMERGENCY STOP")


def hold(screen: Screen, milliseconds: int) -> None:
    """Press the emergency stop with the pointer for a time."""
    estop(screen.page).hover()
    screen.page.mouse.down()
    screen.page.wait_for_timeout(milliseconds)
    screen.page.mouse.up()


def asked(small: SmallRecording) -> list[str]:
    """Return the verbs that the run was asked for."""
    return [what[0] for what in small.run.asked]


def events_of(root: Path, name: str) -> list[dict[str, Any]]:
    """Return the events of a sealed sequence."""
    with gapless.connect(root) as client:
        found: list[dict[str, Any]] = (
            client.sequence_handler(name).reader.topic("_events").to_arrow().to_pylist()
        )
        return found


def sealed(root: Path, name: str) -> str | None:
    """Wait until a sequence is sealed; return its outcome."""

    def look() -> bool:
        with gapless.connect(root) as client:
            return client.sequence_handler(name).state == "sealed"

    until(look, f"{name} is not sealed")
    with gapless.connect(root) as client:
        return client.sequence_handler(name).outcome


# -- a real run ------------------------------------------------------------------------------------


def test_a_run_is_watched_commanded_and_stopped(screen: Screen, site: Site, tmp_path: Path) -> None:
    """From the list to the page; a command, a note and the stop are sealed with the name of who did them."""
    name = "live/commanded"
    with running_rig(site.root, tmp_path, name, 6):
        page = screen.open("/live")
        page.get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", name=name)).to_be_visible()
        expect(page.locator("#state")).to_have_text("running")
        card = page.locator('.channel[data-channel="zone_1"]')
        expect(card.locator(".channel-value")).not_to_have_text("")
        expect(card.locator(".channel-unit")).to_have_text("degC")
        expect(card.locator(".channel-spread")).to_contain_text("±")
        expect(page.get_by_role("table", name="Devices").get_by_role("row", name="furnace")).to_be_visible()

        page.get_by_label("Your name").fill("ada")
        page.get_by_label("Command", exact=True).select_option("set")
        page.get_by_label("field, text").fill("zone_1")
        page.get_by_label("value, number").fill("42")
        page.get_by_role("button", name="Give the command").click()
        dialog = page.get_by_role("dialog")
        for words in ("furnace", "set", '"zone_1"', "42", "ada"):
            expect(dialog.get_by_role("definition").filter(has_text=words).first).to_be_visible()
        dialog.get_by_role("button", name="set to furnace").click()
        expect(page.locator('.order-answers [data-status="done"]')).to_be_visible()
        expect(card.locator(".channel-value")).to_have_text("42")

        page.get_by_label("Note").fill("the lid is shut")
        page.get_by_role("button", name="Keep the note").click()
        expect(page.locator('.told [data-kind="operator_note"]')).to_contain_text("the lid is shut")

        page.get_by_role("button", name="Stop the run").click()
        dialog.get_by_label("Reason").fill("enough seen")
        dialog.get_by_role("button", name="Stop the run").click()
        expect(page.get_by_role("heading", name="Ended: aborted")).to_be_visible()
        expect(estop(page)).to_have_count(0)
        assert sealed(site.root, name) == "aborted"
    told = {row["kind"]: row for row in events_of(site.root, name)}
    assert {"command_issued", "command_done", "operator_note", "stop"} <= told.keys()
    assert told["operator_note"]["source"] == "ada"
    issued = json.loads(told["command_issued"]["data"])
    assert (issued["confirmed_by"], issued["arguments"]) == ("ada", {"field": "zone_1", "value": 42})
    assert told["stop"]["message"] == "enough seen"
    page.get_by_role("link", name="Open the recording").click()
    expect(page).to_have_url(f"{site.url}/sequences/{quote(name, safe='')}")
    screen.wait_idle()


def test_an_emergency_stop_is_held_and_tells_what_became_of_the_devices(
    screen: Screen, site: Site, tmp_path: Path
) -> None:
    """A press that is let go does nothing; held for a second it makes safe, and the run is sealed as aborted."""
    name = "live/smoking"
    with running_rig(site.root, tmp_path, name, 2):
        page = screen.open(place(name))
        expect(page.locator("#state")).to_have_text("running")
        hold(screen, 300)
        expect(page.locator("#emergency-told")).to_be_empty()
        hold(screen, HOLD_MS + 200)
        expect(page.locator('.estop-outcomes [data-status="safe"]')).to_contain_text("furnace")
        expect(page.get_by_role("heading", name="Ended: aborted")).to_be_visible()
        expect(page.locator('.estop-outcomes [data-status="safe"]')).to_be_visible()
        expect(page.locator(".ended")).to_contain_text("emergency stop by the operator")
        expect(page.locator(".ended")).not_to_contain_text("emergency stop: emergency stop")
        assert sealed(site.root, name) == "aborted"
    kinds = [row["kind"] for row in events_of(site.root, name)]
    assert kinds.count("emergency_stop") == 1


def test_a_device_that_hangs_is_shown_as_unsafe(screen: Screen, site: Site, tmp_path: Path) -> None:
    """In red, by name, and first of all."""
    name = "live/hanging"
    with running_rig(site.root, tmp_path, name, 2):
        page = screen.open(place(name))
        expect(page.locator("#state")).to_have_text("running")
        page.get_by_label("Command", exact=True).select_option("hang")
        page.get_by_role("button", name="Give the command").click()
        page.get_by_role("dialog").get_by_role("button", name="hang to furnace").click()
        expect(page.locator(".order-answers li")).to_have_count(1)
        hold(screen, HOLD_MS + 200)
        report = page.locator("#emergency-told")
        expect(report).to_contain_text("NOT SAFE: furnace")
        expect(report.locator('[data-status="unsafe"] .badge')).to_have_attribute("data-level", "bad")


def test_sixty_channels_are_drawn(screen: Screen, site: Site, tmp_path: Path) -> None:
    """Each has its value and a picture of the last minute; what is out of sight is not drawn."""
    name = "live/wide"
    with running_rig(site.root, tmp_path, name, CHANNELS):
        page = screen.open(place(name))
        expect(page.locator(".channel")).to_have_count(CHANNELS)
        first, last = page.locator(".channel").first, page.locator(".channel").last
        expect(first.locator(".channel-range")).to_contain_text("…")
        screen.until(lambda: inked(first), "the first channel is not drawn")
        expect(last.locator(".channel-value")).not_to_have_text("")  # what is read aloud is kept up to date
        expect(last.locator(".channel-range")).to_have_text("")
        last.scroll_into_view_if_needed()
        expect(last.locator(".channel-range")).to_contain_text("…")
        screen.until(lambda: inked(last), "the last channel is not drawn when it comes into sight")


def inked(card: Locator) -> bool:
    """Tell whether anything of the curve's colour is on a channel's canvas."""
    return bool(
        card.locator("canvas").evaluate(
            """(canvas) => {
              if (canvas.width === 0) return false;
              const ink = getComputedStyle(document.documentElement).getPropertyValue("--curve-1").trim();
              const [red, green, blue] = [1, 3, 5].map((at) => parseInt(ink.slice(at, at + 2), 16));
              const { width, height } = canvas;
              const copy = Object.assign(document.createElement("canvas"), { width, height });
              const context = copy.getContext("2d", { willReadFrequently: true });
              context.drawImage(canvas, 0, 0);
              const { data } = context.getImageData(0, 0, width, height);
              for (let at = 0; at < data.length; at += 4) {
                const near = (one, other) => Math.abs(one - other) < 12;
                const [r, g, b, alpha] = data.subarray(at, at + 4);
                if (alpha > 200 && near(r, red) && near(g, green) && near(b, blue)) return true;
              }
              return false;
            }"""
        )
    )


# -- a run whose answers the test chooses ----------------------------------------------------------


def test_events_flags_and_the_countdown_are_shown(screen: Screen, small: SmallRecording) -> None:
    """What the status says, and what comes after it."""
    page = screen.open(place(small.run.name))
    expect(page.locator(".deadline-words")).to_have_text("writer is held: 6.0 s to the safe shutdown")
    flow = page.locator('.channel[data-channel="flow"]')
    expect(flow.locator(".channel-state")).to_contain_text("invalid, says the device")
    expect(page.get_by_role("row", name="bridge:serial")).to_contain_text("3")
    expect(page.locator('.told [data-kind="alarm"]')).to_contain_text("hot")
    until(lambda: small.watched == 1, "nobody watches the run")
    small.run.mirror(event("valve_stuck", "number 3"))
    expect(page.locator(".told li").first).to_contain_text("number 3")
    small.run.mirror(reading(700, "heater_pv"))
    oven = page.locator('.channel[data-channel="heater_pv"]')
    expect(oven.locator(".channel-value")).to_have_text("700")
    expect(oven.locator(".channel-state")).to_contain_text("above 620")
    small.run.mirror(FrameReceipt("window", 11, 5, 5, 0.0))
    expect(page.get_by_role("table", name="Cameras").get_by_role("row", name="window")).to_contain_text("12")


def test_a_question_of_the_method_is_answered(screen: Screen, small: SmallRecording) -> None:
    """It appears by itself, and goes when the run no longer asks."""
    page = screen.open(place(small.run.name))
    small.run.prompts = [{"prompt_id": "p1", "text": "sample in?", "choices": ["yes", "no"]}]
    expect(page.locator(".prompt-text")).to_have_text("sample in?")
    page.locator(".prompt").get_by_role("button", name="yes").click()
    until(lambda: "confirm" in asked(small), "the run heard no answer")
    assert small.run.asked[0] == ("confirm", "p1", "yes", "page")
    small.run.prompts = []
    expect(page.locator(".prompt")).to_have_count(0)


def test_a_command_that_cannot_be_is_not_sent(screen: Screen, small: SmallRecording) -> None:
    """A word where a number belongs: told at the form, before anything is asked."""
    page = screen.open(place(small.run.name))
    page.get_by_label("value, number").fill("warm")
    page.get_by_role("button", name="Give the command").click()
    expect(page.get_by_role("alert").filter(has_text="Value is not a number")).to_be_visible()
    page.get_by_label("value, number").fill("20,5")
    page.get_by_role("button", name="Give the command").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    assert asked(small) == []


@pytest.mark.parametrize("key", ["Space", "Enter"])
def test_the_emergency_stop_is_held_by_keyboard(screen: Screen, small: SmallRecording, key: str) -> None:
    """Letting go, or leaving, cancels; the ring shows how far it is."""
    page = screen.open(place(small.run.name))
    estop(page).focus()
    page.keyboard.down(key)
    expect(page.locator(".estop.holding")).to_be_visible()
    page.keyboard.up(key)
    expect(page.locator(".estop.holding")).to_have_count(0)
    page.keyboard.down(key)
    page.get_by_label("Note").focus()
    page.wait_for_timeout(HOLD_MS + 200)
    page.keyboard.up(key)
    assert asked(small) == []
    estop(page).focus()
    page.keyboard.down(key)
    expect(page.locator("#emergency-told .estop-report")).to_be_visible()
    page.keyboard.up(key)
    assert asked(small) == ["emergency_stop"]


def test_the_emergency_stop_is_within_reach_while_a_dialog_is_open(
    screen: Screen, small: SmallRecording
) -> None:
    """It moves into the dialog and back; nothing of the dialog is sent."""
    page = screen.open(place(small.run.name))
    page.get_by_role("button", name="Stop the run").click()
    expect(page.locator("dialog .estop")).to_be_visible()
    hold(screen, HOLD_MS + 200)
    until(lambda: asked(small) == ["emergency_stop"], "the run heard no emergency stop")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".estop-home .estop")).to_be_visible()
    assert asked(small) == ["emergency_stop"]


def test_an_emergency_stop_that_meets_no_server_is_sent_again(screen: Screen, small: SmallRecording) -> None:
    """Until it arrives; meanwhile the page says what to do without it, and the button can be held again."""
    screen.allow("emergency-stop", "ERR_CONNECTION_REFUSED")
    page = screen.open(place(small.run.name))
    page.route("**/emergency-stop", lambda route: route.abort("connectionrefused"))
    hold(screen, HOLD_MS + 200)
    expect(page.locator(".estop-by-hand")).to_contain_text(f"gapless run emergency-stop {small.run.name}")
    expect(estop(page)).to_be_enabled()
    page.unroute("**/emergency-stop")
    expect(page.locator("#emergency-told .estop-report")).to_be_visible()
    assert asked(small) == ["emergency_stop"]


def test_a_slow_answer_does_not_take_the_button_away(screen: Screen, small: SmallRecording) -> None:
    """Held twice while the first answer is still awaited, the run hears it twice."""
    page = screen.open(place(small.run.name))
    waiting: list[Route] = []

    def keep(route: Route) -> None:
        waiting.append(route)

    page.route("**/emergency-stop", keep)
    hold(screen, HOLD_MS + 200)
    expect(page.locator("#emergency-told .busy")).to_be_visible()
    screen.until(lambda: len(waiting) == 1, "the first request was not sent")
    hold(screen, HOLD_MS + 200)
    screen.until(lambda: len(waiting) == 2, "the second request was not sent")
    for route in waiting:
        route.continue_()
    expect(page.locator("#emergency-told .estop-report")).to_be_visible()
    until(lambda: len(asked(small)) == 2, "the run did not hear both")


def test_a_narrow_screen_keeps_the_stop_in_sight(browser: Browser, site: Site, small: SmallRecording) -> None:
    """At the foot of the window, wherever the page is scrolled."""
    with screen_on(browser, site, size=NARROW) as screen:
        page = screen.open(place(small.run.name))
        page.locator("#told").scroll_into_view_if_needed()
        expect(estop(page)).to_be_in_viewport(ratio=1)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_key_that_reads_may_only_watch(browser: Browser, serve: Any, tmp_path: Path) -> None:
    """Values and events are there; nothing that acts is."""
    root = tmp_path / "guarded"
    with SmallRecording(root, "guarded") as small:
        with StateDatabase(root) as database:
            key = make_key(database, Right.READ)[1]
        site = serve(root)
        with screen_on(browser, site) as screen:
            page = screen.page
            page.goto(f"{site.url}/login?next={quote(place('guarded'), safe='')}")
            screen.allow("401")
            page.get_by_label("key").fill(key)
            page.keyboard.press("Enter")
            expect(page.locator('.channel[data-channel="heater_pv"] .channel-value')).to_have_text("580.25")
            expect(page.get_by_text("Your key may watch, and nothing else.")).to_be_visible()
            for name in ("EMERGENCY STOP", "Stop the run", "Keep the note", "Give the command"):
                expect(page.get_by_role("button", name=name)).to_have_count(0)
        assert small.run.asked == []


# -- what is no run --------------------------------------------------------------------------------


def test_a_recording_without_a_run_shows_its_topics_and_its_end(screen: Screen, site: Site) -> None:
    """Rows of each topic and values from the journal; it takes no commands, and its end leads to the recording."""
    with gapless.connect(site.root) as client, client.sequence_create("live/plain") as sequence:
        sequence.log("pv", 20.5, unit="degC")
        sequence.flush()
        page = screen.open(place("live/plain"))
        expect(page.get_by_role("row", name="pv")).to_contain_text("1")
        expect(page.locator(".channel-name")).to_have_text("pv")
        expect(page.locator(".channel-value")).to_have_text("20.5")
        expect(page.get_by_text("This recording takes no commands")).to_be_visible()
        expect(estop(page)).to_have_count(0)
        sequence.event("warning", "door", "open")
        expect(page.locator('.told [data-kind="door"]')).to_be_visible()
    expect(page.get_by_role("heading", name="Ended: completed")).to_be_visible()
    expect(page.get_by_role("link", name="Open the recording")).to_be_visible()


def test_an_episode_says_where_its_session_is(screen: Screen, site: Site) -> None:
    """Number, session and seed; and the way to the next episode when it is over."""
    words = {"format": 1, "session": "pick", "index": 3, "seed": 7, "mode": "realtime"}
    with gapless.connect(site.root) as client:
        with client.sequence_create("pick/episode-000003", {"episode": words}, group="pick") as episode:
            episode.log("arm", 1.0)
            page = screen.open(place("pick/episode-000003"))
            expect(page.locator(".step")).to_contain_text("episode 3 of pick · seed 7")
        expect(page.get_by_role("heading", name="Ended: completed")).to_be_visible()
        following = {"episode": {**words, "index": 4}}
        with client.sequence_create("pick/episode-000004", following, group="pick") as episode:
            episode.log("arm", 1.0)
            page.get_by_role("link", name="Watch pick/episode-000004").click()
            expect(page.locator(".step")).to_contain_text("episode 4 of pick")
            screen.wait_idle()


def test_a_server_that_goes_away_is_told_and_found_again(
    serve: Any, browser: Browser, tmp_path: Path
) -> None:
    """What is shown may be old, says the page; the run itself goes on, and so does its emergency stop by hand."""
    with SmallRecording(tmp_path / "lost", "lost") as small:
        site = serve(tmp_path / "lost")
        with screen_on(browser, site) as screen:
            screen.allow("ERR_", "WebSocket", "request failed", "503")
            page = screen.open(place("lost"))
            expect(page.locator("#state")).to_have_text("running")
            end(site.process)
            expect(page.get_by_text("The server does not answer; what is shown may be old.")).to_be_visible()
            hold(screen, HOLD_MS + 200)
            expect(page.locator(".estop-by-hand")).to_be_visible()
        assert asked(small) == []


def test_the_list_follows_what_is_recorded(screen: Screen, site: Site) -> None:
    """Nothing is recorded: it says how to; what begins appears, what ends goes, without a reload."""
    page = screen.open("/live")
    expect(page.get_by_text("Nothing is being recorded now")).to_be_visible()
    with gapless.connect(site.root) as client, client.sequence_create("live/new") as sequence:
        sequence.log("a", 1.0)
        expect(page.get_by_role("row", name="live/new")).to_be_visible()
    expect(page.get_by_text("Nothing is being recorded now")).to_be_visible()


def test_what_is_not_recorded_leads_to_the_recording(screen: Screen, site: Site) -> None:
    """A link that is older than the run is no dead end."""
    screen.allow("409")
    with gapless.connect(site.root) as client, client.sequence_create("live/over") as sequence:
        sequence.log("a", 1.0)
    page = screen.open(place("live/over"))
    expect(page.get_by_text("The sequence is not being recorded now")).to_be_visible()
    expect(page.get_by_role("link", name="Open the recording")).to_be_visible()
