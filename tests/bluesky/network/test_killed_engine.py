"""A RunEngine's process that is killed while it records for a server that comes and goes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.bluesky.network.served_store import ROOT, ServedStore

import gapless
from gapless.bluesky import StoredRun
from gapless.cli.main import main
from gapless.store.layout import MAKING

KILLS = max(4, int(os.environ.get("GAPLESS_KILLS", "0")) // 10)
PATIENCE_S = 180.0


def record_and_kill(served: ServedStore, here: Path, seed: int) -> tuple[int, int]:
    """Kill the process at some moment, and the server before or never; return the last run and event it told."""
    dice = random.Random(seed)
    dies, is_there = dice.uniform(0.3, 2.5), dice.random() < 0.7
    if is_there:
        served.start()
    leaves = dice.uniform(0.0, 2.0) if dice.random() < 0.6 else None
    returns = dice.random() < 0.5
    command = [sys.executable, "-m", "tests.bluesky.network.killed_engine", served.url, str(seed)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "GAPLESS_STORE": str(here)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        if leaves is not None and is_there:
            time.sleep(leaves)
            served.kill()
            if returns:
                served.start()
        time.sleep(dies)
    finally:
        process.send_signal(signal.SIGKILL)
        told = [first, *process.stdout.read().splitlines(keepends=True)]
        process.wait()
        process.stdout.close()
    whole = [line.split() for line in told if line.endswith("\n")]
    return int(whole[-1][1]), int(whole[-1][2])


def settle(served: ServedStore, here: Path) -> None:
    """Deliver what waits here, twice; then recover what is open on the server."""
    served.kill()
    served.start()
    if (here / "spool").is_dir():
        for _ in range(2):
            assert main(["bluesky", "deliver", str(here), "--to", served.url]) == 0
    with gapless.connect(served.url) as client:
        for name in client.list_sequences():
            if client.sequence_handler(name).state == "open":
                client.recover(name)


@pytest.mark.timeout(120 + 40 * KILLS)
@pytest.mark.parametrize("seed", random.SystemRandom().sample(range(10**6), KILLS), ids=lambda seed: "seed")
def test_whatever_was_durable_is_on_the_server_once(
    served: ServedStore, here: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every durable event is there once and in order; what the engine did not end is interrupted."""
    print(f"seed {seed}")
    last_run, last_event = record_and_kill(served, here, seed)
    settle(served, here)
    with gapless.connect(served.url) as client:
        runs = {client.sequence_handler(n).metadata["start"]["run"]: n for n in client.list_sequences()}
        assert sorted(runs) == list(range(len(runs)))
        assert len(runs) > last_run
        for number in range(len(runs)):
            run = StoredRun(client, runs[number])
            found = run["primary"].read(all=True) if "primary" in run.streams else None
            values = [] if found is None else found["x"].to_pylist()
            numbers = [] if found is None else found["seq_num"].to_pylist()
            assert numbers == list(range(1, len(numbers) + 1))
            assert values == [run.start["first"] + n for n in range(len(numbers))]
            if number < last_run:
                assert (run.outcome, run.state) == ("completed", "sealed")
            elif number == last_run:
                assert len(values) >= last_event
            assert run.outcome == "interrupted" or (run.outcome == "completed" and run.stop is not None)
            assert [f for f in client.verify(run.name, deep=True) if f.severity == "error"] == []
        kept = {name: client.sequence_handler(name).content_digest for name in client.list_sequences()}
    if (here / "spool").is_dir():
        assert main(["bluesky", "deliver", str(here), "--to", served.url]) == 0
        left = [path for path in (here / "spool").glob("*") if path.name not in (".lock", "delivered")]
        assert all(
            {child.name for child in path.iterdir()} <= {MAKING} for path in left
        )  # nothing was in it yet
    with gapless.connect(served.url) as client:
        again = {name: client.sequence_handler(name).content_digest for name in client.list_sequences()}
    assert again == kept
    capsys.readouterr()
