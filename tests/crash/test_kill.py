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
from typing import Any

import pytest
from tests.crash.kill_server import SMALL

from gapless.store.folder import FolderStore
from gapless.store.layout import CUTS, Bundle
from gapless.store.reader import open_bundle
from gapless.store.recover import recover
from gapless.store.verify import verify
from gapless.testing.sample import TOPICS

KILLS = int(os.environ.get("GAPLESS_KILLS", "200"))
SERVER = Path(__file__).with_name("kill_server.py")
_SHORTEST_S, _LONGEST_S = 0.25, 2.0


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


class Window:
    """The time in which children are killed: about every fourth before it has acknowledged a row.

    Without that, no child on a machine whose disk is busy would live to acknowledge one.
    """

    def __init__(self) -> None:
        self.longest_s = _SHORTEST_S

    def moment_s(self, dice: random.Random) -> float:
        """Return after how long to kill."""
        return dice.uniform(0.002, self.longest_s)

    def learn(self, counts: list[int]) -> None:
        """Give the next ones longer if this one had acknowledged nothing, else a little less."""
        found = self.longest_s * (0.9 if any(counts) else 1.35)
        self.longest_s = min(max(found, _SHORTEST_S), _LONGEST_S)


def kill_one(server: subprocess.Popen[str], store: Path, seed: int, window: Window) -> list[int]:
    """Let one child record and die; return its acknowledged rows per topic."""
    job = {"store": str(store), "name": "run", "seed": seed, "recover": None}
    counts = ask(server, job | {"kill_after_s": window.moment_s(random.Random(-seed))})
    window.learn(counts)
    return counts


def ask(server: subprocess.Popen[str], job: dict[str, Any]) -> list[int]:
    """Give the server a job and return its answer."""
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
    bundle = Bundle(store / "sequences" / "run")
    if (
        not bundle.journal.exists()
    ):  # killed before its journal had its name: nothing can have been acknowledged
        assert not any(acknowledged)
        shutil.rmtree(store)
        return 0
    dead = open_bundle(bundle.path)
    seen = {t.name: dead.topic(t.name).to_arrow() if t.name in dead.topics else t.table(0, 0) for t in TOPICS}
    manifest = recover(bundle.path, cuts=SMALL if seed % 2 else CUTS)
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
        assert found.rows >= durable, (
            f"{topic.name}: {durable} rows were acknowledged, {found.rows} came back"
        )
        truth = topic.table(0, found.rows)
        assert found.to_arrow().equals(truth), topic.name
        assert seen[topic.name].num_rows >= durable, "a reader of the dead journal misses rows"
        assert seen[topic.name].equals(truth.slice(0, seen[topic.name].num_rows)), topic.name
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
    shutil.rmtree(store)
    return total


def new_store(path: Path, seed: int) -> Path:
    """Make a store of its own for one child: a second writer would recover what the first left."""
    return FolderStore(path / str(seed)).root


@pytest.mark.crash
@pytest.mark.timeout(60 + 2 * KILLS)
def test_every_acknowledged_row_survives_a_sigkill_at_a_random_moment(
    tmp_path: Path, server: subprocess.Popen[str]
) -> None:
    """Fast and slow producers, several topics, images and text, small and large segments: nothing durable is lost."""
    base = random.SystemRandom().randrange(10**6) * 10_000
    rows = acknowledged = 0
    window = Window()
    with ThreadPoolExecutor(1) as pool:  # one child records while the one before it is checked
        dying = pool.submit(kill_one, server, new_store(tmp_path, base), base, window)
        for seed in range(base, base + KILLS):
            counts = dying.result()
            if seed + 1 < base + KILLS:
                dying = pool.submit(kill_one, server, new_store(tmp_path, seed + 1), seed + 1, window)
            acknowledged += sum(counts)
            rows += check_recovered(tmp_path / str(seed), seed, counts)
    assert acknowledged > KILLS
    assert rows >= acknowledged


@pytest.mark.crash
@pytest.mark.timeout(60 + KILLS)
def test_a_recovery_killed_again_and_again_still_gives_every_row(
    tmp_path: Path, server: subprocess.Popen[str]
) -> None:
    """Recovery is safe against its own death: whatever it left, the next one finishes with the same rows."""
    dice = random.Random(KILLS)
    for seed in range(1, 2 * max(2, KILLS // 40), 2):
        store = new_store(tmp_path, seed)
        job = {"store": str(store), "name": "run", "seed": seed, "kill_after_s": 0.2, "recover": None}
        counts = ask(server, job)
        for _ in range(5):
            path = str(store / "sequences" / "run")
            ask(server, job | {"recover": path, "kill_after_s": dice.uniform(0.001, 0.06)})
        rows = check_sealed_or_recover(store, seed, counts)
        assert rows >= sum(counts)


def check_sealed_or_recover(store: Path, seed: int, counts: list[int]) -> int:
    """Compare as ``check_recovered`` does, also where a killed recovery came as far as the manifest."""
    bundle = Bundle(store / "sequences" / "run")
    if not bundle.manifest.exists():
        return check_recovered(store, seed, counts)
    recover(bundle.path)  # clears what is left of the journal
    reader = open_bundle(bundle.path)
    for topic, durable in zip(TOPICS, counts, strict=True):
        found = reader.topic(topic.name)
        assert found.rows >= durable
        assert found.to_arrow().equals(topic.table(0, found.rows))
    assert not bundle.journal.exists()
    return sum(reader.topic(topic.name).rows for topic in TOPICS)
