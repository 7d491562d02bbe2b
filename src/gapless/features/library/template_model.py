"""Features that fit a model on templates once, or take a fitted one, and apply it to every row."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gapless.errors import ArgumentRefused, ArtifactMissing
from gapless.features import inputs as feature_inputs
from gapless.features.arrays import read_arrays, write_arrays
from gapless.features.artifact import ParquetArtifact
from gapless.features.entry import EntryKey
from gapless.features.feature import InputStream
from gapless.features.kit import FittedFeature
from gapless.features.library.one_thread import one_thread
from gapless.features.library.track import complete, data_columns, meta_columns, numbers

if TYPE_CHECKING:
    import pandas as pd

MODEL_FILE = "model.npz"
Arrays = dict[str, NDArray[Any]]


class TemplateModel(FittedFeature):
    """Fits on the ``templates`` of its parameters, or loads ``model``, and computes rows one by one.

    It is applied to its inputs; without inputs the model alone is made.

    The model is plain arrays in ``model.npz``: what the subclass learned, ``columns`` (the names of the templates'
    columns, which frames must have), and ``mean`` and ``scale``, by which values are centred and divided first:
    mean and standard deviation of the templates, or 0 and 1 without ``standardize``. A row with a missing or
    infinite value has missing results.
    """

    scope_dependent: ClassVar[bool] = False  # it learns from its templates, which its parameters name

    class Inputs(feature_inputs.Inputs):
        """Any topics and results that have the templates' columns, or nothing."""

        _require: ClassVar[feature_inputs.InputRequire] = "any"

    _model: Arrays
    _templates: Path | None = None

    def load_state(
        self,
        run_root: Path,
        artifact_paths: dict[str, Path],
        dependency_lookups: dict[str, dict[EntryKey, Path]],  # noqa: ARG002
    ) -> bool:
        """Load the fitted model, or learn where the templates are."""
        self._templates = artifact_paths.get("templates")
        file = artifact_paths["model"] if self.params.model is not None else run_root / MODEL_FILE
        if self.params.model is None and not file.exists():
            return False
        self._model = read_arrays(file)
        absent = {"columns", "mean", "scale", *self.learned_arrays} - set(self._model)
        if absent:
            raise ArtifactMissing(
                f"{file.name} is no model of {self.name}", found=sorted(self._model), expected=sorted(absent)
            )
        return True

    def fit(self, inputs: InputStream) -> None:  # noqa: ARG002  (the templates stand for the entries)
        """Fit the model on the templates."""
        if self._templates is None:
            raise ArtifactMissing("there are no templates to fit on", found=self.params.templates)
        spec: ParquetArtifact = self.params.templates
        table = spec.from_path(self._templates)
        names = data_columns(table, self.columns, None)
        values = numbers(table, names)
        if not len(values) or not np.isfinite(values).all():
            raise ArgumentRefused(
                "templates are rows without missing values", found=f"{len(values)} rows",
                next_step="make them with the feature templates",
            )  # fmt: skip
        mean, scale = np.zeros(len(names)), np.ones(len(names))
        if self.params.standardize:
            mean, spread = values.mean(axis=0), values.std(axis=0)
            scale = np.where(spread > 0, spread, 1.0)
        self._model = {"columns": np.array(names, dtype=np.str_), "mean": mean, "scale": scale}
        with one_thread():
            self._model |= self.learned((values - mean) / scale)

    def save_state(self, run_root: Path) -> None:
        """Write the model."""
        write_arrays(run_root / MODEL_FILE, self._model)

    def apply(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the meta columns and what the model says of each row."""
        values = numbers(df, data_columns(df, self.columns, self._model["columns"].tolist()))
        known = complete(values)
        scaled = (values[known] - self._model["mean"]) / self._model["scale"]
        return df[meta_columns(df, self.columns)].assign(**self.said(scaled, known))

    @property
    @abstractmethod
    def learned_arrays(self) -> tuple[str, ...]:
        """The names of the arrays that :meth:`learned` returns and :meth:`said` needs."""

    @abstractmethod
    def learned(self, values: NDArray[np.float64]) -> Arrays:
        """Return what is learned from the scaled templates, rows × columns."""

    @abstractmethod
    def said(self, values: NDArray[np.float64], known: NDArray[np.bool_]) -> Mapping[str, Any]:
        """Return the output columns; ``values`` are the scaled rows at which ``known`` is true."""


def spread_out(values: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the values at the known rows and NaN at all others, as float64."""
    out = np.full((len(known), *values.shape[1:]), np.nan)
    out[known] = values
    return out
