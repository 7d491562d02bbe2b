"""What cleaning removes, and what it must never remove."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from tests.features.toy_features import Centre, Double, Global, Plus
from tests.features.tracks import record_tracks, tree, values

from gapless.features import Dataset, FeatureStep, Pipeline

COLUMNS = ["step", "feature", "run_id", "status", "n_files", "size_mb", "modified"]


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give a data set of two sequences."""
    record_tracks(tmp_path / "store", 2)
    with Dataset(tmp_path / "store") as dataset:
        yield dataset


def told(table: pd.DataFrame) -> dict[str, str]:
    """Return the status of each run."""
    return dict(zip(table["run_id"], table["status"], strict=True))


def double(factor: float) -> FeatureStep:
    """Return a step with its own run of the shared feature."""
    return FeatureStep(f"x{factor}", Double, {"factor": factor})


def test_s22_a_run_that_any_step_of_the_storage_expects_is_kept(ds: Dataset) -> None:
    """Two steps share one storage; only the run that neither expects goes, and whole."""
    old = ds.run_feature(Double(None, {"factor": 9.0}))
    pipeline = Pipeline().add(double(2.0)).add(double(3.0))
    results = pipeline.run(ds)
    mine = {str(result.run_id): "current" for result in results.values()}
    before = tree(ds.features_root)
    dry = pipeline.clean(ds)
    assert told(dry) == {**mine, str(old.run_id): "would remove"}
    assert set(dry["step"]) == {"x2.0 + x3.0"}
    assert set(dry["feature"]) == {"double"}
    assert list(dry["n_files"]) == [5, 5, 5]  # identity, ledger, manifest and an output for each sequence
    assert tree(ds.features_root) == before
    assert told(pipeline.clean(ds, dry_run=False)) == {**mine, str(old.run_id): "removed"}
    assert not (ds.features_root / "double" / str(old.run_id)).exists()
    assert list((ds.root / "trash").iterdir()) == []
    assert not ds.registry.has_run("double", str(old.run_id))
    assert told(pipeline.clean(ds)) == mine
    assert list(pipeline.status(ds)["cached"]) == [True, True]
    assert all(values(ds, result) for result in results.values())


def test_s22_a_run_that_another_run_reads_is_kept(ds: Dataset) -> None:
    """Unless what reads it goes as well."""
    read = ds.run_feature(Double(None, {"factor": 9.0}))
    reader = ds.run_feature(Plus((read,)))
    pipeline = Pipeline().add(double(2.0))
    pipeline.run(ds)
    assert told(pipeline.clean(ds, dry_run=False))[str(read.run_id)] == "kept"
    assert values(ds, reader)["s001"][0] == 901.0
    both = Pipeline().add(double(2.0)).add(FeatureStep("p", Plus, None, ["x2.0"]))
    assert told(both.clean(ds, dry_run=False)) == {
        str(pipeline.results["x2.0"].run_id): "current",
        str(read.run_id): "removed",
        str(reader.run_id): "removed",
    }


def test_s22_a_step_that_was_not_computed_yet_alarms_nobody(ds: Dataset) -> None:
    """It has no run, and what there is stays."""
    pipeline = Pipeline().add(double(2.0)).add(FeatureStep("c", Centre, {"column": "value"}, ["x2.0"]))
    ds.run_feature(Double())
    table = pipeline.clean(ds, dry_run=False)
    assert list(table["status"]) == ["current"]


@pytest.mark.parametrize(
    "broken",
    [
        FeatureStep("broken", Double, {"factor": "many"}),
        FeatureStep("broken", Double, {"no such parameter": 1}),
        FeatureStep("broken", Double, {"factor": 4.0}, run_kwargs={"sequences": ["nowhere"]}),
        FeatureStep("broken", Global, {"factor": "many"}),
    ],
    ids=["value", "name", "sequence", "no inputs"],
)
def test_s22_while_a_step_cannot_be_named_nothing_is_removed(ds: Dataset, broken: FeatureStep) -> None:
    """It might expect any run of its storage."""
    needed = ds.run_feature(Double(None, {"factor": 4.0}))
    pipeline = Pipeline().add(double(2.0)).add(broken)
    good = Pipeline().add(double(2.0)).run(ds)["x2.0"]
    table = pipeline.clean(ds, dry_run=False)
    assert told(table) == {str(good.run_id): "current", str(needed.run_id): "kept"}
    assert values(ds, needed)["s001"][0] == 400.0
    broken_row = pipeline.status(ds).iloc[1]
    assert broken_row["cached"] is False
    assert "cannot be named" in broken_row["why"]


def test_s22_a_step_after_a_broken_one_is_as_unnamed_as_that(ds: Dataset) -> None:
    """Its runs stay, too."""
    kept = ds.run_feature(Plus((ds.run_feature(Double()),)))
    pipeline = Pipeline().add(FeatureStep("broken", Double, {"factor": "many"}))
    pipeline.add(FeatureStep("p", Plus, None, ["broken"]))
    assert pipeline.clean(ds, dry_run=False).empty
    assert values(ds, kept)["s001"][0] == 201.0
    assert list(pipeline.status(ds)["cached"]) == [False, False]


@pytest.mark.parametrize("dry_run", [True, False])
def test_s23_cleaning_always_returns_the_seven_columns(ds: Dataset, dry_run: bool) -> None:
    """With no step, no run and one run."""
    assert list(Pipeline().clean(ds, dry_run=dry_run).columns) == COLUMNS
    pipeline = Pipeline().add(double(2.0))
    empty = pipeline.clean(ds, dry_run=dry_run)
    assert (list(empty.columns), len(empty)) == (COLUMNS, 0)
    pipeline.run(ds)
    table = pipeline.clean(ds, dry_run=dry_run)
    assert (list(table.columns), len(table)) == (COLUMNS, 1)
    assert table["size_mb"][0] > 0
    assert table["modified"][0] != "-"
