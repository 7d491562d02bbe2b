"""`gapless gc`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import gapless

from .conftest import Cli

HOUR_NS = 3_600_000_000_000


def discard_one(root: Path) -> tuple[Path, Path]:
    """Record and discard a sequence; return its folder in the trash and its tombstone."""
    with gapless.connect(root) as client:
        with client.sequence_create("mission") as seq:
            seq.log("a", 1.0)
        client.discard("mission")
    return root / "trash" / "mission-1", root / "discarded" / "mission-1.json"


@pytest.mark.parametrize(("hours", "stays"), [(23, True), (25, False)])
def test_trash_is_kept_for_a_day(cli: Cli, tmp_path: Path, hours: int, stays: bool) -> None:
    """A discarded sequence can be fetched back for 24 hours; its tombstone is there for ever."""
    trashed, tombstone = discard_one(tmp_path / "gapless-data")
    for path in (tombstone, trashed / "tombstone.json"):
        words = json.loads(path.read_bytes())
        path.write_text(json.dumps(words | {"discarded_ns": words["discarded_ns"] - hours * HOUR_NS}))
    assert cli("gc", "--dry-run").returncode == 0
    assert trashed.is_dir()
    assert cli("gc").returncode == 0
    assert trashed.is_dir() is stays
    assert tombstone.is_file()


def test_a_tombstone_that_stands_in_the_trash_only_is_kept(cli: Cli, tmp_path: Path) -> None:
    """A crash between the rename and the second copy of the tombstone loses nothing of it."""
    trashed, tombstone = discard_one(tmp_path / "gapless-data")
    words = json.loads(tombstone.read_bytes())
    tombstone.unlink()
    old = words | {"discarded_ns": words["discarded_ns"] - 25 * HOUR_NS}
    (trashed / "tombstone.json").write_text(json.dumps(old))
    assert cli("gc").returncode == 0
    assert not trashed.exists()
    assert json.loads(tombstone.read_bytes()) == old


def test_a_name_reserved_by_a_dead_process_is_freed_after_an_hour(cli: Cli, tmp_path: Path) -> None:
    """An empty folder is left alone while its creator may still be at work."""
    root = tmp_path / "gapless-data"
    gapless.connect(root).close()
    young, old = root / "sequences" / "young", root / "sequences" / "old"
    young.mkdir()
    old.mkdir()
    os.utime(old, ns=(1, 1))
    assert cli("gc").returncode == 0
    assert (young.is_dir(), old.exists()) == (True, False)


def test_a_damaged_tombstone_is_named_and_keeps_nothing_else(cli: Cli, tmp_path: Path) -> None:
    """Exit code 4; what it stands for stays, what else is due goes, and `ls --discarded` lists both."""
    root = tmp_path / "gapless-data"
    trashed, tombstone = discard_one(root)
    with gapless.connect(root) as client:
        with client.sequence_create("other") as seq:
            seq.log("a", 1.0)
        client.discard("other")
    for path in (*root.glob("trash/*/tombstone.json"), *root.glob("discarded/*.json")):
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"discarded_ns": 1}))
    for path in (tombstone, trashed / "tombstone.json"):
        path.write_bytes(path.read_bytes()[:20])
    done = cli("gc")
    assert (done.returncode, trashed.is_dir()) == (4, True)
    assert "deleted other-1" in done.stdout
    assert "discarded/mission-1.json" in done.stderr
    assert "[E600]" in done.stderr
    assert "older than 24 hours, but for what has a damaged tombstone" in cli("gc").stdout
    listed = cli("ls", "--discarded")
    assert listed.returncode == 0
    assert ("mission" in listed.stdout, "other" in listed.stdout) == (True, True)
    assert "discarded/mission-1.json" in listed.stderr
    tombstone.unlink()
    (trashed / "tombstone.json").unlink()
    assert cli("gc").returncode == 0
