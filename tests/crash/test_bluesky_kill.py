"""A RunEngine that dies at any moment: what was durable is there, in order, and delivery adds the rest once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.crash.bluesky_child import PROGRESS, first_of, length_of
from tests.crash.milestone import until_finished

import gapless
from gapless.bluesky import StoredRun, deliver
from gapless.bluesky.lossless import loads

KILLS = max(20, int(os.environ.get("GAPLESS_KILLS", "0")) // 20)
TILED_KILLS = max(4, int(os.environ.get("GAPLESS_KILLS", "0")) // 20)
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Killed:
    """What a killed engine left, and what it had told: runs with their stop, and events of the run after them."""

    folder: Path
    seed: int
    runs: int
    events: int

    @property
    def store(self) -> Path:
        """The folder of the store."""
        return self.folder / "store"

    @property
    def backup(self) -> Path:
        """Every document, one for each line, the last perhaps torn."""
        return self.folder / "backup.jsonl"


def kill_one(folder: Path, seed: int, url: str | None = None) -> Killed:
    """Run an engine until a random moment after its first or second run."""
    folder.mkdir()
    progress = folder / "progress"
    progress.write_bytes(bytes(PROGRESS.size))
    killed = Killed(folder, seed, 0, 0)
    target = [url or str(killed.store), str(killed.backup), str(progress), str(seed)]
    target += [str(killed.store)] if url else []
    command = [sys.executable, "-m", "tests.crash.bluesky_child", *target]
    environment = os.environ | {"HOME": str(folder), "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "go\n"
        until_finished(progress, 1 + seed % 2)
        time.sleep(random.Random(-seed).uniform(0.0, 1.2))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    return Killed(folder, seed, *PROGRESS.unpack(progress.read_bytes()))


def recover(client: gapless.Client) -> dict[int, str]:
    """Recover every open run; return the name of each by its number."""
    found = {}
    for name in client.list_sequences():
        if client.sequence_handler(name).state == "open":
            client.recover(name)
        found[client.sequence_handler(name).metadata["start"]["run"]] = name
    return found


def values_of(run: StoredRun) -> list[tuple[int, int]]:
    """Return number and value of the run's events, as they came, layers included."""
    if "primary" not in run.streams:
        return []
    table = run["primary"].read(all=True)
    return list(zip(table["seq_num"].to_pylist(), table["tick"].to_pylist(), strict=True))


def check(client: gapless.Client, killed: Killed, names: Mapping[int, str]) -> None:
    """Compare all that is stored with the truth: whole prefixes, at least as long as was told."""
    assert sorted(names) == list(range(len(names)))
    assert killed.runs <= len(names) <= killed.runs + 2
    for number, name in names.items():
        assert [f for f in client.verify(name, deep=True) if f.severity == "error"] == []
        run = StoredRun(client, name)
        found, first = values_of(run), first_of(killed.seed, number)
        assert found == [(n + 1, first + n) for n in range(len(found))]
        assert len(found) <= length_of(killed.seed, number)
        if number < killed.runs:
            assert len(found) == length_of(killed.seed, number)
            assert run.stop is not None
        elif number == killed.runs:
            assert len(found) >= killed.events
        if run.stop is None:
            assert client.sequence_handler(name).outcome == "interrupted"


def state_of(client: gapless.Client) -> dict[str, Any]:
    """Return what a second delivery must leave as it is."""
    handlers = [client.sequence_handler(name) for name in client.list_sequences()]
    return {handler.name: (handler.content_digest, handler.layers, handler.outcome) for handler in handlers}


def deliver_twice(client: gapless.Client, killed: Killed) -> None:
    """Deliver the backup; then every run is whole to its last line, with one layer at most, and stays so."""
    deliver(killed.backup, client, move=False)
    names = recover(client)
    check(client, killed, names)
    after = state_of(client)
    deliver(killed.backup, client, move=False)
    assert state_of(client) == after
    assert all(len(layers) <= 1 for _, layers, _ in after.values())
    events: dict[int, int] = {}
    run = -1
    for line in killed.backup.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            continue
        name, doc = loads(line)
        run = doc["run"] if name == "start" else run
        events[run] = events.get(run, 0) + (name == "event")
    assert set(events) <= set(names)
    for number, count in events.items():
        assert len(values_of(StoredRun(client, names[number]))) >= count


@pytest.mark.crash
@pytest.mark.timeout(120 + 20 * KILLS)
def test_an_engine_killed_at_any_moment_loses_nothing_that_was_durable(tmp_path: Path) -> None:
    """Recovered runs are whole prefixes; the backup of a killed engine is delivered once, however often."""
    base = random.SystemRandom().randrange(10**6) * 10_000

    def one(seed: int) -> tuple[int, int]:
        killed = kill_one(tmp_path / str(seed), seed)
        with gapless.connect(killed.store) as client:
            check(client, killed, recover(client))
            deliver_twice(client, killed)
        shutil.rmtree(killed.folder)
        return killed.runs, killed.events

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(one, range(base, base + KILLS)))
    assert sum(runs for runs, _ in found) > KILLS
    assert sum(events for _, events in found) > 0


def uids_of(killed: Killed) -> dict[int, str]:
    """Return the uid of each run that the backup knows."""
    found = {}
    for line in killed.backup.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            name, doc = loads(line)
            if name == "start":
                found[doc["run"]] = doc["uid"]
    return found


def on_server(root: Any, uid: str) -> tuple[list[tuple[int, int]], bool]:
    """Return number and value of the events that a Tiled server holds of a run, and whether it has a stop."""
    if uid not in root:
        return [], False
    run = root[uid]
    rows: list[tuple[int, int]] = []
    if "primary" in run and "internal" in run["primary"].base:
        table = run["primary"].base["internal"].read(["seq_num", "tick"])
        rows = [(int(n), int(v)) for n, v in zip(table["seq_num"], table["tick"], strict=True)]
    return rows, "stop" in run.metadata


def check_server(root: Any, killed: Killed) -> int:
    """Compare what the server holds with the truth; return how many events."""
    total = 0
    for number, uid in uids_of(killed).items():
        found, has_stop = on_server(root, uid)
        first, length = first_of(killed.seed, number), length_of(killed.seed, number)
        assert found == [(n + 1, first + n) for n in range(len(found))]
        if number < killed.runs:
            assert (len(found), has_stop) == (length, True)
        elif number == killed.runs:
            assert len(found) >= killed.events
        assert len(found) == length or not has_stop
        total += len(found)
    return total


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(240 + 40 * TILED_KILLS)
@pytest.mark.filterwarnings("ignore")  # Tiled's packages warn of each other
def test_an_engine_killed_while_it_writes_to_a_server_leaves_every_durable_event_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opens the store next sends what the server lacks; a second time changes nothing."""
    from tests.bluesky.tiled_server import TiledServer, environment

    from gapless.bluesky import TiledWriter

    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    base = random.SystemRandom().randrange(10**6) * 10_000
    with TiledServer(tmp_path / "server") as server:
        root = server.client()

        def one(seed: int) -> int:
            killed = kill_one(tmp_path / str(seed), seed, server.url)
            totals = []
            for _ in range(2):
                TiledWriter.from_uri(server.url, backup_directory=killed.store).close(120)
                totals.append(check_server(root, killed))
            assert totals[0] == totals[1]
            return totals[0]

        with ThreadPoolExecutor(2) as pool:
            assert sum(pool.map(one, range(base, base + TILED_KILLS))) > TILED_KILLS
