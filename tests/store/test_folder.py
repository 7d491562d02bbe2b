"""A folder of bundles that other programs put things into."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

import gapless
from gapless.model.names import name_of, to_component
from gapless.store.folder import FolderStore

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
