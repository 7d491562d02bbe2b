"""Recording with keys and over TLS: who may, can; who may not hears why, and nothing is begun."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.client.remote.write_server import NUMBERS, assert_counted, server, stored

import gapless
from gapless.catalog.state_database import StateDatabase
from gapless.client.remote.connection import Endpoint
from gapless.errors import KeyRefused, RightMissing, Unreachable, UsageError
from gapless.serve.keys import make_key
from gapless.serve.native.reading import NativeReading
from gapless.serve.native.writing import NativeWriting
from gapless.serve.rights import Right
from gapless.serve.server import Server
from gapless.serve.tls import read_identity


def key_of(root: Path, right: Right, groups: list[str] | None = None) -> str:
    """Make a key of the store and return its token."""
    gapless.connect(root).close()
    database = StateDatabase(root)
    try:
        return make_key(database, right, groups=groups or [])[1]
    finally:
        database.close()


def record(client: gapless.Client, name: str, group: str | None = None) -> None:
    """Record two rows."""
    with client.sequence_create(name, group=group) as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        topic.push_row(0, 0.0, 0)
        topic.push_row(1, 0.0, 1)


def test_a_key_is_needed_once_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an argument, or a variable; one that does not count, or does not suffice, is refused."""
    root = tmp_path / "store"
    writing, reading = key_of(root, Right.WRITE), key_of(root, Right.READ)
    with server(root) as running:
        for key, error in ((None, KeyRefused), (writing[:-1] + "x", KeyRefused), (reading, RightMissing)):
            with gapless.connect(running.url, api_key=key) as client, pytest.raises(error):
                record(client, "refused")
        with gapless.connect(running.url, api_key=writing) as client:
            record(client, "given")
        monkeypatch.setenv("GAPLESS_API_KEY", writing)
        with gapless.connect(running.url) as client:
            record(client, "found")
    assert_counted(stored(root, "given", "t"), 2)
    assert_counted(stored(root, "found", "t"), 2)
    with gapless.connect(root) as local:
        assert not local.sequence_exists("refused")


def test_a_key_for_groups_writes_in_these_only(tmp_path: Path) -> None:
    """Not in others, and not in none."""
    root = tmp_path / "store"
    key = key_of(root, Right.WRITE, ["lab"])
    with server(root) as running, gapless.connect(running.url, api_key=key) as client:
        record(client, "mine", "lab")
        for name, group in (("theirs", "field"), ("nobodys", None)):
            with pytest.raises(RightMissing):
                record(client, name, group)
    assert_counted(stored(root, "mine", "t"), 2)


def test_recording_over_tls(tmp_path: Path) -> None:
    """Who trusts the certificate records; who does not cannot even ask."""
    root, pem, key = tmp_path / "store", tmp_path / "server.pem", tmp_path / "server.key"
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    words += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(pem)]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    with Server(
        root, "127.0.0.1", 0, tls=read_identity(pem, key), doors=[NativeWriting, NativeReading]
    ) as running:
        with gapless.connect(running.url, tls_roots=pem) as client:
            record(client, "secret")
        for url, roots in ((running.url, None), (running.url.replace("+tls", ""), None)):
            with gapless.connect(url, tls_roots=roots) as client, pytest.raises(Unreachable):
                record(client, "refused")
    assert_counted(stored(root, "secret", "t"), 2)


def test_what_cannot_be_a_key_or_a_certificate_is_refused_at_once(tmp_path: Path) -> None:
    """Before anything is sent anywhere."""
    with pytest.raises(UsageError):
        gapless.connect("grpc://127.0.0.1:9", api_key="line\nbreak")
    with pytest.raises(UsageError):
        gapless.connect("grpc+tls://127.0.0.1:9", tls_roots=tmp_path / "nothing.pem")
    with pytest.raises(UsageError):
        gapless.connect("grpc://127.0.0.1:9", tls_roots=__file__)


def test_a_key_is_not_shown() -> None:
    """Neither in a log nor in a traceback that lists its locals."""
    assert "secret" not in repr(Endpoint.of("grpc://127.0.0.1:9", key="secret"))
