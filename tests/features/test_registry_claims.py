"""Claims: every entry has one living owner at most, and the entries of a dead one are free at once."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.features.run_folders import record

from gapless.catalog import Catalog
from gapless.errors import StateError
from gapless.features.owner import Owner, remove_dead
from gapless.features.registry import FeatureRegistry

KEYS = [("g", f"s{number:03d}") for number in range(200)]
RUN = ("speed", "0.1-a")
DEADLINE_S = 120.0

# Claims batches of ten, writes down what it got, releases what it "computed"; waits for ever after `stop` batches.
_WORKER = """
import sys, time
from pathlib import Path
from gapless.features.owner import Owner
from gapless.features.registry import FeatureRegistry
root, log, keys, stop = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
todo = [("g", f"s{number:03d}") for number in range(keys)]
registry = FeatureRegistry(root)
with Owner(root) as owner, log.open("a") as file:
    for number, start in enumerate(range(0, keys, 10)):
        batch = todo[start:start + 10]
        got = registry.claim("speed", "0.1-a", batch, owner.id, lambda who: Owner.alive(root, who))
        file.write("".join(f"{sequence}\\n" for _, sequence in got))
        file.flush()
        if number + 1 == stop:
            file.write("waiting\\n")
            file.flush()
            time.sleep(3600)
    print(owner.id)
    sys.stdout.flush()
    sys.stdin.read()
"""


def worker(root: Path, log: Path, stop: int = 0) -> subprocess.Popen[str]:
    """Start a process that claims."""
    return subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(root), str(log), str(len(KEYS)), str(stop)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )


def names(log: Path) -> list[str]:
    """Return what a process wrote down so far."""
    return log.read_text().split() if log.exists() else []


def wait_for(log: Path, word: str) -> None:
    """Return when a process wrote a word."""
    deadline = time.monotonic() + DEADLINE_S
    while word not in names(log):
        assert time.monotonic() < deadline, f"{word!r} was never written"
        time.sleep(0.01)


def test_two_live_processes_share_the_keys(tmp_path: Path) -> None:
    """Each key is given to exactly one of the two, while both live."""
    FeatureRegistry(tmp_path).close()
    logs = [tmp_path / "a.txt", tmp_path / "b.txt"]
    workers = [worker(tmp_path, log) for log in logs]
    try:
        ids = [each.stdout.readline().strip() for each in workers if each.stdout]
        assert all(Owner.alive(tmp_path, owner_id) for owner_id in ids)
        given = [name for log in logs for name in names(log)]
        assert sorted(given) == [sequence for _, sequence in KEYS]
    finally:
        for each in workers:
            each.communicate(timeout=DEADLINE_S)
    assert [each.returncode for each in workers] == [0, 0]
    assert list((tmp_path / "features" / "owners").iterdir()) == []


def test_the_keys_of_a_killed_process_go_to_the_living(tmp_path: Path) -> None:
    """One claims half and is killed with SIGKILL; the other then gets all, each key once."""
    logs = [tmp_path / "killed.txt", tmp_path / "after.txt"]
    with FeatureRegistry(tmp_path) as registry:
        victim = worker(tmp_path, logs[0], stop=10)
        try:
            wait_for(logs[0], "waiting")
            [lock] = (tmp_path / "features" / "owners").iterdir()
            with Owner(tmp_path) as owner:
                got = registry.claim(*RUN, KEYS, owner.id, lambda who: Owner.alive(tmp_path, who))
                assert got == KEYS[100:], "the keys of a living process were taken"
                registry.release(owner.id)
        finally:
            victim.send_signal(signal.SIGKILL)
            victim.communicate(timeout=DEADLINE_S)
        assert lock.exists()
        assert not Owner.alive(tmp_path, lock.stem)
        survivor = worker(tmp_path, logs[1])
        try:
            assert survivor.stdout
            survivor.stdout.readline()
            assert names(logs[1]) == [sequence for _, sequence in KEYS]
            assert not lock.exists(), "the file of the dead owner stays"
        finally:
            survivor.communicate(timeout=DEADLINE_S)


def test_claims_are_given_in_order_and_once(tmp_path: Path) -> None:
    """Claimed again they stay one's own; doubles are one; others get what is left; runs are apart."""
    with FeatureRegistry(tmp_path / "registry.db") as registry:
        assert registry.claim(*RUN, [("g", "b"), ("g", "a"), ("g", "b")], "me", bool) == [
            ("g", "b"),
            ("g", "a"),
        ]
        assert registry.claim(*RUN, [("g", "a"), ("g", "c")], "me", bool) == [("g", "a"), ("g", "c")]
        assert registry.claim(*RUN, [("g", "a"), ("g", "d")], "you", bool) == [("g", "d")]
        assert registry.claim("speed", "0.1-b", [("g", "a")], "you", bool) == [("g", "a")]
        assert registry.claim(*RUN, [], "you", bool) == []


def test_only_those_that_hold_keys_are_asked_whether_they_live(tmp_path: Path) -> None:
    """Once each, and never oneself."""
    asked: list[str] = []

    def alive(owner_id: str) -> bool:
        asked.append(owner_id)
        return owner_id == "living"

    with FeatureRegistry(tmp_path / "registry.db") as registry:
        for owner_id, key in (("living", "a"), ("dead", "b"), ("dead", "c"), ("far", "z"), ("me", "d")):
            registry.claim(*RUN, [("g", key)], owner_id, alive)
        asked.clear()
        found = registry.claim(*RUN, [("g", key) for key in "abcd"], "me", alive)
    assert found == [("g", "b"), ("g", "c"), ("g", "d")]
    assert sorted(asked) == ["dead", "living"]


def test_saving_releases_only_what_was_saved_and_owned(tmp_path: Path) -> None:
    """The claims of others stay; ``release`` gives up the rest of one owner's."""
    with FeatureRegistry(tmp_path) as registry:
        registry.record_run_start(*RUN, "0.1", "h")
        registry.claim(*RUN, [("g", "a"), ("g", "b")], "me", bool)
        registry.claim(*RUN, [("g", "c"), ("g", "d")], "you", bool)
        registry.save_records(*RUN, [record("g", "a"), record("g", "c")], owner="me")
        held = "SELECT sequence, owner FROM feature_claims ORDER BY 1"
        assert registry._database.rows(held) == [("b", "me"), ("c", "you"), ("d", "you")]
        registry.release_entries(*RUN, [("g", "c"), ("g", "b")], "you")
        assert registry._database.rows(held) == [("b", "me"), ("d", "you")]
        registry.release("me")
        assert registry._database.rows(held) == [("d", "you")]


def test_a_claim_outlives_a_rebuild(tmp_path: Path) -> None:
    """Reading the folders again, by whomever, frees nothing that somebody is computing."""
    with FeatureRegistry(tmp_path) as registry, Catalog(tmp_path) as catalog:
        registry.claim(*RUN, [("g", "a")], "you", bool)
        registry.rebuild()
        catalog.reindex()
        assert registry.claim(*RUN, [("g", "a")], "me", bool) == []


def test_a_catalog_that_others_cannot_see_gives_no_claims(tmp_path: Path) -> None:
    """The file of a newer release stays as it is; a claim in memory would protect nobody."""
    with FeatureRegistry(tmp_path) as registry:
        registry.list_features()
    connection = sqlite3.connect(tmp_path / "catalog.db")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with FeatureRegistry(tmp_path) as registry, pytest.raises(StateError, match="cannot be written"):
        registry.claim(*RUN, [("g", "a")], "me", bool)


def test_an_owner_lives_inside_its_block(tmp_path: Path) -> None:
    """Before, after and for an unknown id the answer is no; the file goes with the block."""
    owner = Owner(tmp_path)
    assert not Owner.alive(tmp_path, owner.id)
    with owner:
        assert Owner.alive(tmp_path, owner.id)
        assert remove_dead(tmp_path) == 0
        assert Owner.alive(tmp_path, owner.id)
        with Owner(tmp_path) as other:
            assert other.id != owner.id
    assert not Owner.alive(tmp_path, owner.id)
    assert list((tmp_path / "features" / "owners").iterdir()) == []


def test_a_file_without_a_process_is_removed_by_the_next_owner(tmp_path: Path) -> None:
    """A crash leaves a file; whoever comes next takes it away."""
    folder = tmp_path / "features" / "owners"
    folder.mkdir(parents=True)
    (folder / "host-1-dead.lock").touch()
    with Owner(tmp_path) as owner:
        assert [path.name for path in folder.iterdir()] == [f"{owner.id}.lock"]
