"""A trained model as a feature: cached by what the model is, in threads, processes and pipelines."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.features.training.toy_model import MeanModel, SevenModel
from tests.features.training.track_store import label_runs, labelled, record

from gapless.errors import ArgumentRefused, ArtifactMissing, FeatureFailed, UsageError
from gapless.features.dataset import Dataset
from gapless.features.training.classifier import OneVsRestClassifierModel
from gapless.features.training.model_run import ModelRun
from gapless.features.training.predict import PredictFeature
from gapless.features.training.train import train_model
from gapless.features.training.trained import load_model

CONFIG = {"labels": "behavior", "split": {"test_fraction": 0.5}}


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give eight labelled sequences."""
    with labelled(tmp_path / "store") as found:
        yield found


def test_predictions_are_a_feature(ds: Dataset) -> None:
    """Each row has its prediction, its time and its meta columns; the second run computes nothing."""
    run_id = train_model(ds, OneVsRestClassifierModel(), CONFIG)
    feature = PredictFeature(model=f"one-vs-rest@{run_id}")
    assert feature.name == "predict-one-vs-rest"
    result = ds.run_feature(feature)
    frames = dict(ds.results(result))
    assert list(frames) == ds.entries()
    frame = frames["day-0", "mouse-00"]
    assert {"timestamp_ns", "frame", "time", "p_run", "label"} <= set(frame.columns)
    assert frame["timestamp_ns"].tolist() == ds.frame("mouse-00")["timestamp_ns"].tolist()
    expected = load_model(ds.models_root, run_id).predict(ds.frame("mouse-00"))
    assert frame["p_run"].tolist() == expected["p_run"].tolist()
    assert ds.run_feature(PredictFeature(None, {"model": f"one-vs-rest@{run_id}"})).cache_hit


def test_another_training_is_another_run_of_the_feature(ds: Dataset) -> None:
    """The model's run belongs to the identity of its predictions."""
    ids = [train_model(ds, MeanModel(), {"rate": rate}) for rate in (1, 2)]
    first, second = (ds.run_feature(PredictFeature(model=f"mean@{run_id}")) for run_id in ids)
    assert first.feature == second.feature == "predict-mean"
    assert first.run_id != second.run_id


def test_weights_that_changed_make_predictions_stale(ds: Dataset) -> None:
    """The same run with other weights is seen; the same weights again change nothing."""

    run_id = train_model(ds, MeanModel())
    feature = PredictFeature(model=run_id)
    assert feature.name == f"predict-{run_id}"
    ds.run_feature(feature)
    train_model(ds, MeanModel(), overwrite=True)
    assert ds.run_feature(feature).cache_hit
    train_model(ds, SevenModel(), overwrite=True)
    result = ds.run_feature(feature)
    assert result.cache_hit is False
    assert {frame["mean"].iloc[0] for _, frame in ds.results(result)} == {7.0}


def test_a_new_sequence_is_predicted_alone(ds: Dataset) -> None:
    """The model stays the one that was named; only the new entry is computed."""
    run_id = train_model(ds, MeanModel())
    result = ds.run_feature(PredictFeature(model=run_id))
    before = {key: item.recorded_ns for key, item in ds.entry_records(result).items()}
    record(ds.client, "new")
    label_runs(ds.client, "new")
    ds.run_feature(PredictFeature(model=run_id))
    after = {key: item.recorded_ns for key, item in ds.entry_records(result).items()}
    assert {key: after[key] for key in before} == before
    assert set(after) - set(before) == {("", "new")}


def test_processes_predict_the_same_bytes(ds: Dataset) -> None:
    """Each worker loads the model for itself; a feature that was used is sent without its model."""
    run_id = train_model(ds, OneVsRestClassifierModel(), CONFIG)
    feature = PredictFeature(model=run_id)
    serial = {key: item.sha256 for key, item in ds.entry_records(ds.run_feature(feature)).items()}
    assert pickle.loads(pickle.dumps(feature))._loaded is None
    again = ds.run_feature(feature, overwrite=True, parallel_workers=2, parallel_mode="process")
    assert {key: item.sha256 for key, item in ds.entry_records(again).items()} == serial


def test_a_model_that_is_not_there_is_named(ds: Dataset) -> None:
    """Unknown runs, ambiguous run ids, half-trained runs and unknown classes are typed errors."""
    with pytest.raises(ArtifactMissing, match="no such model run"):
        ds.run_feature(PredictFeature(model="mean@0.1-000000000000"))

    class Second(MeanModel):
        name = "second"

    run_id = train_model(ds, MeanModel())
    ModelRun.of(ds.models_root, "second", run_id).path.mkdir(parents=True)
    with pytest.raises(ArgumentRefused, match="several models"):
        ds.run_feature(PredictFeature(model=run_id))
    with pytest.raises(ArtifactMissing, match="not trained"):
        ds.run_feature(PredictFeature(model=f"second@{run_id}"))
    local = train_model(ds, Second())
    with pytest.raises(UsageError, match="cannot be imported"):
        ds.run_feature(PredictFeature(model=f"second@{local}"))
    assert load_model(ds.models_root, f"second@{local}", Second()).mean == pytest.approx(1.0, abs=0.2)


def test_a_class_that_changed_is_not_taken_for_the_trained_one(ds: Dataset) -> None:
    """Another version of the class does not load the weights."""

    class Newer(MeanModel):
        version = "0.2"

    run_id = train_model(ds, MeanModel())
    with pytest.raises(ArgumentRefused, match="another name or version"):
        load_model(ds.models_root, run_id, Newer())


def test_as_many_rows_out_as_in(ds: Dataset) -> None:
    """A model that drops rows fails the entry; nothing is shifted."""

    class Dropping(MeanModel):
        def predict(self, df: Any) -> Any:
            return super().predict(df.iloc[1:])

    feature = PredictFeature(model="mean@x")
    feature._loaded = Dropping()
    with pytest.raises(FeatureFailed, match="number of rows"):
        feature.apply(ds.frame("mouse-00"))


def test_the_model_is_named_once() -> None:
    """Either as ``model`` or in ``params``, and one of them there must be."""
    with pytest.raises(ArgumentRefused):
        PredictFeature(None, {"model": "a@b"}, model="c@d")
    with pytest.raises(ValueError, match="model"):
        PredictFeature()
