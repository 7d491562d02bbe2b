"""Clients that do not listen and disks that do not answer: each costs the server what it holds itself, no more."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import pytest
from pyarrow import flight
from tests.serve.native.raw_writer import DEADLINE_S, SCHEMA, RawWriter, declaration

from gapless.client.client import Client
from gapless.client.local_recording import LocalRecording
from gapless.client.remote import protocol
from gapless.client.remote.lane_sender import may_pass
from gapless.errors import LimitReached, NameTaken
from gapless.serve import flight_server
from gapless.serve.limits import Limits
from gapless.serve.native import writing, writing_exchange, writing_table
from gapless.serve.native.writing import NativeWriting
from gapless.serve.native.writing_exchange import Acknowledger, LaneExchange
from gapless.serve.native.writing_store import Act, Found, find
from gapless.serve.native.writing_table import WriterTable
from gapless.serve.server import Server

MOST_CALLS = 8
# A client whose transport reads ahead 64 KiB and no more: what it does not listen to stays at the server.
DEAF: list[tuple[str, int | str]] = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 65_535),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that takes few calls at one time."""
    found = Server(
        tmp_path / "store", "127.0.0.1", 0, limits=Limits(max_calls=MOST_CALLS), doors=[NativeWriting]
    )
    found.start()
    yield found
    found.stop(0.1)


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a state."""
    give_up = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < give_up, what
        time.sleep(0.01)


class Writes:
    """What the server's own threads do in the streams of lanes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.inside = 0  # threads that are in a write at the moment
        self.ended = 0
        self.inside_at_return: list[int] = []  # when a handler returned
        tell, hold = Acknowledger._tell, LaneExchange.hold

        def telling(teller: Acknowledger, words: dict[str, Any]) -> None:
            self.inside += 1
            try:
                tell(teller, words)
            finally:
                self.inside -= 1
                self.ended += 1

        def holding(exchange: LaneExchange, *arguments: Any) -> None:
            try:
                hold(exchange, *arguments)
            finally:
                self.inside_at_return.append(self.inside)
                until(lambda: not self.inside, "a write does not end")  # or the process would

        monkeypatch.setattr(Acknowledger, "_tell", telling)
        monkeypatch.setattr(LaneExchange, "hold", holding)

    def is_stuck(self) -> bool:
        """Whether one is in a write that does not end."""
        ended = self.ended
        time.sleep(0.3)
        return self.inside == 1 and self.ended == ended


class Deaf:
    """A client that asks and asks, and never takes an answer."""

    def __init__(self, url: str, name: str) -> None:
        self.client = flight.connect(url, generic_options=DEAF)
        words = {"name": name, "uid": "0123456789abcdef"}
        for kind, more in (
            (protocol.OPEN, {}),
            (protocol.TOPIC, {"declaration": declaration("t"), "on_full": "block"}),
        ):
            list(self.client.do_action(flight.Action(kind, json.dumps(words | more).encode())))
        command = words | {protocol.KIND: protocol.LANE, "topic": "t"}
        descriptor = flight.FlightDescriptor.for_command(json.dumps(command).encode())
        self.writer, self.reader = self.client.do_exchange(descriptor)
        self.writer.begin(SCHEMA)

    def ask_until(self, stuck: Callable[[], bool]) -> None:
        """Ask how far the server is until it cannot tell it any more."""
        give_up = time.monotonic() + DEADLINE_S
        while not stuck():
            assert time.monotonic() < give_up, "the server's words still go somewhere"
            for number in range(2_000):
                self.writer.write_metadata(b'{"sync":true}')
                if number % 5 == 0:
                    time.sleep(0.0005)  # each word is answered, not several with one

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.reader.cancel()
        self.client.close()


@pytest.mark.parametrize("failures", [[], [OSError(24, "Too many open files")], [psutil.AccessDenied()]])
def test_no_call_returns_while_a_thread_of_it_is_in_its_stream(
    server: Server, monkeypatch: pytest.MonkeyPatch, failures: list[Exception]
) -> None:
    """Who does not listen to the last word loses the connection, though the first look for it fails."""
    writes, failing = Writes(monkeypatch), list(failures)
    close = getattr(flight_server, "close_connections", None)

    def closing(port: int, peers: set[str]) -> int:
        if failing:
            raise failing.pop()
        assert close is not None
        return int(close(port, peers))

    monkeypatch.setattr(flight_server, "close_connections", closing, raising=False)
    monkeypatch.setattr(writing_exchange, "_JOIN_S", 0.2)
    with RawWriter(server.url, "other") as other:
        other.open()
        other.topic()
        lane = other.lane()
        until(lambda: not writes.inside, "the other's words are not taken")
        with Deaf(server.url, "deaf") as deaf:
            deaf.ask_until(writes.is_stuck)
            deaf.writer.done_writing()
            until(lambda: bool(writes.inside_at_return), "the call does not return")
            assert writes.inside_at_return == [0]
            lane.push(0, 10)
            assert lane.finish() == 10
            assert other.end({"t": 10})["outcome"] == "completed"
    until(lambda: not server.traffic.calls, "a call goes on")


class Slow:
    """A step of the server that waits until a test lets it go on."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> None:
        """Wait."""
        self.begun.set()
        assert self.go_on.wait(DEADLINE_S)


def impatient(url: str, kind: str, timeout_s: float, **words: Any) -> Exception | None:
    """Call an action as a client that gives up; return what it met."""
    client = flight.connect(url, generic_options=DEAF[:1])
    try:
        body = json.dumps({"uid": "0123456789abcdef"} | words).encode()
        list(client.do_action(flight.Action(kind, body), flight.FlightCallOptions(timeout=timeout_s)))
    except flight.FlightError as error:
        found: Exception = error
        return found
    finally:
        client.close()
    return None


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    """The name ``hung`` is on a disk that does not answer."""
    slow = Slow()

    def finding(client: Client, act: Act) -> Found | None:
        if act.name == "hung":
            slow()
        return find(client, act)

    monkeypatch.setattr(writing_table, "find", finding)
    yield slow
    slow.go_on.set()


@pytest.mark.parametrize("kind", [protocol.OPEN, protocol.END])
def test_who_gives_up_waiting_for_a_name_holds_nothing(server: Server, hung: Slow, kind: str) -> None:
    """A client that asks again and again leaves the one thread that hangs, and room for everyone else."""
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(impatient, server.url, protocol.OPEN, DEADLINE_S, name="hung")
        assert hung.begun.wait(DEADLINE_S)
        for _ in range(2 * MOST_CALLS):
            met = impatient(server.url, kind, 0.1, name="hung", outcome="completed", topics={}, notes=0)
            assert isinstance(met, flight.FlightTimedOutError)
            until(lambda: server.traffic.calls == 1, "a call that nobody waits for goes on")
        with RawWriter(server.url, "other") as other:
            other.open()
            assert other.end({})["outcome"] == "completed"
        hung.go_on.set()
        assert first.result(DEADLINE_S) is None


def test_waiting_for_a_name_has_an_end(server: Server, hung: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the client hears then is worth another attempt."""
    monkeypatch.setattr(writing_table, "BUSY_S", 0.1)
    with RawWriter(server.url, "hung") as first, RawWriter(server.url, "hung") as second:
        second.uid = first.uid
        with ThreadPoolExecutor(1) as pool:
            opening = pool.submit(first.open)
            assert hung.begun.wait(DEADLINE_S)
            with pytest.raises(LimitReached, match="another call works on the recording") as met:
                second.open()
            assert may_pass(met.value)
            hung.go_on.set()
            assert opening.result(DEADLINE_S)["state"] == "open"
        assert second.open()["state"] == "open"


def test_a_seal_that_takes_long_keeps_nobody_else(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants something else of the sequence is told so; the same end gets the same answer."""
    slow, seal = Slow(), LocalRecording.seal

    def sealing(recording: LocalRecording) -> dict[str, Any]:
        slow()
        return seal(recording)

    monkeypatch.setattr(LocalRecording, "seal", sealing)
    for module in (writing, writing_table):
        monkeypatch.setattr(module, "BUSY_S", 0.1)
    with RawWriter(server.url) as writer, RawWriter(server.url) as again:
        writer.open()
        again.uid = writer.uid
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(writer.end, {})
            assert slow.begun.wait(DEADLINE_S)
            second = pool.submit(again.end, {})
            with RawWriter(server.url) as asking:
                asking.uid = writer.uid
                for ask in (asking.open, asking.topic, lambda: asking.note(0)):
                    with pytest.raises(LimitReached):
                        ask()
            slow.go_on.set()
            assert first.result(DEADLINE_S) == second.result(DEADLINE_S)


def test_one_uid_is_begun_once_under_whatever_names(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened at once under two names, it is one recording's; the other is refused and leaves nothing locked."""
    begin, reserve = LocalRecording.begin, WriterTable._reserve
    begun: list[str] = []
    both = threading.Event()  # the second call is inside, or has been made to wait

    def beginning(keeper: Any, name: str, *words: Any) -> LocalRecording:
        begun.append(name)
        if len(begun) > 1:
            both.set()
        assert both.wait(DEADLINE_S)
        return begin(keeper, name, *words)

    def reserving(table: WriterTable, keys: Any, wait_s: float) -> bool:
        free = reserve(table, keys, wait_s)
        if not free:
            both.set()
        return free

    monkeypatch.setattr(LocalRecording, "begin", staticmethod(beginning))
    monkeypatch.setattr(WriterTable, "_reserve", reserving)
    with RawWriter(server.url, "one") as one, RawWriter(server.url, "two") as two:
        two.uid = one.uid
        with ThreadPoolExecutor(2) as pool:
            answers = [pool.submit(writer.open) for writer in (one, two)]
        errors = [answer.exception() for answer in answers]
        assert [type(error) for error in errors if error] == [NameTaken]
        assert len(begun) == 1
        (name,) = begun
        assert (one if name == "one" else two).end({})["outcome"] == "completed"
    assert [path.name for path in (server.served.root / "sequences").iterdir()] == begun
