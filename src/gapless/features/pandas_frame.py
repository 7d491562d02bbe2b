"""An Arrow table as a pandas frame that holds the same values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from gapless.errors.extra import need

if TYPE_CHECKING:
    import pandas as pd

_EXACT = 2**53  # beyond it float64 does not hold every whole number


def as_pandas(table: pa.Table) -> pd.DataFrame:
    """Return the table for pandas.

    An integer column with nulls is float64 with NaN, as everywhere in pandas; one with numbers that float64 does
    not hold is a nullable integer column. Raises MissingExtra without pandas.
    """
    need("pandas", extra="features")
    frame: pd.DataFrame = table.to_pandas()
    large = [place for place, column in enumerate(table.columns) if _is_large(column)]
    for place in large:
        column = table.column(place)
        exact = column.to_pandas(types_mapper={column.type: _nullable(column.type)}.get)
        exact.index = frame.index
        frame.isetitem(place, exact)
    return frame


def _is_large(column: pa.ChunkedArray) -> bool:
    if not column.null_count or not pa.types.is_integer(column.type) or column.type.bit_width < 64:
        return False
    ends = pc.min_max(column).as_py()
    return any(end is not None and abs(end) > _EXACT for end in ends.values())


def _nullable(kind: pa.DataType) -> pd.api.extensions.ExtensionDtype:
    import pandas as pd

    return pd.UInt64Dtype() if pa.types.is_unsigned_integer(kind) else pd.Int64Dtype()
