"""k-means, Ward and principal components over templates."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from tests.features.library.recordings import frame_of
from tests.features.tracks import files, record_topics

from gapless.errors import AllEntriesFailed, ArgumentRefused, ArtifactMissing
from gapless.features.arrays import read_arrays, write_arrays
from gapless.features.dataset import Dataset
from gapless.features.library import (
    KMeansAssignment,
    KMeansModel,
    PCAModel,
    PCAProjection,
    Templates,
    TemplatesArtifact,
    WardAssignment,
    WardModel,
)
from gapless.features.library.nearest_center import by_size, nearest_center
from gapless.features.pipeline import Pipeline
from gapless.features.step import FeatureStep

RANDOM = np.random.default_rng(3)
CENTERS = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 1000.0]])
SIZES = (60, 40, 20)
SCHEMA = pa.schema([("a", pa.float64()), ("b", pa.float64())])
BLOBS = np.concatenate(
    [center + RANDOM.normal(size=(n, 2)) * (1, 20) for center, n in zip(CENTERS, SIZES, strict=True)]
)
MODELS: list[tuple[Any, Any, dict[str, Any]]] = [
    (KMeansAssignment, KMeansModel, {"k": 3}),
    (WardAssignment, WardModel, {"k": 3}),
    (PCAProjection, PCAModel, {"components": 2}),
]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Give a store of two sequences that share the points of three clouds."""
    for number in (0, 1):
        values = BLOBS[number::2]
        times = np.arange(len(values), dtype=np.int64) * 10**8
        topic = {"tracks": (SCHEMA, times, {"a": values[:, 0], "b": values[:, 1]})}
        record_topics(tmp_path / "store", f"s{number}", topic)
    return tmp_path / "store"


def templates_of(ds: Dataset) -> TemplatesArtifact:
    """Return the templates of a data set: all its rows."""
    return TemplatesArtifact.from_result(ds.run_feature(Templates()))


def learned(ds: Dataset, run: Any) -> dict[str, NDArray[Any]]:
    """Return the arrays of a run's model."""
    return read_arrays(ds.state_root(run) / "model.npz")


def fitted(cls: Any, params: dict[str, Any], values: NDArray[np.float64], folder: Path) -> Any:
    """Return a feature fitted on values, without a store."""
    pd.DataFrame(values, columns=["a", "b"]).to_parquet(folder / "templates.parquet")
    feature = cls(None, {"templates": TemplatesArtifact(), **params})
    assert not feature.load_state(folder / "nowhere", {"templates": folder / "templates.parquet"}, {})
    feature.fit(None)
    return feature


# -- against scikit-learn ----------------------------------------------------------------------


def test_kmeans_finds_what_scikit_learn_finds(store: Path) -> None:
    """The same centres and distances in scaled space; the largest cluster is number 0."""
    with Dataset(store) as ds:
        run = ds.run_feature(KMeansAssignment(["tracks"], {"templates": templates_of(ds), "k": 3, "seed": 4}))
        model = learned(ds, run)
        rows = np.concatenate([BLOBS[0::2], BLOBS[1::2]])
        scaled = (rows - rows.mean(axis=0)) / rows.std(axis=0)
        np.testing.assert_allclose(model["mean"], rows.mean(axis=0))
        peer = KMeans(3, n_init=10, random_state=4).fit(scaled)
        order = np.argsort(-np.bincount(peer.labels_))
        np.testing.assert_allclose(model["centers"], peer.cluster_centers_[order], atol=1e-9)
        assert model["sizes"].tolist() == list(SIZES)
        df = pd.concat([df for _, df in ds.results(run)])
        assert df["cluster"].tolist() == np.argsort(order)[peer.labels_].tolist()
        np.testing.assert_allclose(df["cluster_distance"], peer.transform(scaled).min(axis=1), atol=1e-9)


def test_ward_cuts_the_tree_that_scikit_learn_cuts(store: Path) -> None:
    """The same branches of the templates; rows go to the nearest centre."""
    with Dataset(store) as ds:
        params = {"templates": templates_of(ds), "k": 3, "standardize": False}
        run = ds.run_feature(WardAssignment(["tracks"], params))
        rows = np.concatenate([BLOBS[0::2], BLOBS[1::2]])
        labels = AgglomerativeClustering(3, linkage="ward").fit_predict(rows)
        model = learned(ds, run)
        assert model["linkage"].shape == (len(rows) - 1, 4)
        assert sorted(model["sizes"]) == sorted(np.bincount(labels))
        means = np.array([rows[labels == label].mean(axis=0) for label in range(3)])
        np.testing.assert_allclose(
            sorted(model["centers"].tolist()), sorted(means.tolist()), rtol=1e-9, atol=1e-9
        )
        found = pd.concat([df for _, df in ds.results(run)])["cluster"]
        assert found.tolist() == cdist(rows, model["centers"]).argmin(axis=1).tolist()


def test_components_are_those_of_scikit_learn(store: Path) -> None:
    """Up to the sign, which is that of the largest loading."""
    with Dataset(store) as ds:
        run = ds.run_feature(PCAProjection(["tracks"], {"templates": templates_of(ds)}))
        model = learned(ds, run)
        rows = np.concatenate([BLOBS[0::2], BLOBS[1::2]])
        peer = PCA(2).fit(rows)
        sign = np.sign(np.sum(peer.components_ * model["components"], axis=1))
        np.testing.assert_allclose(model["components"], peer.components_ * sign[:, None], atol=1e-9)
        np.testing.assert_allclose(model["variance"], peer.explained_variance_)
        np.testing.assert_allclose(model["variance_ratio"], peer.explained_variance_ratio_)
        assert (model["components"][np.arange(2), np.abs(model["components"]).argmax(axis=1)] > 0).all()
        df = pd.concat([df for _, df in ds.results(run)])
        np.testing.assert_allclose(df[["pc_1", "pc_2"]], peer.transform(rows) * sign, atol=1e-8)


def test_standardized_components_are_of_correlations(tmp_path: Path) -> None:
    """Of two columns they are the diagonals, whatever the columns' units."""
    found = fitted(PCAProjection, {"standardize": True}, BLOBS, tmp_path)._model["components"]
    np.testing.assert_allclose(np.abs(found), np.sqrt(0.5))


@pytest.mark.parametrize("seed", [0, 8])
def test_the_seed_is_that_of_the_starts(seed: int, tmp_path: Path) -> None:
    """Where there are no clusters to be found, another start finds others."""
    noise = np.random.default_rng(1).normal(size=(200, 2))
    params = {"k": 8, "n_init": 1, "standardize": False, "seed": seed}
    found = fitted(KMeansAssignment, params, noise, tmp_path)._model["centers"]
    peer = KMeans(8, n_init=1, random_state=seed).fit(noise).cluster_centers_
    np.testing.assert_allclose(sorted(found.tolist()), sorted(peer.tolist()), atol=1e-9)
    other = fitted(KMeansAssignment, params | {"seed": seed + 1}, noise, tmp_path)._model["centers"]
    assert not np.allclose(sorted(other.tolist()), sorted(found.tolist()))


def test_unscaled_clusters_follow_the_larger_unit(tmp_path: Path) -> None:
    """Standardizing is what lets the smaller column count."""
    truth = np.repeat([0, 1, 2], SIZES)
    scores = [
        adjusted_rand_score(truth, nearest_center(scaled, model["centers"])[0])
        for standardize in (True, False)
        if (model := fitted(KMeansAssignment, {"k": 3, "standardize": standardize}, BLOBS, tmp_path)._model)
        and (scaled := (BLOBS - model["mean"]) / model["scale"]) is not None
    ]
    assert scores[0] == 1.0
    assert scores[1] < 1.0


# -- what holds for all of them ----------------------------------------------------------------


@pytest.mark.parametrize(("feature", "artifact", "params"), MODELS, ids=lambda p: getattr(p, "name", None))
def test_a_fitted_model_serves_other_data(feature: Any, artifact: Any, params: Any, store: Path) -> None:
    """Made without inputs, then given: the same outputs as fitted on the spot, and nothing is learned."""
    with Dataset(store) as ds:
        templates = templates_of(ds)
        here = ds.run_feature(feature(["tracks"], {"templates": templates, **params}))
        alone = ds.run_feature(feature(params={"templates": templates, **params}))
        assert list(ds.results(alone)) == []
        given = ds.run_feature(feature(["tracks"], {"model": artifact.from_result(alone)}))
        assert files(ds, given) == files(ds, here)
        assert not (ds.state_root(given) / "model.npz").exists()
        key = artifact().load.key
        values = artifact.from_result(alone).from_path(ds.state_root(alone) / "model.npz")
        np.testing.assert_array_equal(values, learned(ds, alone)[key].astype(np.float32))


@pytest.mark.parametrize(("feature", "artifact", "params"), MODELS, ids=lambda p: getattr(p, "name", None))
def test_a_row_that_is_not_whole_has_no_result(
    feature: Any, artifact: Any, params: Any, tmp_path: Path
) -> None:
    """Its results are missing in types that other entries have; no rows and one row work."""
    made = fitted(feature, params, BLOBS, tmp_path)
    df = frame_of(np.arange(4.0), a=[0.0, np.nan, np.inf, 1.0], b=0.0)
    out = made.apply(df)
    names = [name for name in out.columns if name not in df.columns]
    assert names
    assert out[names].isna().all(axis=1).tolist() == [False, True, True, False]
    for rows in (slice(0, 0), slice(0, 1), slice(1, 2)):
        part = made.apply(df.iloc[rows])
        assert len(part) == rows.stop - rows.start
        assert part.dtypes[names].tolist() == out.dtypes[names].tolist()


@pytest.mark.parametrize(("feature", "artifact", "params"), MODELS, ids=lambda p: getattr(p, "name", None))
def test_the_model_is_the_same_with_any_number_of_threads(
    feature: Any, artifact: Any, params: Any, tmp_path: Path
) -> None:
    """Byte for byte, in processes that may use one thread and four."""
    values = np.random.default_rng(5).normal(size=(3000, 2))
    pd.DataFrame(values, columns=["a", "b"]).to_parquet(tmp_path / "templates.parquet")
    script = (
        "import sys, pathlib\n"
        "from gapless.features import library\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        f"made = library.{feature.__name__}(None, {{'templates': library.TemplatesArtifact(), **{params!r}}})\n"
        "made.load_state(folder, {'templates': folder.parent / 'templates.parquet'}, {})\n"
        "made.fit(None)\n"
        "made.save_state(folder)\n"
    )
    made = []
    for threads in ("1", "4"):
        folder = tmp_path / threads
        folder.mkdir()
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads) | {"PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", script, str(folder)], env=environment, check=True, timeout=100)
        made.append((folder / "model.npz").read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize("feature", [cls for cls, _, _ in MODELS], ids=lambda cls: cls.name)
def test_exactly_one_source_is_given(feature: Any) -> None:
    """Templates or a model."""
    with pytest.raises(ArgumentRefused, match="exactly one"):
        feature()


def test_frames_have_the_columns_of_the_templates(store: Path, tmp_path: Path) -> None:
    """By name, whatever their order; one that is missing fails the entry."""
    made = fitted(PCAProjection, {}, BLOBS, tmp_path)
    df = frame_of(np.arange(120.0), a=BLOBS[:, 0], b=BLOBS[:, 1])
    swapped = df[["b", *(name for name in df.columns if name != "b")]]
    np.testing.assert_array_equal(made.apply(swapped)["pc_1"], made.apply(df)["pc_1"])
    with pytest.raises(ArgumentRefused, match="b"):
        made.apply(df.drop(columns="b"))
    with Dataset(store) as ds:
        params = {"rows": 10, "columns": ["a"]}
        one = TemplatesArtifact.from_result(ds.run_feature(Templates(params=params)))
        run = ds.run_feature(PCAProjection(["tracks"], {"templates": one, "components": 1}))
        other = PCAProjection([run], {"model": PCAModel.from_result(run)})
        with pytest.raises(AllEntriesFailed):
            ds.run_feature(other)


def test_other_arrays_are_no_model(tmp_path: Path) -> None:
    """The model of k-means is none of PCA."""
    write_arrays(tmp_path / "model.npz", fitted(KMeansAssignment, {"k": 2}, BLOBS, tmp_path)._model)
    with pytest.raises(ArtifactMissing, match="components"):
        PCAProjection(None, {"model": PCAModel()}).load_state(tmp_path, {"model": tmp_path / "model.npz"}, {})


@pytest.mark.parametrize(
    ("feature", "params", "rows"),
    [
        (KMeansAssignment, {"k": 4}, [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [2.0, 2.0]]),
        (WardAssignment, {"k": 4}, [[0.0, 0.0], [1.0, 1.0]]),
        (WardAssignment, {"k": 1}, [[0.0, 0.0]]),
        (PCAProjection, {"components": 3}, [[0.0, 0.0], [1.0, 1.0], [2.0, 1.0], [4.0, 4.0]]),
        (PCAProjection, {}, [[0.0, 0.0], [np.nan, 1.0], [2.0, 2.0]]),
    ],
)
def test_too_few_templates_are_refused(feature: Any, params: Any, rows: Any, tmp_path: Path) -> None:
    """Fewer different rows than clusters, than components, or rows with missing values."""
    with pytest.raises(ArgumentRefused):
        fitted(feature, params, np.array(rows), tmp_path)


def test_a_column_that_does_not_vary_does_not_count(tmp_path: Path) -> None:
    """It is divided by 1, not by 0."""
    flat = BLOBS * (1, 0)
    assert np.isfinite(fitted(KMeansAssignment, {"k": 2}, flat, tmp_path)._model["centers"]).all()


def test_a_pipeline_fits_and_assigns(store: Path) -> None:
    """Templates by name in the parameters; a second run computes nothing."""
    steps = [
        FeatureStep("templates", Templates, {"rows": 50}),
        FeatureStep("pca", PCAProjection, {"templates": {"feature": "templates"}}, ["tracks"]),
    ]
    pipeline = Pipeline()
    for step in steps:
        pipeline.add(step)
    with Dataset(store) as ds:
        results = pipeline.run(ds)
        assert [len(df) for _, df in ds.results(results["pca"])] == [60, 60]
        assert pipeline.plan(ds).empty


# -- the nearest centre ------------------------------------------------------------------------


def test_of_equally_near_centres_the_first_is_taken() -> None:
    """And of many rows each is compared with every centre."""
    number, distance = nearest_center(np.array([[0.5], [3.0]]), np.array([[0.0], [1.0], [1.0]]))
    assert (number.tolist(), distance.tolist()) == ([0, 1], [0.5, 2.0])
    rows, centers = RANDOM.normal(size=(5000, 3)), RANDOM.normal(size=(1000, 3))
    every = cdist(rows, centers)
    number, distance = nearest_center(rows, centers)
    np.testing.assert_array_equal(number, every.argmin(axis=1))
    np.testing.assert_array_equal(distance, every.min(axis=1))


def test_clusters_are_numbered_from_the_largest_down() -> None:
    """Those of one size by their centres, column by column."""
    centers = np.array([[5.0, 0.0], [1.0, 2.0], [1.0, 1.0], [9.0, 9.0]])
    order, sizes = by_size(centers, np.array([0, 1, 2, 3, 3]))
    assert (order.tolist(), sizes.tolist()) == ([3, 2, 1, 0], [2, 1, 1, 1])
