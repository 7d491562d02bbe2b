"""`gapless serve STORE` as a process: real Flight clients, real signals, TLS, keys."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

import gapless
from gapless.store.declaration import TopicDeclaration

from .conftest import Cli, environment

DEADLINE_S = 90
Start = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that serves ./store on a free port and returns process and place."""
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: str, **extra: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "gapless.cli.main", "serve", "store", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment(HOME=str(tmp_path), **extra),
        )
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(r"serving on (grpc\S+)\n", line)
        assert found is not None, (line, process.communicate(timeout=DEADLINE_S))
        return process, found[1]

    yield begin
    for process in running:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate(timeout=DEADLINE_S)


def told(place: str, token: str | None = None, **words: Any) -> dict[str, Any]:
    """Return what the server says about itself."""
    headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
    options = flight.FlightCallOptions(headers=headers, timeout=DEADLINE_S)
    client = flight.connect(place.replace("0.0.0.0", "127.0.0.1"), **words)
    (result,) = client.do_action(flight.Action("gapless.info", b""), options=options)
    answer: dict[str, Any] = json.loads(result.body.to_pybytes())
    return answer


def until_refused(place: str, token: str) -> bool:
    """Ask until the key is refused; whether that happened in time."""
    until_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < until_s:
        try:
            told(place, token)
        except flight.FlightUnauthenticatedError:
            return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_ends_cleanly(start: Start, number: signal.Signals) -> None:
    """A store that was not there is made; stdout has the place alone, stderr who may do what and what is next."""
    process, place = start()
    assert told(place)["key"]["right"] == "manage"
    process.send_signal(number)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    assert out == ""
    assert "programs of this machine" in err
    assert "made a new store in store\n" in err
    assert re.search(r"^page: http://localhost:\d+$", err, re.MULTILINE)
    assert f'gapless.connect("{place}")' in err
    assert "Traceback" not in err


def open_lane(place: str) -> tuple[Any, Any]:
    """Begin a sequence with one topic, and the exchange of that topic; return its two ends."""
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
    assert json.loads(reader.read_chunk().app_metadata.to_pybytes()) == {"next_seq": 0}
    return writer, reader


def test_a_client_that_holds_on_does_not_hold_the_server(start: Start, tmp_path: Path) -> None:
    """A signal waits the stated time for an open lane, cuts it and ends; the recording stays open."""
    process, place = start("--drain", "0.1s")
    lane = open_lane(place)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    with pytest.raises(flight.FlightError):
        told(place)
    del lane
    with gapless.connect(tmp_path / "store") as client:
        assert client.sequence_handler("walking").state == "open"


def test_a_second_signal_ends_at_once(start: Start) -> None:
    """While it waits for an open lane, another Ctrl-C ends the process as stopped by the operator."""
    process, place = start("--drain", "10m")
    lane = open_lane(place)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while not process.stderr.readline().startswith("stopping"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    del lane


def test_keys_stand_in_front(start: Start, cli: Cli) -> None:
    """A key made beside a running server is asked for at once, and one that is revoked counts no longer."""
    _, place = start()
    assert told(place)
    made = json.loads(cli("keys", "make", "--right", "write", "--store", "store", "--json").stdout)
    assert told(place, made["key"])["key"]["id"] == made["id"]
    with pytest.raises(flight.FlightUnauthenticatedError):
        told(place)
    assert cli("keys", "revoke", made["id"], "--store", "store").returncode == 0
    assert until_refused(place, made["key"])


def test_other_machines_need_keys(start: Start, cli: Cli, tmp_path: Path) -> None:
    """A host beyond this machine: refused without a key, a warning with --insecure, TLS advised with keys."""
    refused = cli("serve", "store", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 2
    assert "gapless keys make" in refused.stderr
    process, place = start("--host", "0.0.0.0", "--insecure")
    assert place.startswith("grpc://0.0.0.0:")
    assert told(place)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=DEADLINE_S)[1]
    assert "whoever can connect" in err
    assert "not TLS" in err
    token = cli("keys", "make", "--right", "read", "--store", "store").stdout.strip()
    process, place = start("--host", "0.0.0.0")
    assert told(place, token)["key"]["right"] == "read"
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=DEADLINE_S)[1]
    assert "callers need a key" in err
    assert "not TLS" in err


def test_tls(start: Start, cli: Cli, tmp_path: Path) -> None:
    """With certificate and key the place says grpc+tls; mistakes are said before anything listens."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "own.key", "-out", "own.pem"],
        check=True, capture_output=True, timeout=60, cwd=tmp_path,
    )  # fmt: skip
    process, place = start("--tls-cert", "own.pem", "--tls-key", "own.key")
    assert place.startswith("grpc+tls://127.0.0.1:")
    assert told(place, tls_root_certs=(tmp_path / "own.pem").read_bytes())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)
    assert cli("serve", "store", "--tls-key", "own.key").returncode == 2
    assert cli("serve", "store", "--tls-cert", "own.pem").returncode == 2
    assert "absent.pem" in cli("serve", "store", "--tls-cert", "absent.pem").stderr


def test_limits_are_taken(start: Start) -> None:
    """What the options bound is what the server tells."""
    _, place = start("--max-writers", "3", "--max-connections", "4", "--max-batch-bytes", "5000")
    limits = told(place)["limits"]
    assert (limits["max_writers"], limits["max_connections"], limits["max_batch_bytes"]) == (3, 4, 5000)


def test_a_taken_port_is_said_in_words(cli: Cli) -> None:
    """The address that is in use is named, once, in one line."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = cli("serve", "store", "--port", port)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}: Address already in use" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_cannot_be_served_is_said_in_words(cli: Cli, tmp_path: Path) -> None:
    """A file for a store, two stores, no port, options of Tiled: usage, no traceback."""
    (tmp_path / "file").write_text("x")
    for arguments in (
        ("file",),
        ("store", "--store", "store"),
        ("store", "--port", "70000"),
        ("store", "--public"),
        ("store", "--external-root", "."),
        ("store", "--host", "no such host"),
        ("store", "--max-writers", "0"),
        ("store", "--http-host", "http://a"),
        ("store", "--http-host", "a:80"),
        ("store", "--tiled", "--hub", "file"),
    ):
        done = cli("serve", *arguments)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr


def test_garbage_on_the_port_is_survived_in_silence(start: Start) -> None:
    """Bytes that are no gRPC end their own connection; nothing is printed about them."""
    process, place = start()
    port = int(place.rpartition(":")[2])
    for garbage in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00" * 10_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 999,
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as raw, suppress(OSError):
            raw.sendall(garbage)
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(4096):
                pass
    assert told(place)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    notes = ["no key is asked for", "page", "next", "made a new store in store", "stopping"]
    assert [line.split(":")[0] for line in err.splitlines()] == notes


def test_what_the_page_shows_is_looked_for_first(cli: Cli, tmp_path: Path) -> None:
    """A pipeline or a hub that is not there is said before anything is served."""
    for option in ("--pipeline", "--hub"):
        done = cli("serve", "store", option, "absent.toml")
        assert done.returncode == 3
        assert "absent.toml" in done.stderr
    assert not (tmp_path / "store").exists()


def test_without_the_extra_it_says_how_to_get_the_page(start: Start, tmp_path: Path) -> None:
    """Health and figures are there all the same."""
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "sitecustomize.py").write_text("import sys\nsys.modules['fastapi'] = None\n")
    paths = [str(tmp_path / "absent"), environment()["PYTHONPATH"]]
    process, _ = start(PYTHONPATH=os.pathsep.join(paths))
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=DEADLINE_S)[1]
    assert process.returncode == 0, err
    assert "pip install 'gapless[serve]'" in err
    assert "/metrics has figures" in err
    assert "page: http" not in err
