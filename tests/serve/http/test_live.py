"""What is recorded now: the list, one recording's status, and its stream of events."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.acquire.small_run import event
from tests.cli.conftest import environment
from tests.serve.native.client_away import leave_open

import gapless
from gapless.acquire.control.client import ControlClient
from gapless.acquire.emission import GapReport
from gapless.client.sequence_writer import SequenceWriter
from gapless.errors import ControlFailed
from gapless.serve.http.live_feed import ending_of
from gapless.serve.http.live_sequences import LiveSequence

from .conftest import Begin, Site
from .live_recorder import DEADLINE_S, Heard, SmallRecording, hearing, until

SCHEMA = pa.schema([pa.field("t", pa.float64(), metadata={"unit": "degC"}), pa.field("n", pa.int64())])
_RECORDER = """
import sys, time, gapless
with gapless.connect(sys.argv[1]) as client, client.sequence_create("killed") as sequence:
    sequence.log("a", 1.0)
    sequence.flush()
    print("open", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def recording(root: Path) -> Iterator[SmallRecording]:
    """Record a run into the store."""
    with SmallRecording(root) as found:
        yield found


def number_of(heard: Heard, kind: str) -> str:
    """Read on to an event of a kind and return its id."""
    while True:
        told, number = heard.until("event")
        if told["kind"] == kind:
            assert number is not None
            return number


@contextmanager
def hearing_plain(site: Site) -> Iterator[tuple[Heard, SequenceWriter]]:
    """Follow a recording without a socket, which has one event."""
    with gapless.connect(site.root) as client, client.sequence_create("plain") as sequence:
        sequence.event("info", "door", "open")
        sequence.flush()
        with hearing(site, "/live/plain/stream") as heard:
            yield heard, sequence


# -- the list --------------------------------------------------------------------------------------


def test_nothing_recorded_is_an_empty_list(site: Site) -> None:
    """A store at rest."""
    assert site.api("/live").json() == {"live": []}


def test_the_list_tells_runs_episodes_and_recordings_apart(site: Site, recording: SmallRecording) -> None:
    """Newest first, with durable rows; what is sealed is not there."""
    words = {"episode": {"format": 1, "session": "pick", "index": 4, "seed": 7, "mode": "simulated"}}
    with gapless.connect(site.root) as client:
        with client.sequence_create("done") as sequence:
            sequence.log("a", 1.0)
        with client.sequence_create("plain") as plain, client.sequence_create("pick/4", words) as episode:
            for n in range(3):
                plain.log("a", float(n))
            plain.flush()
            until(lambda: len(site.api("/live").json()["live"]) == 3, "not all of them are listed")
            until(lambda: site.api("/live").json()["live"][1]["rows"] == 3, "the rows are not counted")
            found = {one["name"]: one for one in site.api("/live").json()["live"]}
            assert list(found) == ["pick/4", "plain", "oven-1"]
            assert [one["kind"] for one in found.values()] == ["episode", "recording", "run"]
            assert [one["has_control"] for one in found.values()] == [False, False, True]
            assert found["pick/4"]["episode"] == {
                "session": "pick",
                "index": 4,
                "seed": 7,
                "mode": "simulated",
            }
            assert (found["plain"]["topics"], found["plain"]["dropped"]) == (1, 0)
            assert int(found["plain"]["started_ns"]) > 1_700_000_000_000_000_000
            assert episode.name == "pick/4"
    until(lambda: len(site.api("/live").json()["live"]) == 1, "what was sealed is still listed")


@pytest.mark.parametrize(
    "episode",
    ["first", {"index": "first"}, {"index": True}, {"index": 1, "session": 7}, {"index": 1, "seed": "a"}],
)
def test_a_recording_may_call_anything_an_episode(site: Site, root: Path, episode: object) -> None:
    """What does not say what an observer says is a recording as any other, and the list goes on."""
    with (
        gapless.connect(root) as client,
        client.sequence_create("odd", metadata={"episode": episode}) as sequence,
    ):
        sequence.log("x", 1.0)
        until(lambda: site.api("/live").json()["live"], "it is not listed")
        [found] = site.api("/live").json()["live"]
        assert (found["kind"], found["episode"]) == ("recording", None)


def test_a_key_of_a_group_sees_its_own_only(site: Site, root: Path) -> None:
    """In the list, by name and in the stream; a foreign run is one that does not exist."""
    mine, theirs = site.key("read", "mine"), site.key("write", "theirs")
    with SmallRecording(root, "a", "mine"), SmallRecording(root, "b", "theirs"):
        until(lambda: len(site.api("/live", key=mine).json()["live"]) == 1, "the own run is not listed")
        assert [one["name"] for one in site.api("/live", key=theirs).json()["live"]] == ["b"]
        assert site.api("/live/a", key=mine).status_code == 200
        for path in ("/live/b", "/live/b/stream"):
            refused = site.api(path, key=mine)
            assert (refused.status_code, refused.json()["error"]) == (404, "NotFound")
        assert site.api("/live/a/stop", "POST", key=theirs, json={}).status_code == 404
        with hearing(site, "/live/stream", mine) as heard:
            assert [one["name"] for one in heard.until("live")[0]["live"]] == ["a"]


def test_the_stream_of_the_list_tells_what_begins_and_ends(site: Site) -> None:
    """The list at once, again when something is recorded, again when it is sealed."""
    with hearing(site, "/live/stream") as heard:
        assert heard.until("live")[0] == {"live": []}
        with gapless.connect(site.root) as client, client.sequence_create("new") as sequence:
            sequence.log("a", 1.0)
            assert [one["name"] for one in heard.until("live")[0]["live"]] == ["new"]
        while heard.until("live")[0]["live"]:
            continue


# -- one recording ---------------------------------------------------------------------------------


def test_the_status_of_a_run_is_what_the_run_says(site: Site, recording: SmallRecording) -> None:
    """Values with unit and flags, queues, the countdown, and what it is made of."""
    told = site.api("/live/oven-1").json()
    assert (told["kind"], told["has_control"], told["watchers"]) == ("run", True, 1)
    status = told["status"]
    assert status["channels"]["heater_pv"] == {
        "value": 580.25, "unit": "degC", "status": 0, "timestamp_ns": "1000000000",
    }  # fmt: skip
    assert status["channels"]["flow"]["value"] is None
    assert (status["hops"], status["saturation"]["worst"]) == ({"bridge:serial": {"depth": 3}}, "writer")
    assert status["about"]["devices"]["oven"]["commands"]["write"]["parameters"][0]["name"] == "value"
    until(lambda: recording.watched == 0, "the connection to the run is still open")


def test_the_status_of_a_recording_comes_from_its_journal(site: Site) -> None:
    """Rows and losses of each topic; reserved topics are not listed."""
    with gapless.connect(site.root) as client, client.sequence_create("plain") as sequence:
        topic = sequence.topic_create("t", schema=SCHEMA)
        for n in range(5):
            topic.push_row(n, float(n), n)
        sequence.event("info", "door", "open")
        sequence.flush()
        told = site.api("/live/plain").json()
        assert (told["kind"], told["has_control"]) == ("recording", False)
        assert told["status"]["topics"]["t"]["rows"] == 5
        assert list(told["status"]["topics"]) == ["t"]
        assert told["status"]["episode"] is None


def test_what_is_not_recorded_is_told_apart(site: Site) -> None:
    """404 for an unknown name and for the beginning of one; 409 with the way on for a sealed one."""
    with gapless.connect(site.root) as client, client.sequence_create("done") as sequence:
        sequence.log("a", 1.0)
    for name in ("nothing", "do", "@last"):
        assert site.api(f"/live/{name}").status_code == 404
    sealed = site.api("/live/done")
    assert (sealed.status_code, sealed.json()["found"]) == (409, "sealed, completed")
    assert site.api("/live/done/stream").status_code == 409


# -- its stream ------------------------------------------------------------------------------------


def test_the_stream_of_a_run_begins_with_what_happened_and_ends_with_the_outcome(
    site: Site, recording: SmallRecording
) -> None:
    """Hello, the facts, the last events, the status, each new event and gap, and how it was sealed."""
    with hearing(site, "/live/oven-1/stream") as heard:
        hello = heard.until("hello")[0]
        assert (hello["name"], hello["may"], hello["by"]) == ("oven-1", "manage", "page")
        first = [heard.next() for _ in range(3)]
        assert {kind for kind, _, _ in first} == {"event", "about", "status"}
        by_kind = {kind: data for kind, data, _ in first}
        assert by_kind["event"]["kind"] == "alarm"
        assert by_kind["status"]["status"]["state"] == "running"
        assert "channels" not in by_kind["status"]["status"]
        until(lambda: recording.watched == 1, "nobody watches the run")
        recording.run.mirror(event("door", "open"))
        recording.run.mirror(GapReport("oven", "device_dropped", 7, 9, records=2))
        told, number = heard.until("event")
        assert (told["kind"], told["message"], told["timestamp_ns"]) == ("door", "open", "7")
        assert number is not None
        gap, _ = heard.until("gap")
        assert (gap["device"], gap["records"], gap["start_ns"]) == ("oven", 2, "7")
        recording.end()
        ended, _ = heard.until("end")
        assert (ended["state"], ended["outcome"]) == ("sealed", "completed")
        assert ended["content_digest"].startswith("sha256:")
        assert heard.rest() == []


def test_who_comes_back_hears_what_was_missed(site: Site, recording: SmallRecording) -> None:
    """From the last id on while somebody else kept watching; all that is kept for an id that is not known."""
    with hearing(site, "/live/oven-1/stream") as other:
        with hearing(site, "/live/oven-1/stream") as heard:
            heard.until("status")
            until(lambda: recording.watched == 1, "two watchers are not one connection")
            recording.run.mirror(event("one"))
            last = number_of(heard, "one")
        recording.run.mirror(event("two"))
        number_of(other, "two")
        with hearing(site, "/live/oven-1/stream", **{"Last-Event-ID": last}) as heard:
            assert heard.until("event")[0]["kind"] == "two"
        with hearing(site, "/live/oven-1/stream", **{"Last-Event-ID": "7-0badf00d"}) as heard:
            assert [heard.until("event")[0]["kind"] for _ in range(3)] == ["alarm", "one", "two"]


def test_a_run_that_hangs_up_and_goes_on_is_asked_again(
    site: Site, recording: SmallRecording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does with a reader that was held up: whoever watches goes on hearing what it is at now."""
    status, failures = ControlClient.status, [True, True]

    def failing(run: ControlClient) -> dict[str, Any]:
        if failures:
            failures.pop()
            raise ControlFailed("the run hung up")
        return status(run)

    with hearing(site, "/live/oven-1/stream") as heard:
        heard.until("status")
        monkeypatch.setattr(ControlClient, "status", failing)
        until(lambda: not failures, "it is not asked again")
        for _ in range(3):
            heard.until("status")
        assert site.api("/live/oven-1").status_code == 200
        recording.end()
        assert heard.until("end")[0]["outcome"] == "completed"


def test_an_old_status_is_not_told_as_that_of_now(
    site: Site, recording: SmallRecording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks while the run does not answer is told so."""
    monkeypatch.setattr("gapless.serve.http.live_feed._FRESH_S", 0.0)
    monkeypatch.setattr("gapless.serve.http.live._FIRST_STATUS_S", 0.2)

    def failing(_run: ControlClient) -> dict[str, Any]:
        raise ControlFailed("the run hung up")

    with hearing(site, "/live/oven-1/stream") as heard:
        heard.until("status")
        monkeypatch.setattr(ControlClient, "status", failing)
        until(lambda: site.api("/live/oven-1").status_code == 502, "an old status is told")


def test_events_and_gaps_of_a_recording_come_from_its_journal(site: Site) -> None:
    """Those before the watcher came and those after, and then how it ended."""
    with hearing_plain(site) as (heard, sequence):
        assert heard.until("event")[0]["kind"] == "door"
        sequence.event("warning", "lid", "loose", data={"angle": 3})
        told, _ = heard.until("event")
        assert (told["kind"], told["severity"], told["data"]) == ("lid", "warning", {"angle": 3})
        sequence.end(gapless.Outcome.ABORTED, "enough")
        ended, _ = heard.until("end")
        assert (ended["state"], ended["outcome"], ended["cause"]) == ("sealed", "aborted", "enough")


def test_a_discarded_recording_says_so(site: Site) -> None:
    """The stream ends with what became of it."""
    with hearing_plain(site) as (heard, sequence):
        sequence.discard("a trial")
        assert heard.until("end")[0]["state"] == "discarded"


def test_a_client_that_may_come_back_is_not_called_gone(root: Path) -> None:
    """What a server is sent goes on when the network does."""
    leave_open(root, "night")
    with gapless.connect(root) as client:
        live = LiveSequence("night", None, "recording", root / "sequences" / "night", None, 0)
        assert ending_of(client, live)["state"] == "open, client away"


def test_a_recorder_that_was_killed_is_told(begin: Begin, root: Path, tmp_path: Path) -> None:
    """Kill -9: the stream ends, and names no outcome that nobody knows."""
    site = begin()
    killed = subprocess.Popen(
        [sys.executable, "-c", _RECORDER, str(root)],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "open\n"
        with hearing(site, "/live/killed/stream") as heard:
            heard.until("status")
            killed.kill()
            ended, _ = heard.until("end")
        assert (ended["state"], ended["outcome"]) == ("open, owner gone", None)
    finally:
        killed.kill()
        killed.wait(DEADLINE_S)
        assert killed.stdout is not None
        killed.stdout.close()


def test_a_run_whose_socket_does_not_answer_is_followed_by_its_journal(site: Site, root: Path) -> None:
    """The numbers are still there."""
    with SmallRecording(root) as recording:
        recording.server.close()
        recording.sequence.log("a", 2.5)
        recording.sequence.flush()
        told = site.api("/live/oven-1").json()
        assert told["status"]["topics"]["a"]["rows"] == 1


def test_the_server_going_down_ends_the_streams(begin: Begin, root: Path) -> None:
    """At once, with the reason; the run goes on and nobody watches it."""
    with SmallRecording(root) as recording:
        site = begin()
        with hearing(site, "/live/oven-1/stream") as heard, hearing(site, "/live/stream") as listed:
            heard.until("status")
            listed.until("live")
            site.operations.stop(5.0)
            for one in (heard, listed):
                kind, data, _ = one.rest()[-1]
                assert (kind, data["error"]) == ("refused", "ServerClosing")
        until(lambda: recording.watched == 0, "the server still watches the run")
