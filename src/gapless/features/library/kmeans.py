"""Rows sorted into clusters around centres."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gapless.errors import ArgumentRefused
from gapless.features import params as feature_params
from gapless.features.artifact import NpzArtifact
from gapless.features.library.nearest_center import by_size, cluster_columns
from gapless.features.library.template_model import MODEL_FILE, Arrays, TemplateModel
from gapless.features.load_spec import NpzLoadSpec


class KMeansModel(NpzArtifact):
    """The fitted model of a k-means run; :meth:`from_path` returns its centres."""

    feature: str = "kmeans"
    pattern: str = MODEL_FILE
    load: NpzLoadSpec = Field(default_factory=lambda: NpzLoadSpec(key="centers"))


class KMeansAssignment(TemplateModel):
    """The number of the nearest of ``k`` centres, which Lloyd's k-means finds in the templates.

    k-means++ starts, the best of ``n_init`` by the sum of squared distances (``sklearn.cluster.KMeans``). Clusters are
    numbered from the largest down.

    Output: ``cluster``, from 0, and ``cluster_distance``, in standard deviations if standardized.
    """

    name: ClassVar[str] = "kmeans"
    version: ClassVar[str] = "1.0"
    learned_arrays = ("centers", "sizes")

    class Params(feature_params.GlobalModelParams[KMeansModel]):
        """``templates`` to fit ``k`` centres on, or a fitted ``model``, with which the others mean nothing."""

        k: int = Field(default=8, ge=1)
        standardize: bool = True
        n_init: int = Field(default=10, ge=1)
        max_iterations: int = Field(default=300, ge=1)
        seed: int = Field(default=0, ge=0, lt=2**32)

    params: Params

    def learned(self, values: NDArray[np.float64]) -> Arrays:
        """Return the centres, and how many templates each has."""
        from sklearn.cluster import KMeans

        different = len(np.unique(values, axis=0))
        if different < self.params.k:
            raise ArgumentRefused(
                "there are fewer different templates than clusters", field="k", found=self.params.k,
                expected=f"at most {different}",
            )  # fmt: skip
        model = KMeans(
            self.params.k, n_init=self.params.n_init, max_iter=self.params.max_iterations,
            random_state=self.params.seed, algorithm="lloyd",
        ).fit(values)  # fmt: skip
        order, sizes = by_size(model.cluster_centers_, model.labels_)
        return {"centers": model.cluster_centers_[order], "sizes": sizes}

    def said(self, values: NDArray[np.float64], known: NDArray[np.bool_]) -> Mapping[str, Any]:
        """Return the cluster of each row."""
        return cluster_columns(values, known, self._model["centers"])
