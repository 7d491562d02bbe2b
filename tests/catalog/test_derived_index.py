"""Outputs of feature runs in content queries: found, replaced, gone with their run, never from another sequence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from tests.catalog.bundle_files import TopicSpec, write_bundle
from tests.store.derived_run import RUN, begin_run, record_entry, speeds

from gapless.catalog import Catalog
from gapless.catalog.derived_index import index_derived
from gapless.catalog.feature_folders import read_feature_runs
from gapless.errors import IntegrityError
from gapless.features.entry import EntryRecord
from gapless.features.registry import FeatureRegistry
from gapless.features.run_folder import RunFolder

TOPIC = f"features/speed@{RUN}"
TABLES = ("topic", "part", "topic_range", "metadata_value")


@pytest.fixture
def catalog(mission: Path) -> Catalog:
    """Return the catalog of two missions: a run gave speeds to both, an older one to the second."""
    folder = begin_run(mission, "speed")
    record_entry(folder, "mission_a", speeds([0, 10, 20], [1.0, 5.0, 6.0]))
    record_entry(folder, "mission_b", speeds([0, 10], [1.0, 2.0]))
    record_entry(begin_run(mission, "speed", "0.0-000000000000"), "mission_b", speeds([0], [9.0]))
    return Catalog(mission)


def _found(catalog: Catalog, text: str) -> dict[str, dict[str, list[tuple[int, int]]]]:
    """Return sequence -> topic -> spans of a query in text."""
    return {item.name: {t.name: t.spans for t in item.topics} for item in catalog.query(text)}


def _sizes(catalog: Catalog) -> list[int]:
    return [catalog.database.rows(f"SELECT count(*) FROM {table}")[0][0] for table in TABLES]


def _unindexed(catalog: Catalog) -> int:
    return int(catalog.database.rows("SELECT count(*) FROM feature_entries WHERE indexed=0")[0][0])


def test_rows_of_outputs_are_found_with_exact_spans(catalog: Catalog) -> None:
    """By name, by glob and beside a condition on a recorded topic of the same sequence."""
    assert _found(catalog, f'"{TOPIC}":speed > 4') == {"mission_a": {TOPIC: [(10, 20)]}}
    assert _found(catalog, '"features/speed@*":speed > 1') == {
        "mission_a": {TOPIC: [(10, 20)]},
        "mission_b": {"features/speed@0.0-000000000000": [(0, 0)], TOPIC: [(10, 10)]},
    }
    assert _found(catalog, '"*":speed > 5.5 and IMU.acceleration.x > 8') == {
        "mission_a": {TOPIC: [(20, 20)], "sensors/imu": [(90, 90)]}
    }


def test_runs_are_found_by_name_and_metadata(catalog: Catalog) -> None:
    """A condition on topics finds what a run made; without one a sequence has its own topics only."""
    assert catalog.query('topic.name match "features/*"').names == ["mission_a", "mission_b"]
    assert _found(catalog, 'topic.metadata.run_id == "0.0-000000000000"') == {
        "mission_b": {"features/speed@0.0-000000000000": []}
    }
    assert _found(catalog, 'name == "mission_b"') == {"mission_b": {"sensors/imu": [], "oven/pv": []}}


def test_what_the_catalog_says_of_a_sequence_stays_its_own(catalog: Catalog) -> None:
    """Rows, topics, times and size do not count what was derived."""
    before = catalog.sequence("mission_a")
    assert catalog.query(f'"{TOPIC}":speed > 4').names == ["mission_a"]
    assert catalog.sequence("mission_a") == before
    assert (before.topics, before.rows, before.end_ns) == (2, 11, 90)


def test_statistics_of_the_record_spare_the_files(catalog: Catalog, mission: Path) -> None:
    """Indexing opens no file, nor does a query that statistics decide; one that needs rows names what is gone."""
    catalog.reconcile()
    shutil.rmtree(mission / "features")
    assert catalog.query(f'"{TOPIC}":speed > 100').names == []
    assert catalog.query(f'"{TOPIC}":speed >= 1').names == ["mission_a", "mission_b"]
    with pytest.raises(IntegrityError, match=r"mission_a\.parquet"):
        catalog.query(f'"{TOPIC}":speed > 4')


def test_without_anything_new_indexing_is_one_statement(catalog: Catalog) -> None:
    """The second query on content costs one look at an index more than the rest of it."""
    assert catalog.query(f'"{TOPIC}":speed > 100').names == []
    assert _unindexed(catalog) == 0
    before = catalog.statements
    assert index_derived(catalog.database) == 0
    assert catalog.statements == before + 1


def test_an_entry_written_again_replaces_its_topic(catalog: Catalog, mission: Path) -> None:
    """New rows of an entry are found and the old are not; nothing of the old topic is left."""
    assert _found(catalog, f'"{TOPIC}":speed > 2') == {"mission_a": {TOPIC: [(10, 20)]}}
    before = _sizes(catalog)
    folder = mission / "features" / "speed" / RUN
    record_entry(folder, "mission_a", speeds([0, 10, 20], [7.0, 0.0, 0.0]))
    with FeatureRegistry(mission) as registry:
        registry.save_records("speed", RUN, [_last_record(folder)])
    assert _found(catalog, f'"{TOPIC}":speed > 2') == {"mission_a": {TOPIC: [(0, 0)]}}
    assert _sizes(catalog) == before


def test_topics_go_with_their_run(catalog: Catalog, mission: Path) -> None:
    """A run that is forgotten leaves nothing to find, and the next index leaves nothing behind."""
    before = _sizes(catalog)
    assert catalog.query('topic.name match "features/*"').names == ["mission_a", "mission_b"]
    with FeatureRegistry(mission) as registry:
        for run_id in (RUN, "0.0-000000000000"):
            registry.forget_run("speed", run_id)
    assert catalog.query('topic.name match "features/*"').names == []
    record_entry(begin_run(mission, "mean"), "mission_a", pa.table({"mean": [1.0]}))
    read_feature_runs(catalog.database, mission)
    shutil.rmtree(mission / "features" / "speed")
    read_feature_runs(catalog.database, mission)
    assert catalog.query('topic.name match "features/*"').names == []
    assert _sizes(catalog) == before


def test_a_sequence_read_again_keeps_its_derived_topics(catalog: Catalog, mission: Path) -> None:
    """A new layer drops all topics of a sequence; those of runs come back with the next query."""
    assert catalog.query(f'"{TOPIC}":speed > 4').names == ["mission_a"]
    extra = TopicSpec({"v": pa.float64()}, [[{"timestamp_ns": 1, "v": 1.0}]])
    write_bundle(mission, "mission_a", {"extra": extra}, layer="more")
    assert catalog.reconcile().read == 1
    assert _found(catalog, f'"{TOPIC}":speed > 4') == {"mission_a": {TOPIC: [(10, 20)]}}


def test_a_rebuilt_catalog_finds_the_same(catalog: Catalog, mission: Path) -> None:
    """Deleting the file or filling it anew loses no derived topic."""
    wanted = {"mission_a": {TOPIC: [(10, 20)]}}
    assert _found(catalog, f'"{TOPIC}":speed > 4') == wanted
    catalog.reindex()
    assert _found(catalog, f'"{TOPIC}":speed > 4') == wanted
    catalog.close()
    for file in mission.glob("catalog.db*"):
        file.unlink()
    assert _found(Catalog(mission), f'"{TOPIC}":speed > 4') == wanted


def test_an_entry_of_another_sequence_of_that_name_is_not_found(catalog: Catalog, mission: Path) -> None:
    """A sequence discarded and recorded again under its name does not inherit what was derived before."""
    assert catalog.query(f'"{TOPIC}":speed > 4').names == ["mission_a"]
    shutil.rmtree(mission / "sequences" / "mission_a")
    catalog.reconcile()
    assert catalog.query('"features/*":speed > 4').names == ["mission_b"]
    write_bundle(mission, "mission_a", {}, group="field", opened_ns=2_000_000_000_000_000_001)
    catalog.reconcile()
    assert catalog.query('"features/*":speed > 4').names == ["mission_b"]
    shutil.rmtree(mission / "sequences" / "mission_a")
    write_bundle(mission, "mission_a", {}, group="elsewhere")
    catalog.reconcile()
    assert catalog.query('"features/*":speed > 4').names == ["mission_b"]


def test_only_entries_with_rows_in_time_are_topics(catalog: Catalog, mission: Path) -> None:
    """Tables without time, failed and global entries, and files elsewhere are looked at once and left out."""
    folder = begin_run(mission, "mean")
    record_entry(folder, "mission_a", pa.table({"speed": [99.0]}))
    record_entry(folder, "mission_b", None, status="failed", error_message="no tail")
    record_entry(folder, "__global__", None, group="", status="ok")
    read_feature_runs(catalog.database, mission)
    with FeatureRegistry(mission) as registry:
        registry.record_run_start("by hand", "1", "1", "0")
        registry.record_entry("by hand", "1", "field", "mission_a", "/elsewhere/mission_a.parquet", 3)
    assert catalog.query('"features/*":speed > 50').names == []
    assert catalog.query('topic.name match "features/mean*"').names == []
    assert catalog.query('topic.name match "features/by*"').names == []
    assert _unindexed(catalog) == 0


def test_a_linked_folder_of_sequences_finds_its_runs(mission: Path, tmp_path: Path) -> None:
    """Sequences kept on another disk through a link have their runs in the store, not beside the target."""
    record_entry(begin_run(mission, "speed"), "mission_a", speeds([0, 10], [1.0, 5.0]))
    (tmp_path / "disk").mkdir()
    (mission / "sequences").rename(tmp_path / "disk" / "kept")
    (mission / "sequences").symlink_to(tmp_path / "disk" / "kept")
    assert _found(Catalog(mission), f'"{TOPIC}":speed > 4') == {"mission_a": {TOPIC: [(10, 10)]}}


def test_many_entries_are_indexed_in_batches(store: Path) -> None:
    """More entries than one transaction takes are all found."""
    folder = begin_run(store, "speed")
    for number in range(3):
        write_bundle(store, f"s{number}", {}, group="field")
        record_entry(folder, f"s{number}", speeds([0], [float(number)]))
    catalog = Catalog(store)
    catalog.reconcile()
    assert index_derived(catalog.database, batch=2) == 3
    assert catalog.query(f'"{TOPIC}":speed >= 1').names == ["s1", "s2"]


def _last_record(folder: Path) -> EntryRecord:
    return RunFolder(folder).records()["field", "mission_a"]
