"""A trained model as a feature: cached, in pipelines, with the training in its lineage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.errors import ArgumentRefused, FeatureFailed, NotFound
from gapless.features.entry import EntryKey
from gapless.features.inputs import Inputs as AnyInputs
from gapless.features.kit import TableFeature
from gapless.features.params import Params as AnyParams
from gapless.features.training.trained import find_model_run, load_model, trained_class
from gapless.store.declaration import TIME

if TYPE_CHECKING:
    import pandas as pd

    from gapless.features.dataset import Dataset


class PredictFeature(TableFeature):
    """What a trained model predicts for each row of the inputs it was trained on.

    ``model`` is ``name@run_id``, or a run id that only one model has. The output has the meta columns of its
    input and what ``predict`` returns. The content of the model's files is part of what each entry is computed
    from: a model trained anew makes its predictions stale.
    """

    version = "1.0"

    class Params(AnyParams):
        """``model``: ``name@run_id``, or a run id."""

        model: str

    class Inputs(AnyInputs[Any]):
        """What the model reads."""

    def __init__(
        self,
        inputs: Any = None,
        params: Mapping[str, Any] | AnyParams | None = None,
        *,
        model: str | None = None,
    ) -> None:
        if model is not None:
            if params is not None:
                raise ArgumentRefused("the model is named either as model or in params", found=model)
            params = {"model": model}
        super().__init__(inputs, params)
        self.name = f"predict-{self.params.model.rpartition('@')[0] or self.params.model}"  # type: ignore[misc]
        self._models_root: Path | None = None
        self._loaded: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process loads the model for itself."""
        return {**self.__dict__, "_loaded": None}

    def bind_dataset(self, ds: Dataset) -> None:
        """Take the names of meta columns and the place of models."""
        super().bind_dataset(ds)
        self._models_root = ds.models_root

    def identity_digests(self, ds: Dataset) -> dict[str, str]:
        """Return what each entry depends on besides its inputs: the content of the model."""
        reference: str = self.params.model
        try:
            digest = find_model_run(ds.models_root, reference).manifest().get("weights_digest", "missing")
        except NotFound:
            digest = "missing"
        return {f"model {reference}": digest}

    def code_class(self, ds: Dataset | None = None) -> type | None:
        """Return the class of the model where it is the user's, so that its source counts as the feature's own does."""
        if self._loaded is not None:
            found: type | None = type(self._loaded)
        else:
            root = self._models_root if ds is None else ds.models_root
            found = None if root is None else trained_class(root, self.params.model)
        return None if found is None or found.__module__.startswith("gapless.") else found

    def load_state(
        self,
        run_root: Path,
        artifact_paths: dict[str, Path],
        dependency_lookups: dict[str, dict[EntryKey, Path]],
    ) -> bool:
        """Load the model from the store, every byte checked."""
        del run_root, artifact_paths, dependency_lookups
        if self._models_root is None:
            raise FeatureFailed("the feature does not know its data set", next_step="run it by run_feature")
        self._loaded = load_model(self._models_root, self.params.model)
        return True

    def apply(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return meta columns and predictions; FeatureFailed unless there is one row for each."""
        import pandas as pd

        predicted = self._loaded.predict(df)
        if len(predicted) != len(df):
            raise FeatureFailed(
                "the model gave another number of rows than it got", found=len(predicted), expected=len(df)
            )
        meta = self.columns.meta_set() | {TIME}
        kept = [name for name in df.columns if name in meta and name not in predicted.columns]
        meta_columns, values = df[kept].reset_index(drop=True), predicted.reset_index(drop=True)
        output: pd.DataFrame = pd.concat([meta_columns, values], axis=1)
        return output
