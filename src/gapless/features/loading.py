"""Load the file of an artifact without running any code that it may hold."""

from __future__ import annotations

import pickle
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gapless.errors import ArgumentRefused, ArtifactMissing, IntegrityError, MissingExtra, UntrustedArtifact
from gapless.errors.extra import need
from gapless.features.load_spec import LoadSpec, NpzLoadSpec, ParquetLoadSpec

if TYPE_CHECKING:
    import pandas as pd


def load_from_spec(path: Path, spec: LoadSpec, *, trust: bool = False) -> Any:
    """Return what a file holds: a float32 array of two dimensions, a DataFrame, or any object.

    Raises ArtifactMissing without the file or the key, UntrustedArtifact for a file that would run code
    unless ``trust``, IntegrityError for a file that is not of its kind.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtifactMissing("an artifact's file is not there", found=str(path))
    if isinstance(spec, NpzLoadSpec):
        return _array(path, spec)
    if isinstance(spec, ParquetLoadSpec):
        return _frame(path, spec)
    return _taken(_object(path, trust), spec.key, path)


# -- arrays ------------------------------------------------------------------------------------


def _array(path: Path, spec: NpzLoadSpec) -> NDArray[np.float32]:
    if not zipfile.is_zipfile(path):
        raise IntegrityError("the file is not an .npz archive", found=str(path))
    try:
        with np.load(path, allow_pickle=False) as archive:
            if spec.key not in archive.files:
                raise ArtifactMissing(
                    f"{path.name} has no array {spec.key!r}", found=", ".join(archive.files) or "no arrays",
                    next_step="name one of the arrays as key",
                )  # fmt: skip
            values = np.asarray(archive[spec.key])
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        if "allow_pickle" in str(error):
            raise UntrustedArtifact(
                "the file holds Python objects where numbers are expected", found=str(path),
                next_step="save the values as arrays of numbers",
            ) from error  # fmt: skip
        raise IntegrityError("the archive is damaged", found=str(path)) from error
    return _matrix(values, spec, path)


def _matrix(values: NDArray[Any], spec: NpzLoadSpec, path: Path) -> NDArray[np.float32]:
    """Return the values as float32 in two dimensions; a row of numbers becomes one column."""
    if values.dtype.kind not in "biuf" or values.ndim > 2:
        raise ArgumentRefused(
            f"array {spec.key!r} of {path.name} is not a table of real numbers",
            found=f"{values.dtype} with {values.ndim} dimensions", expected="numbers with at most 2 dimensions",
        )  # fmt: skip
    matrix = values.reshape(-1, 1) if values.ndim < 2 else values
    matrix = matrix.T if spec.transpose else matrix
    return np.ascontiguousarray(matrix, dtype=np.float32)


# -- tables ------------------------------------------------------------------------------------


def _frame(path: Path, spec: ParquetLoadSpec) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    need("pandas", extra="features")
    try:
        file = pq.ParquetFile(path)
        with file:
            wanted = _wanted(file.schema_arrow, spec, path)
            frame: pd.DataFrame = file.read(wanted).select(wanted).to_pandas()
    except pa.ArrowInvalid as error:
        raise IntegrityError("the file is not a Parquet file", found=str(path)) from error
    if spec.frame_column is not None:
        frame = frame.set_index(spec.frame_column)
    return frame.T if spec.transpose else frame


def _wanted(schema: Any, spec: ParquetLoadSpec, path: Path) -> list[str]:
    """Return the columns to read, the frame column among them."""
    asked = [*(spec.columns or []), *([spec.frame_column] if spec.frame_column else [])]
    missing = [name for name in asked if name not in schema.names]
    if missing:
        raise ArtifactMissing(
            f"{path.name} has no column {missing[0]!r}", found=", ".join(schema.names),
            next_step="name columns of the file",
        )  # fmt: skip
    if spec.columns is not None:
        chosen = list(spec.columns)
    else:
        chosen = [field.name for field in schema if not spec.numeric_only or _numeric(field.type)]
    dropped = set(spec.drop_columns or ())
    chosen = [name for name in chosen if name not in dropped and name != spec.frame_column]
    return [*chosen, *([spec.frame_column] if spec.frame_column else [])]


def _numeric(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


# -- objects -----------------------------------------------------------------------------------


def _object(path: Path, trust: bool) -> Any:
    if path.suffix == ".skops":
        return _skops(path, trust)
    if not trust:
        raise UntrustedArtifact("loading a joblib file runs the code that it holds", found=str(path))
    try:
        import joblib
    except ImportError as error:
        raise MissingExtra("joblib files need joblib", next_step="pip install 'gapless[features]'") from error
    try:
        return joblib.load(path)
    except (pickle.UnpicklingError, EOFError, LookupError, ValueError) as error:
        raise IntegrityError("the file is not a joblib file", found=str(path)) from error


def _skops(path: Path, trust: bool) -> Any:
    try:
        import skops.io
        from skops.io.exceptions import UntrustedTypesFoundException
    except ImportError as error:
        raise MissingExtra("skops files need skops", next_step="pip install 'gapless[features]'") from error
    try:
        unknown = skops.io.get_untrusted_types(file=path)
        return skops.io.load(path, trusted=unknown if trust else [])
    except UntrustedTypesFoundException as error:
        raise UntrustedArtifact(
            "the file holds types that are not known to be harmless", found=", ".join(unknown)
        ) from error
    except (zipfile.BadZipFile, KeyError) as error:
        raise IntegrityError("the file is not a skops file", found=str(path)) from error


def _taken(value: Any, key: str | None, path: Path) -> Any:
    if key is None:
        return value
    if not isinstance(value, Mapping) or key not in value:
        found = ", ".join(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise ArtifactMissing(
            f"{path.name} has no value {key!r}", found=found, next_step="name one of its keys"
        )
    return value[key]
