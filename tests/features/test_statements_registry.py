"""What the registry keeps, refuses and knows of where runs come from."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from tests.features.run_folders import remove_catalog
from tests.features.toy_features import Centre, Double, Plus
from tests.features.tracks import record_tracks

from gapless.errors import ArgumentRefused
from gapless.features import Dataset, FeatureRegistry, FeatureStep, Pipeline


@pytest.fixture
def registry(tmp_path: Path) -> FeatureRegistry:
    """Give a registry in a file of its own, which knows one run."""
    made = FeatureRegistry(tmp_path / "registry.db")
    made.record_run_start("speed", "0.10-aaa", "0.10", "h", "{}", "[]")
    return made


def test_s24_an_entry_or_a_dependency_without_its_run_is_refused(registry: FeatureRegistry) -> None:
    """And nothing of it is kept."""
    with pytest.raises(sqlite3.IntegrityError):
        registry.record_entry("speed", "0.10-bbb", "g", "s", "/x.parquet", 1)
    with pytest.raises(sqlite3.IntegrityError):
        registry.record_entries("pose", "0.10-aaa", [("g", "s", "/x.parquet", 1)])
    with pytest.raises(sqlite3.IntegrityError):
        registry.record_dependency("speed", "0.10-aaa", "pose", "1-a")
    with pytest.raises(sqlite3.IntegrityError):
        registry.record_dependency("pose", "1-a", "speed", "0.10-aaa")
    assert registry.entry_count("speed", "0.10-aaa") == 0


def test_s24_the_first_start_of_a_run_stays_and_the_last_record_of_an_entry_counts(
    registry: FeatureRegistry,
) -> None:
    """Version 0.10 stays 0.10."""
    [first] = registry.list_runs("speed").to_dict(orient="records")
    registry.record_run_start("speed", "0.10-aaa", "9", "other", "{1}", "[1]")
    assert registry.list_runs("speed").to_dict(orient="records") == [first]
    assert (first["version"], first["run_id"]) == ("0.10", "0.10-aaa")
    registry.record_entry("speed", "0.10-aaa", "g", "s", "/old.parquet", 1)
    registry.record_entry("speed", "0.10-aaa", "g", "s", "/new.parquet", 2)
    [entry] = registry.list_entries("speed", "0.10-aaa").to_dict(orient="records")
    assert (entry["abs_path"], entry["n_rows"]) == ("/new.parquet", 2)
    assert registry.entry_count("speed", "0.10-aaa") == 1


def test_s24_pending_entries_are_in_order(registry: FeatureRegistry) -> None:
    """Of group and name."""
    registry.record_entries("speed", "0.10-aaa", [("b", "s2", "", 0), ("a", "s9", "", 0)])
    asked = {("b", "s3"), ("a", "s9"), ("b", "s1"), ("b", "s2"), ("", "z")}
    assert registry.pending_entries("speed", "0.10-aaa", asked) == [("", "z"), ("b", "s1"), ("b", "s3")]


def test_s24_the_latest_run_is_a_finished_one_if_there_is_one(registry: FeatureRegistry) -> None:
    """Then the one that began last; an unknown feature is an error."""
    registry.record_run_start("speed", "0.10-bbb", "0.10", "h")
    assert registry.latest_run_id("speed") == "0.10-bbb"
    registry.mark_finished("speed", "0.10-aaa")
    assert registry.latest_run_id("speed") == "0.10-aaa"
    finished = registry.list_runs("speed").set_index("run_id")["finished_at"]["0.10-aaa"]
    registry.mark_finished("speed", "0.10-aaa")
    assert registry.list_runs("speed").set_index("run_id")["finished_at"]["0.10-aaa"] == finished
    registry.mark_finished("speed", "0.10-bbb")
    assert registry.latest_run_id("speed") == "0.10-bbb"
    with pytest.raises(ValueError, match="pose"):
        registry.latest_run_id("pose")
    with pytest.raises(ArgumentRefused):
        registry.mark_finished("pose", "1")


def test_s25_two_runs_of_one_feature_can_both_be_read(registry: FeatureRegistry) -> None:
    """Each once, however often it is recorded."""
    registry.record_run_start("mix", "1-a", "1", "h")
    registry.record_run_start("speed", "0.10-bbb", "0.10", "h")
    registry.record_dependency("mix", "1-a", "speed", "0.10-aaa")
    registry.record_dependency("mix", "1-a", "speed", "0.10-bbb")
    registry.record_dependency("mix", "1-a", "speed", "0.10-bbb")
    assert registry.get_dependencies("mix", "1-a") == [("speed", "0.10-aaa"), ("speed", "0.10-bbb")]
    assert [node["run_id"] for node in registry.lineage("mix", "1-a")["upstream"]] == ["0.10-aaa", "0.10-bbb"]


def test_s25_a_cycle_is_told_and_not_followed_for_ever(registry: FeatureRegistry) -> None:
    """The node that closes it says so."""
    registry.record_run_start("mix", "1-a", "1", "h")
    registry.record_dependency("mix", "1-a", "speed", "0.10-aaa")
    registry.record_dependency("speed", "0.10-aaa", "mix", "1-a")
    [speed] = registry.lineage("mix", "1-a")["upstream"]
    [again] = speed["upstream"]
    assert (again["feature"], again["cycle"], again["upstream"]) == ("mix", True, [])


def test_s25_the_latest_of_two_equal_runs_is_always_the_same(tmp_path: Path) -> None:
    """In whatever order they were recorded."""
    for order in (("1-a", "1-b"), ("1-b", "1-a")):
        made = FeatureRegistry(tmp_path / f"{order[0]}.db")
        for run_id in order:
            made.record_run_start("speed", run_id, "1", "h")
            made.mark_finished("speed", run_id)
        made._database.rows("UPDATE feature_runs SET started_at='x', finished_at='y'")
        assert made.latest_run_id("speed") == "1-b"


def test_s25_the_engine_records_what_a_run_reads_and_a_store_may_move(tmp_path: Path) -> None:
    """And without its catalog everything is known again."""
    record_tracks(tmp_path / "store", 2)
    pipeline = Pipeline().add(FeatureStep("d", Double)).add(FeatureStep("p", Plus, None, ["d"]))
    pipeline.add(FeatureStep("c", Centre, {"column": "value"}, ["p"]))
    with Dataset(tmp_path / "store") as ds:
        results = pipeline.run(ds)
        pairs = {name: (result.feature, str(result.run_id)) for name, result in results.items()}
        assert ds.registry.get_dependencies(*pairs["c"]) == [pairs["p"]]
        assert ds.registry.get_dependencies(*pairs["p"]) == [pairs["d"]]
        node = ds.registry.lineage(*pairs["c"])
        assert node["upstream"][0]["upstream"][0]["feature"] == "double"

    (tmp_path / "store").rename(tmp_path / "moved")
    with FeatureRegistry(tmp_path / "moved") as registry:
        listed = registry.list_entries(*pairs["d"])["abs_path"]
        assert all(Path(path).is_relative_to(tmp_path / "moved") and Path(path).exists() for path in listed)
    remove_catalog(tmp_path / "moved")
    with Dataset(tmp_path / "moved") as ds:
        assert list(pipeline.status(ds)["cached"]) == [True, True, True]
        assert ds.registry.get_dependencies(*pairs["c"]) == [pairs["p"]]
