"""The WebSocket of values: what comes over it, that it is one connection to the run, and who is let go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.acquire.small_run import block, event, reading
from websockets.exceptions import ConnectionClosed, InvalidStatus

import gapless
from gapless.acquire.emission import FrameReceipt

from .conftest import Site
from .live_recorder import SmallRecording, hearing, taken, until, values


@pytest.fixture
def recording(root: Path) -> Iterator[SmallRecording]:
    """Record a run into the store."""
    with SmallRecording(root) as found:
        yield found


def test_values_come_with_unit_status_and_time(site: Site, recording: SmallRecording) -> None:
    """First what the run has, then what is new; the last value of a block; pictures by their number."""
    with values(site, "/live/oven-1/samples") as line:
        first = taken(line)["samples"]
        assert first["heater_pv"]["value"] == 580.25
        until(lambda: recording.watched == 1, "nobody watches the run")
        recording.run.mirror(reading(3, "heater_pv"))
        assert taken(line)["samples"]["heater_pv"] == {
            "value": 3.0, "unit": "degC", "status": 0, "timestamp_ns": "3", "uncertainty": None,
        }  # fmt: skip
        recording.run.mirror(block("adc", 100))
        assert taken(line)["samples"] == {
            "adc": {"value": 99.0, "unit": "V", "status": 0, "timestamp_ns": "99", "uncertainty": None}
        }
        recording.run.mirror(FrameReceipt("window", 12, 5, 5, 0.0))
        assert taken(line)["frames"] == {"window": {"frame_idx": 12, "timestamp_ns": "5"}}


def test_a_page_needs_one_line_only(site: Site, recording: SmallRecording) -> None:
    """Asked for it, the line also brings what the event stream tells, and the end once."""
    with values(site, "/live/oven-1/samples?told=true") as line:
        assert taken(line)["told"] == "hello"
        until(lambda: recording.watched == 1, "nobody watches the run")
        recording.run.mirror(event("door", "open"))
        heard: dict[str, Any] = {}
        while not {"alarm", "about", "status", "door"} <= set(heard):
            message = taken(line)
            if "told" in message:
                heard[message["data"].get("kind", message["told"])] = message
        assert (heard["door"]["told"], heard["door"]["data"]["message"]) == ("event", "open")
        assert heard["door"]["id"] != heard["alarm"]["id"]
        recording.end()
        while "end" not in (message := taken(line)):
            assert message.get("told") != "end"
        assert message["end"]["outcome"] == "completed"


def test_channels_are_chosen_by_globs(site: Site, recording: SmallRecording) -> None:
    """Several of them; the others are not sent."""
    with values(site, "/live/oven-1/samples?channels=heater_*&channels=flow") as line:
        assert set(taken(line)["samples"]) == {"heater_pv", "flow"}
        until(lambda: recording.watched == 1, "nobody watches the run")
        recording.run.mirror(reading(1, "heater_sp", "other"))
        assert set(taken(line)["samples"]) == {"heater_sp"}


def test_more_channels_than_a_message_holds_come_in_turn(site: Site, recording: SmallRecording) -> None:
    """A message is bounded; nothing is lost."""
    names = [f"c{n}" for n in range(600)]
    with values(site, "/live/oven-1/samples?channels=c*") as line:
        until(lambda: recording.watched == 1, "nobody watches the run")
        recording.run.mirror(reading(1, *names))
        messages = [taken(line)["samples"] for _ in range(3)]
        assert [len(message) for message in messages] == [256, 256, 88]
        assert [name for message in messages for name in message] == names


def test_the_line_says_how_it_ended(site: Site, recording: SmallRecording) -> None:
    """The last message, then a normal close."""
    with values(site, "/live/oven-1/samples") as line:
        taken(line)
        recording.end()
        while "end" not in (message := taken(line)):
            continue
        assert (message["end"]["state"], message["end"]["outcome"]) == ("sealed", "completed")
        with pytest.raises(ConnectionClosed):
            line.recv(60)
        assert line.close_code == 1000


def test_a_recording_without_a_socket_has_values_from_its_journal(site: Site) -> None:
    """The newest durable row of each field, with its unit."""
    with gapless.connect(site.root) as client, client.sequence_create("plain") as sequence:
        sequence.log("pv", 20.5, unit="degC", timestamp_ns=7)
        sequence.flush()
        with values(site, "/live/plain/samples") as line:
            [(name, sample)] = taken(line)["samples"].items()
            assert (sample["value"], sample["unit"], sample["timestamp_ns"]) == (20.5, "degC", "7")
            sequence.log("pv", 21.5, unit="degC", timestamp_ns=8)
            sequence.flush()
            assert taken(line)["samples"][name]["value"] == 21.5


def test_all_who_watch_share_one_connection_to_the_run(site: Site, recording: SmallRecording) -> None:
    """It is begun by the first and ended by the last; each hears everything."""
    with ExitStack() as watching:
        lines = [watching.enter_context(values(site, "/live/oven-1/samples")) for _ in range(3)]
        heard = [watching.enter_context(hearing(site, "/live/oven-1/stream")) for _ in range(2)]
        for line in lines:
            taken(line)
        until(lambda: recording.watched == 1, "nobody watches the run")
        recording.run.mirror(reading(9, "x"))
        for line in lines:
            assert taken(line)["samples"]["x"]["value"] == 9.0
        for one in heard:
            while one.until("status")[0]["watchers"] != 5:
                continue
        assert (len(recording.run.feeds), recording.watched) == (1, 1)
    until(lambda: recording.watched == 0, "the connection stays open with nobody watching")
    with values(site, "/live/oven-1/samples") as line:
        taken(line)
        until(lambda: recording.watched == 1, "who comes later is not served")


def test_a_ping_is_answered(site: Site, recording: SmallRecording) -> None:
    """Whatever the client says, cut to its first hundred characters."""
    with values(site, "/live/oven-1/samples?channels=none") as line:
        line.send('{"ping": 1}')
        assert taken(line) == {"pong": '{"ping": 1}'}
        line.send("x" * 10_000)
        assert taken(line) == {"pong": "x" * 100}
        assert recording.run.asked == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/live/nothing/samples", 404),
        ("/live/oven-1/samples?rate_hz=11", None),
        ("/live/oven-1/samples?rate_hz=0", None),
    ],
)
def test_a_line_that_cannot_be_is_refused(
    site: Site, recording: SmallRecording, path: str, status: int | None
) -> None:
    """Before it is open; the run hears nothing of it."""
    with pytest.raises(InvalidStatus) as caught:
        values(site, path)
    assert caught.value.response.status_code == (status or caught.value.response.status_code)
    assert 400 <= caught.value.response.status_code < 500
    assert recording.run.feeds == []


def test_a_foreign_group_has_no_line(site: Site, root: Path) -> None:
    """As if the run did not exist, watched or not."""
    mine, theirs = site.key("read", "mine"), site.key("read", "theirs")
    with SmallRecording(root, "a", "mine"), values(site, "/live/a/samples", mine) as line:
        taken(line)
        with pytest.raises(InvalidStatus) as caught:
            values(site, "/live/a/samples", theirs)
        assert caught.value.response.status_code == 404
