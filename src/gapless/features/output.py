"""A feature's output as a sealed table: times given back, neighbours cut off, units kept, rows in time order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gapless.errors import FeatureFailed, OverlapRefused
from gapless.features.columns import Columns
from gapless.features.entry import EntryKey
from gapless.features.frame import EntryFrame
from gapless.store.declaration import SEQ, TIME


def as_arrow(output: Any, name: str) -> pa.Table:
    """Return what a feature gave, a pandas, polars or Arrow table, as an Arrow table."""
    if isinstance(output, pa.Table):
        return output
    if isinstance(output, pa.RecordBatch):
        return pa.Table.from_batches([output])
    kind = type(output)
    if kind.__module__.partition(".")[0] == "pandas" and hasattr(output, "columns"):
        if any(not isinstance(column, str) for column in output.columns):
            raise FeatureFailed(f"{name} gave a column whose name is no text", found=list(output.columns)[:8])
        return pa.Table.from_pandas(output, preserve_index=False, nthreads=1).replace_schema_metadata(None)
    if hasattr(output, "__arrow_c_stream__"):
        return pa.table(output)
    raise FeatureFailed(
        f"{name} gave no table", found=kind.__name__, expected="a pandas, polars or Arrow table"
    )


def _check_order(output: Any, name: str) -> None:
    """Refuse a pandas frame whose index says that its rows were reordered."""
    index = getattr(output, "index", None)
    if index is not None and not index.is_monotonic_increasing:
        raise FeatureFailed(
            f"{name} reordered its rows, whose times are then unknown", expected="timestamp_ns in the output",
            next_step="keep timestamp_ns, or call reset_index(drop=True) where the new order is that of time",
        )  # fmt: skip


def _check_names(table: pa.Table, name: str) -> None:
    twice = sorted(column for column, count in Counter(table.column_names).items() if count > 1)
    if twice:
        raise FeatureFailed(
            f"{name} gave two columns of one name", found=twice, next_step="rename one of them"
        )


def finished_table(
    output: Any, frame: EntryFrame, columns: Columns, units: Mapping[str, str], name: str, key: EntryKey
) -> pa.Table:
    """Return the rows to store of an output, or raise FeatureFailed for one that cannot be stored.

    As many rows as the frame had: time, frame and id are copied where the output lacks them. Otherwise
    ``timestamp_ns`` or the frame column must be in it; without both it is a table without time.
    """
    table = as_arrow(output, name)
    _check_names(table, name)
    source = frame.table
    if table.num_rows == source.num_rows and not {TIME, columns.frame_col}.intersection(table.column_names):
        _check_order(output, name)
    if frame.core is not None:
        if table.num_rows != source.num_rows:
            raise OverlapRefused(
                f"{name} changed the number of rows under overlap_frames",
                found=table.num_rows,
                expected=source.num_rows,
            )
        table = _copied(table, source, columns)
        table = _core_rows(table, source, frame.core, columns)
    elif table.num_rows == source.num_rows:
        table = _copied(table, source, columns)
    elif TIME not in table.column_names and columns.frame_col in table.column_names:
        table = _timed_by_frame(table, source, columns, name)
    table = _without_constants(_with_kinds(table, source), columns, key)
    return _sorted(_with_units(table, source, units))


def own_times(table: pa.Table, frame: EntryFrame) -> bool:
    """Tell whether the output has times that its input does not have."""
    if TIME not in table.column_names or TIME not in frame.table.column_names:
        return True
    times, known = table.column(TIME), frame.table.column(TIME)
    if times.equals(known):
        return False
    return not bool(np.isin(times.to_numpy(), known.to_numpy()).all())


def _copied(table: pa.Table, source: pa.Table, columns: Columns) -> pa.Table:
    """Add time, frame and id of the same rows; an output in another order must bring its own time."""
    names = table.column_names
    if TIME in names or TIME not in source.column_names:
        return table
    wanted = [name for name in (columns.id_col, columns.frame_col, columns.time_col)
              if name in source.column_names and name not in names]  # fmt: skip
    if columns.frame_col in names and not _same_values(table, source, columns.frame_col):
        raise FeatureFailed(
            "an output in another order than its input has no timestamp_ns",
            expected="the rows of the input in their order, or a column timestamp_ns",
            next_step="keep timestamp_ns in the output",
        )
    for name in (*reversed(wanted), TIME):
        table = table.add_column(0, source.schema.field(name), source.column(name))
    return table


def _same_values(table: pa.Table, source: pa.Table, name: str) -> bool:
    mine, theirs = table.column(name).to_numpy(), source.column(name).to_numpy()
    return bool(np.array_equal(mine, theirs))


def _core_rows(table: pa.Table, source: pa.Table, core: NDArray[np.bool_], columns: Columns) -> pa.Table:
    """Cut the neighbours' rows off: by frame where the output tells it, else by place."""
    name = columns.frame_col
    if name in table.column_names:
        own = source.column(name).to_numpy()[core]
        number = table.column(name).to_numpy()
        if not np.array_equal(np.sort(number), np.sort(source.column(name).to_numpy())):
            raise OverlapRefused("an output under overlap_frames has other frames than its input", field=name)
        kept = np.isin(number, own)
    elif TIME in table.column_names and not table.column(TIME).equals(source.column(TIME)):
        raise OverlapRefused(
            "an output under overlap_frames is in another order than its input", field=name,
            next_step="keep the frame column, or the order of the rows",
        )  # fmt: skip
    else:
        kept = core
    return table.filter(pa.array(kept))


def _timed_by_frame(table: pa.Table, source: pa.Table, columns: Columns, name: str) -> pa.Table:
    known = source.column(columns.frame_col).to_numpy()
    frames, first = np.unique(known, return_index=True)
    wanted = table.column(columns.frame_col).to_numpy()
    place = np.searchsorted(frames, wanted)
    place[place == len(frames)] = 0
    if not len(frames) or not np.array_equal(frames[place], wanted):
        raise FeatureFailed(
            f"{name} gave frames that its input does not have",
            expected="frames of the input, a column timestamp_ns, or a table without a frame column",
        )
    times = source.column(TIME).to_numpy()[first[place]]
    return table.add_column(0, source.schema.field(TIME), pa.array(times))


def _without_constants(table: pa.Table, columns: Columns, key: EntryKey) -> pa.Table:
    """Leave out group and sequence where they say only which entry it is: a reader adds them again."""
    names = table.column_names
    told = ((columns.group_col, key[0]), (columns.seq_col, key[1]))
    constant = [name for name, value in told if name in names and _is_only(table.column(name), value)]
    return table.drop_columns(constant) if constant else table


def _is_only(column: pa.ChunkedArray, value: str) -> bool:
    if column.null_count:
        return False
    found = column.unique().to_pylist()
    return found in ([], [value])


def _with_kinds(table: pa.Table, source: pa.Table) -> pa.Table:
    """Return the table with the types that columns of the input lost because pandas has none for their nulls."""
    known = frozenset(source.column_names)
    for place, field in enumerate(table.schema):
        if field.name not in known:
            continue
        original = source.column(field.name)
        if original.null_count and field.type != original.type:
            given = _given_back(table.column(place), original)
            if given is not None:
                table = table.set_column(place, field.with_type(original.type), given)
    return table


def _given_back(values: pa.ChunkedArray, original: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return values of the input in its type; None for values that are others than those of the input."""
    kind = original.type
    if pa.types.is_null(values.type):
        return pa.chunked_array([pa.nulls(len(values), kind)])
    if not pa.types.is_floating(values.type) or not pa.types.is_integer(kind):
        return None
    try:
        given = values.cast(kind)
    except pa.ArrowInvalid:  # a fraction, or beyond what the type holds
        return None
    there = pc.is_in(given, value_set=original.combine_chunks())
    return given if pc.all(there).as_py() in (True, None) else None


def _with_units(table: pa.Table, source: pa.Table, units: Mapping[str, str]) -> pa.Table:
    """Return the table with the units of equally named input columns, and those the feature declares."""
    fields = []
    changed = False
    known = frozenset(source.column_names)
    for field in table.schema:
        told = field.metadata or {}
        metadata = dict(told)
        if not metadata and field.name in known:
            metadata = dict(source.schema.field(field.name).metadata or {})
        if field.name in units:
            metadata[b"unit"] = units[field.name].encode()
        fields.append(field.with_metadata(metadata) if metadata != told else field)
        changed |= metadata != told
    changed |= table.schema.metadata is not None
    return pa.Table.from_arrays(table.columns, schema=pa.schema(fields)) if changed else table


def recorded_units(table: pa.Table) -> dict[str, str]:
    """Return the units of the columns that have one."""
    return {
        field.name: field.metadata[b"unit"].decode()
        for field in table.schema
        if field.metadata and b"unit" in field.metadata
    }


def _sorted(table: pa.Table) -> pa.Table:
    """Return the rows in time order, those of one time as they came; ``timestamp_ns`` is the first column."""
    names = table.column_names
    if SEQ in names:
        raise FeatureFailed(f"a column may not be called {SEQ}", found=SEQ, next_step="rename the column")
    if TIME not in names:
        return table
    column = table.column(TIME)
    if column.null_count:
        raise FeatureFailed(
            "an output has rows without a time", field=TIME, found=f"{column.null_count} nulls"
        )
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
    elif not pa.types.is_integer(column.type):
        raise FeatureFailed(
            "the times of an output are no whole nanoseconds", field=TIME, found=str(column.type),
            expected="int64 or a timestamp", next_step="keep timestamp_ns out of floating point arithmetic",
        )  # fmt: skip
    elif not pa.types.is_int64(column.type):
        column = column.cast(pa.int64())
    place = names.index(TIME)
    table = table.remove_column(place).add_column(0, pa.field(TIME, pa.int64(), nullable=False), column)
    times = table.column(TIME).to_numpy()
    if bool((times[1:] < times[:-1]).any()):
        table = table.take(pa.array(np.argsort(times, kind="stable")))
    return table
