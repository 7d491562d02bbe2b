"""What another process takes away while this one looks: no error about somebody else's sequence."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

import gapless
from gapless.errors import StorageFailed
from gapless.store.folder import FolderStore
from gapless.store.layout import Bundle
from gapless.store.platform import PLATFORM, Platform
from gapless.store.recover import recover


def test_a_lock_taken_away_during_the_look_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recording that held it has just been sealed."""
    lock = tmp_path / "lock"
    lock.touch()
    opened = os.open

    def open_too_late(path: Any, *rest: Any) -> int:
        Path(path).unlink(missing_ok=True)
        return opened(path, *rest)

    monkeypatch.setattr(os, "open", open_too_late)
    assert not PLATFORM.is_locked(lock)


def test_a_recording_begins_while_another_sequence_is_discarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look for what has no owner passes over what has gone meanwhile."""
    names = FolderStore.names
    with gapless.connect(tmp_path) as one, gapless.connect(tmp_path) as other:
        with one.sequence_create("a") as seq:
            seq.log("v", 1.0)

        def discard_then(store: FolderStore) -> list[str]:
            found = names(store)
            monkeypatch.undo()
            one.discard("a")
            return found

        monkeypatch.setattr(FolderStore, "names", discard_then)
        with other.sequence_create("b") as seq:
            seq.log("v", 1.0)
        assert other.list_sequences() == ["b"]


class Meddler(Platform):
    """Lets another process recover the bundle once, right behind the removal of one of its files."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.met = False

    def remove(self, path: Path) -> None:
        """As the platform's."""
        super().remove(path)
        if path.name == self.name and not self.met:
            self.met = True
            recover(path.parent.parent)


@pytest.mark.parametrize("name", ["lock", "parts.json", "open.json"])
def test_a_journal_that_two_processes_clear_is_gone(tmp_path: Path, name: str) -> None:
    """The recorder's block ends well, and the catalog knows the sequence."""
    platform = Meddler(name)
    with gapless.connect(tmp_path, platform=platform) as client:
        with client.sequence_create("a") as seq:
            seq.log("v", 1.0)
        assert platform.met
        assert client.sequence_handler("a").state == "sealed"
        assert not Bundle(tmp_path / "sequences" / "a").journal.exists()
        assert [row.state for row in client.catalog.sequences()] == ["sealed"]


class Stubborn(Platform):
    """Deletes no lock."""

    def remove(self, path: Path) -> None:
        """As the platform's, but for locks."""
        if path.name == "lock":
            raise OSError(errno.EIO, "Input/output error")
        super().remove(path)


def test_a_journal_that_cannot_be_deleted_does_not_unseal_the_sequence(tmp_path: Path) -> None:
    """The error says that the sequence is sealed; it is in the catalog and can be read."""
    with gapless.connect(tmp_path, platform=Stubborn()) as client:
        with pytest.raises(StorageFailed, match="the sequence is sealed"), client.sequence_create("a") as seq:
            seq.log("v", 1.0)
        assert [row.state for row in client.catalog.sequences()] == ["sealed"]
        assert client.sequence_handler("a").topic("v").rows == 1
    with gapless.connect(tmp_path) as well:
        well.recover("a")
        assert not Bundle(tmp_path / "sequences" / "a").journal.exists()
        assert well.verify("a", deep=True) == []
