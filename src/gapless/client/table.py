"""What everything table-like can become: Arrow, pandas, polars, numpy, or a page of a notebook."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from gapless.errors.extra import need

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

# pandas' types that hold a null beside an integer; the plain ones would turn it into a float.
_NULLABLE = {f"{u}int{bits}": f"{u.upper()}Int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)} | {
    "bool": "boolean"
}
_SHOWN_ROWS = 10
_SHOWN_CHARACTERS = 60


class TableView(ABC):
    """Adds the conversions to a class that has ``schema`` and ``scan(columns, start_ns, end_ns)``."""

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """The Arrow schema: ``timestamp_ns`` first; fields carry unit and description."""

    @abstractmethod
    def scan(
        self, columns: Sequence[str] | None = None, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows in ``[start_ns, end_ns)`` in time order."""

    @property
    def units(self) -> dict[str, str]:
        """Column name to unit, for the columns that have one."""
        known = ((field.name, (field.metadata or {}).get(b"unit")) for field in self.schema)
        return {name: unit.decode() for name, unit in known if unit is not None}

    def to_arrow(
        self, columns: Sequence[str] | None = None, start_ns: int | None = None, end_ns: int | None = None
    ) -> pa.Table:
        """Return the rows as a ``pyarrow.Table``, units in the field metadata."""
        return pa.Table.from_batches(
            self.scan(columns, start_ns, end_ns), schema=_projected(self.schema, columns)
        )

    def to_pandas(
        self, columns: Sequence[str] | None = None, start_ns: int | None = None, end_ns: int | None = None
    ) -> pd.DataFrame:
        """Return the rows as a DataFrame; ``df.attrs["units"]`` maps columns to units.

        Integers and booleans with nulls become pandas' nullable types, so no value is rounded.
        """
        pandas = need("pandas")
        table = self.to_arrow(columns, start_ns, end_ns)
        nullable = [n for n in table.column_names if _is_integral(table[n]) and table[n].null_count]
        frame: pd.DataFrame = table.drop_columns(nullable).to_pandas()
        for name in nullable:
            kind = pandas.api.types.pandas_dtype(_NULLABLE[str(table[name].type)])
            frame.insert(table.column_names.index(name), name, kind.__from_arrow__(table[name]))
        frame.attrs["units"] = {name: unit for name, unit in self.units.items() if name in table.column_names}
        return frame

    def to_polars(
        self, columns: Sequence[str] | None = None, start_ns: int | None = None, end_ns: int | None = None
    ) -> pl.DataFrame:
        """Return the rows as a polars DataFrame; units are not kept, see ``units``."""
        frame: pl.DataFrame = need("polars").from_arrow(self.to_arrow(columns, start_ns, end_ns))
        return frame

    def to_numpy(
        self, columns: Sequence[str] | None = None, start_ns: int | None = None, end_ns: int | None = None
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return one array per column.

        A null float is NaN; integers and booleans with nulls are masked arrays; lists of a fixed size
        are arrays of one more dimension; text and other lists are arrays of objects.
        """
        table = self.to_arrow(columns, start_ns, end_ns)
        return {name: _array(table.column(name)) for name in table.column_names}

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Hand the rows, batch by batch, to any tool that speaks the Arrow C stream interface."""
        reader = pa.RecordBatchReader.from_batches(self.schema, self.scan())
        return reader.__arrow_c_stream__(requested_schema)

    def _repr_html_(self) -> str:
        """Return the first rows as a plain HTML table: no scripts, every value escaped."""
        units = self.units
        heads = [f"{f.name} [{units[f.name]}]" if f.name in units else f.name for f in self.schema]
        head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
        rows = "".join(
            f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in self._first_rows()
        )
        title = html.escape(repr(self))
        return f"<p>{title}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _first_rows(self) -> list[tuple[Any, ...]]:
        for batch in self.scan():
            return list(
                zip(*(column.to_pylist() for column in batch.slice(0, _SHOWN_ROWS).columns), strict=True)
            )
        return []


def _projected(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema | None:
    if columns is None:
        return schema
    names = dict.fromkeys(["timestamp_ns", *columns])
    return pa.schema([schema.field(n) for n in names if n in schema.names], metadata=schema.metadata)


def _is_integral(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_integer(column.type) or pa.types.is_boolean(column.type))


def _array(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    kind = column.type
    if pa.types.is_fixed_size_list(kind) and not column.null_count:
        inner = column.combine_chunks()
        inner = inner if isinstance(inner, pa.FixedSizeListArray) else inner.chunk(0)
        return _array(pa.chunked_array([inner.flatten()])).reshape(len(column), kind.list_size)
    if _is_integral(column) and column.null_count:
        mask = column.is_null().to_numpy()
        filled = column.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy()
        return np.ma.MaskedArray(filled, mask=mask)
    values: np.ndarray[Any, Any] = column.to_numpy()
    return values


def _cell(value: object) -> str:
    text = str(value)
    return html.escape(text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…")
