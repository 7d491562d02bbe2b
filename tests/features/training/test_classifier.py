"""The one-vs-rest classifier against scikit-learn, and its files against code."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, precision_recall_fscore_support
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.features.training.doubling import Double
from tests.features.training.track_store import START_NS, STEP_NS, labelled, record

from gapless.errors import ArgumentRefused, ArtifactMissing, LabelsMissing, ModelFailed, UntrustedArtifact
from gapless.features.dataset import Dataset
from gapless.features.labels_source import FeatureLabelsSource
from gapless.features.result import Result
from gapless.features.training.classifier import OneVsRestClassifierModel
from gapless.features.training.metrics import class_metrics, mean_metrics
from gapless.features.training.model import Model
from gapless.features.training.model_run import ModelRun
from gapless.features.training.plan import plan_training
from gapless.features.training.progress_file import SQLiteProgressCallback
from gapless.features.training.skops_file import load_skops, save_skops
from gapless.features.training.train import train_model
from gapless.features.training.trained import load_model

KINDS = ("logistic", "random-forest", "gradient-boosting", "linear-svm")
CONFIG = {"labels": "behavior", "split": {"test_fraction": 0.5}}


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give eight labelled sequences."""
    with labelled(tmp_path / "store") as found:
        yield found


def trained(ds: Dataset, config: dict[str, Any]) -> tuple[ModelRun, dict[str, Any]]:
    """Train and return the run and its metrics."""
    run_id = train_model(ds, OneVsRestClassifierModel(), config)
    run = ModelRun.of(ds.models_root, "one-vs-rest", run_id)
    return run, json.loads((run.path / "metrics.json").read_bytes())


@pytest.mark.parametrize("kind", KINDS)
def test_each_classifier_learns_predicts_and_comes_back(ds: Dataset, kind: str) -> None:
    """Each tells running from resting, and what is loaded predicts what was trained, in 0 to 1."""
    run, metrics = trained(ds, {**CONFIG, "classifier": kind})
    assert metrics["test"]["classes"]["run"]["f1"] > 0.9
    assert metrics["test"]["classes"]["run"]["support"] == 30 * len(run.manifest()["split"]["test"])
    assert metrics["train_rows"] + metrics["test_rows"] == 8 * 60
    frame = ds.frame("mouse-01")
    predicted = load_model(ds.models_root, f"one-vs-rest@{run.path.name}").predict(frame)
    assert list(predicted.columns) == ["p_run", "label"]
    assert len(predicted) == len(frame)
    assert predicted["p_run"].between(0, 1).all()
    assert set(predicted["label"]) == {"", "run"}
    assert (predicted["label"].eq("run") == predicted["p_run"].ge(0.5)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_repeated_gives_the_same_bytes(ds: Dataset, kind: str) -> None:
    """Trained again the files are the same, so what was predicted with them stays valid."""
    run, _ = trained(ds, {**CONFIG, "classifier": kind})
    before = run.manifest()["files"]
    train_model(ds, OneVsRestClassifierModel(), {**CONFIG, "classifier": kind}, overwrite=True)
    assert run.manifest()["files"] == before


def test_the_probabilities_are_those_of_scikit_learn(ds: Dataset) -> None:
    """Nothing is done to the rows but standardising them with what the train side has."""
    run, metrics = trained(ds, CONFIG)
    plan = plan_training(ds, OneVsRestClassifierModel(), CONFIG)
    running = np.tile((np.arange(60) // 10) % 2 == 1, len(plan.train))
    rows = pd.concat([ds.frame(sequence)[["X", "Y"]] for _, sequence in plan.train]).to_numpy()
    expected = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(rows, running)
    model = load_model(ds.models_root, run.path.name)
    test = pd.concat([ds.frame(sequence) for _, sequence in plan.test])
    found = model.predict(test)["p_run"].to_numpy()
    np.testing.assert_allclose(found, expected.predict_proba(test[["X", "Y"]].to_numpy())[:, 1], atol=1e-9)
    truth = np.tile((np.arange(60) // 10) % 2 == 1, len(plan.test))
    assert metrics["test"]["classes"]["run"]["average_precision"] == pytest.approx(
        average_precision_score(truth, found)
    )


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0])), min_size=1, max_size=40),
    st.sampled_from([0.2, 0.5, 0.6]),
)
def test_metrics_are_those_of_scikit_learn(rows: list[tuple[bool, float]], threshold: float) -> None:
    """Precision, recall, f1 and average precision agree, ties included; a ratio over nothing is None."""
    truth = np.array([is_true for is_true, _ in rows])
    probability = np.array([p for _, p in rows])
    found = class_metrics(truth, probability, threshold)
    predicted = probability >= threshold
    expected = precision_recall_fscore_support(truth, predicted, average="binary", zero_division=0.0)
    for name, value in zip(("precision", "recall", "f1"), expected, strict=False):
        assert (found[name] or 0.0) == pytest.approx(value)
    assert found["support"] == truth.sum()
    assert (found["precision"] is None) == (not predicted.any())
    assert (found["recall"] is None) == (not truth.any())
    if truth.any():
        assert found["average_precision"] == pytest.approx(average_precision_score(truth, probability))


def test_the_mean_is_over_what_there_is() -> None:
    """A class without a metric does not count as zero."""
    truth = np.array([True, False])
    found = {
        "a": class_metrics(truth, np.array([1.0, 0.0]), 0.5),
        "b": class_metrics(~truth & truth, np.array([0.0, 0.0]), 0.5),
    }
    assert mean_metrics(found)["f1"] == 1.0
    assert mean_metrics({"b": found["b"]})["f1"] is None


def test_overlapping_labels_are_all_learned(ds: Dataset) -> None:
    """A row may have several labels; each classifier sees its own."""
    for _, sequence in ds.entries():
        ds.client.annotate(
            sequence, START_NS + 15 * STEP_NS, START_NS + 34 * STEP_NS, "turn", kind="behavior"
        )
    _, metrics = trained(ds, CONFIG)
    classes = metrics["test"]["classes"]
    sequences = classes["run"]["support"] / 30
    assert classes["turn"]["support"] == 20 * sequences
    _, chosen = trained(ds, {**CONFIG, "classes": ["turn"]})
    assert list(chosen["test"]["classes"]) == ["turn"]


def test_folds_are_measured_on_what_they_left_out(ds: Dataset) -> None:
    """Every fold has its metrics, over the rows of the train side only, each once."""
    _, metrics = trained(ds, {**CONFIG, "split": {"test_fraction": 0.25, "folds": 2}})
    supports = [fold["classes"]["run"]["support"] for fold in metrics["folds"]]
    assert len(supports) == 2
    assert sum(supports) == metrics["train_rows"] // 2


def test_missing_numbers_are_learned_with_and_predicted(ds: Dataset) -> None:
    """NaN and infinity in a frame give a probability, the one of the column's median."""
    run, _ = trained(ds, CONFIG)
    model = load_model(ds.models_root, run.path.name)
    frame = pd.DataFrame({"X": [np.nan, np.inf, 2.0], "Y": [0.0, 0.0, 0.0]}, index=[7, 8, 9])
    found = model.predict(frame)
    assert list(found.index) == [7, 8, 9]
    assert found["p_run"].iloc[0] == found["p_run"].iloc[1] < found["p_run"].iloc[2]
    assert model.predict(frame.iloc[:0]).to_dict("list") == {"p_run": [], "label": []}


def test_labels_of_a_feature_are_learned(ds: Dataset) -> None:
    """A column of a feature's output is a label of its rows; its run is pinned."""
    result = ds.run_feature(Double())
    source = FeatureLabelsSource(feature="double")
    model = OneVsRestClassifierModel([Result(feature="double")])
    run_id = train_model(ds, model, {"labels": source, "columns": ["X"], "split": {"test_fraction": 0.5}})
    run = ModelRun.of(ds.models_root, "one-vs-rest", run_id)
    assert run.manifest()["labels"][0][0]["run_id"] == result.run_id
    metrics = json.loads((run.path / "metrics.json").read_bytes())
    assert list(metrics["test"]["classes"]) == ["high"]
    assert metrics["test"]["classes"]["high"]["average_precision"] == 1.0


def test_the_progress_names_every_class(ds: Dataset, tmp_path: Path) -> None:
    """Phases and classes are told in order."""
    events = SQLiteProgressCallback(tmp_path / "p.db", "job")
    train_model(ds, OneVsRestClassifierModel(), CONFIG, progress_callback=events)
    told = [
        (event["step_type"], event["metrics"].get("phase", event["message"]))
        for event in events.get_progress()
    ]
    assert told == [("phase", "read"), ("phase", "fit"), ("class", "run"), ("phase", "test")]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"classifier": "oracle"}, "classifier"),
        ({"depth": 3}, "depth"),
        ({"options": {"depth": 3}}, "no such option"),
        ({"threshold": 2}, "threshold"),
        ({"classes": ["never"]}, "never there"),
        ({"columns": ["Z"]}, "column"),
    ],
)
def test_a_configuration_that_means_nothing_is_refused(
    ds: Dataset, change: dict[str, Any], match: str
) -> None:
    """Unknown names, options, classes and columns are told by name."""
    with pytest.raises((ArgumentRefused, ModelFailed), match=match):
        train_model(ds, OneVsRestClassifierModel(), {**CONFIG, **change})


def test_unlabelled_sequences_are_not_learned_from(ds: Dataset) -> None:
    """A sequence without labels is no sequence in which nothing happens."""
    record(ds.client, "unlabelled")
    plan = plan_training(ds, OneVsRestClassifierModel(), CONFIG)
    assert ("", "unlabelled") not in plan.entries
    with pytest.raises(LabelsMissing, match="--kind sleep"):
        plan_training(ds, OneVsRestClassifierModel(), {**CONFIG, "labels": "sleep"})


def test_a_model_is_a_model_and_must_be_loaded(tmp_path: Path) -> None:
    """The class follows the protocol; predicting before loading, or loading nothing, is told."""
    model = OneVsRestClassifierModel()
    assert isinstance(model, Model)
    with pytest.raises(ArtifactMissing, match="not loaded"):
        model.predict(pd.DataFrame({"X": [1.0]}))
    with pytest.raises(ArtifactMissing, match="no classifiers"):
        model.load(tmp_path)


def test_a_file_with_unknown_types_is_refused(tmp_path: Path) -> None:
    """A file that names a type which skops does not know as harmless is not loaded."""
    save_skops({"a": LogisticRegression().fit([[0.0], [1.0]], [0, 1])}, tmp_path / "good.skops")
    assert load_skops(tmp_path / "good.skops")["a"].predict([[2.0]]) == [1]
    with (
        zipfile.ZipFile(tmp_path / "good.skops") as good,
        zipfile.ZipFile(tmp_path / "bad.skops", "w") as bad,
    ):
        for name in good.namelist():
            data = good.read(name)
            bad.writestr(name, data.replace(b'"LogisticRegression"', b'"Popen"').replace(
                b'"sklearn.linear_model._logistic"', b'"subprocess"'))  # fmt: skip
    with pytest.raises(UntrustedArtifact, match=r"subprocess\.Popen"):
        load_skops(tmp_path / "bad.skops")
