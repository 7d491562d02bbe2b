"""What a feature learns, and who computes: states, overwriting, and workers of every kind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.features.toy_features import Alone, Centre, Double, Plus, Rank, Toy, given, mark, marked
from tests.features.tracks import TRACKS, files, record_tracks, statuses, times_of, values

import gapless
from gapless.errors import ArgumentRefused, IdentityRefused, RunCancelled
from gapless.features import Dataset, FeatureStep, Pipeline
from gapless.features.run_folder import RunFolder


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give a data set of four sequences."""
    record_tracks(tmp_path / "store", 4)
    with Dataset(tmp_path / "store") as dataset:
        yield dataset


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """Give a folder for marks."""
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


def calls(folder: Path, word: str) -> int:
    """Return how many marks begin with a word."""
    return sum(count for name, count in marked(folder).items() if name.startswith(word))


def everything(ds: Dataset, **how: Any) -> dict[str, bytes]:
    """Compute three features, one of them fitted, and return the bytes of all their outputs."""
    double = ds.run_feature(Double(), **how)
    plus = ds.run_feature(Plus((double,)), overlap_frames=2, **how)
    centre = ds.run_feature(Centre((plus,), {"column": "value"}), **how)
    return {
        f"{result.feature} {name}": data
        for result in (double, plus, centre)
        for name, data in files(ds, result).items()
    }


@pytest.mark.parametrize("mode", ["thread", "process", pytest.param("dask", marks=pytest.mark.slow)])
def test_s18_every_way_to_compute_gives_the_same_bytes(tmp_path: Path, mode: str) -> None:
    """Of plain, overlapping and learning features."""
    made = []
    for place, how in (("serial", {}), (mode, {"parallel_mode": mode, "parallel_workers": 2})):
        record_tracks(tmp_path / place, 12)
        with Dataset(tmp_path / place) as ds:
            made.append(everything(ds, **how))
    assert len(made[0]) == 36
    assert made[0] == made[1]


def test_s18_the_registry_lists_entries_in_order_whoever_was_first(ds: Dataset) -> None:
    """Threads end in any order."""
    record_tracks(ds.root, 12, start=4)
    result = ds.run_feature(Double(), parallel_workers=4)
    listed = list(ds.registry.list_entries("double", result.run_id)["sequence"])
    assert listed == [f"s{n:03d}" for n in range(16)]


def test_s18_a_worker_loads_the_state_once_not_for_every_entry(tmp_path: Path, marks: Path) -> None:
    """However many entries it computes."""
    record_tracks(tmp_path / "store", 40)
    with Dataset(tmp_path / "store") as ds:
        ds.run_feature(Centre(None, {"marks": str(marks)}), parallel_mode="process", parallel_workers=2)
    assert calls(marks, "fit") == 1
    assert calls(marks, "apply") == 40
    assert calls(marks, "load") <= 2 + 2  # before and after the fit, and once in each worker


def test_s18_a_feature_for_one_worker_runs_serially_and_says_so(ds: Dataset) -> None:
    """In the caller's own thread."""
    names = set()

    def see(df: Any) -> Any:
        names.add(threading.current_thread().name)
        return df[["x"]]

    with pytest.warns(UserWarning, match="given is not parallelizable"):
        ds.run_feature(given(see), parallel_workers=4)
    assert names == {threading.current_thread().name}
    with pytest.warns(UserWarning, match="alone is not parallelizable"):
        ds.run_feature(Alone(), parallel_workers=2, parallel_mode="process")
    ds.run_feature(Alone(), parallel_workers=1)  # warnings are errors here


def test_s18_an_unknown_mode_is_refused(ds: Dataset) -> None:
    """Like every other value that means nothing, before anything is written."""
    for how in ({"parallel_mode": "fork"}, {"parallel_workers": 0}, {"retries": -1}, {"overwrite": "none"}):
        with pytest.raises(ArgumentRefused):
            ds.run_feature(Double(), **how)
    assert not ds.features_root.exists()


def test_s18_a_feature_that_no_process_could_import_is_refused(ds: Dataset) -> None:
    """Before anything is computed."""

    class Local(Toy):
        name, version = "local", "1"

        def apply(self, df: Any) -> Any:
            return df

    with pytest.raises(IdentityRefused, match="cannot be sent"):
        ds.run_feature(Local(), parallel_mode="process", parallel_workers=2)


def test_s19_a_state_is_learned_once_and_loaded_after_that(ds: Dataset, marks: Path) -> None:
    """A new sequence is computed with what was learned."""
    params = {"marks": str(marks)}
    result = ds.run_feature(Centre(None, params))
    assert (calls(marks, "fit"), calls(marks, "apply")) == (1, 4)
    assert values(ds, result)["s000"][0] == -154.5
    record_tracks(ds.root, 1, start=4)
    ds.run_feature(Centre(None, params))
    assert (calls(marks, "fit"), calls(marks, "apply")) == (1, 5)
    assert values(ds, result)["s004"][0] == 400 - 154.5


def test_s19_a_state_that_was_saved_by_half_is_learned_again(
    ds: Dataset, marks: Path, tmp_path: Path
) -> None:
    """Nothing of the half is left, though the feature would take it."""
    params = {"marks": str(marks), "break_save": str(tmp_path / "broken")}
    (tmp_path / "broken").touch()
    with pytest.raises(OSError, match="disk is full"):
        ds.run_feature(Centre(None, params))
    assert calls(marks, "save") == 1
    assert calls(marks, "apply") == 0
    assert not list(ds.features_root.rglob("mean.txt"))
    (tmp_path / "broken").unlink()
    result = ds.run_feature(Centre(None, params))
    assert calls(marks, "fit") == 2
    assert values(ds, result)["s000"][0] == -154.5  # not 0 minus the "15" that was written of 154.5


@pytest.mark.parametrize("damage", ["half", "no digest", "gone"])
def test_s19_a_state_that_is_not_what_was_saved_is_not_used(ds: Dataset, marks: Path, damage: str) -> None:
    """All entries are computed again with what is learned now."""
    params = {"marks": str(marks)}
    result = ds.run_feature(Centre(None, params))
    folder = RunFolder(ds.run_root(result))
    digest = folder.state_document()
    if damage == "half":
        (folder.state / "mean.txt").write_text("15")
    elif damage == "no digest":
        folder.state_record.unlink()
    else:
        (folder.state / "mean.txt").unlink()
    record_tracks(ds.root, 1, start=4)
    ds.run_feature(Centre(None, params))
    assert calls(marks, "fit") == 2
    mean = (100 * (0 + 1 + 2 + 3 + 4)) / 5 + 4.5
    assert values(ds, result)["s004"][0] == 400 - mean
    assert values(ds, result)["s000"][0] == -mean  # the others were computed with the old state
    assert folder.state_document() != digest


def test_s19_a_state_learned_from_other_content_is_stale(ds: Dataset, marks: Path) -> None:
    """And so are all entries that were computed with it."""
    params = {"marks": str(marks), "column": "value"}
    pipeline = Pipeline().add(FeatureStep("d", Double)).add(FeatureStep("c", Centre, params, ["d"]))
    results = pipeline.run(ds)
    with gapless.connect(ds.root) as client, client.sequence_update("s001") as layer:
        topic = layer.topic_create("tracks", schema=TRACKS)
        topic.push_columns(times_of(1, 1) + 5 * 10**9, {"x": np.array([1e6]), "y": np.zeros(1)})
    assert list(pipeline.status(ds)["cached"]) == ["stale", "stale"]
    pipeline.run(ds)
    table = pipeline.status(ds)
    assert list(table["cached"]) == [True, True]
    assert calls(marks, "fit") == 2
    mean = 2 * (40 * 154.5 + 1e6) / 41
    assert values(ds, results["c"])["s000"][0] == pytest.approx(-mean)


@pytest.mark.parametrize(
    ("overwrite", "fits", "applies"), [(False, 0, 0), ("outputs", 0, 4), ("all", 1, 4), (True, 1, 4)]
)
def test_s20_overwrite_tells_outputs_from_what_was_learned(
    ds: Dataset, marks: Path, overwrite: Any, fits: int, applies: int
) -> None:
    """Both ways give the same run and the same bytes."""
    params = {"marks": str(marks)}
    first = ds.run_feature(Centre(None, params))
    before = files(ds, first)
    again = ds.run_feature(Centre(None, params), overwrite=overwrite)
    assert (calls(marks, "fit"), calls(marks, "apply")) == (1 + fits, 4 + applies)
    assert again.run_id == first.run_id
    assert again.cache_hit is (not applies)
    assert files(ds, again) == before
    assert ds.registry.run_is_finished(first.feature, str(first.run_id))


def test_s20_overwriting_some_entries_leaves_the_others(ds: Dataset, marks: Path) -> None:
    """As they are."""
    result = ds.run_feature(Double(None, {"marks": str(marks)}))
    ds.run_feature(Double(None, {"marks": str(marks)}), sequences=["s002"], overwrite=True)
    assert marked(marks) == {"apply s000": 1, "apply s001": 1, "apply s002": 2, "apply s003": 1}
    assert set(statuses(ds, result).values()) == {"ok"}


def test_an_entry_that_raised_is_tried_again_as_often_as_retries_says(ds: Dataset, marks: Path) -> None:
    """And no more often."""

    def sometimes(df: Any) -> Any:
        name = df["sequence"].iloc[0]
        mark(str(marks), name)
        if calls(marks, name) < 3:
            raise ValueError("not yet")
        return df[["x"]]

    assert len(ds.run_feature(given(sometimes), sequences=["s000", "s001"], retries=2).failed_entries) == 0
    assert marked(marks) == {"s000": 3, "s001": 3}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cancelled_run_stops_and_is_resumed(ds: Dataset, marks: Path, workers: int) -> None:
    """What it had computed is not computed again."""
    record_tracks(ds.root, 60, rows=2, start=4)
    stop = threading.Event()
    params = {"marks": str(marks)}
    with pytest.raises(RunCancelled):
        ds.run_feature(
            Double(None, params),
            parallel_workers=workers,
            cancel=stop,
            progress=lambda _done, _all: stop.set(),
        )
    begun = calls(marks, "apply")
    assert 0 < begun < 64
    result = ds.run_feature(Double(None, params))
    assert calls(marks, "apply") == 64
    assert len(statuses(ds, result)) == 64
    assert not result.failed_entries


def test_progress_counts_up_to_all_entries(ds: Dataset) -> None:
    """And never goes back within a run."""
    seen: list[tuple[int, int]] = []
    ds.run_feature(Double(), progress=lambda done, whole: seen.append((done, whole)))
    assert seen[-1] == (4, 4)
    assert seen == sorted(seen)
    ds.run_feature(Rank(), progress=lambda done, whole: seen.append((done, whole)))
    assert seen[-1] == (4, 4)
