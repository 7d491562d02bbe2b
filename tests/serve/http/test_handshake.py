"""The server under TLS: what holds without holds with it, also against peers that never agree on it."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pyarrow as pa
import pytest
from websockets.sync.client import connect

import gapless
from gapless.serve.address import Address
from gapless.serve.http import handshake
from gapless.serve.http.room import KNOWN, STRANGERS
from gapless.serve.operations.operations import Operations
from gapless.serve.server import Server

from .conftest import DEADLINE_S
from .test_room import ended
from .test_thread import wait_until


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a file with a certificate of this machine and its key."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "own.key", "-out", "own.crt"],
        check=True, capture_output=True, timeout=DEADLINE_S, cwd=tmp_path,
    )  # fmt: skip
    own = tmp_path / "own.pem"
    own.write_bytes((tmp_path / "own.crt").read_bytes() + (tmp_path / "own.key").read_bytes())
    return own


@pytest.fixture
def encrypted(root: Path, certificate: Path) -> Iterator[tuple[Server, str, ssl.SSLContext]]:
    """Return a server that speaks TLS only, where it listens, and what trusts it."""
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(certificate)
    server = Server(root, "127.0.0.1", 0)
    server.start()
    operations = Operations(server, http=Address("127.0.0.1", 0), tls=own)
    operations.start()
    assert operations.url is not None
    yield server, operations.url, ssl.create_default_context(cafile=str(certificate))
    operations.stop(0.1)
    server.stop(0.1)


@contextmanager
def wire(url: str) -> Iterator[socket.socket]:
    """Connect, and say nothing."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), DEADLINE_S) as peer:
        yield peer


def test_pages_files_and_sockets(encrypted: tuple[Server, str, ssl.SSLContext]) -> None:
    """Large answers come whole, on a connection that is kept; a WebSocket is opened and told why it ends."""
    server, url, trusted = encrypted
    with gapless.connect(server.served.root) as client, client.sequence_create("walk") as writer:
        topic = writer.topic_create("imu", schema=pa.schema([("a", pa.float64())]))
        topic.push_batch(pa.table({"timestamp_ns": range(100_000), "a": [0.5] * 100_000}).to_batches()[0])
        topic.flush()
        samples = f"{url.replace('https', 'wss')}/api/v1/live/walk/samples"
        with connect(samples, ssl=trusted, proxy=None) as live:
            assert "error" not in json.loads(live.recv(DEADLINE_S))
    data = "/api/v1/sequences/walk/topics/imu/data?format=arrow"
    with httpx.Client(base_url=url, timeout=DEADLINE_S, trust_env=False, verify=trusted) as browser:
        for _ in range(3):
            with pa.ipc.open_stream(browser.get(data).content) as rows:
                assert rows.read_all().num_rows == 100_000
            assert browser.get("/api/v1/info").status_code == 200


def test_a_peer_that_asks_at_once_is_answered(encrypted: tuple[Server, str, ssl.SSLContext]) -> None:
    """Its request comes in the same packet as the last word of the handshake."""
    _, url, trusted = encrypted
    with wire(url) as peer:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        inside = trusted.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        while True:
            try:
                inside.do_handshake()
                break
            except ssl.SSLWantReadError:
                peer.sendall(outgoing.read())
                incoming.write(peer.recv(1 << 16))
        inside.write(
            f"GET /healthz HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nConnection: close\r\n\r\n".encode()
        )
        peer.sendall(outgoing.read())
        answer = b""
        while b"alive" not in answer:
            try:
                answer += inside.read(1 << 16)
            except ssl.SSLWantReadError:
                piece = peer.recv(1 << 16)
                assert piece
                incoming.write(piece)
        assert answer.startswith(b"HTTP/1.1 200 ")


def test_peers_that_never_agree_keep_nobody_out(
    encrypted: tuple[Server, str, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their number is bounded from the first moment on, and their time as well."""
    _, url, trusted = encrypted
    monkeypatch.setattr(
        handshake, "HANDSHAKE_S", 10.0 * DEADLINE_S
    )  # no time does it here, their number does
    with ExitStack() as silent:
        peers = [silent.enter_context(wire(url)) for _ in range(KNOWN + 2 * STRANGERS)]
        assert (
            httpx.get(f"{url}/healthz", verify=trusted, trust_env=False, timeout=DEADLINE_S).status_code
            == 200
        )
        assert all(ended(peer) for peer in peers[: KNOWN + STRANGERS - 8])
    monkeypatch.setattr(handshake, "HANDSHAKE_S", 0.2)
    with wire(url) as late, wire(url) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert ended(plain)
        assert ended(late)


def test_nothing_is_left_of_those_that_have_gone(encrypted: tuple[Server, str, ssl.SSLContext]) -> None:
    """In whatever way they went."""
    server, url, trusted = encrypted
    for _ in range(3):
        with wire(url):
            pass
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/healthz", trust_env=False, timeout=DEADLINE_S)
        assert (
            httpx.get(f"{url}/healthz", verify=trusted, trust_env=False, timeout=DEADLINE_S).status_code
            == 200
        )
    wait_until(lambda: server.traffic.calls == 0)
