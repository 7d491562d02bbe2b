"""A folder of bundles that other programs put things into."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.unprivileged import run_again

import gapless
from gapless.errors import NotFound, SequenceOwned, StateError
from gapless.model.names import name_of, to_component
from gapless.store import journal
from gapless.store.folder import FolderStore
from gapless.store.layout import Bundle
from gapless.store.platform import PLATFORM, Platform

FOREIGN = (".stfolder", "b%FF", "a b", "a%2fb", "lost+found", "%41", "-x", "con")


@pytest.mark.parametrize("component", FOREIGN)
def test_a_component_that_is_never_made_has_no_name(component: str) -> None:
    """What the encoder does not make is no sequence's folder."""
    assert name_of(component) is None


@pytest.mark.parametrize("name", ["a", "a/b", "über", ".hidden", "con", "x%y", "A.b-c_d"])
def test_every_name_is_found_by_its_component(name: str) -> None:
    """Decoding is the inverse of encoding."""
    assert name_of(to_component(name)) == name


def test_foreign_folders_do_not_stop_a_recording(tmp_path: Path) -> None:
    """Folders that a synchroniser or an editor left in sequences/ are passed over everywhere."""
    store = FolderStore(tmp_path)
    for component in FOREIGN:
        (store.sequences / component / "journal").mkdir(parents=True)
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("b") as sequence:
            sequence.topic_create("t", schema=pa.schema([("timestamp_ns", pa.int64()), ("x", pa.int64())]))
        assert client.sequence_exists("b")
        assert client.sequence_exists("B")
        assert not client.sequence_exists("a b")
        assert store.names() == ["b"]
        assert list(store.ownerless()) == []
        assert client.list_sequences() == ["b"]
        assert client.query("name == 'b'").names == ["b"]


def test_a_store_made_by_many_at_once_is_one_store(tmp_path: Path) -> None:
    """Everyone gets the same uid, and nothing is left over."""
    for number in range(10):
        root, together = tmp_path / str(number), threading.Barrier(8)

        def make(root: Path = root, together: threading.Barrier = together) -> str:
            together.wait(60)
            return str(FolderStore(root).uid)

        with ThreadPoolExecutor(8) as pool:
            uids = {made.result() for made in [pool.submit(make) for _ in range(8)]}
        assert len(uids) == 1
        assert sorted(path.name for path in root.iterdir()) == [
            "discarded",
            "gapless.json",
            "sequences",
            "trash",
        ]


def test_a_sequence_is_not_discarded_under_a_layer_that_is_being_recorded(tmp_path: Path) -> None:
    """Nothing has moved, and what the layer goes on recording is there in the end."""
    with gapless.connect(tmp_path) as client, gapless.connect(tmp_path) as other:
        with client.sequence_create("base") as sequence:
            sequence.log("t", 1.0)
        with client.sequence_update("base", "late") as layer:
            layer.log("u", 2.0)
            with pytest.raises(SequenceOwned, match="00001-late"):
                other.discard("base")
            assert other.list_discarded() == []
            layer.log("u", 3.0)
        assert client.sequence_handler("base").topic("u").rows == 2
        other.discard("base")
        assert client.list_sequences() == []


def test_no_owner_comes_back_while_a_sequence_is_on_its_way_to_the_trash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever tries in the middle is refused: what it recorded from then on would be in the trash."""
    store = FolderStore(tmp_path)
    bundle = store.reserve("open")
    header = journal.make_header("open", platform=store.platform)
    store.platform.close(journal.create(bundle, header, store.platform))
    move, refused = FolderStore.discard, []

    def met(self: FolderStore, bundle: Bundle, tombstone: dict[str, Any]) -> Path:
        with pytest.raises(SequenceOwned):
            self.platform.lock(bundle.lock)
        refused.append(bundle)
        return move(self, bundle, tombstone)

    monkeypatch.setattr(FolderStore, "discard", met)
    store.discard_unsealed(bundle, {"name": "open"})
    assert refused == [bundle]
    assert store.names() == []
    assert not store.owner_alive(Bundle(store.trash / "open-1")), "the locks are given up"


@pytest.fixture
def base(tmp_path: Path) -> Iterator[gapless.Client]:
    """A client of a store with a sealed sequence ``base``."""
    with gapless.connect(tmp_path) as client:
        with client.sequence_create("base") as sequence:
            sequence.log("t", 1.0)
        yield client


def test_no_layer_begins_while_its_base_is_on_its_way_to_the_trash(
    base: gapless.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused, whether it had a folder before or not: its rows would have gone to the trash with the base."""
    move, refused = FolderStore.discard, []
    early = base.sequence_update("base", "early")

    def met(self: FolderStore, bundle: Bundle, tombstone: dict[str, Any]) -> Path:
        for layer in (early, base.sequence_update("base", "late")):
            with pytest.raises(StateError, match="being discarded"):
                layer.__enter__()
            refused.append(layer.name)
        return move(self, bundle, tombstone)

    monkeypatch.setattr(FolderStore, "discard", met)
    with gapless.connect(base.path) as other:
        other.discard("base")
    assert refused == ["early", "late"]
    assert base.list_sequences() == []
    assert list((base.path / "trash").glob("base-1/layers/*/*")) == [], "nothing was begun there"


def test_a_sequence_is_not_discarded_under_a_layer_that_is_being_begun(
    base: gapless.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also before the layer has a journal and a lock of its own; from then on that speaks for it."""
    create, refused = journal.create, []

    def met(bundle: Bundle, header: dict[str, Any], platform: Platform) -> int:
        with gapless.connect(base.path) as other, pytest.raises(SequenceOwned, match="being begun"):
            other.discard("base")
        refused.append(bundle.path.name)
        return create(bundle, header, platform)

    monkeypatch.setattr(journal, "create", met)
    with base.sequence_update("base", "late") as layer:
        layer.log("u", 2.0)
    assert refused == ["00001-late"]
    assert base.sequence_handler("base").topic("u").rows == 1
    assert base.list_discarded() == []


def test_a_layer_whose_base_was_discarded_meanwhile_does_not_begin(base: gapless.Client) -> None:
    """Not on another sequence either that has the name now."""
    late, later = base.sequence_update("base", "late"), base.sequence_update("base", "later")
    base.discard("base")
    with pytest.raises(NotFound, match="was discarded"):
        late.__enter__()
    with base.sequence_create("base") as sequence:
        sequence.log("t", 2.0)
    with pytest.raises(NotFound, match="was discarded"):
        later.__enter__()
    assert base.sequence_handler("base").unsealed_layers == {}


def test_a_base_that_goes_while_a_layer_takes_its_number_is_told(
    base: gapless.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is not there any more: NotFound, as a moment later."""
    paths, gone = Bundle.layer_paths, list[Bundle]()

    def met(self: Bundle) -> list[Path]:
        if not gone:
            gone.append(self)
            base.discard("base")
        return paths(self)

    store, bundle = FolderStore(base.path), FolderStore(base.path).bundle("base")
    monkeypatch.setattr(Bundle, "layer_paths", met)
    with pytest.raises(NotFound, match="was discarded"):
        store.reserve_layer(bundle, "late")
    with pytest.raises(NotFound, match="was discarded"):
        store.base_digest(bundle)


def test_layers_begin_beside_each_other(base: gapless.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only whoever discards keeps them out."""
    create, begun = journal.create, []

    def met(bundle: Bundle, header: dict[str, Any], platform: Platform) -> int:
        begun.append(bundle.path.name)
        if len(begun) == 1:
            with gapless.connect(base.path) as other, other.sequence_update("base", "second") as layer:
                layer.log("u", 3.0)
        return create(bundle, header, platform)

    monkeypatch.setattr(journal, "create", met)
    with base.sequence_update("base", "first") as layer:
        layer.log("u", 2.0)
    assert begun == ["00001-first", "00002-second"]
    assert base.sequence_handler("base").topic("u").rows == 2


def test_a_copy_of_a_file_that_nobody_may_write_is_synced(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy may not be written to either: where there are no hard links, an export makes such copies."""
    if run_again(request):
        return

    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    kept = tmp_path / "kept"
    kept.write_bytes(b"x")
    kept.chmod(0o444)
    PLATFORM.link(kept, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"x"
