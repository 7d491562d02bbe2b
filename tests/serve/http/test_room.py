"""Room for connections: whoever takes much of it keeps no other out, and nobody an emergency stop."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

import gapless
from gapless.errors import StorageFailed
from gapless.serve import key_ring
from gapless.serve.http import downloads, request_body, room, urgent_entry
from gapless.serve.http.room import STRANGERS, Room, network_of
from gapless.serve.http.shares import AT_ONCE, STREAMS
from gapless.serve.keys import ApiKey, list_keys

from .conftest import DEADLINE_S, Begin, Site, bearer
from .test_core import refusal
from .test_sessions import browser

SCRIPT = "/static/bokeh/bokeh.min.js"  # some of them are more than lies on the way
STREAM = "/api/v1/live/stream"
STOP = "/live/nosuch/emergency-stop"


@contextmanager
def asked(site: Site, target: str, key: str | None = None, times: int = 1) -> Iterator[socket.socket]:
    """Ask on a connection of its own, several times one behind the other, and read nothing."""
    host, port = site.netloc.split(":")
    words = {"Host": site.netloc, **bearer(key)}
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(DEADLINE_S)
        peer.connect((host, int(port)))
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in words.items())]
        peer.sendall(times * ("\r\n".join(lines) + "\r\n\r\n").encode())
        yield peer


def status(peer: socket.socket) -> bytes:
    """Return the status of the answer that comes."""
    return peer.recv(64).split(b" ")[1]


def ended(peer: socket.socket) -> bool:
    """Read to the end; an answer that is cut is one, too."""
    try:
        while peer.recv(1 << 16):
            continue
    except ConnectionResetError:
        return True
    return True


def test_strangers_keep_nobody_out(site: Site) -> None:
    """Many more connections than there is room for ask for files and read nothing: all others are answered."""
    writing, reading = site.key("write"), site.key("read")
    with ExitStack() as strangers:
        for _ in range(4 * STRANGERS + 8):
            strangers.enter_context(asked(site, SCRIPT, times=8))
        for _ in range(3):
            refusal(site.api(STOP, "POST", json={}, key=writing), 404, "NotFound")
            refusal(site.api(STOP, "POST", json={}), 401, "KeyRefused")
            assert site.http.get(f"{site.url}/healthz").status_code == 200
            assert site.http.get(f"{site.url}/metrics").status_code == 200
            assert site.api("/info", key=reading).status_code == 200
            assert site.page("/", key=reading).status_code == 200


def test_who_is_let_in_does_not_give_way_to_strangers(site: Site) -> None:
    """A stream goes on, whoever else connects."""
    with asked(site, STREAM, site.key()) as stream, ExitStack() as strangers:
        assert status(stream) == b"200"
        for _ in range(2 * STRANGERS):
            strangers.enter_context(asked(site, SCRIPT, times=8))
        site.record("walk")
        heard = b""
        while b"event: live" not in heard:
            piece = stream.recv(4096)
            assert piece
            heard += piece


def test_streams_of_one_caller_are_bounded(site: Site) -> None:
    """One too many is refused; their other requests, and those of others, are answered, a stop above all."""
    key, other = site.key("write"), site.key()
    with ExitStack() as streams:
        for _ in range(STREAMS):
            assert status(streams.enter_context(asked(site, STREAM, key))) == b"200"
        refusal(site.api("/live/stream", key=key), 429, "LimitReached")
        assert site.api("/info", key=key).status_code == 200
        with asked(site, STREAM, other) as stream:
            assert status(stream) == b"200"
        refusal(site.api(STOP, "POST", json={}, key=key), 404, "NotFound")
    until_s = time.monotonic() + DEADLINE_S
    while True:  # they are over on the server, too
        with asked(site, STREAM, key) as stream:
            if status(stream) == b"200":
                break
        assert time.monotonic() < until_s


def test_connections_of_one_caller_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a request on each of them one more is refused, but for a stop; one without a request gives way."""
    monkeypatch.setattr(room, "OF_A_CALLER", 3)
    key = site.key("write")
    with asked(site, STREAM, key) as first, asked(site, STREAM, key) as second:
        assert (status(first), status(second)) == (b"200", b"200")
        with asked(site, "/api/v1/info", key) as idle:
            assert status(idle) == b"200"
            with asked(site, STREAM, key) as third:
                assert status(third) == b"200"
                assert ended(idle)
                answer = site.api("/info", key=key)
                refusal(answer, 429, "LimitReached")
                assert answer.headers["Connection"] == "close"
                refusal(site.api(STOP, "POST", json={}, key=key), 404, "NotFound")
                assert site.api("/info", key=site.key()).status_code == 200


def test_all_who_are_let_in_leave_room_for_an_emergency_stop(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the others do, it is heard, and health as well."""
    monkeypatch.setattr(room, "KNOWN", 2)
    keys = [site.key("write") for _ in range(3)]
    with asked(site, STREAM, keys[0]) as first, asked(site, STREAM, keys[1]) as second:
        assert (status(first), status(second)) == (b"200", b"200")
        refusal(site.api("/info", key=keys[2]), 429, "LimitReached")
        refusal(site.api(STOP, "POST", json={}, key=keys[2]), 404, "NotFound")
        assert site.http.get(f"{site.url}/healthz").status_code == 200


def test_a_stranger_who_reads_nothing_is_given_up_soon(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One who reads goes on meanwhile."""
    monkeypatch.setattr(room, "STRANGER_STALLED_S", 0.2)
    with asked(site, SCRIPT, times=16) as large, asked(site, "/static/js/core/api.js") as small:
        until_s = time.monotonic() + DEADLINE_S
        while 'status="closed"' not in site.http.get(f"{site.url}/metrics").text:
            assert time.monotonic() < until_s
        assert ended(large)
        assert status(small) == b"200"


def test_slow_readers_hold_no_places(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads of a caller that nobody reads are bounded; their other requests are answered."""
    with gapless.connect(site.root) as client, client.sequence_create("walk") as writer:
        topic = writer.topic_create("imu", schema=pa.schema([("a", pa.float64())]))
        topic.push_batch(pa.table({"timestamp_ns": range(400_000), "a": [0.5] * 400_000}).to_batches()[0])
    monkeypatch.setattr(downloads, "_PATIENCE_S", 1.0)
    with ExitStack() as readers:
        target = "/api/v1/sequences/walk/topics/imu/data?format=csv"
        for _ in range(downloads.OF_A_CALLER):
            assert status(readers.enter_context(asked(site, target))) == b"200"
        waiting = [readers.enter_context(asked(site, target)) for _ in range(AT_ONCE)]
        assert site.api("/info").status_code == 200
        assert site.page("/").status_code == 200
        assert [status(late) for late in waiting] == [b"429"] * AT_ONCE
    until_s = time.monotonic() + DEADLINE_S
    while site.api("/sequences/walk/topics/imu/data?format=csv&limit=1").status_code != 200:
        assert time.monotonic() < until_s


def test_a_body_that_trickles_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its time as a whole, not only from one piece to the next."""
    monkeypatch.setattr(request_body, "_WHOLE_S", 0.5)
    host, port = site.netloc.split(":")
    with socket.create_connection((host, int(port)), DEADLINE_S) as peer:
        head = f"POST /api/v1/session HTTP/1.1\r\nHost: {site.netloc}\r\nContent-Length: 5000\r\n\r\n"
        peer.sendall(head.encode())
        peer.settimeout(0.05)
        answer, until_s = b"", time.monotonic() + DEADLINE_S
        while not answer:
            assert time.monotonic() < until_s
            peer.sendall(b" ")
            try:
                answer = peer.recv(4096)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("extra", ["", "X-Long: " + "y" * 9000 + "\r\n", "X-Many: 1\r\n" * 200])
def test_a_websocket_that_cannot_be_is_refused_and_closed(site: Site, extra: str) -> None:
    """Its head is whole, so what the other side does not understand now it never will."""
    host, port = site.netloc.split(":")
    target = "/api/v1/live/walk/samples?channels=" + ("" if extra else "x" * 9000)
    token = base64.b64encode(os.urandom(16)).decode()
    with socket.create_connection((host, int(port)), DEADLINE_S) as peer:
        head = (
            f"GET {target} HTTP/1.1\r\nHost: {site.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {token}\r\n{extra}\r\n"
        )
        peer.sendall(head.encode())
        answer = b""
        while piece := peer.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"QuestionRefused" in answer
    assert b"content-security-policy" in answer.lower()


def test_a_disk_that_hangs_holds_up_no_emergency_stop(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor health, with streams going on: who was let in before comes in, everyone else is refused."""
    site = begin()
    key, new = site.key("write"), site.key("write")
    well = threading.Event()
    looked = threading.Event()

    def hung(root: Path) -> list[ApiKey]:
        looked.set()
        well.wait(DEADLINE_S)
        return list_keys(root)

    with asked(site, STREAM, key) as stream:
        assert status(stream) == b"200"
        monkeypatch.setattr(key_ring, "list_keys", hung)
        monkeypatch.setattr(key_ring, "_OLDEST_S", 0.0)
        monkeypatch.setattr(urgent_entry, "_PATIENCE_S", 0.2)
        try:
            assert looked.wait(DEADLINE_S)
            for _ in range(8):  # more than there are threads that wait for the disk
                refusal(site.api(STOP, "POST", json={}, key=key), 404, "NotFound")
            refusal(site.api(STOP, "POST", json={}, key=new), 401, "KeyRefused")
            refusal(site.api(STOP, "POST", json={}), 401, "KeyRefused")
            assert site.http.get(f"{site.url}/healthz").status_code == 200
        finally:
            well.set()
    assert site.api("/info", key=key).status_code == 200


def test_a_disk_that_fails_holds_up_no_emergency_stop_either(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the server's fault, and said so: pages that ask meanwhile are not sent to the login."""
    key, new = site.key("write"), site.key("write")
    client, csrf = browser(site, key)

    def broken(root: Path) -> list[ApiKey]:
        raise StorageFailed("the disk has gone", found=str(root))

    with closing(client):
        token = {"Origin": site.url, "X-CSRF-Token": csrf}
        assert client.get("/").status_code == 200
        assert site.api("/info", key=key).status_code == 200
        with monkeypatch.context() as failing:
            failing.setattr(key_ring, "list_keys", broken)
            failing.setattr(key_ring, "_OLDEST_S", 0.0)
            until_s = time.monotonic() + DEADLINE_S
            while site.api("/info", key=key).status_code == 200:
                assert time.monotonic() < until_s
            for _ in range(3):
                refusal(site.api("/info", key=key), 500, "StorageFailed")
                refusal(client.get("/api/v1/info"), 500, "StorageFailed")
                refusal(site.api(STOP, "POST", json={}, key=key), 404, "NotFound")
                refusal(client.post(f"/api/v1{STOP}", json={}, headers=token), 404, "NotFound")
                refusal(client.post(f"/api/v1{STOP}", json={}), 403, "CsrfRefused")
                refusal(site.api(STOP, "POST", json={}, key=new), 401, "KeyRefused")
        assert client.get("/api/v1/info").status_code == 200


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("fe80::1%eth0", "fe80::"),
    ],
)
def test_a_peer_is_its_network(address: str, network: str) -> None:
    """Of an IPv6 address everyone has as many as they like."""
    assert network_of((address, 1)) == network
    assert network_of(None) == ""


class Wire(asyncio.Transport):
    """The end of a connection from an address, which notes that it is closed."""

    def __init__(self, host: str) -> None:
        super().__init__({"peername": (host, 1)})
        self.open = True

    def abort(self) -> None:
        """Close at once."""
        self.open = False


def test_the_one_that_has_most_gives_way() -> None:
    """Of several strangers, the newest comes in, and the oldest of whoever has most is closed."""
    ends: list[None] = []
    place = Room(time.monotonic, lambda: ends.append(None))
    few = Wire("10.0.0.1")
    place.enter(few)
    many = [Wire(f"10.0.{number // 60}.99") for number in range(room.KNOWN + STRANGERS)]
    for wire in many:
        place.enter(wire)
    late = Wire("10.0.0.2")
    place.enter(late)
    assert few.open
    assert late.open
    assert [wire.open for wire in many].count(False) == len(ends) == 2
    assert len(place) == room.KNOWN + STRANGERS
