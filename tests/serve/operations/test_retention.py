"""Retention over real folders, and between real processes that are killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import gapless
from gapless.serve.audit import audit_rows
from gapless.serve.operations.retention import Retention
from gapless.store.adopt import AWAITED_NS

from .conftest import DEADLINE_S, SOURCE, Begin

DAY_S = 86_400
KILLED = """
import os, signal, sys, gapless
from gapless.client.local_recording import LocalRecording

def open_remote(name):
    header = client._header(name, None, {}, None) | {"remote": True}
    from gapless.client.sequence_writer import SequenceWriter
    from gapless.model.outcome import OnErrorPolicy
    return SequenceWriter(
        client, name, header,
        lambda: LocalRecording.begin(client, name, None, header, client._durability),
        on_error=OnErrorPolicy.Delete, deadline_s=60.0,
    )

client = gapless.connect(sys.argv[1])
writers = [open_remote(name).__enter__() for name in sys.argv[2:]]
for writer in writers:
    writer.log("oven/pv", 20.5)
    writer.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def trash(root: Path, name: str, age_s: float) -> Path:
    """Record a sequence, discard it, and say that this was that long ago; return where it lies."""
    with gapless.connect(root) as client:
        with client.sequence_create(name) as writer:
            writer.log("oven/pv", 20.5)
        client.discard(name)
    lies = root / "trash" / f"{name}-1"
    then_ns = time.time_ns() - int(age_s * 1e9)
    for path in (lies / "tombstone.json", root / "discarded" / f"{name}-1.json"):
        words = json.loads(path.read_bytes())
        path.write_text(json.dumps({**words, "discarded_ns": then_ns}))
    return lies


def abandon(root: Path, *names: str) -> None:
    """Leave recordings over the network whose server was killed."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), *names],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        timeout=DEADLINE_S,
        check=False,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == -9, done.stderr


def age(root: Path, name: str, age_s: float) -> None:
    """Say that the last write to a journal was that long ago."""
    then_s = time.time() - age_s
    for path in (root / "sequences" / name / "journal").glob("*.seg"):
        os.utime(path, (then_s, then_s))


def until(condition: Any) -> None:
    """Wait until something holds."""
    until_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def test_what_is_past_keeping_goes_and_the_rest_stays(serve: Any, root: Path) -> None:
    """A round deletes what is older than a day, keeps every tombstone, and leaves rows in the audit."""
    old, young = trash(root, "old", DAY_S + 60), trash(root, "young", DAY_S - 600)
    server, _ = serve()
    Retention(server.served).round()
    assert (old.exists(), young.exists()) == (False, True)
    assert {path.stem for path in (root / "discarded").iterdir()} == {"old-1", "young-1"}
    assert [(row.verb, row.what, row.outcome) for row in audit_rows(root)] == [("delete", "old-1", "done")]
    metrics = server.served.metrics
    assert metrics.value("gapless_retention_deleted_total") == 1
    assert metrics.value("gapless_retention_freed_bytes_total") > 0


def test_a_recording_nobody_goes_on_with_is_sealed_as_interrupted(serve: Any, root: Path) -> None:
    """One whose client may still come back stays open, and so does one that a program of this machine left."""
    abandon(root, "given-up", "awaited")
    age(root, "given-up", AWAITED_NS / 1e9 + 60)
    server, _ = serve()
    Retention(server.served).round()
    client = server.served.client
    assert client.sequence_handler("given-up").outcome == "interrupted"
    assert client.sequence_handler("given-up").topic("oven/pv").rows == 1
    assert client.sequence_handler("awaited").state == "open"
    assert server.served.metrics.value("gapless_retention_recovered_total") == 1
    assert [(row.verb, row.what) for row in audit_rows(root)] == [("recover", "given-up")]


def test_what_fails_is_told_and_the_rest_is_done(
    serve: Any, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A journal that cannot be read does not keep the next one from being recovered."""
    abandon(root, "bad", "good")
    for name in ("bad", "good"):
        age(root, name, AWAITED_NS / 1e9 + 60)
    damaged = root / "sequences" / "bad" / "manifest.json.partial"
    damaged.mkdir()  # where the manifest is made: the seal is refused
    server, _ = serve()
    Retention(server.served).round()
    assert server.served.client.sequence_handler("good").outcome == "interrupted"
    assert server.served.metrics.value("gapless_retention_failures_total") == 1
    assert "recover bad" in caplog.text
    damaged.rmdir()
    Retention(server.served).round()
    assert server.served.client.sequence_handler("bad").outcome == "interrupted"


def test_a_damaged_tombstone_is_told_and_the_rest_is_deleted(
    serve: Any, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What it stands for stays."""
    bad, good = trash(root, "bad", DAY_S + 60), trash(root, "good", DAY_S + 60)
    for path in (bad / "tombstone.json", root / "discarded" / "bad-1.json"):
        path.write_bytes(b"{")
    server, _ = serve()
    Retention(server.served).round()
    assert (bad.exists(), good.exists()) == (True, False)
    assert "discarded/bad-1.json" in caplog.text
    assert server.served.metrics.value("gapless_retention_failures_total") == 1


def test_the_lock_is_given_back(serve: Any, root: Path) -> None:
    """While one has the lock another has not; it gets it when the first ends."""
    server, _ = serve()
    first, second = (Retention(server.served, every_s=0.05) for _ in range(2))
    first.start()
    until(lambda: first.is_owner)
    second.start()
    rounds = server.served.metrics.value("gapless_retention_rounds_total")
    until(lambda: server.served.metrics.value("gapless_retention_rounds_total") > rounds)
    assert not second.is_owner
    assert first.stop(DEADLINE_S)
    assert not first.is_owner
    until(lambda: second.is_owner)
    assert second.stop(DEADLINE_S)
    assert first.failure is second.failure is None


@pytest.mark.crash
def test_another_server_takes_over_from_one_that_was_killed(begin: Begin, tmp_path: Path) -> None:
    """Of two processes one deletes; after its SIGKILL the other does."""
    words = ("--retention", "0.2s", "--no-http")
    first = begin(*words)
    first.heard("retention", "this server")
    second = begin(*words)
    gone = trash(tmp_path / "store", "one", DAY_S + 60)
    until(lambda: not gone.exists())
    first.heard("deleted", "one-1")
    assert not any("this server" in line for line in second.text)
    first.kill()
    second.heard("retention", "this server")
    trash(tmp_path / "store", "two", DAY_S + 60)
    assert second.heard("deleted", "two-1")["name"] == "two-1"
