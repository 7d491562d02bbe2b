"""Statistics of an entry's columns: what :class:`PartStatistics` finds, without the runs of a plot's pyramid.

An entry has no pyramid, so its bounds are taken from whole columns, each in a few calls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gapless.store.pyramid import reductions
from gapless.store.statistics import PartStatistics


def table_statistics(table: pa.Table) -> dict[str, dict[str, Any]]:
    """Return min, max, nulls and NaN of each column of a table, as they stand in a Parquet footer."""
    whole: dict[str, dict[str, Any]] = {}
    others = []
    for place, field in enumerate(table.schema):
        found = _of_numbers(table.column(place), field.type)
        if found is None:
            others.append(field.name)
        else:
            whole[field.name] = found
    if others:
        rest = table.select(others)
        statistics = PartStatistics(rest.schema)
        statistics.add(rest, reductions(rest, rest.schema))
        whole |= statistics.to_json()
        whole = {name: whole[name] for name in table.column_names if name in whole}
    return whole


def _of_numbers(column: pa.ChunkedArray, kind: pa.DataType) -> dict[str, Any] | None:
    """Return the statistics of finite numbers without nulls; None for anything that needs a closer look."""
    if not (pa.types.is_float64(kind) or pa.types.is_int64(kind)) or column.null_count or not len(column):
        return None
    values: NDArray[Any] = column.to_numpy()
    low, high = values.min().item(), values.max().item()
    if not -np.inf < low <= high < np.inf:
        return None
    return {"min": low, "max": high, "nulls": 0, "nans": 0}
