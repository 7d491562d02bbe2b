"""SIGKILL at any instant: every acknowledged row is recovered, in order, and the sequence reads as interrupted."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gapless.store.folder import FolderStore
from gapless.store.layout import Bundle
from gapless.store.reader import open_bundle
from gapless.store.recover import recover
from gapless.store.verify import verify
from gapless.testing.sample import TOPICS

KILLS = int(os.environ.get("GAPLESS_KILLS", "200"))
SERVER = Path(__file__).with_name("kill_server.py")


@pytest.fixture
def server() -> Iterator[subprocess.Popen[str]]:
    """A process with one thread that forks the children."""
    process = subprocess.Popen(
        [sys.executable, str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    yield process
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.stdout.close()
    assert process.wait(30) == 0


def kill_one(server: subprocess.Popen[str], store: Path, seed: int) -> list[int]:
    """Let one child record and die; return its acknowledged rows per topic."""
    dice = random.Random(-seed)
    job = {"store": str(store), "name": f"run {seed}", "seed": seed, "kill_after_s": dice.uniform(0.002, 0.25)}
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(job) + "\n")
    server.stdin.flush()
    answer = server.stdout.readline()
    assert answer, "the child failed"
    counts: list[int] = json.loads(answer)
    return counts


def check_recovered(store: Path, seed: int, acknowledged: list[int]) -> int:
    """Recover the sequence and compare it with what its rows must be; return the rows that came back."""
    bundle = Bundle(store / "sequences" / f"run%20{seed}")
    if not bundle.journal.exists():  # killed before its journal had its name: nothing can have been acknowledged
        assert not any(acknowledged)
        return 0
    before = {topic.name: open_bundle(bundle.path) for topic in TOPICS[:1]}
    live = before[TOPICS[0].name]
    if TOPICS[0].name in live.topics:
        assert live.topic(TOPICS[0].name).rows >= acknowledged[0], "a reader of the dead journal misses rows"
    manifest = recover(bundle.path)
    assert manifest["record"]["outcome"] == "interrupted"
    reader = open_bundle(bundle.path)
    assert reader.outcome == "interrupted"
    assert any(row["cause"] == "killed" for row in reader.topic("_gaps").to_arrow().to_pylist())
    total = 0
    for topic, durable in zip(TOPICS, acknowledged, strict=True):
        if topic.name not in reader.topics:
            assert durable == 0, f"topic {topic.name} is gone"
            continue
        found = reader.topic(topic.name)
        assert found.rows >= durable, f"{topic.name}: {durable} rows were acknowledged, {found.rows} came back"
        assert found.to_arrow().equals(topic.table(0, found.rows)), topic.name
        assert manifest["content"]["topics"][topic.name]["ledger"] == {
            "produced": found.rows,
            "written": found.rows,
            "dropped": 0,
            "gapped": 0,
        }
        total += found.rows
    findings = [f for f in verify(bundle.path, deep=True) if f.code != "V015" or "torn" not in f.message]
    assert findings == []
    assert recover(bundle.path) == manifest
    shutil.rmtree(bundle.path)
    return total


@pytest.mark.crash
@pytest.mark.timeout(60 + KILLS)
def test_every_acknowledged_row_survives_a_sigkill_at_a_random_moment(
    tmp_path: Path, server: subprocess.Popen[str]
) -> None:
    """Fast and slow producers, several topics, images and text, small and large segments: nothing durable is lost."""
    store = tmp_path / "store"
    FolderStore(store)
    base = random.SystemRandom().randrange(10**6) * 10_000
    rows = acknowledged = 0
    with ThreadPoolExecutor(1) as pool:  # one child records while the one before it is checked
        dying = pool.submit(kill_one, server, store, base)
        for seed in range(base, base + KILLS):
            counts = dying.result()
            if seed + 1 < base + KILLS:
                dying = pool.submit(kill_one, server, store, seed + 1)
            acknowledged += sum(counts)
            rows += check_recovered(store, seed, counts)
    assert acknowledged > KILLS
    assert rows >= acknowledged
