"""The control socket: what it answers, whom it lets in, and that no client can hold a run up."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from gapless.acquire.command import Command, CommandStatus
from gapless.acquire.control import calls, connection, messages
from gapless.acquire.control.client import ControlClient
from gapless.acquire.control.server import ControlServer
from gapless.acquire.emission import FrameReceipt, GapReport
from gapless.errors import ControlFailed, NotFound

from .small_run import SmallRun, block, event, reading

DEADLINE_S = 30.0
PAGE = Path(__file__).resolve().parents[2] / "docs" / "control.md"


@pytest.fixture
def run() -> SmallRun:
    """Return a run that nobody serves yet."""
    return SmallRun()


@pytest.fixture
def server(run: SmallRun, tmp_path: Path) -> Iterator[ControlServer]:
    """Serve the run on a short path."""
    found = ControlServer(run)
    found.start()
    yield found
    found.close()


@pytest.fixture
def client(server: ControlServer) -> Iterator[ControlClient]:
    """Connect to the run."""
    with ControlClient(server.path) as found:
        yield found


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.005)


class Raw:
    """A client that says anything."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rb")
        self.hello = self.read()

    def read(self) -> Any:
        """Return the next message, None at the end."""
        line = self.file.readline()
        return json.loads(line) if line else None

    def say(self, line: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(line)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.file.close()
        self.socket.close()


# -- the verbs -------------------------------------------------------------------------------------


def test_the_greeting_tells_the_run(client: ControlClient) -> None:
    """Protocol, sequence and process are said before anything is asked."""
    assert client.hello["protocol"] == messages.PROTOCOL
    assert (client.hello["sequence"], client.hello["pid"]) == ("x", os.getpid())


def test_status_is_what_the_run_says(client: ControlClient, run: SmallRun) -> None:
    """The whole status comes over."""
    assert client.status() == run.status()


def test_the_run_describes_itself(client: ControlClient, run: SmallRun) -> None:
    """The whole description comes over; commands with their parameters, channels with their bands."""
    assert client.describe() == run.describe()


def test_actions_carry_the_name_of_who_did_them(client: ControlClient, run: SmallRun) -> None:
    """Note, answer, stop and emergency stop reach the run with their operator."""
    run.prompts = [{"prompt_id": "p1", "text": "go?", "choices": ["ok"]}]
    client.note("filter changed", by="ada")
    client.confirm("p1", "ok", by="ada")
    client.stop(by="bob", reason="lunch")
    run.unsafe = ["pump"]
    report = client.emergency_stop(by="eve")
    assert run.asked == [
        ("note", "filter changed", "ada"),
        ("confirm", "p1", "ok", "ada"),
        ("stop", "lunch", "bob"),
        ("emergency_stop", "emergency stop by the operator", "eve"),
    ]
    assert report.unsafe_devices == ["pump"]
    assert report.outcomes[0].took_s == 0.25


def test_a_command_is_signed_only_when_it_was_confirmed(client: ControlClient, run: SmallRun) -> None:
    """Confirmed: the person stands behind it; else the run decides, and refuses."""
    result = client.command("oven", "write", {"value": 3.5}, by="ada", confirmed=True, timeout_s=2.0)
    assert (result.status, result.value) == (CommandStatus.DONE, 3.5)
    other = client.command("oven", "write", by="ada", confirmed=False)
    assert (other.accepted, other.message) == (False, "nobody stands behind it")
    first, second = (asked[2] for asked in run.asked)
    assert isinstance(first, Command)
    assert (first.confirmed_by, first.issued_by, first.timeout_s) == ("ada", "ada", 2.0)
    assert (second.confirmed_by, second.issued_by) == (None, "ada")
    assert (first.authorization_id, second.authorization_id) == (None, None)


def test_an_error_of_the_run_arrives_as_itself(client: ControlClient) -> None:
    """A typed error keeps its class, code and next step; the connection goes on."""
    with pytest.raises(NotFound, match="no such prompt") as caught:
        client.confirm("gone", "ok", by="ada")
    assert caught.value.exit_code == 3
    assert client.status()["sequence"] == "x"


def test_a_fault_of_the_run_is_an_answer(
    client: ControlClient, run: SmallRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run raises by mistake is told, and the server lives."""

    def broken() -> dict[str, Any]:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(run, "status", broken)
    with pytest.raises(ControlFailed, match="ZeroDivisionError: a defect"):
        client.status()
    client.note("still here", by="ada")


def test_the_page_shows_requests_that_are_understood() -> None:
    """The documentation shows each verb once, and each line is a request."""
    [shown] = re.findall(r"^```json\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    kinds = {type(messages.decode_request(line.encode())) for line in shown.splitlines()}
    assert kinds == set(get_args(messages.Request))


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (b"hello\n", None),
        (b"\xff\xfe\x00\n", None),
        (b"[]\n", None),
        (b"{}\n", None),
        (b'{"id": 4}\n', 4),
        (b'{"id": 5, "verb": "dance"}\n', 5),
        (b'{"id": "6", "verb": "status"}\n', None),
        (b'{"id": 7, "verb": "status", "more": 1}\n', 7),
        (b'{"id": 8, "verb": "note", "text": "a"}\n', 8),
        (b'{"id": 9, "verb": "note", "text": "a", "by": ""}\n', 9),
        (b'{"id": 10, "verb": "note", "text": "", "by": "a"}\n', 10),
        (b'{"id": 11, "verb": "subscribe", "rate_hz": 11}\n', 11),
        (b'{"id": 12, "verb": "subscribe", "rate_hz": 0}\n', 12),
        (b'{"id": 13, "verb": "command", "device": "a", "name": "b", "by": "c", "timeout_s": 1e9}\n', 13),
        (b"[" * 5000 + b"\n", None),
    ],
)
def test_nonsense_gets_a_typed_answer(
    server: ControlServer, run: SmallRun, line: bytes, number: int | None
) -> None:
    """The answer names the request by its number where it has one, and the next request is served."""
    with Raw(server.path) as raw:
        raw.say(line)
        answer = raw.read()
        assert (answer["id"], answer["error"]["code"]) == (number, "E707")
        raw.say(b'\n{"id": 99, "verb": "status"}\n')
        assert raw.read()["id"] == 99
    assert run.asked == []


def test_noise_never_ends_the_server(server: ControlServer) -> None:
    """A thousand lines of noise from a seeded source; each is answered, then a request is."""
    source = random.Random(7)
    with Raw(server.path) as raw:
        for _ in range(1000):
            line = source.randbytes(source.randrange(1, 80)).replace(b"\n", b" ").strip() or b"x"
            raw.say(line + b"\n")
            assert "error" in raw.read()
    with ControlClient(server.path) as client:
        assert client.status()["sequence"] == "x"


def test_a_line_that_is_too_long_is_refused(server: ControlServer) -> None:
    """A client that sends more than 64 KiB without an end is told so and let go; others are served."""
    with Raw(server.path) as raw:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            raw.say(b"x" * (messages.MAX_REQUEST_BYTES * 4))
        assert "too long" in raw.read()["error"]["message"]
    with ControlClient(server.path) as client:
        assert client.status()["sequence"] == "x"


def test_a_client_that_stopped_sending_gets_its_answers(server: ControlServer) -> None:
    """A pipe that ends after its request, with or without a last newline, is answered before it is closed."""
    with Raw(server.path) as raw:
        raw.say(b'{"id": 1, "verb": "note", "text": "a", "by": "b"}\n{"id": 2, "verb": "status"}')
        raw.socket.shutdown(socket.SHUT_WR)
        assert {raw.read()["id"], raw.read()["id"]} == {1, 2}
        assert raw.read() is None


# -- nobody waits for ever -------------------------------------------------------------------------


def test_an_emergency_stop_overtakes_a_command(server: ControlServer, run: SmallRun) -> None:
    """On one connection, while a command is with the device, the emergency stop is done and answered."""
    run.held = threading.Event()
    with Raw(server.path) as raw:
        raw.say(
            b'{"id": 1, "verb": "command", "device": "oven", "name": "slow", "by": "ada", "confirmed": true}\n'
        )
        assert run.entered.acquire(timeout=DEADLINE_S)
        raw.say(b'{"id": 2, "verb": "emergency_stop", "by": "ada"}\n')
        assert raw.read()["id"] == 2
        run.held.set()
        assert raw.read()["id"] == 1


def test_too_many_requests_are_refused_but_no_emergency(server: ControlServer, run: SmallRun) -> None:
    """A hung run gets a bounded number of calls; the emergency stop is always made."""
    run.held = threading.Event()
    with Raw(server.path) as raw, Raw(server.path) as other:
        for number in range(calls.MAX_CALLS):
            raw.say(b'{"id": %d, "verb": "status"}\n' % number)
        for _ in range(calls.MAX_CALLS):
            assert run.entered.acquire(timeout=DEADLINE_S)
        raw.say(b'{"id": 100, "verb": "status"}\n')
        assert "too many" in raw.read()["error"]["message"]
        other.say(b'{"id": 101, "verb": "status"}\n')
        assert "busy" in other.read()["error"]["message"]
        other.say(b'{"id": 102, "verb": "emergency_stop", "by": "ada"}\n')
        raw.say(b'{"id": 103, "verb": "emergency_stop", "by": "ada"}\n')
        assert "ok" in other.read()
        assert raw.read()["id"] == 103
        run.held.set()
        assert {raw.read()["id"] for _ in range(calls.MAX_CALLS)} == set(range(calls.MAX_CALLS))
        other.say(b'{"id": 104, "verb": "status"}\n')
        assert "ok" in other.read()


def test_a_hung_run_gives_an_error_and_lets_the_server_close(
    run: SmallRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that does not come back is given up at its deadline and keeps neither client nor server."""
    monkeypatch.setattr(connection, "_QUICK_S", 0.05)
    run.held = threading.Event()
    server = ControlServer(run)
    server.start()
    with ControlClient(server.path) as client, pytest.raises(ControlFailed, match="no answer from the run"):
        client.status()
    server.close()
    assert not any(thread.name == "gapless-control" for thread in threading.enumerate())
    run.held.set()
    until(
        lambda: not any(t.name.startswith("gapless-control") for t in threading.enumerate()),
        "a thread is left",
    )


def test_closing_lets_the_answers_out_and_takes_the_socket_away(server: ControlServer, run: SmallRun) -> None:
    """What is being answered when the run ends is answered; then there is no socket."""
    run.held = threading.Event()
    path = server.path
    with Raw(path) as raw:
        raw.say(b'{"id": 1, "verb": "note", "text": "last", "by": "ada"}\n')
        assert run.entered.acquire(timeout=DEADLINE_S)
        closer = threading.Thread(target=server.close)
        closer.start()
        run.held.set()
        assert raw.read() == {"id": 1, "ok": None}
        assert raw.read() is None
        closer.join(DEADLINE_S)
    assert not path.exists()
    server.close()
    with pytest.raises(ControlFailed, match="does not answer"):
        ControlClient(path)
    with pytest.raises(ControlFailed, match="not open"):
        server.path  # noqa: B018


def test_a_client_learns_that_the_run_is_gone(server: ControlServer, client: ControlClient) -> None:
    """After the end every call raises a typed error."""
    server.close()
    with pytest.raises(ControlFailed, match="has ended"):
        client.status()


# -- the stream ------------------------------------------------------------------------------------


def test_the_stream_has_the_last_values_and_every_event(client: ControlClient, run: SmallRun) -> None:
    """Many samples become few messages that end with the newest; events, gaps and frames come through."""
    client.subscribe()
    for n in range(2000):
        run.mirror(reading(n, "heater_pv", "flow"))
        if n % 100 == 0:
            run.mirror(event("tick", str(n)))
    run.mirror(block("vibration", 50))
    run.mirror(FrameReceipt("cam", 7, 5, 5, 0.01))
    run.mirror(GapReport("oven", "overrun", 1, 2, 3))
    run.end()
    got = list(client.updates(DEADLINE_S))
    values = [message for message in got if message["stream"] == "samples"]
    assert 1 <= len(values) < 200
    latest: dict[str, Any] = {}
    for message in values:
        latest |= message["samples"]
    assert {name: sample["value"] for name, sample in latest.items()} == {
        "heater_pv": 1999.0,
        "flow": 1999.0,
        "vibration": 49.0,
    }
    assert latest["heater_pv"]["unit"] == "degC"
    assert values[-1]["frames"] == {"cam": {"frame_idx": 7, "timestamp_ns": 5}}
    assert [m["message"] for m in got if m["stream"] == "event"] == [str(n) for n in range(0, 2000, 100)]
    assert [(m["cause"], m["records"]) for m in got if m["stream"] == "gap"] == [("overrun", 3)]


def test_a_stream_is_thinned_to_its_rate(client: ControlClient, run: SmallRun) -> None:
    """However fast the samples come, no more messages come than the rate allows for the time that passed."""
    client.subscribe(rate_hz=5.0)
    begin_s = time.monotonic()
    n = 0
    while time.monotonic() - begin_s < 1.0:
        run.mirror(reading(n, "heater_pv"))
        n += 1
        time.sleep(0.001)
    run.end()
    got = [m for m in client.updates(DEADLINE_S) if m["stream"] == "samples"]
    assert len(got) <= 5.0 * (time.monotonic() - begin_s) + 2
    assert got[-1]["samples"]["heater_pv"]["value"] == n - 1


@pytest.mark.parametrize(
    ("globs", "names"), [(["heat*"], {"heater_pv"}), ([], set()), (None, {"heater_pv", "flow"})]
)
def test_a_stream_holds_the_channels_that_were_asked_for(
    client: ControlClient, run: SmallRun, globs: list[str] | None, names: set[str]
) -> None:
    """Channels are chosen by globs; events come in any case."""
    client.subscribe(globs)
    run.mirror(reading(1, "heater_pv", "flow"))
    run.mirror(event("e"))
    run.end()
    got = list(client.updates(DEADLINE_S))
    assert {name for m in got if m["stream"] == "samples" for name in m["samples"]} == names
    assert [m["kind"] for m in got if m["stream"] == "event"] == ["e"]


def test_requests_and_a_stream_share_a_connection(client: ControlClient, run: SmallRun) -> None:
    """What the stream brings while an answer is awaited is not lost; a second stream is refused."""
    client.subscribe()
    run.mirror(event("before"))
    assert client.status()["sequence"] == "x"
    with pytest.raises(ControlFailed, match="one stream"):
        client.subscribe()
    run.end()
    assert [m["kind"] for m in client.updates(DEADLINE_S)] == ["before"]


def test_updates_end_with_the_time(client: ControlClient) -> None:
    """With nothing to tell, the look ends when its time is over and the stream goes on."""
    client.subscribe()
    assert list(client.updates(0.05)) == []
    assert list(client.updates(0.05)) == []


def test_a_watcher_that_leaves_is_forgotten(server: ControlServer, run: SmallRun) -> None:
    """Its mirror is closed, so the run stops filling it."""
    with ControlClient(server.path) as client:
        client.subscribe()
        assert len(run.feeds) == 1
    until(lambda: run.feeds[0].closed, "the mirror stays open")
    run.mirror(reading(0, "heater_pv"))
    assert run.feeds == []


def test_a_watcher_that_stops_reading_is_dropped(server: ControlServer, run: SmallRun) -> None:
    """The run's hand-over to it never waits, it is let go after two seconds, and others see no difference."""
    with Raw(server.path) as lazy, ControlClient(server.path) as keen:
        lazy.say(b'{"id": 1, "verb": "subscribe"}\n')
        assert lazy.read()["id"] == 1
        until(lambda: bool(run.feeds), "no mirror")
        [mirror] = run.feeds
        flood = event("flood", "x" * 10_000)
        deadline_s = time.monotonic() + DEADLINE_S
        while not mirror.closed:
            assert time.monotonic() < deadline_s, "the lazy watcher is still served"
            run.mirror(flood)
            assert mirror.metrics().blocked_ns == 0
            time.sleep(0.001)
        assert keen.status()["sequence"] == "x"
        keen.note("still served", by="ada")
    assert run.asked == [("note", "still served", "ada")]


def test_no_more_clients_than_there_is_room_for(
    server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One client too many is turned away; when one leaves there is room again."""
    monkeypatch.setattr("gapless.acquire.control.server.MAX_CLIENTS", 2)
    first, second = ControlClient(server.path), ControlClient(server.path)
    with pytest.raises(ControlFailed):
        ControlClient(server.path)
    first.close()

    def again() -> bool:
        try:
            ControlClient(server.path).close()
        except ControlFailed:
            return False
        return True

    until(again, "no room after one left")
    second.close()
