"""The registry as the one who records by hand sees it, in a store and in a file of its own."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from tests.features.run_folders import identity, record

from gapless.errors import ArgumentRefused, IntegrityError, NotFound
from gapless.features.registry import FeatureRegistry, open_registry


@pytest.fixture(params=["store", "features", "file"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureRegistry:
    """Return an empty registry in each of its places."""
    (tmp_path / "features").mkdir()
    place = {"store": tmp_path, "features": tmp_path / "features", "file": tmp_path / "registry.db"}
    return FeatureRegistry(place[request.param])


def start(registry: FeatureRegistry, feature: str, run_id: str) -> None:
    """Record the start of a run."""
    registry.record_run_start(feature, run_id, "0.1", "hash", '{"a": 1}', '["tracks"]')


def test_an_entry_needs_its_run(registry: FeatureRegistry) -> None:
    """SQLite's own error, and nothing is recorded, not even the good entry of the same call."""
    start(registry, "speed", "0.1-a")
    with pytest.raises(sqlite3.IntegrityError):
        registry.record_entry("speed", "0.1-b", "g", "s", "/x/s.parquet", 3)
    with pytest.raises(sqlite3.IntegrityError):
        registry.save_records("turn", "0.1-a", [record("g", "s")])
    assert registry.entry_count("speed", "0.1-a") == 0


def test_a_dependency_needs_both_runs(registry: FeatureRegistry) -> None:
    """An unknown upstream and an unknown run are refused alike."""
    start(registry, "speed", "0.1-a")
    with pytest.raises(sqlite3.IntegrityError):
        registry.record_dependency("speed", "0.1-a", "smooth", "0.1-a")
    with pytest.raises(sqlite3.IntegrityError):
        registry.record_dependency("turn", "0.1-a", "speed", "0.1-a")
    assert registry.get_dependencies("speed", "0.1-a") == []


def test_two_runs_of_one_upstream_are_two_dependencies(registry: FeatureRegistry) -> None:
    """Neither displaces the other; told twice, each is there once."""
    for run_id in ("0.1-a", "0.1-b"):
        start(registry, "smooth", run_id)
    start(registry, "speed", "0.1-c")
    for run_id in ("0.1-b", "0.1-a", "0.1-a"):
        registry.record_dependency("speed", "0.1-c", "smooth", run_id)
    assert registry.get_dependencies("speed", "0.1-c") == [("smooth", "0.1-a"), ("smooth", "0.1-b")]


def test_the_first_start_of_a_run_stays(registry: FeatureRegistry) -> None:
    """A second one changes nothing, and takes no entries away."""
    start(registry, "speed", "0.1-a")
    registry.record_entry("speed", "0.1-a", "g", "s", "s.parquet", 3)
    first = registry.run_row("speed", "0.1-a")
    registry.record_run_start("speed", "0.1-a", "9.9", "other")
    assert registry.run_row("speed", "0.1-a") == first
    assert registry.entry_count("speed", "0.1-a") == 1


def test_an_entry_recorded_again_is_replaced(registry: FeatureRegistry) -> None:
    """One row, with what was said last."""
    start(registry, "speed", "0.1-a")
    registry.record_entry("speed", "0.1-a", "g", "s", "/x/one.parquet", 3)
    registry.record_entries("speed", "0.1-a", [("g", "s", Path("/x/two.parquet"), 4), ("g", "t", "/x/t", 0)])
    rows = registry.list_entries("speed")
    assert rows[["group", "sequence", "abs_path", "n_rows"]].values.tolist() == [
        ["g", "s", "/x/two.parquet", 4],
        ["g", "t", "/x/t", 0],
    ]


def test_the_end_of_a_run_is_set_once(registry: FeatureRegistry) -> None:
    """A second call keeps the time; an unknown run is refused; a run that is opened again has no end."""
    start(registry, "speed", "0.1-a")
    assert not registry.run_is_finished("speed", "0.1-a")
    registry.mark_finished("speed", "0.1-a")
    row = registry.run_row("speed", "0.1-a")
    registry.mark_finished("speed", "0.1-a")
    assert row is not None
    assert row.finished
    assert registry.run_row("speed", "0.1-a") == row
    registry.reopen("speed", "0.1-a")
    assert not registry.run_is_finished("speed", "0.1-a")
    for call in (registry.mark_finished, registry.reopen):
        with pytest.raises(ValueError, match="no such run"):
            call("speed", "0.1-b")
    assert not registry.run_is_finished("speed", "0.1-b")


def test_the_latest_run_is_finished_before_newest(registry: FeatureRegistry) -> None:
    """Then the one that began last; where all is equal, the greatest run id, whatever the order of rows."""
    with pytest.raises(ArgumentRefused, match="no run"):
        registry.latest_run_id("speed")
    assert registry.newest_run_id("speed") is None
    for run_id in ("0.1-b", "0.1-c", "0.1-a"):
        start(registry, "speed", run_id)
    assert registry.latest_run_id("speed") == "0.1-a"
    registry._database.rows("UPDATE feature_runs SET started_at='2026-01-01T00:00:00+00:00'")
    assert registry.latest_run_id("speed") == "0.1-c"
    registry.mark_finished("speed", "0.1-b")
    assert registry.latest_run_id("speed") == "0.1-b"
    assert registry.list_runs("speed")["run_id"].tolist() == ["0.1-b", "0.1-c", "0.1-a"]


def test_pending_is_what_is_missing_or_failed_in_order(registry: FeatureRegistry) -> None:
    """An empty output is done; a failure is not, and does not count."""
    start(registry, "speed", "0.1-a")
    registry.record_entry("speed", "0.1-a", "g", "b", "b.parquet", 3)
    registry.save_records("speed", "0.1-a", [record("g", "c", "empty"), record("g", "d", "failed")])
    wanted = {("g", name) for name in "edcba"} | {("", "z")}
    expected = [("", "z"), ("g", "a"), ("g", "d"), ("g", "e")]
    assert registry.pending_entries("speed", "0.1-a", wanted) == expected
    assert registry.entry_count("speed", "0.1-a") == 2
    assert registry.pending_entries("speed", "0.1-b", {("g", "b")}) == [("g", "b")]


def test_lists_of_an_empty_registry_keep_their_columns(registry: FeatureRegistry) -> None:
    """A table without rows is still that table."""
    assert registry.list_features() == []
    assert registry.list_runs("speed").columns.tolist()[:3] == ["feature", "run_id", "version"]
    assert registry.list_runs("speed").empty
    columns = ["feature", "run_id", "group", "sequence", "abs_path", "n_rows", "status"]
    assert registry.list_entries("speed", "0.1-a").columns.tolist() == columns


def test_lists_name_what_is_there(registry: FeatureRegistry) -> None:
    """Features in order; entries of all runs, or of one."""
    for feature, run_id in (("turn", "0.1-a"), ("speed", "0.1-b"), ("speed", "0.1-a")):
        start(registry, feature, run_id)
        registry.record_entry(feature, run_id, "g", "s", f"/x/{run_id}", 1)
    assert registry.list_features() == ["speed", "turn"]
    assert registry.list_entries("speed")["run_id"].tolist() == ["0.1-a", "0.1-b"]
    assert registry.list_entries("speed", "0.1-b")["abs_path"].tolist() == ["/x/0.1-b"]
    assert registry.has_run("turn", "0.1-a")
    assert not registry.has_run("turn", "0.1-b")


def test_records_of_many_runs_are_one_statement(registry: FeatureRegistry) -> None:
    """A thousand entries of three runs, each as it was saved; a run without entries is there, empty."""
    saved = [record(f"g{n % 7}", f"s{n:04d}", "ok" if n % 5 else "empty", n_rows=n) for n in range(1000)]
    for run_id in ("0.1-a", "0.1-b", "0.1-c"):
        start(registry, "speed", run_id)
    registry.save_records("speed", "0.1-a", saved[:700])
    registry.save_records("speed", "0.1-b", saved[700:])
    before = registry.statements
    found = registry.entry_records([("speed", run_id) for run_id in ("0.1-a", "0.1-b", "0.1-c", "0.1-z")])
    assert registry.statements == before + 1
    assert found["speed", "0.1-a"] == {each.entry_key: each for each in saved[:700]}
    assert found["speed", "0.1-b"] == {each.entry_key: each for each in saved[700:]}
    assert found["speed", "0.1-c"] == found["speed", "0.1-z"] == {}


def test_recorded_since_is_what_others_did_meanwhile(registry: FeatureRegistry) -> None:
    """Of the entries asked for, those recorded at that time or later."""
    start(registry, "speed", "0.1-a")
    records = [record("g", f"s{n}", recorded_ns=100 + n) for n in range(5)]
    registry.save_records("speed", "0.1-a", records)
    keys = [("g", "s0"), ("g", "s3"), ("g", "s9")]
    assert registry.recorded_since("speed", "0.1-a", keys, 103) == {("g", "s3"): records[3]}


def test_a_plain_name_stands_for_its_only_storage(registry: FeatureRegistry) -> None:
    """The exact name first; several are named in the error; an unknown one stays."""
    start(registry, "speed__from__smooth", "0.1-a")
    assert registry.storage_of("speed") == "speed__from__smooth"
    assert registry.storage_of("spee") == "spee"
    start(registry, "speed__from__raw", "0.1-a")
    with pytest.raises(ArgumentRefused, match="speed__from__raw"):
        registry.storage_of("speed")
    start(registry, "speed", "0.1-a")
    assert registry.storage_of("speed") == "speed"


def test_a_forgotten_run_leaves_its_edge_below(registry: FeatureRegistry) -> None:
    """Its entries, what it read and the claims on it go; that others read it stays known."""
    for feature in ("smooth", "speed", "turn"):
        start(registry, feature, "0.1-a")
    registry.record_dependency("speed", "0.1-a", "smooth", "0.1-a")
    registry.record_dependency("turn", "0.1-a", "speed", "0.1-a")
    registry.record_entry("speed", "0.1-a", "g", "s", "s", 1)
    registry.claim("speed", "0.1-a", [("g", "s")], "me", lambda _: True)
    registry.forget_run("speed", "0.1-a")
    assert registry.list_features() == ["smooth", "turn"]
    assert registry.list_entries("speed").empty
    assert registry.get_dependencies("speed", "0.1-a") == []
    assert registry.get_dependencies("turn", "0.1-a") == [("speed", "0.1-a")]
    assert registry.claim("speed", "0.1-a", [("g", "s")], "you", lambda _: True) == [("g", "s")]


def test_a_run_of_the_engine_begins_with_what_it_reads(registry: FeatureRegistry) -> None:
    """Row and dependencies at once; what it learned is set later, and "" means nothing."""
    above, run = identity("smooth"), identity("speed", upstream=[("smooth", identity("smooth").run_id)])
    registry.begin_run(above, code_digest=None)
    registry.begin_run(run, code_digest="c0de")
    registry.begin_run(run, code_digest="other")
    row = registry.run_row("speed", run.run_id)
    assert row is not None
    assert (row.version, row.digest, row.code_digest, row.finished_at) == ("0.10", run.digest, "c0de", "")
    assert registry.get_dependencies("speed", run.run_id) == [("smooth", above.run_id)]
    registry.set_state("speed", run.run_id, "5ta7e")
    assert registry.list_runs("speed")["state_digest"].tolist() == ["5ta7e"]
    registry.set_state("speed", run.run_id, "")
    again = registry.run_row("speed", run.run_id)
    assert again == row
    with pytest.raises(ArgumentRefused):
        registry.set_state("speed", "0.10-x", "5ta7e")


def test_threads_with_disjoint_entries_lose_none(registry: FeatureRegistry) -> None:
    """Two threads with twenty entries each, one call for each entry: forty entries."""
    start(registry, "speed", "0.1-a")

    def save(group: str) -> None:
        for number in range(20):
            registry.save_records("speed", "0.1-a", [record(group, f"{group}{number}")])

    threads = [threading.Thread(target=save, args=(group,)) for group in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.entry_count("speed", "0.1-a") == 40


def test_a_registry_is_closed_and_opened_again(registry: FeatureRegistry) -> None:
    """After a with-block the object still works, and everything is there."""
    with registry:
        start(registry, "speed", "0.1-a")
    assert registry.list_features() == ["speed"]


def test_a_lone_path_is_a_file_that_is_never_deleted(tmp_path: Path) -> None:
    """Made if absent; damaged, it is a typed error and stays byte for byte."""
    path = tmp_path / "registry.db"
    with FeatureRegistry(path) as registry:
        assert registry.root is None
        start(registry, "speed", "0.1-a")
    assert [each.name for each in tmp_path.iterdir()] == ["registry.db"]
    with open_registry(path) as registry:
        assert registry.list_features() == ["speed"]
        assert registry.rebuild() == 0
        assert registry.list_features() == ["speed"]
    path.write_bytes(b"not a database" * 400)
    with pytest.raises(IntegrityError):
        FeatureRegistry(path)
    assert path.read_bytes() == b"not a database" * 400


def test_a_place_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A mistyped store and a file in a missing folder are named."""
    for path in (tmp_path / "stor", tmp_path / "nowhere" / "registry.db", tmp_path / "nowhere" / "features"):
        with pytest.raises(NotFound):
            FeatureRegistry(path)
    assert list(tmp_path.iterdir()) == []


def test_every_path_into_a_store_is_the_same_registry(tmp_path: Path) -> None:
    """The store, its features folder, that folder before it exists, and the file of the catalog."""
    with FeatureRegistry(tmp_path / "features") as registry:
        assert registry.root == tmp_path
        start(registry, "speed", "0.1-a")
    for path in (tmp_path, tmp_path / "features", tmp_path / "catalog.db", str(tmp_path)):
        with open_registry(path) as registry:
            assert registry.root == tmp_path
            assert registry.list_features() == ["speed"]
