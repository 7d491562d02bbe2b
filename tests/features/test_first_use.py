"""What a first user does wrong, and what happens to their data meanwhile: always said, and what to do about it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.unprivileged import run_again

from gapless.errors import (
    AllEntriesFailed,
    IntegrityError,
    ModelFailed,
    NotFound,
    RunCancelled,
    StorageFailed,
)
from gapless.features import (
    CallbackStep,
    Columns,
    Dataset,
    FeatureStep,
    FeatureWarning,
    ModelStep,
    OneVsRestClassifierModel,
    Pipeline,
    PredictFeature,
    Result,
    accept_code,
    sample_frames,
    train_model,
)
from gapless.features.library import BandPower, Derivative, RollingStatistics, SpeedAngvel, WelchSpectrum
from gapless.model.query_text import parse

from .toy_features import Centre, Double, Plus, Toy, given
from .tracks import files, record_topics, record_tracks, times_of, tree, values
from .training.toy_model import MeanModel
from .training.track_store import label_runs, labelled, record


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give a data set of three sequences."""
    record_tracks(tmp_path / "store", 3)
    with Dataset(tmp_path / "store") as dataset:
        yield dataset


def row(pipeline: Pipeline, ds: Dataset, step: str) -> dict[str, Any]:
    """Return the row of a step's status."""
    table = pipeline.status(ds)
    return dict(table.set_index("step").loc[step])


# -- nothing in scope --------------------------------------------------------------------------


def test_a_topic_that_no_sequence_has_is_refused_with_those_there_are(ds: Dataset) -> None:
    """By the run, and told by status and plan; it is never cached."""
    record_topics(ds.root, "other", {"weather": (pa.schema([("t", pa.float64())]), [1], {"t": [0.5]})})
    pipeline = Pipeline().add(FeatureStep("d", Double)).add(FeatureStep("p", Plus, None, ["d"]))
    with Dataset(ds.root, topic="trakcs") as wrong:
        before = tree(ds.root)
        with pytest.raises(NotFound, match=r"the topic 'trakcs'; expected tracks, weather"):
            pipeline.run(wrong)
        with pytest.raises(NotFound, match="'trakcs'"):
            wrong.run_feature(Double())
        found = row(pipeline, wrong, "d")
        assert (found["n_seq"], found["cached"]) == (0, False)
        assert "'trakcs'; there are: tracks, weather" in found["why"]
        assert row(pipeline, wrong, "p")["cached"] is False
        plan = pipeline.plan(wrong)
        assert plan["step"].tolist() == ["d", "p"]
        assert "'trakcs'" in plan["why"][0]
        assert pipeline.load(wrong) == {}
        with pytest.raises(NotFound, match=r"the topic 'trakcs'; expected tracks, weather"):
            train_model(wrong, MeanModel())
        assert tree(ds.root) == before


def test_a_topic_that_is_not_there_removes_nothing(ds: Dataset) -> None:
    """The runs that the mended pipeline expects are still there after its clean."""
    pipeline = Pipeline().add(FeatureStep("d", Double))
    pipeline.run(ds)
    with Dataset(ds.root, topic="trakcs") as wrong:
        assert pipeline.clean(wrong, dry_run=False)["status"].tolist() == ["kept"]
    assert pipeline.run(ds)["d"].cache_hit


def test_a_query_that_finds_nothing_runs_with_a_warning(ds: Dataset) -> None:
    """Tomorrow it may find something; until then nothing is computed, learned or called cached."""
    pipeline = Pipeline().add(FeatureStep("c", Centre)).add(FeatureStep("p", Plus, None, ["c"]))
    with Dataset(ds.root, where=parse('name = "nobody"')) as none:
        with pytest.warns(FeatureWarning) as said:
            results = pipeline.run(none)
        told = [str(item.message) for item in said]
        assert told == [
            "centre: no sequence of the data set is in scope, so nothing was computed",
            "plus: no sequence of the data set is in scope, so nothing was computed",
        ]
        assert [result.cache_hit for result in results.values()] == [False, False]
        found = row(pipeline, none, "c")
        assert (found["n_seq"], found["cached"], found["why"]) == (
            0, False, "no sequence of the data set is in scope",
        )  # fmt: skip
        assert pipeline.plan(none)["status"].tolist() == ["no entries", "no entries"]
        assert not ds.features_root.exists()


def test_a_data_set_makes_no_store(tmp_path: Path) -> None:
    """A folder that holds none is not turned into one."""
    with pytest.raises(NotFound, match="no store in the folder"):
        Dataset(tmp_path / "nostore")
    assert not (tmp_path / "nostore").exists()


# -- changed code ------------------------------------------------------------------------------


class OtherDouble(Double):
    """Under the name and version of another class."""

    def apply(self, df: Any) -> Any:
        """Return something else."""
        return df.assign(value=-df["x"])


def test_other_code_under_one_name_is_said_at_every_run(ds: Dataset) -> None:
    """Whether everything is cached or not, and by every way of running; until it is accepted or forced."""
    before = values(ds, ds.run_feature(Double()))
    pipeline = Pipeline().add(FeatureStep("d", OtherDouble))
    for _ in range(2):
        with pytest.warns(FeatureWarning, match="double: 3 outputs were made by other source code") as said:
            result = pipeline.run(ds)["d"]
        assert len(said) == 1
        assert result.cache_hit is True
        assert values(ds, result) == before
    record_tracks(ds.root, 1, start=3)
    with pytest.warns(FeatureWarning, match="3 outputs were made by other source code"):
        assert pipeline.run(ds)["d"].cache_hit is False
    with pytest.warns(FeatureWarning, match="gapless features accept"):
        ds.run_feature(OtherDouble())
    pipeline.run(ds, force_from="d")  # warnings are errors here
    pipeline.run(ds)
    assert pipeline.status(ds)["why"].tolist() == [""]


# -- damaged outputs ---------------------------------------------------------------------------


class Same(Toy):
    """What it is given."""

    name: ClassVar[str] = "same"
    version: ClassVar[str] = "1.0"

    def apply(self, df: Any) -> Any:
        """Return it."""
        return df


def damage(path: Path) -> None:
    """Flip one bit of the last value in a file; size and time stay."""
    status = path.stat()
    group = pq.read_metadata(path).row_group(0)
    last = max(
        (group.column(place) for place in range(group.num_columns)),
        key=lambda column: column.data_page_offset,
    )
    data = bytearray(path.read_bytes())
    data[last.data_page_offset + last.total_compressed_size - 1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_damaged_input_is_made_again(ds: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    """Its entry is stale from the moment that its bytes were read, and the next run mends all."""
    pipeline = Pipeline().add(FeatureStep("d", Double)).add(FeatureStep("p", Plus, None, ["d"]))
    results = pipeline.run(ds)
    good = files(ds, results["d"]), files(ds, results["p"])
    damage(ds.entry_path(results["d"], "s001"))
    with caplog.at_level(logging.WARNING):
        again = pipeline.run(ds, force_from="p")
    assert again["p"].failed_entries == (("g0", "s001"),)
    assert any("the output of s001 is not what was written" in text for text in caplog.messages)
    found = row(pipeline, ds, "d")
    assert (found["cached"], found["ok"], found["stale"]) == ("stale", 2, 1)
    assert found["why"] == "its output is not what was written"
    mended = pipeline.run(ds)
    assert mended["d"].cache_hit is False
    assert not mended["p"].failed_entries
    assert (files(ds, mended["d"]), files(ds, mended["p"])) == good
    assert pipeline.plan(ds).empty


def test_a_damaged_input_is_remembered_without_the_catalog(ds: Dataset) -> None:
    """The mark stands in the run's ledger."""
    pipeline = Pipeline().add(FeatureStep("d", Double)).add(FeatureStep("p", Plus, None, ["d"]))
    results = pipeline.run(ds)
    damage(ds.entry_path(results["d"], "s001"))
    pipeline.run(ds, force_from="p")
    ds.close()
    for path in ds.root.glob("catalog.db*"):
        path.unlink()
    with Dataset(ds.root) as again:
        assert row(pipeline, again, "d")["stale"] == 1


def test_what_learned_from_a_damaged_input_is_mended_too(ds: Dataset) -> None:
    """Learning reads all inputs, so it is the first to meet the damage."""
    learning = FeatureStep("c", Centre, {"column": "value"}, ["d"])
    pipeline = Pipeline().add(FeatureStep("d", Double)).add(learning)
    results = pipeline.run(ds)
    good = values(ds, results["c"])
    damage(ds.entry_path(results["d"], "s002"))
    with pytest.raises(IntegrityError):
        pipeline.run(ds, force_from="c")
    assert row(pipeline, ds, "d")["stale"] == 1
    assert values(ds, pipeline.run(ds)["c"]) == good


def test_a_model_that_reads_a_damaged_input_is_mended_too(tmp_path: Path) -> None:
    """Its training fails, and the next run computes the input and trains."""
    with labelled(tmp_path / "store", 4) as ds:
        pipeline = Pipeline().add(FeatureStep("same", Same)).add(ModelStep("m", MeanModel, None, ["same"]))
        same = pipeline.run(ds)["same"]
        damage(ds.entry_path(same, "mouse-02"))
        with pytest.raises(ModelFailed, match="IntegrityError"):
            pipeline.run(ds, force_from="m")
        assert row(pipeline, ds, "same")["stale"] == 1
        pipeline.run(ds)
        assert pipeline.status(ds)["cached"].tolist() == [True, True]


# -- a failed step -----------------------------------------------------------------------------


class Broken(Toy):
    """Fails at everything."""

    name: ClassVar[str] = "broken"
    version: ClassVar[str] = "1.0"

    def apply(self, df: Any) -> Any:
        """Raise."""
        raise ZeroDivisionError("always")


class Unlearned(Centre):
    """Fails at learning."""

    name: ClassVar[str] = "unlearned"

    def fit(self, inputs: Any) -> None:
        """Raise."""
        raise ZeroDivisionError("nothing can be learned")


def test_a_failed_step_stops_only_what_depends_on_it(
    ds: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest is computed; then the first failure is raised."""
    called: list[str] = []
    pipeline = (
        Pipeline()
        .add(FeatureStep("bad", Broken))
        .add(FeatureStep("after", Plus, None, ["bad"]))
        .add(CallbackStep("late", lambda _ds, _results: called.append("late"), ["after"]))
        .add(CallbackStep("any", lambda _ds, _results: called.append("any")))
        .add(FeatureStep("worse", Unlearned))
        .add(FeatureStep("good", Double))
        .add(CallbackStep("told", lambda _ds, _results: called.append("told"), ["good"]))
    )
    with caplog.at_level(logging.WARNING), pytest.raises(AllEntriesFailed, match="broken failed"):
        pipeline.run(ds)
    assert list(pipeline.results) == ["good"]
    assert called == ["told"]
    told = "\n".join(caplog.messages)
    assert "after: not run, because bad failed" in told
    assert "late: not run, because after failed" in told
    assert "worse failed: nothing can be learned" in told
    assert pipeline.status(ds).set_index("step")["ok"][["bad", "good"]].tolist() == [0, 3]


def test_a_cancelled_step_ends_the_run(ds: Dataset) -> None:
    """Nothing is begun after it."""

    class Told:
        def is_set(self) -> bool:
            return True

    steps = FeatureStep("one", Double, None, [], {"cancel": Told()}), FeatureStep("two", Plus)
    pipeline = Pipeline().add(steps[0]).add(steps[1])
    with pytest.raises(RunCancelled):
        pipeline.run(ds)
    assert not (ds.features_root / "plus").exists()


def test_a_missing_column_is_named(ds: Dataset) -> None:
    """In what is recorded of the entry, too."""
    with pytest.raises(AllEntriesFailed, match="no input has the column 'speed'"):
        ds.run_feature(given(lambda df: df, input_columns=("speed",)))


# -- models ------------------------------------------------------------------------------------


def test_why_a_model_is_trained_again_is_told(tmp_path: Path) -> None:
    """By what changed, and in which entries."""
    with labelled(tmp_path / "store", 8) as ds:
        pipeline = Pipeline().add(
            ModelStep("m", OneVsRestClassifierModel, {"labels": "behavior"}, ["tracks"])
        )
        assert row(pipeline, ds, "m")["why"] == "not trained yet"
        pipeline.run(ds)
        assert row(pipeline, ds, "m")["why"] == ""
        [start, end] = 1_700_000_000_000_000_000, 1_700_000_000_500_000_000
        ds.client.annotate("mouse-01", start, end, "rest", kind="behavior")
        found = row(pipeline, ds, "m")
        assert found["cached"] is False
        assert found["why"] == "since it was trained: labels behavior changed (mouse-01)"
        assert pipeline.why(ds, "m", "mouse-01") == found["why"]
        pipeline.run(ds)
        record(ds.client, "new")
        label_runs(ds.client, "new")
        assert row(pipeline, ds, "m")["why"] == (
            "since it was trained: entries new (new), labels behavior new (new)"
        )
        other = Pipeline().add(ModelStep("m", MeanModel, {"seed": 1}, ["tracks"]))
        other.run(ds)
        changed = Pipeline().add(ModelStep("m", MeanModel, {"seed": 2}, ["tracks"]))
        assert "another configuration, another seed" in row(changed, ds, "m")["why"]


def test_a_prediction_is_traced_to_its_model_and_labels(tmp_path: Path) -> None:
    """And a model to its inputs, labels and recordings."""
    with labelled(tmp_path / "store", 8) as ds:
        smooth = ds.run_feature(given(lambda df: df[["X", "Y"]]))
        model = OneVsRestClassifierModel((smooth,))
        reference = f"{model.name}@{train_model(ds, model, {'labels': 'behavior'})}"
        predicted = ds.run_feature(PredictFeature((smooth,), model=reference))
        tree_ = ds.registry.lineage(predicted.feature, str(predicted.run_id), deep=True)
        [made_with] = tree_["predicts_with"]
        assert f"{made_with['model']}@{made_with['run_id']}" == reference
        assert made_with["labels"] == ["behavior"]
        assert [node["feature"] for node in made_with["upstream"]] == [smooth.feature]
        alone = ds.registry.model_lineage(model.name)
        assert {name: alone[name] for name in made_with} == made_with
        assert [item["sequence"] for item in alone["sequences"]] == [f"mouse-{n:02d}" for n in range(8)]
        assert all(item["content_digest"] for item in alone["sequences"])
        event = ds.registry.open_lineage(predicted.feature, str(predicted.run_id))
        assert any("models" in item["name"] for item in event["inputs"])
        with pytest.raises(NotFound, match="no such model run"):
            ds.registry.model_lineage(model.name, "9.9")


def test_the_lineage_of_a_run_that_is_not_there_is_refused(ds: Dataset) -> None:
    """It would look like one that was made from nothing."""
    result = ds.run_feature(Double())
    with pytest.raises(NotFound, match=r"no such feature run; found double 9\.9"):
        ds.registry.lineage(result.feature, "9.9", deep=True)


# -- units -------------------------------------------------------------------------------------


def units_of(ds: Dataset, result: Result[str]) -> dict[str, str]:
    """Return the units of a run's output."""
    [sequence] = [key[1] for key in ds.entries()]
    schema = ds.client.sequence_handler(sequence).topic(f"features/{result.feature}@{result.run_id}").schema
    return {f.name: f.metadata[b"unit"].decode() for f in schema if f.metadata and b"unit" in f.metadata}


def test_the_library_keeps_and_derives_units(tmp_path: Path) -> None:
    """Of what it computes; a column without a unit gives none."""
    meters, speed = {b"unit": b"m"}, {b"unit": b"m/s"}
    schema = pa.schema(
        [
            pa.field("x", pa.float64(), metadata=meters),
            pa.field("y", pa.float64(), metadata=meters),
            pa.field("v", pa.float64(), metadata=speed),
            pa.field("n", pa.float64()),
            pa.field("a", pa.float64(), metadata={b"unit": b"rad"}),
        ]
    )
    rows = 100
    columns = {name: np.sin(np.arange(rows) / 5 + place) for place, name in enumerate(schema.names)}
    record_topics(tmp_path / "store", "one", {"tracks": (schema, times_of(0, rows), columns)})
    names = {"columns": ["x", "v", "n"]}
    with Dataset(tmp_path / "store", Columns(x_col="x", y_col="y")) as ds:
        rolling = ds.run_feature(
            RollingStatistics(None, {**names, "window_rows": 5, "statistics": ["mean", "std"]})
        )
        assert units_of(ds, rolling) == {"x_mean": "m", "x_std": "m", "v_mean": "m/s", "v_std": "m/s"}
        change = ds.run_feature(Derivative(None, {"columns": ["x", "v", "n", "a"], "angles": ["a"]}))
        assert units_of(ds, change) == {"x_per_s": "m/s", "v_per_s": "(m/s)/s", "a_per_s": "rad/s"}
        spectrum = ds.run_feature(WelchSpectrum(None, names))
        assert units_of(ds, spectrum) == {"frequency_hz": "Hz", "x_psd": "m^2/Hz", "v_psd": "(m/s)^2/Hz"}
        bands = {"bands": {"low": (0.5, 2.0)}}
        power = ds.run_feature(BandPower(None, {**names, **bands}))
        assert units_of(ds, power) == {"x_low": "m^2", "v_low": "(m/s)^2"}
        assert units_of(ds, ds.run_feature(BandPower(None, {**names, **bands, "relative": True}))) == {}
        moved = ds.run_feature(SpeedAngvel(None, {"heading": "movement"}))
        assert units_of(ds, moved) == {"speed": "m/s", "angvel": "rad/s"}


# -- reading only ------------------------------------------------------------------------------


def test_a_dry_sample_keeps_nothing(ds: Dataset) -> None:
    """It is the choice that a real one makes."""
    before = tree(ds.root)
    dry = sample_frames(ds, 7, "random", seed=3, record=False)
    assert tree(ds.root) == before
    real = sample_frames(ds, 7, "random", seed=3)
    assert dry.table.equals(real.table)
    assert (dry.result.feature, dry.result.run_id) == (real.result.feature, real.result.run_id)


def test_a_store_that_cannot_be_written_says_so(ds: Dataset, request: pytest.FixtureRequest) -> None:
    """With advice that fits, from whatever would have written."""
    if run_again(request):
        return
    result = ds.run_feature(Double())
    folders = [ds.root, ds.features_root, *ds.features_root.rglob("*/")]
    for folder in folders:
        folder.chmod(0o555)
    try:
        with pytest.raises(StorageFailed, match=r"cannot be written here.*mount it writable"):
            ds.run_feature(Plus((result,)))
        with pytest.raises(StorageFailed, match="cannot be written here"):
            accept_code(ds.root, "double", str(result.run_id), {"a>b"})
        with pytest.raises(StorageFailed, match="cannot be written here"):
            train_model(ds, MeanModel())
        assert ds.run_feature(Double()).cache_hit
    finally:
        for folder in folders:
            folder.chmod(0o755)
