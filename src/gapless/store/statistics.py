"""Statistics of a part's columns, exact and aware of NaN, kept in the Parquet footer and the catalog."""

from __future__ import annotations

import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gapless.store.pyramid import Reduced

STATS_KEY = b"gapless.stats"
_WIDE_CHARS = 256  # longer text is not worth a place in an index


class PartStatistics:
    """Collects min, max, null and NaN counts of each column over the row groups of a part."""

    def __init__(self, schema: pa.Schema) -> None:
        self.columns: dict[str, dict[str, Any]] = {
            f.name: {"min": None, "max": None, "nulls": 0, "nans": 0} for f in schema if _counted(f.type)
        }

    def add(self, table: pa.Table, fields: dict[str, Reduced]) -> None:
        """Take one row group into account; ``fields`` are the reductions of its numeric columns."""
        for name, known in self.columns.items():
            column = table.column(name)
            known["nulls"] += column.null_count
            field = fields.get(name)
            if field is not None:
                self._add_numbers(known, column, field)
            elif len(column) > column.null_count:
                bounds = pc.min_max(column).as_py()
                self._widen(known, bounds["min"], bounds["max"])

    def _add_numbers(self, known: dict[str, Any], column: pa.ChunkedArray, field: Reduced) -> None:
        if pa.types.is_floating(column.type):
            known["nans"] += len(column) - column.null_count - int(field.count.sum())
        bounds = field.bounds()
        if bounds is not None:
            low, high = map(bool, bounds) if pa.types.is_boolean(column.type) else bounds
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
