"""Rows sorted into the clusters of a tree."""

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

_MOST_TEMPLATES = 20_000  # whose distances take 1.6 GB


class WardModel(NpzArtifact):
    """The fitted model of a Ward run; :meth:`from_path` returns the centres of its clusters."""

    feature: str = "ward"
    pattern: str = MODEL_FILE
    load: NpzLoadSpec = Field(default_factory=lambda: NpzLoadSpec(key="centers"))


class WardAssignment(TemplateModel):
    """The number of the nearest of ``k`` clusters, which are branches of the Ward tree of the templates.

    The tree joins what adds least to the variance within clusters (Ward, Journal of the American Statistical
    Association 58, 1963, 236; ``scipy.cluster.hierarchy.ward``) and is cut into at most ``k`` branches. A row belongs
    to the branch whose centre, the mean of its templates, is nearest. Clusters are numbered from the largest
    down. The model also holds the tree, as ``linkage``. At most 20,000 templates.

    Output: ``cluster``, from 0, and ``cluster_distance``, in standard deviations if standardized.
    """

    name: ClassVar[str] = "ward"
    version: ClassVar[str] = "1.0"
    learned_arrays = ("centers", "sizes", "linkage")

    class Params(feature_params.GlobalModelParams[WardModel]):
        """``templates`` to make a tree with ``k`` branches of, or a fitted ``model``."""

        k: int = Field(default=8, ge=1)
        standardize: bool = True

    params: Params

    def learned(self, values: NDArray[np.float64]) -> Arrays:
        """Return the centres of the branches, how many templates each has, and the tree."""
        from scipy.cluster.hierarchy import fcluster, ward

        if not max(2, self.params.k) <= len(values) <= _MOST_TEMPLATES:
            raise ArgumentRefused(
                "a tree needs more templates, or fewer", found=len(values),
                expected=f"{max(2, self.params.k)} to {_MOST_TEMPLATES}",
                next_step="set rows of the feature templates",
            )  # fmt: skip
        linkage = ward(values)
        labels = fcluster(linkage, self.params.k, "maxclust") - 1
        centers = np.array([values[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
        order, sizes = by_size(centers, labels)
        return {"centers": centers[order], "sizes": sizes, "linkage": linkage}

    def said(self, values: NDArray[np.float64], known: NDArray[np.bool_]) -> Mapping[str, Any]:
        """Return the cluster of each row."""
        return cluster_columns(values, known, self._model["centers"])
