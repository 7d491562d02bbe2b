"""Tombstones of which a copy is damaged: told, and no reason to delete anything or to hide the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gapless
from gapless.catalog import Catalog
from gapless.client.tombstone import tombstone_of
from gapless.store.folder import FolderStore
from gapless.store.recover import read_header

DAMAGES = {
    "truncated": b'{"name": "bad", "disc',
    "empty": b"",
    "no text": b"\xff\xfe\x00{",
    "no object": b"[1, 2]",
    "no time": b'{"name": "bad"}',
    "no name": b'{"discarded_ns": 5}',
    "rows that are text": b'{"name": "bad", "discarded_ns": 5, "rows": {"t": "x"}}',
    "an error that is a number": b'{"name": "bad", "discarded_ns": 5, "error": 5}',
    "a time beyond all times": b'{"name": "bad", "discarded_ns": 1000000000000000000000000000000}',
    "a time that is true": b'{"name": "bad", "discarded_ns": true}',
    "metadata that is a number": b'{"name": "bad", "discarded_ns": 5, "metadata": 3}',
    "a ledger that is a list": b'{"name": "bad", "discarded_ns": 5, "ledger": [1]}',
}


def discard(root: Path, *names: str) -> None:
    """Record sequences, and discard them long ago."""
    with gapless.connect(root) as client:
        for name in names:
            with client.sequence_create(name) as sequence:
                sequence.log("x", 1.0)
            client.discard(name)
    for path in (*root.glob("trash/*/tombstone.json"), *root.glob("discarded/*.json")):
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"discarded_ns": 1}))


def copies(root: Path, name: str) -> tuple[Path, Path]:
    """Return the copy of a tombstone that counts, and the one in the trash."""
    return root / "discarded" / f"{name}-1.json", root / "trash" / f"{name}-1" / "tombstone.json"


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("both", [True, False])
def test_a_damaged_tombstone_holds_back_its_own_trash_only(tmp_path: Path, damage: bytes, both: bool) -> None:
    """It is listed with its name and with what is wrong; what else is due goes."""
    discard(tmp_path, "bad", "good")
    for path in copies(tmp_path, "bad")[: 1 + both]:
        path.write_bytes(damage)
    store = FolderStore(tmp_path)
    stones = {stone["name"]: stone for stone in store.tombstones()}
    assert sorted(stones) == ["bad", "good"]
    assert "discarded/bad-1.json" in stones["bad"]["unreadable"]
    assert stones["bad"]["rows"] == ({} if both else {"x": 1})
    assert "unreadable" not in stones["good"]
    assert list(store.damaged_tombstones()) == ["bad-1"]
    assert [path.name for path in store.expired()] == ["good-1"]


def test_a_good_copy_counts_whatever_the_one_in_the_trash_is_like(tmp_path: Path) -> None:
    """The one in discarded/ is the one that stays."""
    discard(tmp_path, "bad")
    copies(tmp_path, "bad")[1].write_bytes(b"{")
    store = FolderStore(tmp_path)
    assert store.damaged_tombstones() == {}
    assert [path.name for path in store.expired()] == ["bad-1"]


def test_the_only_copy_being_damaged_in_the_trash_is_told(tmp_path: Path) -> None:
    """A crash left none in discarded/."""
    discard(tmp_path, "bad")
    kept, trashed = copies(tmp_path, "bad")
    kept.unlink()
    trashed.write_bytes(b"{")
    store = FolderStore(tmp_path)
    assert "trash/bad-1/tombstone.json" in store.tombstones()[0]["unreadable"]
    assert store.expired() == []


def test_a_tombstone_that_the_system_does_not_let_be_read_is_told(tmp_path: Path) -> None:
    """Its bytes may be sound, but nobody here can tell."""
    discard(tmp_path, "bad")
    for path in copies(tmp_path, "bad"):
        path.unlink()
        path.mkdir()
    store = FolderStore(tmp_path)
    assert "Is a directory" in store.tombstones()[0]["unreadable"]
    assert store.expired() == []


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_the_catalog_lists_a_damaged_tombstone_until_it_is_mended(tmp_path: Path, damage: bytes) -> None:
    """It never takes its words for good, and finds them when the file is put back."""
    discard(tmp_path, "bad", "good")
    paths = copies(tmp_path, "bad")
    sound = paths[0].read_bytes()
    for path in paths:
        path.write_bytes(damage)
    with Catalog(tmp_path) as catalog:
        catalog.reconcile()
        damaged, good = catalog.discarded()
        assert (damaged["name"], good["name"]) == ("bad", "good")
        assert "discarded/bad-1.json" in damaged["unreadable"]
        paths[0].write_bytes(sound)
        assert all("unreadable" not in stone for stone in catalog.discarded())


def test_the_catalog_tells_of_damage_that_came_after_it_saw_the_tombstone(tmp_path: Path) -> None:
    """As the store does, which reads the same files."""
    discard(tmp_path, "bad", "good")
    with Catalog(tmp_path) as catalog:
        catalog.reconcile()
        assert all("unreadable" not in stone for stone in catalog.discarded())
        for path in copies(tmp_path, "bad"):
            path.write_bytes(b"{")
        assert ["unreadable" in stone for stone in catalog.discarded()] == [True, False]
        assert catalog.discarded() == FolderStore(tmp_path).tombstones()


def test_the_catalog_lists_what_a_crash_left_in_the_trash_only(tmp_path: Path) -> None:
    """As the store does."""
    discard(tmp_path, "left")
    copies(tmp_path, "left")[0].unlink()
    with Catalog(tmp_path) as catalog:
        assert [stone["name"] for stone in catalog.discarded()] == ["left"]


def test_a_tombstone_says_whose_recording_it_was(tmp_path: Path) -> None:
    """Sealed or not: who asks about a recording by its uid is told that it was discarded."""
    uids = []
    with gapless.connect(tmp_path) as client:
        for name in ("open", "sealed"):
            with client.sequence_create(name) as sequence:
                sequence.log("x", 1.0)
                bundle = FolderStore(tmp_path).bundle(name)
                uids.append(read_header(bundle)["uid"])
                if name == "open":
                    sequence.flush()
                    assert tombstone_of(name, bundle)["uid"] == uids[0]
        client.discard("sealed")
    (stone,) = FolderStore(tmp_path).tombstones()
    assert stone["uid"] == uids[1]
