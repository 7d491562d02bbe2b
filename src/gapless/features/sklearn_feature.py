"""A scikit-learn estimator as a feature: fitted on all entries in scope, applied to each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from gapless.errors import ArgumentRefused, FeatureFailed
from gapless.features import params as feature_params
from gapless.features.entry import EntryKey
from gapless.features.feature import InputStream
from gapless.features.kit import FittedFeature
from gapless.features.library.one_thread import one_thread
from gapless.features.library.row_sample import RowSample
from gapless.features.library.template_model import spread_out
from gapless.features.library.track import ColumnNames, complete, data_columns, meta_columns, numbers
from gapless.features.training.skops_file import load_skops, save_skops

if TYPE_CHECKING:
    import pandas as pd

Method = Literal["auto", "transform", "predict", "predict_proba", "decision_function", "score_samples"]
_FILE = "model.skops"


class SklearnParams(feature_params.Params):
    """How the estimator is made, fitted and used.

    ``estimator``: where it is imported from, set by the feature. ``arguments``: those of its constructor.
    ``method``: what is called for each row, ``auto``: ``predict`` where there is one, else ``transform``.
    ``fit``: ``batches`` feeds ``partial_fit`` with ``batch_rows`` rows at a time, ``sample`` fits once on at most
    ``sample_rows`` drawn rows, ``auto``: batches where there is a ``partial_fit``. ``seed`` is that of the draw, and
    the estimator's ``random_state`` unless the arguments have one.
    """

    columns: ColumnNames | None = None
    estimator: str
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    method: Method = "auto"
    fit: Literal["auto", "batches", "sample"] = "auto"
    batch_rows: int = Field(default=10_000, ge=1)
    sample_rows: int = Field(default=1_000_000, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)


class SklearnFeature(FittedFeature):
    """Fits an estimator on the rows of all entries and writes what it says of each row.

    Rows with a missing or infinite value are not learned from and have missing results. Output: of ``transform`` the
    estimator's own names where they are not those of input columns, else ``<name>_<own name>``; of other methods
    ``<name>``, with several columns ``<name>_<class or number>``. State: ``model.skops``, without pickle.
    """

    scope_dependent: ClassVar[bool] = True
    estimator: ClassVar[Callable[..., Any]]
    arguments: ClassVar[Mapping[str, Any]]

    class Params(SklearnParams):
        """How the estimator is made, fitted and used."""

    params: Params
    _fitted: Any
    _names: list[str]

    @property
    def input_columns(self) -> tuple[str, ...] | None:
        """The data columns to read, None all."""
        return self.params.columns

    def _params_from(self, given: Mapping[str, Any] | feature_params.Params | None) -> feature_params.Params:
        cls = type(self)
        place = f"{cls.estimator.__module__}:{cls.estimator.__qualname__}"
        if isinstance(given, Mapping) or given is None:
            own = dict(given or {})
            own["arguments"] = {**cls.arguments, **own.get("arguments", {})}
            given = {"estimator": place, **own}
        params = super()._params_from(given)
        if isinstance(params, SklearnParams) and params.estimator != place:
            raise ArgumentRefused(
                f"{self.name} is a feature of another estimator", found=params.estimator, expected=place
            )
        return params

    def __reduce__(self) -> tuple[Any, ...]:
        cls = type(self)
        return _made_again, (cls.name, cls.estimator, cls.version, dict(cls.arguments)), self.__dict__

    def _new(self) -> Any:
        cls = type(self)
        arguments = dict(self.params.arguments)
        if "random_state" in inspect.signature(cls.estimator).parameters:
            arguments.setdefault("random_state", self.params.seed)
        try:
            return cls.estimator(**arguments)
        except TypeError as error:
            raise ArgumentRefused(
                f"{self.params.estimator} does not take these arguments", found=arguments, expected=str(error)
            ) from error

    # -- learning --------------------------------------------------------------------------------

    def fit(self, inputs: InputStream) -> None:
        """Fit the estimator on all rows, in batches, or on a sample of them."""
        estimator = self._new()
        can = hasattr(estimator, "partial_fit")
        if self.params.fit == "batches" and not can:
            raise ArgumentRefused(
                f"{self.params.estimator} has no partial_fit", field="fit", found="batches", expected="sample"
            )
        with one_thread():
            if can and self.params.fit != "sample":
                for batch in self._batches(inputs):
                    estimator.partial_fit(batch)
            else:
                estimator.fit(self._sample(inputs))
        self._fitted = estimator

    def _rows(self, inputs: InputStream) -> Iterator[tuple[EntryKey, NDArray[np.float64]]]:
        """Yield the numbers of each entry; the columns are those of the first one."""
        names = list(self.params.columns) if self.params.columns else None
        for key, df in inputs():
            self._names = names = data_columns(df, self.columns, names)
            yield key, numbers(df, names)

    def _sample(self, inputs: InputStream) -> NDArray[np.float64]:
        sample = RowSample(self.params.sample_rows, self.params.seed)
        for key, values in self._rows(inputs):
            sample.add(key, values)
        return self._some([values for _, values in sample.taken().values()])

    def _batches(self, inputs: InputStream) -> Iterator[NDArray[np.float64]]:
        """Yield all rows in order, at least ``batch_rows`` at a time where there are so many."""
        held: list[NDArray[np.float64]] = []
        ready: NDArray[np.float64] | None = None
        for _, values in self._rows(inputs):
            held.append(values[complete(values)])
            if sum(map(len, held)) >= self.params.batch_rows:
                if ready is not None:
                    yield ready
                ready, held = np.concatenate(held), []
        # What is left is too little for a batch of its own.
        yield self._some(held if ready is None else [ready, *held])

    def _some(self, parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        rows = np.concatenate(parts) if parts else np.empty((0, 0))
        if not len(rows):
            raise ArgumentRefused(f"{self.name} has no row without missing values to learn from")
        return rows

    def save_state(self, run_root: Path) -> None:
        """Write the estimator and the names of its columns."""
        save_skops({"columns": self._names, "estimator": self._fitted}, run_root / _FILE)

    def load_state(
        self,
        run_root: Path,
        artifact_paths: dict[str, Path],  # noqa: ARG002
        dependency_lookups: dict[str, dict[EntryKey, Path]],  # noqa: ARG002
    ) -> bool:
        """Load the fitted estimator."""
        file = run_root / _FILE
        if not file.exists():
            return False
        held = load_skops(file)
        self._fitted, self._names = held["estimator"], list(held["columns"])
        return True

    # -- using -----------------------------------------------------------------------------------

    def apply(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the meta columns and what the estimator says."""
        values = numbers(df, data_columns(df, self.columns, self._names))
        known = complete(values)
        meta = df[meta_columns(df, self.columns)]
        method = self._method()
        # Estimators refuse to say nothing: without a known row they are asked of one that is not there.
        asked = values[known] if known.any() else np.zeros((1, values.shape[1]))
        said = self._said(method, asked)[: np.count_nonzero(known)]
        names = self._output_names(method, said.shape[1])
        return meta.assign(**{name: _column(said[:, place], known) for place, name in enumerate(names)})

    def _said(self, method: str, values: NDArray[np.float64]) -> NDArray[Any]:
        with one_thread():
            found = getattr(self._fitted, method)(values)
        dense: NDArray[Any] = np.asarray(found.toarray() if hasattr(found, "toarray") else found)
        return dense.reshape(len(values), -1)

    def _method(self) -> str:
        wanted = self.params.method
        if wanted == "auto":
            wanted = "predict" if hasattr(self._fitted, "predict") else "transform"
        if not hasattr(self._fitted, wanted):
            raise FeatureFailed(f"{self.params.estimator} has no {wanted}", next_step="set method")
        return wanted

    def _output_names(self, method: str, count: int) -> list[str]:
        own = self.name.replace("-", "_")
        if method == "transform":
            named = getattr(self._fitted, "get_feature_names_out", None)
            names = list(named(self._names) if named is not None else map(str, range(count)))
            return [f"{own}_{name}" if name in self._names or name.isdigit() else name for name in names]
        if count == 1:
            return [own]
        classes = getattr(self._fitted, "classes_", range(count))
        return [f"{own}_{label}" for label in (classes if len(classes) == count else range(count))]


def _column(values: NDArray[Any], known: NDArray[np.bool_]) -> Any:
    """Return one output, missing where a row was not known, in a type that does not depend on what is missing."""
    import pandas as pd

    kind = values.dtype.kind
    if kind == "f":
        return spread_out(values, known)
    if kind not in "biu":
        text = np.full(len(known), None, dtype=object)
        text[known] = values.astype(np.str_)
        return pd.array(text, dtype="string")
    out: NDArray[Any] = np.zeros(len(known), dtype=np.bool_ if kind == "b" else np.int64)
    out[known] = values
    return (pd.arrays.BooleanArray if kind == "b" else pd.arrays.IntegerArray)(out, ~known)


def sklearn_feature(
    name: str, estimator: Callable[..., Any], *, version: str = "1.0", **arguments: Any
) -> type[SklearnFeature]:
    """Return a feature class that fits an estimator on all entries and applies it to each.

    ``estimator``: the class, or an importable function that makes one; ``arguments``: those of its constructor, which
    ``params={"arguments": {...}}`` overrides. ``Scaled = sklearn_feature("scaled", StandardScaler)`` and then
    ``ds.run_feature(Scaled(params={"columns": ["x"]}))``. See :class:`SklearnParams` for all parameters.
    """
    if "<" in estimator.__qualname__:
        raise ArgumentRefused(
            "the estimator must be importable by other processes", found=estimator.__qualname__,
            expected="a class or function at the top of a module",
        )  # fmt: skip
    return _made(name, estimator, version, arguments)


def _made(
    name: str, estimator: Callable[..., Any], version: str, arguments: Mapping[str, Any]
) -> type[SklearnFeature]:
    members = {
        "__module__": SklearnFeature.__module__,
        "__qualname__": SklearnFeature.__qualname__,  # so that its source is that of SklearnFeature
        "__doc__": SklearnFeature.__doc__,
        "name": name,
        "version": version,
        "estimator": staticmethod(estimator),
        "arguments": dict(arguments),
    }
    return type("SklearnFeature", (SklearnFeature,), members)


def _made_again(
    name: str, estimator: Callable[..., Any], version: str, arguments: Mapping[str, Any]
) -> SklearnFeature:
    """Return an instance without its fields, which unpickling sets."""
    cls = _made(name, estimator, version, arguments)
    return cls.__new__(cls)
