"""Forks owners of one recording and kills each at a random moment; the next one adopts and goes on.

``python adopt_child.py FOLDER SEED KILLS``: one JSON line for each recording that was sealed in the end. An
owner leaves what is durable in a file; one that adopts less than that fails the program.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.store.adopting import SMALL, Owner

from gapless.errors import StateError
from gapless.store.adopt import Adoption
from gapless.store.layout import Bundle
from gapless.store.recover import recover

_PAUSE_S = 0.002


def record(path: Path, acknowledged: Path, seed: int) -> None:
    """Record slowly until the end or the kill, telling after each step what is durable."""
    dice = random.Random(seed)
    known: dict[str, int] = json.loads(acknowledged.read_bytes()) if acknowledged.exists() else {}
    owner = Owner.adopt(path, dice) if (path / "journal").exists() else begin_again(path, dice)
    found = owner.durable() | {"": owner.notes}
    assert all(found[name] >= seq for name, seq in known.items()), f"{known} were durable, {found} came back"
    for _ in owner.steps():
        words = json.dumps(owner.durable() | {"": owner.notes}).encode()
        acknowledged.with_suffix(".new").write_bytes(words)
        acknowledged.with_suffix(".new").replace(acknowledged)
        time.sleep(_PAUSE_S * dice.random())
    owner.seal()


def begin_again(path: Path, dice: random.Random) -> Owner:
    """Begin where the owner before died before it had a journal."""
    if (path / "journal.partial").exists():
        for file in (path / "journal.partial").iterdir():
            file.unlink()
        (path / "journal.partial").rmdir()
    if path.exists():
        path.rmdir()
    return Owner.begin(path, dice)


def fork(path: Path, acknowledged: Path, seed: int) -> int:
    """Return the pid of a new owner."""
    pid = os.fork()
    if pid:
        return pid
    try:
        record(path, acknowledged, seed)
    except BaseException:  # noqa: BLE001 - the fork's boundary: nothing of the parent may run in it
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def one(path: Path, seed: int) -> int:
    """Record one sequence through several deaths; return how many there were."""
    dice = random.Random(seed)
    for kills in range(100):
        pid = fork(path, path.with_suffix(".acks"), 1000 * seed + kills)
        last = kills >= dice.choice([3, 5, 8])
        if not last:
            time.sleep(dice.uniform(0.005, 0.25))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, f"seed {seed}, after {kills} kills"
            return kills
        if (path / "manifest.json").exists():  # killed behind the commit
            return kills + 1
        if ended(path):
            recover(path, cuts=SMALL)
            return kills + 1
    raise AssertionError("the recording does not end")


def ended(path: Path) -> bool:
    """Whether the owner was killed behind its closing words: nobody adopts that, recovery seals it as ended."""
    if not (path / "journal").exists():
        return False
    try:
        Adoption.take(Bundle(path), cuts=SMALL).let_go()
    except StateError:
        return True
    return False


def main() -> None:
    """Record sequences until there were enough kills."""
    folder, seed, wanted = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    kills = 0
    while kills < wanted:
        path = folder / f"run{seed}"
        here = one(path, seed)
        digest = json.loads((path / "manifest.json").read_bytes())["content_digest"]
        print(json.dumps({"path": str(path), "kills": here, "digest": digest, "seed": seed}), flush=True)
        kills += here
        seed += 1


if __name__ == "__main__":
    main()
