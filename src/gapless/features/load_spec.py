"""How the file of an artifact becomes a value: one specification for each kind of file."""

from __future__ import annotations

from typing import Literal

from gapless.features.strict_model import StrictModel


class JoblibLoadSpec(StrictModel):
    """A Python object: a skops file, or a joblib file, which runs code and is loaded only if trusted.

    ``key`` takes one value out of a mapping; None returns the object as it is.
    """

    kind: Literal["joblib"] = "joblib"
    key: str | None = None


class NpzLoadSpec(StrictModel):
    """One array of an .npz archive, by its name, as float32 with two dimensions."""

    kind: Literal["npz"] = "npz"
    key: str
    transpose: bool = False


class ParquetLoadSpec(StrictModel):
    """A table: the named ``columns``, or without them all numeric ones, or all.

    ``drop_columns`` are left out in any case. ``frame_column`` becomes the index of the table.
    """

    kind: Literal["parquet"] = "parquet"
    transpose: bool = False
    columns: list[str] | None = None
    drop_columns: list[str] | None = None
    numeric_only: bool = True
    frame_column: str | None = None


LoadSpec = JoblibLoadSpec | NpzLoadSpec | ParquetLoadSpec
