"""The server under clients that do not behave, and its end while they hold on."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import httpx
import numpy as np
import pyarrow as pa
import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect

import gapless
from gapless.serve.http import connection, room
from gapless.serve.http.event_stream import EventStream, Told
from gapless.serve.http.shares import AT_ONCE, Share, Shares

from .conftest import DEADLINE_S, Begin, Site, bearer


@contextmanager
def recording(site: Site, name: str = "walk") -> Iterator[gapless.SequenceWriter]:
    """Record a sequence for as long as the block lasts."""
    with gapless.connect(site.root) as client, client.sequence_create(name) as writer:
        writer.topic_create("imu", schema=pa.schema([("a", pa.float64())])).push_row(1, 1.0)
        writer.flush()
        yield writer


def drained(samples: ClientConnection) -> None:
    """Take messages until the connection ends, which raises."""
    while True:
        samples.recv(DEADLINE_S)


def test_streams_end_when_the_server_goes_down(site: Site) -> None:
    """Browsers are told why, at once, and do not hold the server: their streams would go on for ever."""
    with recording(site):
        with site.http.stream("GET", f"{site.url}/api/v1/live/stream", timeout=DEADLINE_S) as events:
            lines = events.iter_lines()
            assert next(lines).startswith("retry:")
            socket_url = f"{site.url.replace('http', 'ws')}/api/v1/live/walk/samples"
            with connect(socket_url, proxy=None) as samples:
                ended = site.operations.stop(DEADLINE_S)
                assert ended
                told = list(lines)
                with pytest.raises(ConnectionClosedError) as closed:
                    drained(samples)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, "ServerClosing" in closed.value.rcvd.reason) == (1012, True)
        last = [line for line in told if line][-2:]
        assert last[0] == "event: refused"
        assert json.loads(last[1].removeprefix("data: "))["error"] == "ServerClosing"


def test_a_revoked_key_ends_its_streams(site: Site) -> None:
    """Those of other keys go on."""
    made, key = site.made_key()
    other = site.key()
    url = f"{site.url}/api/v1/live/stream"
    with (
        httpx.Client(timeout=DEADLINE_S, trust_env=False) as client,
        client.stream("GET", url, headers=bearer(key)) as ending,
        client.stream("GET", url, headers=bearer(other)) as staying,
    ):
        ending_lines, staying_lines = ending.iter_lines(), staying.iter_lines()
        assert next(ending_lines).startswith("retry:")
        assert next(staying_lines).startswith("retry:")
        site.revoke(made)
        told = [line for line in ending_lines if line]
        assert "event: refused" in told
        assert "KeyRefused" in told[-1]
        assert not staying.is_closed
        assert site.api("/info", key=other).status_code == 200


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_an_answer_that_breaks_off_is_not_taken_for_whole(site: Site, version: str) -> None:
    """HTTP/1.0 knows the end by the close alone, so the connection is reset; HTTP/1.1 lacks its last chunk."""
    rows = 2_000_000
    with gapless.connect(site.root) as client, client.sequence_create("big") as sequence:
        topic = sequence.topic_create("a", schema=pa.schema([("v", pa.float64())]))
        topic.push_columns(np.arange(rows, dtype=np.int64), {"v": np.arange(rows) / 7})
    made, key = site.made_key()
    host, _, port = site.netloc.partition(":")
    with (
        socket.create_connection((host, int(port)), DEADLINE_S) as connected,
        httpx.stream(
            "GET", f"{site.url}/api/v1/live/stream", headers=bearer(key), timeout=DEADLINE_S
        ) as beside,
    ):
        head = f"GET /api/v1/sequences/big/topics/a/data?format=csv HTTP/{version}\r\nHost: {site.netloc}\r\n"
        connected.sendall(f"{head}Authorization: Bearer {key}\r\n\r\n".encode())
        data = connected.recv(1 << 16)
        site.revoke(made)
        assert "event: refused" in list(beside.iter_lines())  # all that the key began has ended
        with pytest.raises(ConnectionResetError) if version == "1.0" else nullcontext():
            while piece := connected.recv(1 << 16):
                data = data[-64:] + piece
    assert not data.endswith(b"0\r\n\r\n")


def test_a_server_that_goes_down_answers_programs_that_watch(begin: Begin) -> None:
    """While it drains the API says that it is closing, and health and figures go on."""
    site = begin()
    site.server.traffic.enter(stream=False)  # something that does not end
    stopping = threading.Thread(target=site.operations.stop, args=(DEADLINE_S,))
    stopping.start()
    try:
        until_s = time.monotonic() + DEADLINE_S
        while (answer := site.api("/info")).status_code == 200:
            assert time.monotonic() < until_s
        assert (answer.status_code, answer.json()["error"]) == (503, "ServerClosing")
        assert site.http.get(f"{site.url}/healthz").status_code == 200
        assert site.http.get(f"{site.url}/readyz").status_code == 503
        assert "gapless_draining 1" in site.http.get(f"{site.url}/metrics").text
    finally:
        site.server.traffic.leave(None)
        stopping.join(DEADLINE_S)
    with pytest.raises(httpx.ConnectError):
        site.api("/info")


def test_small_pieces_are_sent_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection waits for more bytes, or for its peer's word that the last ones came (TCP_NODELAY)."""
    made: list[int] = []
    begin = connection.Connection.connection_made

    def noted(self: connection.Connection, transport: asyncio.Transport) -> None:
        begin(self, transport)
        made.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(connection.Connection, "connection_made", noted)
    assert site.api("/info").status_code == 200
    assert made
    assert all(made)


def test_silent_peers_keep_nobody_waiting(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many closes the oldest; those that say nothing, or half a request, are given up."""
    monkeypatch.setattr(room, "STRANGERS", 8)
    monkeypatch.setattr(connection, "SILENT_S", 1.0)
    host, port = site.netloc.split(":")
    peers = [socket.create_connection((host, int(port)), DEADLINE_S) for _ in range(8)]
    try:
        for peer in peers[:4]:
            peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0")
        late = socket.create_connection((host, int(port)), DEADLINE_S)
        with late:
            assert hung_up(peers[0])
            assert hung_up(late)
        assert all(hung_up(peer) for peer in peers)
        assert site.api("/info").status_code == 200
    finally:
        for peer in peers:
            peer.close()


def hung_up(peer: socket.socket) -> bool:
    """Wait until the other end closes a connection; return whether it said nothing before."""
    try:
        return peer.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_client_that_leaves_is_noticed(site: Site) -> None:
    """Its stream ends on the server, too: nobody reads it."""
    with site.http.stream("GET", f"{site.url}/api/v1/live/stream") as events:
        lines = events.iter_lines()  # closes the answer when nobody holds it any more
        assert next(lines).startswith("retry:")
        assert site.server.traffic.calls == 1
    wait_until(lambda: site.server.traffic.calls == 0)


def test_calls_are_bounded(begin: Begin) -> None:
    """One too many is told to come back later."""
    from gapless.serve.limits import Limits

    site = begin(limits=Limits(max_calls=1))
    with site.http.stream("GET", f"{site.url}/api/v1/live/stream") as events:
        lines = events.iter_lines()  # closes the answer when nobody holds it any more
        assert next(lines).startswith("retry:")
        answer = site.api("/info")
        assert (answer.status_code, answer.json()["error"]) == (429, "LimitReached")


def test_a_peer_that_takes_nothing_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer is larger than what lies on the way; the connection ends, and its request with it."""
    monkeypatch.setattr(room, "STALLED_S", 0.2)
    with gapless.connect(site.root) as client, client.sequence_create("walk") as writer:
        topic = writer.topic_create("imu", schema=pa.schema([("a", pa.float64())]))
        topic.push_batch(pa.table({"timestamp_ns": range(1_000_000), "a": [0.5] * 1_000_000}).to_batches()[0])
    host, port = site.netloc.split(":")
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect((host, int(port)))
        target = "/api/v1/sequences/walk/topics/imu/data?format=csv"
        peer.sendall(f"GET {target} HTTP/1.1\r\nHost: {site.netloc}\r\n\r\n".encode())
        wait_until(lambda: site.server.traffic.calls == 1)
        wait_until(lambda: site.server.traffic.calls == 0)


def test_one_caller_leaves_room_for_others() -> None:
    """What one asks for beyond their share waits for their own, in order; others are not kept."""

    async def scenario() -> list[str]:
        shares, told = Shares(2), list[str]()

        async def ask(caller: str, word: str) -> Share:
            share = await shares.take(caller)
            told.append(word)
            return share

        first, second = await ask("a", "first"), await ask("a", "second")
        third, left = (asyncio.create_task(ask("a", word)) for word in ("third", "left"))
        await asyncio.sleep(0)
        other = await ask("b", "other")
        left.cancel()
        first.give_back()
        first.give_back()  # once is enough: nobody gets a place twice
        (await third).give_back()
        second.give_back()
        other.give_back()
        return told

    assert asyncio.run(scenario()) == ["first", "second", "other", "third"]


def test_streams_of_events_take_no_share(site: Site) -> None:
    """However many a caller follows, their other requests are answered."""
    with ExitStack() as streams:
        held = []
        for _ in range(AT_ONCE + 1):
            events = streams.enter_context(site.http.stream("GET", f"{site.url}/api/v1/live/stream"))
            held.append(events.iter_lines())
            assert next(held[-1]).startswith("retry:")
        assert site.api("/info").status_code == 200


def wait_until(true: Callable[[], bool]) -> None:
    """Look until it is true."""
    until_s = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_a_stream_beats_and_is_closed() -> None:
    """A quiet stream says that it lives; what makes its events is closed when nobody listens any more."""

    async def scenario() -> tuple[list[bytes], bool]:
        closed = asyncio.Event()

        async def events() -> AsyncGenerator[Told, None]:
            try:
                yield Told("status", {"rows": 1}, "7")
                await asyncio.Event().wait()
            finally:
                closed.set()

        lines: list[bytes] = []
        body = EventStream(events(), beat_s=0.001).body_iterator
        async for line in body:
            lines.append(bytes(line))  # type: ignore[arg-type]
            if len(lines) == 4:
                break
        await body.aclose()  # type: ignore[attr-defined]
        return lines, closed.is_set()

    lines, closed = asyncio.run(scenario())
    assert lines == [
        b"retry: 2000\n\n",
        b'id: 7\nevent: status\ndata: {"rows": 1}\n\n',
        b": beat\n\n",
        b": beat\n\n",
    ]
    assert closed
