"""Scikit-learn estimators as features."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.ensemble import IsolationForest
from sklearn.feature_selection import VarianceThreshold
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import KBinsDiscretizer, QuantileTransformer, StandardScaler
from tests.features.library.recordings import frame_of
from tests.features.tracks import files, record_tracks

from gapless.errors import ArgumentRefused, FeatureFailed
from gapless.features.dataset import Dataset
from gapless.features.entry import EntryKey
from gapless.features.feature import Feature, InputStream
from gapless.features.sklearn_feature import sklearn_feature

RANDOM = np.random.default_rng(9)
VALUES = RANDOM.normal(size=(300, 2)) * (1, 5) + (3, -2)
Scaled = sklearn_feature("scaled", StandardScaler)


def frame(values: Any = VALUES) -> pd.DataFrame:
    """Return a frame of columns x and y."""
    return frame_of(np.arange(len(values)) / 10, x=values[:, 0], y=values[:, 1])


def fit(feature: Any, *frames: pd.DataFrame) -> Any:
    """Learn from frames without a store, and return the feature."""
    stream: list[tuple[EntryKey, Any]] = [(("g", f"s{n}"), df) for n, df in enumerate(frames)]
    feature.fit(InputStream(lambda: iter(stream), len(stream)))
    return feature


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Give a store of four sequences."""
    record_tracks(tmp_path / "store", 4, rows=25)
    return tmp_path / "store"


def test_three_lines_scale_a_data_set(store: Path) -> None:
    """Fitted over all entries, applied to each; the unit of the input does not stick to the output."""
    with Dataset(store) as ds:
        run = ds.run_feature(Scaled(params={"columns": ["x"]}))
        df = pd.concat([df for _, df in ds.results(run)])
        x = np.concatenate([100.0 * number + np.arange(25) for number in range(4)])
        np.testing.assert_allclose(df["scaled_x"], (x - x.mean()) / x.std(), atol=1e-12)
        topic = ds.client.sequence_handler("s000").topic(f"features/{run.feature}@{run.run_id}")
        assert topic.schema.field("scaled_x").metadata is None
        assert ds.run_feature(Scaled(params={"columns": ["x"]})).cache_hit


def test_the_same_bytes_on_every_way(store: Path) -> None:
    """The state holds no time and no address; other processes get the feature by what it is made of."""
    feature = sklearn_feature("forest", IsolationForest, n_estimators=10)
    with Dataset(store) as ds:
        run = ds.run_feature(feature(params={"seed": 3}))
        state, outputs = (ds.state_root(run) / "model.skops").read_bytes(), files(ds, run)
        again = ds.run_feature(
            feature(params={"seed": 3}), overwrite=True, parallel_workers=2, parallel_mode="process"
        )
        assert again.run_id == run.run_id
        assert (ds.state_root(again) / "model.skops").read_bytes() == state
        assert files(ds, again) == outputs


def test_what_makes_the_estimator_is_in_the_identity(store: Path) -> None:
    """Arguments, seed and the class itself; overrides add to the arguments of the class."""
    two = sklearn_feature("cut", KBinsDiscretizer, n_bins=2, encode="ordinal", quantile_method="linear")
    x = {"columns": ["x"]}
    with Dataset(store) as ds:
        runs = [
            ds.run_feature(made).run_id
            for made in (
                two(params=x),
                two(params={**x, "arguments": {"n_bins": 4}}),
                two(params={**x, "seed": 1}),
                sklearn_feature("cut", StandardScaler)(params=x),
            )
        ]
        assert len(set(runs)) == 4
    merged = two(params={"arguments": {"n_bins": 4}}).params.arguments
    assert merged == {"n_bins": 4, "encode": "ordinal", "quantile_method": "linear"}


def test_it_is_a_feature_that_travels() -> None:
    """A pickle names the estimator, not the class that was made; what it learned goes with it."""
    made = fit(Scaled(params={"columns": ["y"]}), frame())
    there = pickle.loads(pickle.dumps(made))
    assert isinstance(there, Feature)
    assert (there.name, there.version, there.params) == ("scaled", "1.0", made.params)
    pd.testing.assert_frame_equal(there.apply(frame()), made.apply(frame()))


# -- learning ----------------------------------------------------------------------------------


def test_batches_see_every_row_once() -> None:
    """Partial fits of batches that entries do not fill evenly give the mean of all rows."""
    parts = [frame(VALUES[:10]), frame(VALUES[10:140]), frame(VALUES[140:295]), frame(VALUES[295:])]
    made = fit(Scaled(params={"batch_rows": 50}), *parts)
    assert made._fitted.n_samples_seen_ == 300
    np.testing.assert_allclose(made._fitted.mean_, VALUES.mean(axis=0))


def test_the_last_batch_is_never_too_small() -> None:
    """An estimator that needs more rows than the last entry has gets them with the batch before."""
    made = fit(
        sklearn_feature("pca", IncrementalPCA, n_components=2)(params={"batch_rows": 100}),
        frame(VALUES[:150]), frame(VALUES[150:299]), frame(VALUES[299:]),
    )  # fmt: skip
    assert made._fitted.n_samples_seen_ == 300


def test_a_sample_is_fitted_at_once() -> None:
    """Where there is no partial_fit, or where it is asked for; seeded, and of at most so many rows."""
    whole = fit(sklearn_feature("pca", PCA)(), frame(VALUES[:200]), frame(VALUES[200:]))
    np.testing.assert_allclose(whole._fitted.mean_, VALUES.mean(axis=0))
    drawn = [
        fit(Scaled(params={"fit": "sample", "sample_rows": 50, "seed": seed}), frame())._fitted
        for seed in (0, 0, 1)
    ]
    assert {scaler.n_samples_seen_ for scaler in drawn} == {50}
    assert drawn[0].mean_.tolist() == drawn[1].mean_.tolist() != drawn[2].mean_.tolist()


def test_the_seed_is_the_random_state() -> None:
    """Unless the arguments have one, and only for estimators that take one."""
    made = sklearn_feature("km", KMeans, n_clusters=2, n_init=1)
    assert fit(made(params={"seed": 7}), frame())._fitted.random_state == 7
    own = made(params={"seed": 7, "arguments": {"random_state": 5}})
    assert fit(own, frame())._fitted.random_state == 5


def test_rows_that_are_not_whole_are_not_learned() -> None:
    """Their results are missing, in the types that whole rows have."""
    holed = VALUES.copy()
    holed[5, 0], holed[6, 1] = np.nan, np.inf
    made = fit(Scaled(), frame(holed))
    assert made._fitted.n_samples_seen_ == 298
    out = made.apply(frame(holed))
    assert np.flatnonzero(out["scaled_x"].isna()).tolist() == [5, 6]
    labels = fit(sklearn_feature("km", KMeans, n_clusters=2, n_init=1)(), frame(holed))
    for rows in (slice(0, 0), slice(0, 1), slice(5, 7), slice(0, 300)):
        part = labels.apply(frame(holed).iloc[rows])
        assert part["km"].dtype == "Int64"
        assert part["km"].isna().sum() == sum(row in (5, 6) for row in range(300)[rows])


def test_nothing_to_learn_from_is_refused() -> None:
    """In batches and at once, without entries and without whole rows."""
    for params in ({"fit": "batches"}, {"fit": "sample"}):
        for frames in ((), (frame(VALUES * np.nan),)):
            with pytest.raises(ArgumentRefused, match="no row without missing values"):
                fit(Scaled(params=params), *frames)


# -- what is said ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "arguments", "method", "names"),
    [
        (StandardScaler, {}, "auto", ["said_x", "said_y"]),
        (PCA, {"n_components": 1}, "auto", ["pca0"]),
        (VarianceThreshold, {"threshold": 4.0}, "auto", ["said_y"]),
        (QuantileTransformer, {"n_quantiles": 50}, "transform", ["said_x", "said_y"]),
        (MiniBatchKMeans, {"n_clusters": 3, "n_init": 1}, "auto", ["said"]),
        (GaussianMixture, {"n_components": 2}, "predict_proba", ["said_0", "said_1"]),
        (IsolationForest, {"n_estimators": 5}, "score_samples", ["said"]),
        (KMeans, {"n_clusters": 2, "n_init": 1}, "transform", ["kmeans0", "kmeans1"]),
    ],
    ids=lambda p: getattr(p, "__name__", None),
)
def test_outputs_are_those_of_the_estimator(
    estimator: Any, arguments: dict[str, Any], method: Any, names: list[str]
) -> None:
    """Value by value, in columns that are not called like the input's."""
    made = fit(sklearn_feature("said", estimator, **arguments)(params={"method": method}), frame())
    out = made.apply(frame())
    assert [name for name in out.columns if name not in frame().columns] == names
    called = method if method != "auto" else "predict" if hasattr(estimator, "predict") else "transform"
    expected = np.asarray(getattr(made._fitted, called)(VALUES)).reshape(300, -1)
    np.testing.assert_array_equal(out[names].to_numpy(dtype=np.float64), expected)


def test_sparse_outputs_are_columns() -> None:
    """One for each bin."""
    made = fit(sklearn_feature("bins", KBinsDiscretizer, n_bins=2, quantile_method="linear")(), frame())
    out = made.apply(frame())
    assert out.filter(like="bins_").shape[1] + out.filter(regex="^[xy]_").shape[1] == 4


# -- what is refused ---------------------------------------------------------------------------


def test_an_estimator_has_a_place() -> None:
    """A function that no other process can import, and parameters of another estimator."""
    with pytest.raises(ArgumentRefused, match="importable"):
        sklearn_feature("made", lambda copy: StandardScaler(copy=copy))
    other = sklearn_feature("other", PCA)()
    with pytest.raises(ArgumentRefused, match="another estimator"):
        Scaled(params=other.params.model_dump())
    with pytest.raises(ArgumentRefused, match="does not take these arguments"):
        fit(sklearn_feature("scaled", StandardScaler, n_bins=3)(), frame())


def test_what_it_cannot_do_is_refused() -> None:
    """A method, or a partial fit, that the estimator does not have."""
    with pytest.raises(FeatureFailed, match="predict_proba"):
        fit(Scaled(params={"method": "predict_proba"}), frame()).apply(frame())
    with pytest.raises(ArgumentRefused, match="partial_fit"):
        fit(sklearn_feature("pca", PCA)(params={"fit": "batches"}), frame())
