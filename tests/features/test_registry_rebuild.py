"""The registry of a store is a cache: whatever happens to the file, the folders tell everything again."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from tests.features.run_folders import all_rows, identity, record, remove_catalog, store_run

import gapless
from gapless.catalog import Catalog
from gapless.errors import IntegrityError
from gapless.features.registry import FeatureRegistry
from gapless.features.run_folder import RunFolder


def fill(root: Path) -> FeatureRegistry:
    """Record runs of every kind: finished, unfinished, learned, failed, of names that need encoding, by hand."""
    registry = FeatureRegistry(root)
    smooth = store_run(registry, "smooth", [("", "one"), ("g/ü", "two words")])
    other = store_run(registry, "smooth", [("", "one")], number=1, finish=False)
    speed = store_run(
        registry,
        "speed__from__smooth",
        [("", "one"), record("g/ü", "two words", "failed", error_type="ValueError", error_message="no\nway")],
        upstream=[smooth, other],
        state=True,
        finish=False,
    )
    store_run(registry, "turn", [("", "__global__")], upstream=[speed, ("cleaned", "0.1-gone")])
    registry.record_run_start("by hand", "007", "0.10", "h")
    registry.record_entries("by hand", "007", [("g", "a", root / "a.parquet", 3), ("g", "b", "/else/b", 0)])
    registry.record_entry("by hand", "007", "g", "a", root / "a2.parquet", 4)
    registry.record_dependency("by hand", "007", *smooth)
    registry.mark_finished("by hand", "007")
    registry.record_run_start("by hand", "008", "0.10", "h")
    registry.forget_run("by hand", "008")
    return registry


@pytest.mark.parametrize("loss", ["deleted", "damaged", "older", "reindexed", "rebuilt", "moved"])
def test_a_rebuilt_registry_has_the_same_rows(tmp_path: Path, loss: str) -> None:
    """Runs, entries, dependencies, ends and states: equal to the last column."""
    root = tmp_path / "store"
    root.mkdir()
    registry = fill(root)
    before = all_rows(registry)
    assert [len(rows) for rows in before.values()] == [5, 8, 5]
    registry.close()
    if loss == "deleted":
        remove_catalog(root)
    elif loss == "damaged":
        remove_catalog(root)
        (root / "catalog.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    elif loss == "older":
        with sqlite3.connect(root / "catalog.db") as connection:
            connection.execute("DROP TABLE dependencies")
            connection.execute("PRAGMA user_version=2")
        connection.close()
    elif loss == "reindexed":
        with Catalog(root) as catalog:
            catalog.reindex()
    elif loss == "rebuilt":
        with FeatureRegistry(root) as again:
            assert again.rebuild() == 8
    else:
        remove_catalog(root)
        root = root.rename(tmp_path / "elsewhere")
    with FeatureRegistry(root) as again:
        assert all_rows(again) == before
        assert again.problems() == {}
        if loss == "moved":
            assert again.list_entries("by hand")["abs_path"].tolist() == [str(root / "a2.parquet"), "/else/b"]


def test_an_open_registry_sees_a_file_made_anew(tmp_path: Path) -> None:
    """Deleted under its hands and made by another process, the catalog goes on where it was."""
    registry = fill(tmp_path)
    before = all_rows(registry)
    remove_catalog(tmp_path)
    code = "import sys, gapless; gapless.connect(sys.argv[1]).list_sequences()"
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, env=os.environ.copy(), timeout=120
    )
    assert all_rows(registry) == before
    registry.save_records("by hand", "007", [record("g", "c")])
    assert registry.entry_count("by hand", "007") == 3
    registry.close()


def test_a_reindex_corrects_the_rows_of_an_open_registry(tmp_path: Path) -> None:
    """Rows that differ from the folders are replaced, and the registry that is open goes on."""
    registry = fill(tmp_path)
    before = all_rows(registry)
    registry._database.rows("UPDATE feature_entries SET status='failed'")
    registry._database.rows("DELETE FROM dependencies")
    with Catalog(tmp_path) as catalog:
        catalog.reindex()
    assert all_rows(registry) == before
    registry.close()


def test_a_process_that_died_between_making_and_filling_is_made_good(tmp_path: Path) -> None:
    """Tables without rows are not taken for a store without runs."""
    registry = fill(tmp_path)
    before = all_rows(registry)
    for sql in ("DELETE FROM feature_runs", "DELETE FROM seen"):
        registry._database.rows(sql)
    registry.close()
    with FeatureRegistry(tmp_path) as again:
        assert all_rows(again) == before


def test_listing_does_not_pay_for_feature_runs(tmp_path: Path) -> None:
    """Once the tables are filled, opening a store reads no folder of a run: those may be unreadable."""
    registry = fill(tmp_path)
    before = all_rows(registry)
    registry.close()
    for path in (tmp_path / "features").glob("*/*/identity.json"):
        path.write_bytes(b"{")
    with gapless.connect(tmp_path) as client:
        assert client.list_sequences() == []
        client.catalog.reconcile()
    with FeatureRegistry(tmp_path) as again:
        assert all_rows(again) == before


def test_a_damaged_folder_is_named_and_spoils_no_other(tmp_path: Path) -> None:
    """Its run has no rows until it is mended; ``begin_run`` refuses to begin over it."""
    with FeatureRegistry(tmp_path) as registry:
        good = store_run(registry, "smooth", [("g", "a")])
        bad = store_run(registry, "speed", [("g", "a")])
        file = RunFolder.of(tmp_path, *bad).identity
        text = file.read_text()
        for damage in ("{", "[]", '{"feature": 3}', text.replace('"run_id"', '"run"')):
            file.write_text(damage)
            registry.rebuild()
            assert registry.list_features() == [good[0]]
            assert list(registry.problems()) == [file.parent.relative_to(tmp_path).as_posix()]
            with pytest.raises(IntegrityError, match="cannot be read"):
                registry.begin_run(identity("speed"), code_digest="code")
        file.write_text(text)
        registry.rebuild()
        assert registry.problems() == {}
        assert registry.list_features() == ["smooth", "speed"]


def test_torn_and_damaged_lines_of_a_ledger_are_passed_over(tmp_path: Path) -> None:
    """The last good line of an entry counts, whatever stands around it."""
    with FeatureRegistry(tmp_path) as registry:
        pair = store_run(
            registry, "speed", [record("g", "a", n_rows=1), record("g", "a", n_rows=2)], finish=False
        )
        ledger = RunFolder.of(tmp_path, *pair).entries
        before = all_rows(registry)
        changed = ledger.read_bytes().splitlines()[-1].replace(b'"n_rows":2', b'"n_rows":9')
        ledger.write_bytes(ledger.read_bytes() + changed + b'\n[1]\n{"crc":"')
        registry.rebuild()
        assert all_rows(registry) == before
        assert registry.list_entries("speed")["n_rows"].tolist() == [2]


def test_a_run_that_the_catalog_lost_is_taken_over_whole(tmp_path: Path) -> None:
    """Its folder is there and its row is not (copied in, or a commit that a power cut took)."""
    with FeatureRegistry(tmp_path) as registry:
        pair = store_run(registry, "speed", [("g", "a"), ("g", "b")], finish=False)
        before = all_rows(registry)
        registry._database.rows("DELETE FROM feature_runs")
        assert registry.entry_count(*pair) == 0
        registry.begin_run(identity("speed"), code_digest="code")
        assert all_rows(registry) == before


def test_the_end_is_that_of_the_manifest(tmp_path: Path) -> None:
    """A run that is finished again has the time of its new manifest, not of its old."""
    with FeatureRegistry(tmp_path) as registry:
        pair = store_run(registry, "speed", [("g", "a")])
        manifest = RunFolder.of(tmp_path, *pair).manifest
        document = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**document, "finished_at": "2999-01-01T00:00:00+00:00"}))
        registry.mark_finished(*pair)
        row = registry.run_row(*pair)
        assert row is not None
        assert row.finished_at == "2999-01-01T00:00:00+00:00"


def test_records_by_hand_that_fail_leave_no_line(tmp_path: Path) -> None:
    """What SQLite refused is not in the journal either, nor is a call that records nothing."""
    with FeatureRegistry(tmp_path) as registry:
        registry.record_run_start("speed", "1", "1", "h")
        journal = tmp_path / "features" / "recorded.jsonl"
        before = journal.read_bytes()
        with pytest.raises(sqlite3.IntegrityError):
            registry.record_entry("speed", "2", "g", "a", "a", 1)
        registry.record_entries("speed", "1", [])
        assert journal.read_bytes() == before


def test_entries_read_again_are_indexed_again(tmp_path: Path) -> None:
    """A replaced entry, and every entry after a rebuild, is not yet findable by content."""
    with FeatureRegistry(tmp_path) as registry:
        pair = store_run(registry, "speed", [("g", "a"), ("g", "b")])
        registry._database.rows("UPDATE feature_entries SET indexed=1")
        registry.save_records(*pair, [record("g", "a")])
        marks = "SELECT sequence, indexed FROM feature_entries ORDER BY 1"
        assert registry._database.rows(marks) == [("a", 0), ("b", 1)]
        registry.rebuild()
        assert registry._database.rows(marks) == [("a", 0), ("b", 0)]
