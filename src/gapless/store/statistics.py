"""Statistics of a part's columns, exact and aware of NaN, kept in the Parquet footer and the catalog."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

STATS_KEY = b"gapless.stats"
_WIDE_CHARS = 256  # longer text is not worth a place in an index


class PartStatistics:
    """Collects min, max, null and NaN counts of each column over the row groups of a part."""

    def __init__(self, schema: pa.Schema) -> None:
        self.columns: dict[str, dict[str, Any]] = {
            f.name: {"min": None, "max": None, "nulls": 0, "nans": 0} for f in schema if _counted(f.type)
        }

    def add(self, table: pa.Table) -> None:
        """Take one row group into account."""
        for name, known in self.columns.items():
            column = table.column(name)
            known["nulls"] += column.null_count
            kind = column.type
            if pa.types.is_floating(kind):
                self._add_floats(known, column)
            elif len(column) > column.null_count:
                bounds = pc.min_max(column).as_py()
                self._widen(known, bounds["min"], bounds["max"])

    def _add_floats(self, known: dict[str, Any], column: pa.ChunkedArray) -> None:
        values = column.drop_null().to_numpy() if column.null_count else column.to_numpy()
        if not len(values):
            return
        with np.errstate(invalid="ignore", over="ignore"):  # inf - inf is a value here, not a fault
            low, high, total = (
                float(np.fmin.reduce(values)),
                float(np.fmax.reduce(values)),
                float(values.sum()),
            )
        if math.isnan(low):  # all NaN
            known["nans"] += len(values)
            return
        if math.isnan(total):  # a cheap test; inf - inf gives NaN too, the count then tells
            known["nans"] += int(np.isnan(values).sum())
        self._widen(known, low, high)

    @staticmethod
    def _widen(known: dict[str, Any], low: Any, high: Any) -> None:
        if isinstance(low, str) and max(len(low), len(high)) > _WIDE_CHARS:
            known["wide"] = True
        known["min"] = low if known["min"] is None else min(known["min"], low)
        known["max"] = high if known["max"] is None else max(known["max"], high)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return the statistics with infinities as text and wide bounds left out."""
        out = {}
        for name, known in self.columns.items():
            row = dict(known)
            if row.get("wide"):
                row["min"] = row["max"] = None
            out[name] = {key: _plain(value) for key, value in row.items()}
        return out


def _counted(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    )


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def encode(stats: dict[str, dict[str, Any]]) -> str:
    """Return statistics as the text of the footer."""
    return json.dumps(stats, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
