"""Classifiers of scikit-learn, one for each label: trained on labelled sequences, measured on others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from gapless.errors import ArgumentRefused, ArtifactMissing, FeatureFailed, NotFound
from gapless.features.columns import Columns
from gapless.features.entry import EntryKey
from gapless.features.inputs import Inputs
from gapless.features.labels_source import FeatureLabelsSource, GroundTruthLabelsSource, LabelsSource
from gapless.features.strict_model import StrictModel
from gapless.features.training.metrics import class_metrics, mean_metrics
from gapless.features.training.plan import read_plan
from gapless.features.training.skops_file import load_skops, save_skops
from gapless.features.training.split import SplitSpec
from gapless.features.training.training_data import TrainingData
from gapless.store.declaration import TIME

if TYPE_CHECKING:
    import pandas as pd

    from gapless.features.dataset import Dataset
    from gapless.features.training.plan import TrainingPlan
    from gapless.features.training.progress import TrainingProgressCallback

Kind = Literal["logistic", "random-forest", "gradient-boosting", "linear-svm"]
Matrix = NDArray[np.float64]
Membership = NDArray[np.bool_]
_WEIGHTS = "classifiers.skops"
_FACTS = "classes.json"


class ClassifierConfig(StrictModel):
    """How to train.

    ``labels``: the kind of label to learn, or a labels source. ``classes``: the labels to tell, None all.
    ``columns``: the columns to learn from, None all numbers but meta columns. ``options`` go to the estimator
    of scikit-learn. A row whose best probability is below ``threshold`` is labelled "".
    """

    labels: str | FeatureLabelsSource | GroundTruthLabelsSource = "label"
    classifier: Kind = "logistic"
    options: dict[str, Any] = Field(default_factory=dict)
    classes: list[str] | None = None
    columns: list[str] | None = None
    threshold: float = Field(default=0.5, ge=0, le=1)
    seed: int = 0
    split: dict[str, Any] | None = None


class OneVsRestClassifierModel:
    """Tells for each label how probable it is in each row, labels may overlap.

    Missing and infinite numbers are replaced by the median of their column, and columns are standardised, with
    what the train side has. Probabilities of ``linear-svm`` are squashed distances from its plane, and not
    calibrated. The same data, configuration and versions of packages give the same files.

    The configuration is a :class:`ClassifierConfig`. Where it has no ``split`` a quarter of the sequences
    is the test side.
    """

    name: str = "one-vs-rest"
    version: str = "1.0"
    split: ClassVar[SplitSpec] = SplitSpec()

    def __init__(self, inputs: Any = ("tracks",)) -> None:
        self.inputs = inputs if isinstance(inputs, Inputs) else Inputs[Any](tuple(inputs))
        self.classes: tuple[str, ...] = ()
        self.columns: tuple[str, ...] = ()
        self.threshold = 0.5
        self._estimators: dict[str, Any] = {}

    def label_sources(self, config: Mapping[str, Any]) -> Sequence[LabelsSource[Any]]:
        """Return where the labels come from."""
        labels = _checked(config).labels
        return [GroundTruthLabelsSource(kind=labels) if isinstance(labels, str) else labels]

    # -- learning ------------------------------------------------------------------------------

    def train(
        self, ds: Dataset, run_root: Path, config: Mapping[str, Any], callback: TrainingProgressCallback
    ) -> dict[str, Any]:
        """Learn on the train side, measure on the test side, keep the estimators.

        Returns ``test`` (metrics of each class and their mean), ``train`` and ``test_rows``, and ``folds`` where
        the split has some. ArgumentRefused for a class that the train side always or never shows.
        """
        settings = _checked(config)
        plan = read_plan(run_root)
        data = TrainingData(ds, plan)
        self.classes = tuple(settings.classes or data.names)
        self.threshold = settings.threshold
        if not self.classes:
            raise ArgumentRefused("there are no classes to tell", field="classes", found=settings.classes)
        callback.on_phase("read", f"{len(plan.train)} sequences to learn from, {len(plan.test)} to test on")
        self.columns = self._columns_of(data, plan, settings, ds.columns)
        held = {key: self._read(data, key) for key in (*plan.train, *plan.test)}
        metrics: dict[str, Any] = {"classes": list(self.classes), "columns": list(self.columns)}
        if plan.folds:
            callback.on_phase("cross-validate", f"{len(plan.folds)} folds")
            metrics["folds"] = [self._fold(held, plan, fold, settings) for fold in plan.folds]
        callback.on_phase("fit", settings.classifier)
        self._estimators = self._fitted(held, plan.train, settings, callback)
        callback.on_phase("test", f"{len(plan.test)} sequences")
        metrics["train_rows"] = sum(len(held[key][0]) for key in plan.train)
        metrics["test_rows"] = sum(len(held[key][0]) for key in plan.test)
        metrics["test"] = self._measured(self._estimators, held, plan.test)
        self._save(Path(run_root), settings)
        return metrics

    def _columns_of(
        self, data: TrainingData, plan: TrainingPlan, settings: ClassifierConfig, columns: Columns
    ) -> tuple[str, ...]:
        if not plan.train:
            raise FeatureFailed("there is no sequence to learn from", found=settings.labels)
        frame = data.frame(plan.train[0])
        meta = columns.meta_set() | {TIME}
        found = [str(name) for name in frame.select_dtypes(["number", "bool"]) if name not in meta]
        if settings.columns is not None:
            _check_columns(frame, settings.columns)
            return tuple(settings.columns)
        if not found:
            raise ArgumentRefused("the inputs have no column of numbers", found=list(frame.columns)[:20])
        return tuple(found)

    def _read(self, data: TrainingData, key: EntryKey) -> tuple[Matrix, Membership]:
        frame = data.frame(key)
        return self._matrix(frame), data.membership(key, frame, self.classes)

    def _matrix(self, frame: pd.DataFrame) -> Matrix:
        """Return the columns to learn from, NaN for what is not finite."""
        _check_columns(frame, self.columns)
        values = frame[list(self.columns)].to_numpy(np.float64, na_value=np.nan)
        return np.where(np.isfinite(values), values, np.nan)

    def _fold(
        self,
        held: Mapping[EntryKey, tuple[Matrix, Membership]],
        plan: TrainingPlan,
        fold: Sequence[EntryKey],
        settings: ClassifierConfig,
    ) -> dict[str, Any]:
        left_out = set(fold)
        kept = [key for key in plan.train if key not in left_out]
        return self._measured(self._fitted(held, kept, settings, None), held, fold)

    def _fitted(
        self,
        held: Mapping[EntryKey, tuple[Matrix, Membership]],
        keys: Sequence[EntryKey],
        settings: ClassifierConfig,
        callback: TrainingProgressCallback | None,
    ) -> dict[str, Any]:
        rows, member = _stacked(held, keys)
        fitted = {}
        for place, name in enumerate(self.classes):
            if callback is not None:
                callback.on_class_start(place, len(self.classes), name)
            count = int(member[:, place].sum())
            if count in (0, len(rows)):
                raise ArgumentRefused(
                    f"the label {name!r} is {'never' if not count else 'always'} there in what is learned from",
                    field="classes", found=f"{len(keys)} sequences, {len(rows)} rows",
                    next_step="use another seed of the split, label more sequences, or leave it out of classes",
                )  # fmt: skip
            fitted[name] = _estimator(settings).fit(rows, member[:, place])
        return fitted

    def _measured(
        self,
        estimators: Mapping[str, Any],
        held: Mapping[EntryKey, tuple[Matrix, Membership]],
        keys: Sequence[EntryKey],
    ) -> dict[str, Any]:
        if not keys:
            return {}
        rows, member = _stacked(held, keys)
        found = {
            name: class_metrics(member[:, place], _probability(estimators[name], rows), self.threshold)
            for place, name in enumerate(self.classes)
        }
        return {"classes": found, "mean": mean_metrics(found)}

    # -- keeping -------------------------------------------------------------------------------

    def _save(self, run_root: Path, settings: ClassifierConfig) -> None:
        facts = {"classes": self.classes, "columns": self.columns, "threshold": settings.threshold}
        (run_root / _FACTS).write_text(json.dumps(facts, ensure_ascii=False), encoding="utf-8")
        save_skops([self._estimators[name] for name in self.classes], run_root / _WEIGHTS)

    def load(self, run_root: Path) -> None:
        """Load the estimators; no code of the file is run."""
        try:
            facts = json.loads((Path(run_root) / _FACTS).read_bytes())
        except FileNotFoundError as error:
            raise ArtifactMissing("the folder holds no classifiers", found=str(run_root)) from error
        self.classes, self.columns = tuple(facts["classes"]), tuple(facts["columns"])
        self.threshold = facts["threshold"]
        estimators = load_skops(Path(run_root) / _WEIGHTS)
        self._estimators = dict(zip(self.classes, estimators, strict=True))

    # -- predicting ----------------------------------------------------------------------------

    def predict(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return ``p_<class>`` (0 to 1) and ``label``, the most probable class or "", for each row.

        NotFound for a column that it learned from and the frame lacks.
        """
        import pandas as pd

        if not self._estimators:
            raise ArtifactMissing("the model is not loaded", next_step="call load(run_root) first")
        rows = self._matrix(df)
        columns = [_probability(self._estimators[name], rows) for name in self.classes]
        table = np.column_stack(columns) if len(rows) else np.empty((0, len(self.classes)))
        best = table.argmax(axis=1)
        sure = table.max(axis=1, initial=0.0) >= self.threshold
        names = np.array(self.classes, dtype=object)
        found = {f"p_{name}": table[:, place] for place, name in enumerate(self.classes)}
        return pd.DataFrame({**found, "label": np.where(sure, names[best], "")}, index=df.index)


def _checked(config: Mapping[str, Any]) -> ClassifierConfig:
    try:
        return ClassifierConfig.model_validate(dict(config))
    except ValidationError as error:
        first = error.errors()[0]
        raise ArgumentRefused(
            f"the configuration of the classifier: {first['msg']}",
            field=".".join(map(str, first["loc"])), found=repr(first["input"]),
            expected=", ".join(ClassifierConfig.model_fields),
        ) from error  # fmt: skip


def _check_columns(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise NotFound(
            "the inputs lack a column that the model reads", field=missing[0],
            expected=", ".join(map(str, frame.columns)), next_step="give the model the inputs it was made for",
        )  # fmt: skip


def _stacked(
    held: Mapping[EntryKey, tuple[Matrix, Membership]], keys: Sequence[EntryKey]
) -> tuple[Matrix, Membership]:
    return np.concatenate([held[key][0] for key in keys]), np.concatenate([held[key][1] for key in keys])


def _estimator(settings: ClassifierConfig) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    classes = {
        "logistic": LogisticRegression,
        "random-forest": RandomForestClassifier,
        "gradient-boosting": HistGradientBoostingClassifier,
        "linear-svm": LinearSVC,
    }
    defaults = {"max_iter": 1_000} if settings.classifier == "logistic" else {}
    try:
        last = classes[settings.classifier](**{**defaults, "random_state": settings.seed, **settings.options})
    except TypeError as error:
        raise ArgumentRefused(
            f"the {settings.classifier} classifier has no such option", field="options", found=str(error)
        ) from error
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), last)


def _probability(estimator: Any, rows: Matrix) -> Matrix:
    """Return the probability of the label for each row."""
    if not len(rows):
        return np.empty(0)
    if hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict_proba(rows)[:, 1], np.float64)
    return np.asarray(1.0 / (1.0 + np.exp(-estimator.decision_function(rows))), np.float64)
