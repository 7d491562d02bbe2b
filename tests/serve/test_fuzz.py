"""Random bytes, random JSON, bent requests and names that lead elsewhere: the server answers, refuses and stays."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest
from tests.serve.fuzz.attacker import Attacker
from tests.serve.fuzz.noise import Noise, talk
from tests.serve.fuzz.target import GROUP, Target

import gapless
from gapless.catalog.state_database import StateDatabase
from gapless.serve.keys import make_key
from gapless.serve.rights import Right
from gapless.store.folder import FolderStore

FUZZ_S: Final = float(os.environ.get("GAPLESS_FUZZ_S", "8"))
SERVER: Final = Path(__file__).with_name("fuzz") / "fuzz_server.py"
PATIENCE_S: Final = 60.0
REQUESTS: Final = 150  # of one round
ROUNDS: Final = 8  # between two looks at what is left of the attacks
NOISES: Final = 15  # of one round
MORE_FILES: Final = 30  # that a server may have open for a while: connections, databases of more threads
FAULTS: Final = ("Traceback", "unexpected error", "Exception ignored", "Fatal Python")


class Victim:
    """A server in a process of its own, in a box of which it should leave everything but its store alone."""

    def __init__(self, box: Path) -> None:
        self.root = box / "place" / "store"
        self._box = box
        self._cwd = box / "place" / "cwd"
        self._cwd.mkdir(parents=True)
        self._log = box / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(SERVER), str(self.root)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1, cwd=self._cwd,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path)},
            )  # fmt: skip
        self.port = int(self._read())
        self.url = f"grpc://127.0.0.1:{self.port}"
        self._around = self._surroundings()
        self.settled: dict[str, Any] | None = None

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _state(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        found: dict[str, Any] = json.loads(self._read())
        return found

    def _surroundings(self) -> set[str]:
        inside = {self.root, self._log}
        outside = [self._box, *self._box.parent.iterdir(), Path("/outside"), Path.home() / "outside"]
        there = {str(path) for path in outside if path.exists()}
        for path in self._box.rglob("*"):
            if path not in inside and self.root not in path.parents:
                there.add(str(path))
        return there

    def check(self, *, growth: bool) -> list[str]:
        """Return what is wrong with the server now; ``growth`` waits until it is at rest."""
        if self._process.poll() is not None:
            pytest.fail(f"the server ended with {self._process.returncode}: {self.log()[-6000:]}")
        found = []
        if self._surroundings() != self._around:
            found.append(f"outside of the store: {self._surroundings() ^ self._around}")
        return found + (self._growth() if growth else [])

    def _growth(self) -> list[str]:
        """Wait until everything that the attacks began has ended; return what has not."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            now = self._state()
            known = self.settled
            more = [] if known is None else _without(now["threads"], known["threads"])
            if (
                now["calls"] == 0
                and not more
                and (known is None or now["files"] <= known["files"] + MORE_FILES)
            ):
                break
            if time.monotonic() > give_up:
                return [f"{now['calls']} calls, {now['files']} files, threads {more}, at first {known}"]
            time.sleep(0.1)
        self.settled = known or now
        return []

    def log(self) -> str:
        """Return what the server wrote to stderr."""
        return self._log.read_text(errors="replace")

    def close(self) -> None:
        """End the server in order."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self.status = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise


def _without(names: list[str], known: list[str]) -> list[str]:
    """Return the threads that are new; those of the transport have no names of their own."""
    left = list(known)
    found = []
    for name in names:
        if name in left:
            left.remove(name)
        elif not name.startswith("Dummy-"):
            found.append(name)
    return found


def keys_of(root: Path) -> list[str | None]:
    """Make keys of every right, one of a group only; return them after the key that may do everything."""
    FolderStore(root)
    with StateDatabase(root) as database:
        tokens = [make_key(database, right)[1] for right in reversed(Right)]
        tokens.append(make_key(database, Right.MANAGE, groups=[GROUP])[1])
        tokens.append(make_key(database, Right.MANAGE, groups=["other"])[1])
    return [*tokens, None, "gapless_00000000_" + "0" * 64, "x", "~" * 3000, "Bearer", ""]


@pytest.mark.parametrize("with_keys", [False, True])
@pytest.mark.timeout(240 + 4 * FUZZ_S)
def test_nothing_that_arrives_breaks_the_server(tmp_path: Path, *, with_keys: bool) -> None:
    """No crash, no unknown error, no file outside of the store, no growth, and the store verifies."""
    seed = int(os.environ.get("GAPLESS_SEED", random.SystemRandom().randrange(10**6)))
    tokens: list[str | None] = keys_of(tmp_path / "place" / "store") if with_keys else [None, "x"]
    dice = random.Random(seed)
    victim = Victim(tmp_path)
    target = Target(victim.url, tokens[0])
    attacker = Attacker(victim.url, target, tokens, dice)
    findings: list[str] = []
    rounds, end = 0, time.monotonic() + FUZZ_S / 2
    try:
        target.renew()
        findings += victim.check(growth=True)  # what is there without an attack
        while not rounds or time.monotonic() < end:
            target.renew()
            for _ in range(REQUESTS):
                attacker.attack()
            with Noise(victim.port, dice) as noise:
                for _ in range(NOISES):
                    attacker.answers[f"noise {talk(noise.url, target, tokens[0], dice)}"] += 1
            findings += victim.check(growth=rounds % ROUNDS == 0)
            rounds += 1
        findings += victim.check(growth=True)
    except BaseException:
        print(f"seed {seed}, round {rounds}, sent last:", *attacker.last, sep="\n")
        raise
    finally:
        attacker.close()
        victim.close()
    faults = [line for line in victim.log().splitlines() if any(word in line for word in FAULTS)]
    print(f"seed {seed}, {rounds} rounds: {dict(sorted(attacker.answers.items()))}")
    everything = findings + attacker.findings + faults
    assert not everything, f"seed {seed}, {len(everything)} findings:\n" + "\n".join(everything[:40])
    assert victim.status == 0, victim.log()
    check_store(victim.root)


def check_store(root: Path) -> None:
    """Every sequence is whole, or becomes whole by a recovery."""
    with gapless.connect(root) as client:
        names = client.list_sequences()
        assert names
        for name in names:
            handler = client.sequence_handler(name)
            if handler.state == "open" or "open" in handler.unsealed_layers.values():
                client.recover(name)
            if client.sequence_handler(name).state == "sealed":
                assert client.verify(name, deep=True) == [], name
