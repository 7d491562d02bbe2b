"""`gapless deliver`: what it takes from where, and whom it trusts."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from tests.client.remote.write_server import NUMBERS, ServerProcess, assert_counted, server, stored

import gapless
from gapless.cli.main import main
from gapless.client.remote.delivery_command import delivery_command
from gapless.client.remote.spool import SpoolStore
from gapless.client.remote.spool_warning import SpoolWarning
from gapless.serve.server import Server
from gapless.serve.tls import read_identity


def record(url: str, spool: Path, name: str) -> str:
    """Record one row while the server is away; return the command that the warning names."""
    with (
        pytest.warns(SpoolWarning) as told,
        gapless.connect(url, spool=spool) as client,
        client.sequence_create(name) as seq,
    ):
        seq.topic_create("t", schema=NUMBERS).push_row(0, 0.0, 0)
    return str(told[0].message).partition("takes it: ")[2]


def test_the_command_of_the_warning_leaves_another_servers_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two servers share a spool: each gets its own, and the rest is named."""
    spool = tmp_path / "spool"
    first, second = (ServerProcess(tmp_path / name) for name in ("a", "b"))
    command = shlex.split(record(first.url, spool, "for-a"))[1:]
    record(second.url, spool, "for-b")
    words = ["deliver", "--spool", str(spool), "--to", first.url, "--dry-run"]
    assert main(words) == 0
    assert f"would deliver for-b to {first.url}, recorded for {second.url}\n" in capsys.readouterr().out
    assert main([*words, "--own", "--json"]) == 0
    assert [line["name"] for line in json.loads(capsys.readouterr().out)] == ["for-a"]
    with first:
        assert main(command) == 0
    assert f"for-b was recorded for {second.url}: left alone" in capsys.readouterr().err
    assert SpoolStore(spool).names() == ["for-b"]
    with server(tmp_path / "c") as moved:  # without the word, what waits goes where it is sent
        assert main(["deliver", "--spool", str(spool), "--to", moved.url]) == 0
    assert_counted(stored(tmp_path / "a", "for-a", "t"), 1)
    assert_counted(stored(tmp_path / "c", "for-b", "t"), 1)


def test_the_certificates_of_the_environment_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for every other verb; the command that is printed needs no place for them then."""
    pem, key, spool = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "spool"
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext"
    made = [
        *words.split(),
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(pem),
    ]
    subprocess.run(made, check=True, capture_output=True)
    assert delivery_command(spool, "grpc+tls://h:1").endswith(" --tls-roots PEM")
    monkeypatch.setenv("GAPLESS_TLS_ROOTS", str(pem))
    assert "--tls-roots" not in delivery_command(spool, "grpc+tls://h:1")
    record("grpc+tls://127.0.0.1:9", spool, "n")
    with Server(tmp_path / "store", "localhost", 0, tls=read_identity(pem, key)) as running:
        assert main(["deliver", "--spool", str(spool), "--to", running.url]) == 0
    assert_counted(stored(tmp_path / "store", "n", "t"), 1)
