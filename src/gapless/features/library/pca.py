"""Rows projected onto the directions in which the templates vary most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gapless.errors import ArgumentRefused
from gapless.features import params as feature_params
from gapless.features.artifact import NpzArtifact
from gapless.features.library.template_model import MODEL_FILE, Arrays, TemplateModel, spread_out
from gapless.features.load_spec import NpzLoadSpec


class PCAModel(NpzArtifact):
    """The fitted model of a PCA run; :meth:`from_path` returns its components, components × columns."""

    feature: str = "pca"
    pattern: str = MODEL_FILE
    load: NpzLoadSpec = Field(default_factory=lambda: NpzLoadSpec(key="components"))


class PCAProjection(TemplateModel):
    """The first ``components`` principal components of each row.

    The components are the right singular vectors of the centred templates, in order of the variance they
    explain, each with the sign that makes its largest loading positive. The model also holds ``variance`` and
    ``variance_ratio`` of each component.

    Output: ``pc_1``, ``pc_2``, …
    """

    name: ClassVar[str] = "pca"
    version: ClassVar[str] = "1.0"
    learned_arrays = ("components", "center")

    class Params(feature_params.GlobalModelParams[PCAModel]):
        """``templates`` to find components in, or a fitted ``model``; ``standardize``: of correlations."""

        components: int = Field(default=2, ge=1)
        standardize: bool = False

    params: Params

    def learned(self, values: NDArray[np.float64]) -> Arrays:
        """Return the components, the centre and the variances."""
        wanted = self.params.components
        if wanted > min(len(values) - 1, values.shape[1]):
            raise ArgumentRefused(
                "there are not so many components", field="components", found=wanted,
                expected=f"at most {min(len(values) - 1, values.shape[1])}",
            )  # fmt: skip
        center = values.mean(axis=0)
        _, singular, components = np.linalg.svd(values - center, full_matrices=False)
        largest = np.abs(components).argmax(axis=1)
        components *= np.where(components[np.arange(len(components)), largest] < 0, -1.0, 1.0)[:, None]
        variance = singular**2 / (len(values) - 1)
        whole = variance.sum()
        return {
            "components": components[:wanted],
            "center": center,
            "variance": variance[:wanted],
            "variance_ratio": (variance / whole if whole > 0 else variance)[:wanted],
        }

    def said(self, values: NDArray[np.float64], known: NDArray[np.bool_]) -> Mapping[str, Any]:
        """Return the components of each row."""
        # einsum adds in one order, a matrix product by as many threads as there are.
        found = np.einsum("rc,kc->rk", values - self._model["center"], self._model["components"])
        every = spread_out(found, known)
        return {f"pc_{place + 1}": every[:, place] for place in range(every.shape[1])}
