"""From a caller's columns or batches to batches of a topic's declared schema, checked and in frames' size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from gapless.errors import ValueRefused
from gapless.store.cells import build_column, cell_for
from gapless.store.declaration import SEQ, TIME, TopicDeclaration, names_twice
from gapless.store.fitting import has_narrow_floats, infinities, lost_member
from gapless.store.layout import ROW_GROUP_ROWS
from gapless.store.packing import INT64_MIN, MISSING
from gapless.store.storable import is_suspect, refusal

FRAME_BYTES = 8 << 20  # a frame is decoded whole; larger ones would raise the seal's memory


class BatchShaper:
    """Shapes batches for one topic; refuses what does not fit with the field's name."""

    def __init__(self, sequence: str, declaration: TopicDeclaration) -> None:
        self.sequence = sequence
        self.declaration = declaration
        self.schema = declaration.stored_schema if declaration.producer_seq else declaration.schema
        self._columns = [(c, c.name, c.type, c.nullable, _numpy_type(c.type)) for c in self.schema]
        self._names = frozenset(self.schema.names)
        self._no_nan = [
            c.name for c in declaration.schema if (c.metadata or {}).get(b"allow_nan") == b"false"
        ]

        self._suspect = [c.name for c in declaration.schema if is_suspect(c.type)]

    def refuse(
        self, message: str, field: str | None = None, found: object = None, expected: object = None
    ) -> ValueRefused:
        """Return the error that names sequence, topic and field."""
        return ValueRefused(
            message,
            sequence=self.sequence,
            topic=self.declaration.name,
            field=field,
            found=found,
            expected=expected,
        )

    def from_columns(self, timestamps_ns: Any, columns: Mapping[str, Any], seq: Any = None) -> pa.RecordBatch:
        """Return arrays by column name as one batch; nullable columns may be left out."""
        if TIME in columns:
            raise self.refuse("the times are the first argument", TIME)
        given: dict[str, Any] = {TIME: timestamps_ns, **columns}
        if seq is not None:
            given[SEQ] = seq
        return self._assemble(given, self.length(TIME, timestamps_ns))

    def check_columns(self, columns: Any) -> Mapping[str, Any]:
        """Return the columns, or refuse what is not a mapping of names to arrays."""
        if not isinstance(columns, Mapping) or not columns:
            raise self.refuse("columns must be a mapping of name to array", found=repr(columns))
        return columns

    def as_batch(self, batch: Any) -> pa.RecordBatch | pa.Table:
        """Return an Arrow table of anything that offers one, or refuse it."""
        if isinstance(batch, pa.RecordBatch | pa.Table):
            return batch
        if hasattr(batch, "__arrow_c_stream__"):
            return pa.table(batch)
        raise self.refuse("a batch must be an Arrow batch or table, or offer one", found=repr(batch))

    def length(self, name: str, values: Any) -> int:
        """Return the number of rows of a column, or refuse what has none."""
        try:
            return len(values)
        except TypeError as error:
            raise self.refuse("a column must be an array or a list", name, found=repr(values)) from error

    def from_batch(self, batch: pa.RecordBatch | pa.Table, timestamp_ns: int | None) -> pa.RecordBatch:
        """Return a batch or table with the declared columns in order; without times every row gets the stamp."""
        twice = names_twice(batch.schema.names)
        if twice:
            raise self.refuse("two columns of the batch have one name", twice[0])
        if isinstance(batch, pa.Table):
            merged = batch.combine_chunks()
            given: dict[str, Any] = {
                n: _one_chunk(merged.column(n), merged.schema.field(n).type) for n in merged.schema.names
            }
        else:
            given = {n: batch.column(i) for i, n in enumerate(batch.schema.names)}
        if TIME not in given:
            if timestamp_ns is None:
                raise self.refuse("the batch has no time column", TIME, expected="int64 nanoseconds")
            given[TIME] = np.full(batch.num_rows, timestamp_ns, np.int64)
        return self._assemble(given, batch.num_rows)

    def _assemble(self, given: dict[str, Any], rows: int) -> pa.RecordBatch:
        unknown = [name for name in given if name not in self._names]
        if unknown:
            raise self.refuse(
                "the topic has no column of this name", unknown[0], expected=", ".join(self.schema.names[1:])
            )
        arrays = []
        for column, name, kind, nullable, plain in self._columns:
            values = given.get(name, MISSING)
            if type(values) is np.ndarray and values.dtype == plain and values.shape == (rows,):
                arrays.append(pa.array(values))  # of the declared type, as long as the others, without nulls
                continue
            if name == TIME:
                array = self._times(values)
            elif values is not MISSING:
                array = self._array(column, values)
            elif nullable:
                array = pa.nulls(rows, kind)
            else:
                raise self.refuse("a column that may not be null is missing", name, expected=str(kind))
            if len(array) != rows:
                raise self.refuse("columns have different lengths", name, found=len(array), expected=rows)
            if not nullable and array.null_count:
                raise self.refuse(
                    "nulls in a column that may not be null", name, found=f"{array.null_count} nulls"
                )
            arrays.append(array)
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        self._check_values(batch)
        return batch

    def _times(self, values: Any) -> pa.Array:
        """Return times as int64 nanoseconds: whole numbers as they are, datetimes exactly converted, as UTC."""
        column = self.schema.field(TIME)
        if isinstance(values, np.ndarray | list | tuple | pa.Array | pa.ChunkedArray):
            plain = values
        else:
            plain = self._pandas_values(values)
        try:
            array = _one_chunk(plain, plain.type) if isinstance(plain, pa.ChunkedArray) else plain
            array = array if isinstance(array, pa.Array) else pa.array(array, from_pandas=False)
            if pa.types.is_timestamp(array.type):
                array = array.cast(pa.timestamp("ns", array.type.tz), safe=True).cast(pa.int64())
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise self.refuse(f"times do not fit: {error}", TIME, expected="int64 nanoseconds") from error
        if not pa.types.is_integer(array.type):
            raise self.refuse(
                "times must be whole nanoseconds", TIME, found=str(array.type), expected="int64 or datetimes"
            )
        return self._array(column, array)

    def _pandas_values(self, values: Any) -> pa.Array:
        """Return a pandas index or series, or anything else that Arrow takes, as an array."""
        try:
            return pa.array(values, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise self.refuse(f"values do not make an array: {error}", TIME, found=repr(values)) from error

    def _array(self, column: pa.Field, values: Any) -> pa.Array:
        try:
            if isinstance(values, pa.ChunkedArray):
                values = _one_chunk(values, values.type)
            if isinstance(values, np.ndarray) and values.ndim > 1:
                values = self._rows_of(column, values)
            array = values if isinstance(values, pa.Array) else _inferred(values)
            if array is None:
                return _cell_by_cell(column, values)
            if array.type.equals(column.type):
                return array
            self._check_kind(column, array.type)
            if isinstance(values, pa.Array | np.ndarray):
                fitted = array.cast(column.type, safe=True)
            else:
                fitted = pa.array(values, column.type)
            self._check_lost(column, array, fitted)
            return fitted
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, ValueRefused):
                raise
            raise self.refuse(
                f"values do not fit their column: {error}", column.name, expected=str(column.type)
            ) from error

    def _check_kind(self, column: pa.Field, found: pa.DataType) -> None:
        """Refuse casts that Arrow would make but nobody means: numbers to text, text to numbers, bool to number."""

        def family(kind: pa.DataType) -> str:
            if pa.types.is_boolean(kind):
                return "bool"
            if pa.types.is_integer(kind) or pa.types.is_floating(kind):
                return "number"
            if pa.types.is_temporal(kind):
                return "time"
            return "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else "other"

        pair = family(found), family(column.type)
        if "other" not in pair and pair[0] != pair[1]:
            raise self.refuse(
                "values have the wrong type", column.name, found=str(found), expected=str(column.type)
            )

    def _check_lost(self, column: pa.Field, given: pa.Array, fitted: pa.Array) -> None:
        """Refuse what Arrow leaves out or makes infinite without an error."""
        lost = lost_member(given.type, column.type)
        if lost is not None:
            raise self.refuse(f"there is no field {lost!r}", column.name, str(given.type), str(column.type))
        if not has_narrow_floats(column.type):
            return
        infinite = infinities(fitted)
        if infinite and infinite > infinities(given):
            raise self.refuse("a number is too large for its column", column.name, expected=str(column.type))

    def _rows_of(self, column: pa.Field, values: np.ndarray[Any, Any]) -> pa.Array:
        """Return an n-dimensional array as a list column, one list per first index."""
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        width = int(np.prod(values.shape[1:]))
        return (
            pa.FixedSizeListArray.from_arrays(flat, width)
            if width
            else pa.array([[]] * len(values), column.type)
        )

    def _check_values(self, batch: pa.RecordBatch) -> None:
        times = batch.column(0).to_numpy()
        if len(times) and int(times.min()) == INT64_MIN:
            raise self.refuse("a time is outside 64 bits", TIME, found=INT64_MIN, expected="more than -2**63")
        for name in self._suspect:
            reason = refusal(batch.column(name))
            if reason is not None:
                raise self.refuse(reason, name)
        for name in self._no_nan:
            values = batch.column(name).drop_null().to_numpy(zero_copy_only=False)
            if np.isnan(values).any():
                raise self.refuse("NaN is not allowed in this field", name, found="NaN", expected="numbers")


def _inferred(values: Any) -> pa.Array | None:
    """Return values as an array of the type that they have; None for a list whose type Arrow cannot tell."""
    try:
        return pa.array(values, from_pandas=False)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        if isinstance(values, list | tuple):
            return None
        raise


def _cell_by_cell(column: pa.Field, values: Sequence[Any]) -> pa.Array:
    """Return values as the rows of a topic are taken one by one: integers of 64 bits without sign, maps of pairs."""
    cell = cell_for(column)
    return build_column(column, [None if value is None else cell(value)[0] for value in values])


def _one_chunk(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], kind)


def _numpy_type(kind: pa.DataType) -> np.dtype[Any] | None:
    """Return the NumPy type whose arrays become exactly this Arrow type."""
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return np.dtype(kind.to_pandas_dtype()) if plain else None


def in_frames(batch: pa.RecordBatch, most_bytes: int = 2 * FRAME_BYTES) -> Iterator[pa.RecordBatch]:
    """Yield slices of the batch that are good frames, above ``most_bytes`` only where a single row is."""
    if not batch.num_rows:
        return
    # Buffers count whole here, but one that several columns share counts once, hence the factor.
    if batch.num_rows <= ROW_GROUP_ROWS and batch.get_total_buffer_size() * batch.num_columns <= most_bytes:
        yield batch
        return
    per_row = max(1, batch.nbytes // batch.num_rows)
    step = max(1, min(ROW_GROUP_ROWS, min(FRAME_BYTES, most_bytes) // per_row))
    for start in range(0, batch.num_rows, step):
        yield from _halved(batch.slice(start, step), most_bytes)


def _halved(piece: pa.RecordBatch, most_bytes: int) -> Iterator[pa.RecordBatch]:
    """Yield the piece, cut further where a few rows are much larger than the rest."""
    if piece.num_rows == 1 or piece.nbytes <= most_bytes:
        yield piece
        return
    half = piece.num_rows // 2
    yield from _halved(piece.slice(0, half), most_bytes)
    yield from _halved(piece.slice(half), most_bytes)
