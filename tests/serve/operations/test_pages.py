"""The pages of a real server process: health, readiness, figures; keys, TLS, peers that misbehave."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pyarrow import flight

from gapless.catalog.state_database import StateDatabase
from gapless.serve.address import Address
from gapless.serve.http.room import STRANGERS
from gapless.serve.keys import make_key
from gapless.serve.metrics import Metrics
from gapless.serve.operations.http_server import HttpServer, Page, Reply
from gapless.serve.rights import Right
from gapless.store.declaration import TopicDeclaration
from gapless.store.folder import FolderStore

from .conftest import DEADLINE_S, SOURCE, Begin, Running, asked


def figures(server: Running) -> dict[str, float]:
    """Return the figures without labels, each family added up."""
    status, text = asked(f"{server.url}/metrics")
    assert status == 200
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_pages_of_a_server(begin: Begin) -> None:
    """It lives, is ready, and its figures are there; other paths and methods are refused."""
    server = begin()
    assert json.loads(asked(f"{server.url}/healthz")[1]) == {"status": "alive"}
    assert asked(f"{server.url}/readyz") == (200, '{"status": "ready"}\n')
    found = figures(server)
    assert found["gapless_build_info"] == 1
    assert found["gapless_disk_free_bytes"] > 0
    assert found["gapless_draining"] == 0
    assert asked(f"{server.url}/nothing")[0] == 404
    assert asked(f"{server.url}/../../etc/passwd")[0] == 404
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=DEADLINE_S)
    connection.request("POST", "/healthz", body=b"{}")
    assert connection.getresponse().status == 405
    connection.close()
    connection.request("HEAD", "/metrics")
    reply = connection.getresponse()
    assert (reply.status, reply.read()) == (200, b"")
    assert reply.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    connection.close()


def test_no_http_listens_nowhere(begin: Begin) -> None:
    """The line that says what is next names no page."""
    assert begin("--no-http").url == ""


def open_lane(place: str) -> Any:
    """Begin a sequence with one topic and hold its exchange open."""
    import pyarrow as pa

    client = flight.connect(place)
    schema = pa.schema([pa.field("timestamp_ns", pa.int64(), nullable=False), ("a", pa.float64())])
    words = {"name": "walking", "uid": "0" * 32}
    declaration = TopicDeclaration(0, "imu", schema, {"tag": None}).to_json()
    for action, more in (
        ("gapless.write.open", {"group": None, "metadata": {}, "producer": {}}),
        ("gapless.write.topic", {"declaration": declaration, "on_full": "block"}),
    ):
        list(client.do_action(flight.Action(action, json.dumps({**words, **more}).encode())))
    command = json.dumps({"gapless": "lane", "topic": "imu", **words}).encode()
    writer, reader = client.do_exchange(flight.FlightDescriptor.for_command(command))
    reader.read_chunk()
    return writer, reader


def test_it_goes_down_in_order(begin: Begin) -> None:
    """While it drains it lives and is not ready; figures go on; a second signal ends it."""
    server = begin("--drain", "10m")
    lane = open_lane(server.place)
    assert figures(server)["gapless_open_writers"] == 1
    server.process.send_signal(signal.SIGTERM)
    server.heard("drain")
    status, body = asked(f"{server.url}/readyz")
    while status == 200:
        status, body = asked(f"{server.url}/readyz")
    assert (status, json.loads(body)["reason"]) == (503, "the server is going down")
    assert asked(f"{server.url}/healthz")[0] == 200
    assert figures(server)["gapless_draining"] == 1
    assert server.process.poll() is None
    del lane


def test_it_ends_cleanly_with_a_line_about_it(begin: Begin) -> None:
    """The last line says that it is down, and nothing answers any more."""
    server = begin()
    server.process.send_signal(signal.SIGTERM)
    assert server.heard("stopped")["in_time"] is True
    assert server.process.wait(DEADLINE_S) == 0
    with pytest.raises(OSError, match="refused"):
        asked(f"{server.url}/healthz")


def test_other_machines_show_a_key(begin: Begin, tmp_path: Path) -> None:
    """Beyond this machine health is for all, the rest for who has a key; no key is in the log."""
    root = tmp_path / "store"
    FolderStore(root)
    with StateDatabase(root) as database:
        _, token = make_key(database, Right.READ, label="prometheus")
    server = begin("--host", "0.0.0.0")
    url = server.url.replace("0.0.0.0", "127.0.0.1")
    assert asked(f"{url}/healthz")[0] == 200
    wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
    for page in ("readyz", "metrics"):
        assert asked(f"{url}/{page}")[0] == 401
        assert asked(f"{url}/{page}", wrong)[0] == 401
        assert asked(f"{url}/{page}", "x" * 500)[0] == 401
        assert asked(f"{url}/{page}", token)[0] == 200
    assert asked(f"{url}/healthz", token)[0] == 200
    asked(f"{url}/{token}")
    client = flight.connect(server.place.replace("0.0.0.0", "127.0.0.1"))
    options = flight.FlightCallOptions(headers=[(b"authorization", f"Bearer {token}".encode())])
    with pytest.raises(Exception, match="there is no action"):
        list(client.do_action(flight.Action(token, b""), options=options))
    server.process.send_signal(signal.SIGTERM)
    server.heard("stopped")
    server.process.wait(DEADLINE_S)
    log = "".join(server.text)
    assert log.count('"refused"') >= 6
    for secret in (token, wrong, token.split("_")[2], "x" * 500, "Bearer", "authorization"):
        assert secret not in log


def test_insecure_asks_for_none(begin: Begin) -> None:
    """A store without keys that is served to everyone shows its figures to everyone."""
    server = begin("--host", "0.0.0.0", "--insecure")
    assert asked(server.url.replace("0.0.0.0", "127.0.0.1") + "/metrics")[0] == 200


def test_tls_is_for_the_pages_too(begin: Begin, tmp_path: Path) -> None:
    """With a certificate the pages are encrypted; a peer that speaks plain HTTP harms nobody."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "own.key", "-out", "own.pem"],
        check=True, capture_output=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    server = begin("--tls-cert", "own.pem", "--tls-key", "own.key")
    assert server.url.startswith("https://127.0.0.1:")
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0), DEADLINE_S) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert b"200" not in plain.recv(4096)
    context = ssl.create_default_context(cafile=str(tmp_path / "own.pem"))
    assert asked(f"{server.url}/readyz", context=context)[0] == 200


def test_a_port_that_is_taken_is_said_and_nothing_is_served(tmp_path: Path, begin: Begin) -> None:
    """The second server ends with one line, and the first goes on."""
    first = begin()
    port = str(urlsplit(first.url).port)
    done = subprocess.run(
        [sys.executable, "-m", "gapless.cli.main", "serve", "other", "--port", "0", "--http-port", port],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert asked(f"{first.url}/healthz")[0] == 200


def test_peers_that_say_nothing_keep_nobody_waiting(begin: Begin) -> None:
    """With more silent connections than are taken, it answers at once: the oldest give way."""
    server = begin()
    address = ("127.0.0.1", urlsplit(server.url).port or 0)
    silent = [socket.create_connection(address, DEADLINE_S) for _ in range(STRANGERS + 8)]
    try:
        assert asked(f"{server.url}/healthz")[0] == 200
        assert all(hung_up(peer) for peer in silent[:8])
        assert all(hung_up(peer) for peer in silent)  # given up after some seconds
        assert asked(f"{server.url}/healthz")[0] == 200
    finally:
        for peer in silent:
            peer.close()


def hung_up(peer: socket.socket) -> bool:
    """Wait until the other end closes a connection; return whether it said nothing before."""
    try:
        return peer.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_page_that_breaks_shows_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error is in the log with its trace; the peer sees a fault without a word of it."""

    def broken() -> Reply:
        raise RuntimeError("secret")

    server = HttpServer(
        Address("127.0.0.1", 0), {"/": Page(broken)}, admit=lambda _token: None, metrics=Metrics()
    )
    server.start()
    try:
        assert asked(f"{server.url}/") == (500, '{"error": "ServerFault"}\n')
    finally:
        server.stop()
    assert "secret" in caplog.text
