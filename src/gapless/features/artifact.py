"""References to files that a feature run leaves for others: templates, fitted models, arrays."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Generic, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from typing_extensions import TypeVar

from gapless.errors import ArgumentRefused
from gapless.features.load_spec import JoblibLoadSpec, LoadSpec, NpzLoadSpec, ParquetLoadSpec
from gapless.features.loading import load_from_spec
from gapless.features.result import Result

if TYPE_CHECKING:
    from pandas import DataFrame
else:
    DataFrame = object  # it only says what from_path returns: pandas is imported when a file is loaded

L = TypeVar("L", bound=LoadSpec)
R = TypeVar("R", default=object)

_SUFFIXES = {"joblib": (".joblib", ".skops"), "npz": (".npz",), "parquet": (".parquet",)}


class ArtifactSpec(Result[str], Generic[L, R]):
    """One file of a feature run and how to load it.

    ``pattern`` is a glob over the run's state and its folder that must match one file, by default every
    file of the kind that ``load`` names; its extension is one of that kind. ``R`` is what
    :meth:`from_path` returns.
    """

    load: L
    pattern: str = ""

    @model_validator(mode="after")
    def _pattern_of_kind(self) -> Self:
        allowed = _SUFFIXES[self.load.kind]
        if not self.pattern:
            self.pattern = f"*.{self.load.kind}"
        place = PurePosixPath(self.pattern)
        if place.suffix not in allowed:
            raise ArgumentRefused(
                "the artifact's pattern is not for files of its kind", found=self.pattern,
                expected=" or ".join(f"*{suffix}" for suffix in allowed),
            )  # fmt: skip
        if place.is_absolute() or ".." in place.parts:
            raise ArgumentRefused("the artifact's pattern leaves the run's folder", found=self.pattern)
        return self

    @classmethod
    def from_result(cls, result: Result[Any], **fields: Any) -> Self:
        """Return the artifact of a run; ``fields`` are those of the artifact other than feature and run.

        Raises ArgumentRefused if the class belongs to another feature than the run.
        """
        own = cls.model_fields["feature"].default
        if isinstance(own, str) and result.feature != own and not result.feature.startswith(f"{own}__from__"):
            raise ArgumentRefused(
                f"{cls.__name__} is an artifact of another feature", found=result.feature, expected=own
            )
        return cls(feature=result.feature, run_id=result.run_id, **fields)

    def from_path(self, path: str | os.PathLike[str], *, trust: bool = False) -> R:
        """Load the artifact from its file; ``trust`` allows files that run code when they are loaded."""
        value: R = load_from_spec(Path(path), self.load, trust=trust)
        return value


class JoblibArtifact(ArtifactSpec[JoblibLoadSpec, object]):
    """A Python object, such as a fitted model, as a skops or joblib file."""

    load: JoblibLoadSpec = Field(default_factory=JoblibLoadSpec)


class NpzArtifact(ArtifactSpec[NpzLoadSpec, NDArray[np.float32]]):
    """One array of an .npz archive."""

    load: NpzLoadSpec


class ParquetArtifact(ArtifactSpec[ParquetLoadSpec, DataFrame]):
    """A table, such as templates."""

    load: ParquetLoadSpec = Field(default_factory=ParquetLoadSpec)
