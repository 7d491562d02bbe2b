"""A look that holds: what was read from the catalog is what would be read now, found out without SQL."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.catalog.bundle_files import write_bundle

import gapless
from gapless.catalog import Catalog
from gapless.catalog.look import Look


def long_ago(store: Path) -> None:
    """Let everything that a look goes by have changed long ago."""
    for path in (store / "sequences", *store.glob("catalog.db*")):
        if path.exists():
            os.utime(path, (10**9, 10**9))


def settled(catalog: Catalog) -> Look:
    """Return a look that holds."""
    catalog.look()
    long_ago(catalog.root)
    catalog.look()  # remembers the folders, so the file changes
    long_ago(catalog.root)
    look = catalog.look()
    assert look.holds()
    return look


def test_a_look_at_what_does_not_change_is_the_same_and_takes_no_sql(store: Path) -> None:
    """Also where the file is closed in between."""
    write_bundle(store, "a")
    catalog = Catalog(store)
    look = settled(catalog)
    before = catalog.statements
    assert catalog.look() is look
    assert catalog.statements == before


def test_a_look_at_what_changed_just_now_does_not_hold(store: Path) -> None:
    """It may change again within the same tick of the clock."""
    write_bundle(store, "a")
    catalog = Catalog(store)
    assert not catalog.look().holds()
    assert catalog.look() is not catalog.look()


def _add(store: Path) -> None:
    write_bundle(store, "new")


def _remove(store: Path) -> None:
    shutil.rmtree(store / "sequences" / "a")


def _write_elsewhere(store: Path) -> None:
    with Catalog(store) as other:
        other.forget("a")


def _delete_the_file(store: Path) -> None:
    (store / "catalog.db").unlink()


@pytest.mark.parametrize("change", [_add, _remove, _write_elsewhere, _delete_the_file])
@pytest.mark.parametrize("later", [False, True])
def test_a_change_ends_a_look(store: Path, change: Callable[[Path], None], later: bool) -> None:
    """Whether it was made just now or some time ago."""
    write_bundle(store, "a")
    catalog = Catalog(store)
    look = settled(catalog)
    change(store)
    if later:
        for path in (store / "sequences", *store.glob("catalog.db*")):
            os.utime(path, (10**9 + 1, 10**9 + 1))
    assert not look.holds()
    assert catalog.look() is not look


def test_an_unsealed_sequence_that_is_sealed_ends_a_look(store: Path) -> None:
    """Though no name in the folder changes, and whoever seals it may not know of a catalog."""
    catalog = Catalog(store)
    with gapless.connect(store) as client:
        with client.sequence_create("live") as sequence:
            sequence.flush()
            look = settled(catalog)
            assert list(look.unsealed) == ["live"]
            manifest = store / "sequences" / "live" / "manifest.json"
            manifest.write_text("{}")
            assert not look.holds()
            manifest.unlink()
            assert look.holds()
        assert not look.holds()


def test_a_catalog_in_memory_has_no_look_that_holds(store: Path) -> None:
    """Nothing on disk tells of its changes."""
    write_bundle(store, "a")
    catalog = Catalog(store)
    settled(catalog)
    catalog.database.in_memory = True
    catalog.close()
    assert catalog.look() is not catalog.look()


NAMES = "SELECT 'name', s.name, NULL FROM sequence s"


def names(catalog: Catalog) -> tuple[Look, list[str]]:
    """Return a look and what the catalog said at it."""
    look, rows = catalog.look_and_read(NAMES, (), 3)
    return look, sorted(row[1] for row in rows["name"])


def at_rest(store: Path) -> None:
    """Let the catalog remember the folders as they are."""
    with Catalog(store) as catalog:
        settled(catalog)
    long_ago(store)  # closing writes the file


def test_a_first_look_reads_by_one_statement_after_opening(store: Path) -> None:
    """And holds, so that the next one takes none."""
    write_bundle(store, "a")
    at_rest(store)
    with Catalog(store) as catalog:
        catalog.groups()
        before = catalog.statements
        look, found = names(catalog)
        assert (found, catalog.statements) == (["a"], before + 1)
        assert catalog.look() is look
        assert catalog.statements == before + 1


@pytest.mark.parametrize(
    ("change", "found"),
    [(_add, ["a", "new"]), (_remove, []), (_delete_the_file, ["a"])],
)
@pytest.mark.parametrize("later", [False, True])
def test_a_first_look_reads_what_the_folders_say_now(
    store: Path, change: Callable[[Path], None], found: list[str], later: bool
) -> None:
    """Whether they changed just now or some time ago."""
    write_bundle(store, "a")
    at_rest(store)
    change(store)
    if later:
        os.utime(store / "sequences", (10**9 + 1, 10**9 + 1))
    with Catalog(store) as catalog:
        assert names(catalog)[1] == found


def test_a_first_look_looks_at_what_was_unsealed(store: Path) -> None:
    """The folders of names do not tell what became of it."""
    with gapless.connect(store) as client, client.sequence_create("live") as sequence:
        sequence.flush()
        at_rest(store)
        with Catalog(store) as catalog:
            look, _ = names(catalog)
            assert (list(look.unsealed), look.holds()) == (["live"], True)
            catalog.groups()
        (store / "sequences" / "live" / "journal" / "open.json").touch()
        with Catalog(store) as catalog:
            catalog.groups()
            before = catalog.statements
            assert names(catalog)[1] == ["live"]
            assert catalog.statements > before + 1


def test_a_first_look_at_a_catalog_in_memory_does_not_hold(store: Path) -> None:
    """It is right nevertheless."""
    write_bundle(store, "a")
    at_rest(store)
    catalog = Catalog(store)
    catalog.database.in_memory = True
    look, found = names(catalog)
    assert (found, look.settled) == (["a"], False)
