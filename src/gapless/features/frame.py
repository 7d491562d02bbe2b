"""The table that a feature sees for one entry: its inputs joined, meta columns added, filtered, with neighbours.

Rows are in time order. Times join rows, never row numbers: the inputs of one timebase by
(timestamp_ns, id), those of another by the rule that their :class:`TopicInput` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from msgspec import Struct
from numpy.typing import NDArray

from gapless.errors import MixedTimebaseError, NotFound, OverlapRefused, UsageError
from gapless.errors.extra import need
from gapless.features.columns import Columns
from gapless.features.entry import EntryKey
from gapless.features.identity import RunOptions
from gapless.features.table_source import TableSource
from gapless.store.align import Follower, Policy
from gapless.store.declaration import TIME

if TYPE_CHECKING:
    pass

_NS = 1e9


class InputSource(Struct, frozen=True, gc=False):
    """One input of an entry: where its rows lie and how they come onto the first input's times."""

    source: TableSource
    align: Policy | None = None
    tolerance_ns: int | None = None
    columns: tuple[str, ...] | None = None


class EntryPlan(Struct, frozen=True, gc=False):
    """All that a worker needs to read the frame of one entry."""

    key: EntryKey
    inputs: tuple[InputSource, ...]
    before: tuple[InputSource, ...] | None = None
    after: tuple[InputSource, ...] | None = None
    before_key: EntryKey | None = None
    after_key: EntryKey | None = None


@dataclass(frozen=True, slots=True)
class EntryFrame:
    """A table with its meta columns; ``core`` marks the rows that are not a neighbour's, None: all are."""

    table: pa.Table
    timebase: str
    core: NDArray[np.bool_] | None = None
    units: dict[str, bytes] = field(default_factory=dict)

    @property
    def core_rows(self) -> int:
        """Number of rows that are the entry's own."""
        return self.table.num_rows if self.core is None else int(np.count_nonzero(self.core))


def read_frame(
    plan: EntryPlan, columns: Columns, options: RunOptions, wanted: Sequence[str] | None = None
) -> EntryFrame:
    """Return the frame of an entry; ``wanted`` are the data columns to read, None all."""
    table = _joined(plan.inputs, columns, wanted)
    table = with_meta(table, columns, plan.key)
    core: NDArray[np.bool_] | None = None
    if options.overlap_frames:
        table, core = _with_neighbours(table, plan, columns, options.overlap_frames, wanted)
    table = _filtered(table, columns, options)
    return EntryFrame(table, plan.inputs[0].source.timebase, core)


# -- meta columns ------------------------------------------------------------------------------


def with_meta(table: pa.Table, columns: Columns, key: EntryKey) -> pa.Table:
    """Return the table with group, sequence, frame and time, each only where it is absent.

    ``frame`` numbers the distinct times from 0 where there is an id column, else the rows; ``time`` is in
    seconds since the first row.
    """
    rows = table.num_rows
    added: list[tuple[str, pa.Array]] = []
    names = set(table.column_names)
    if TIME in names:
        times = _times(table)
        if columns.frame_col not in names:
            added.append((columns.frame_col, pa.array(_frames(times, columns.id_col in names))))
        if columns.time_col not in names:
            added.append((columns.time_col, pa.array(_seconds(times, times[:1]))))
    for name, value in ((columns.group_col, key[0]), (columns.seq_col, key[1])):
        if name not in names:
            added.append((name, pa.repeat(pa.scalar(value, pa.string()), rows)))
    for name, array in added:
        table = table.append_column(name, array)
    return table


def _frames(times: NDArray[np.int64], several: bool) -> NDArray[np.int64]:
    if not several:
        return np.arange(len(times), dtype=np.int64)
    if not len(times):
        return np.empty(0, np.int64)
    return np.concatenate(([0], np.cumsum(times[1:] != times[:-1]))).astype(np.int64)


def _seconds(times: NDArray[np.int64], origin: NDArray[np.int64]) -> NDArray[np.float64]:
    return (times - origin[0]) / _NS if len(times) else np.empty(0, np.float64)


def _times(table: pa.Table) -> NDArray[np.int64]:
    times: NDArray[np.int64] = table.column(TIME).to_numpy()
    return times


# -- several inputs ----------------------------------------------------------------------------


def _joined(inputs: Sequence[InputSource], columns: Columns, wanted: Sequence[str] | None) -> pa.Table:
    first = inputs[0]
    if wanted is not None and all(item.source.files for item in inputs):  # an empty output has no columns
        _check_wanted(wanted, [_offered(item) for item in inputs], columns)
    table = first.source.read(_reading(first, columns, wanted))
    for item in inputs[1:]:
        other = item.source.read(_reading(item, columns, wanted))
        if item.align is not None:
            table = _aligned(table, other, item, columns)
        else:
            table = _inner(table, other, first, item, columns)
    return table


def _offered(item: InputSource) -> list[str]:
    names = item.source.schema().names
    return names if item.columns is None else [n for n in names if n in item.columns]


def _check_wanted(wanted: Sequence[str], offered: Sequence[Sequence[str]], columns: Columns) -> None:
    known = {name for names in offered for name in names} | columns.meta_set() | {TIME}
    missing = [name for name in wanted if name not in known]
    if missing:
        raise NotFound(
            f"no input has the column {missing[0]!r} that the feature asks for",
            expected=", ".join(sorted(known)),
            next_step="name columns of the inputs in input_columns",
        )


def _reading(item: InputSource, columns: Columns, wanted: Sequence[str] | None) -> list[str] | None:
    """Return the columns to read of one input: those wanted, and its meta columns."""
    if wanted is None and item.columns is None:
        return None
    kept = columns.meta_set() | {TIME}
    names = item.source.schema().names
    chosen = set(item.columns if item.columns is not None else names)
    if wanted is not None:
        chosen &= set(wanted)
    return [name for name in names if name in chosen or name in kept]


def _data_columns(other: pa.Table, columns: Columns) -> list[str]:
    meta = columns.meta_set() | {TIME}
    return [name for name in other.column_names if name not in meta]


def _free_name(table: pa.Table, name: str, label: str) -> str:
    """Return the name of a column that an input adds; one that is taken is marked with its input, then numbered."""
    taken = frozenset(table.column_names)
    free, number = name, 1
    while free in taken:
        free = f"{name}__{label}" if number == 1 else f"{name}__{label}-{number}"
        number += 1
    return free


def _inner(
    table: pa.Table, other: pa.Table, first: InputSource, item: InputSource, columns: Columns
) -> pa.Table:
    """Return the rows that both have, by time and, where both have it, id."""
    label = item.source.label
    if TIME not in table.column_names or TIME not in other.column_names:
        raise MixedTimebaseError(
            "a table without time cannot be joined with another input", found=label,
            next_step="load it in the feature through a ResultColumn or an artifact parameter",
        )  # fmt: skip
    ids = columns.id_col
    if (ids in table.column_names) != (ids in other.column_names) and _repeats(table) and _repeats(other):
        raise MixedTimebaseError(
            "several rows of one time cannot be told apart: only one input has their ids", found=label,
            next_step=f"keep the column {ids!r} in the output of the feature",
        )  # fmt: skip
    keys = [TIME, *([columns.id_col] if _both(table, other, columns.id_col) else [])]
    if not _same(table, other, keys):
        if first.source.timebase != item.source.timebase:
            raise MixedTimebaseError(
                "two inputs have rows at different times",
                found=f"{first.source.label} ({first.source.timebase}), {label} ({item.source.timebase})",
            )
        left, right = _matching_rows(table, other, keys, label)
        table, other = table.take(left), other.take(right)
    for name in _data_columns(other, columns):
        field_ = other.schema.field(name).with_name(_free_name(table, name, label))
        table = table.append_column(field_, other.column(name))
    return table


def _repeats(table: pa.Table) -> bool:
    """Tell whether several rows have one time."""
    times = _times(table)
    return bool((times[1:] == times[:-1]).any())


def _both(table: pa.Table, other: pa.Table, name: str) -> bool:
    return name in table.column_names and name in other.column_names


def _same(table: pa.Table, other: pa.Table, keys: Sequence[str]) -> bool:
    return table.num_rows == other.num_rows and all(
        table.column(key).equals(other.column(key)) for key in keys
    )


def _matching_rows(
    table: pa.Table, other: pa.Table, keys: list[str], label: str
) -> tuple[pa.Array, pa.Array]:
    """Return the row numbers of an inner join, in the order of the left rows."""
    need("pandas", extra="features")
    left = table.select(keys).to_pandas()
    right = other.select(keys).to_pandas()
    if right.duplicated().any():
        raise MixedTimebaseError(
            "rows of an input cannot be told apart by time and id", found=label, expected=", ".join(keys),
            next_step="give the rows an id column, or join them inside the feature",
        )  # fmt: skip
    left["_left"] = np.arange(len(left))
    right["_right"] = np.arange(len(right))
    both = left.merge(right, on=keys, how="inner", sort=False).sort_values("_left")
    return pa.array(both["_left"].to_numpy()), pa.array(both["_right"].to_numpy())


def _aligned(table: pa.Table, other: pa.Table, item: InputSource, columns: Columns) -> pa.Table:
    """Return the table with the other's columns at its times, null where there is no value near enough."""
    assert item.align is not None
    names = _data_columns(other, columns)
    if item.align == "interp":
        _check_numbers(other.schema, names, item.source.label)
    ids = columns.id_col
    if _both(table, other, ids):
        added = _aligned_by_id(table, other, item, names, ids)
    elif ids in other.column_names and len(other.column(ids).unique()) > 1:
        raise MixedTimebaseError(
            "several objects cannot be aligned to rows that name none", found=item.source.label,
            expected=f"a column {ids!r} in the first input",
        )  # fmt: skip
    else:
        added = _values_at(_times(table), other, item, names)
    for name, values in zip(names, added, strict=True):
        kept = other.schema.field(name)
        table = table.append_column(
            pa.field(_free_name(table, name, item.source.label), values.type, metadata=kept.metadata), values
        )
    return table


def _values_at(
    stamps: NDArray[np.int64], other: pa.Table, item: InputSource, names: Sequence[str]
) -> list[pa.Array]:
    assert item.align is not None
    batches = iter(other.combine_chunks().to_batches())
    follower = Follower((b for b in batches if b.num_rows), item.align, item.tolerance_ns)
    rising, back = np.unique(stamps, return_inverse=True)
    if not len(rising):
        return [pa.nulls(0, other.schema.field(name).type) for name in names]
    found = follower.values_at(rising, names)
    kinds = [other.schema.field(name).type for name in names]
    typed = [
        pa.nulls(len(a), k) if pa.types.is_null(a.type) else a for a, k in zip(found, kinds, strict=True)
    ]
    return [array.take(pa.array(back)) for array in typed]


def _aligned_by_id(
    table: pa.Table, other: pa.Table, item: InputSource, names: Sequence[str], ids: str
) -> list[pa.Array]:
    """Align each animal or object with its own rows."""
    import pyarrow.compute as pc

    values = table.column(ids).combine_chunks().unique()
    mine, theirs = (
        pc.index_in(t.column(ids), value_set=values).fill_null(-1).to_numpy() for t in (table, other)
    )
    stamps = _times(table)
    order: list[NDArray[np.int64]] = []
    pieces: list[list[pa.Array]] = []
    for place in range(len(values)):
        rows = np.flatnonzero(mine == place)
        order.append(rows)
        pieces.append(_values_at(stamps[rows], other.filter(pa.array(theirs == place)), item, names))
    if not order:
        return [pa.nulls(0, other.schema.field(name).type) for name in names]
    back = np.argsort(np.concatenate(order))
    return [
        pa.concat_arrays([piece[place] for piece in pieces]).take(pa.array(back))
        for place in range(len(names))
    ]


def _check_numbers(schema: pa.Schema, names: Sequence[str], label: str) -> None:
    for name in names:
        kind = schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise UsageError(
                "only numbers can be interpolated", topic=label, field=name, found=str(kind),
                next_step='align the input with "hold" or "asof", or name its columns',
            )  # fmt: skip


# -- neighbours and filters --------------------------------------------------------------------


def _with_neighbours(
    table: pa.Table, plan: EntryPlan, columns: Columns, frames: int, wanted: Sequence[str] | None
) -> tuple[pa.Table, NDArray[np.bool_]]:
    """Return the last frames of the entry before, the table, and the first of the entry after.

    Their frames are numbered on both sides of the entry's own, and their times count from its first row. Where
    the clocks do not follow each other their times are moved, so that rows in order of time are in order of frames.
    """
    if columns.frame_col not in table.column_names:
        raise OverlapRefused("a table without time has no rows beside it", field=columns.frame_col)
    table = _signed_frames(table, columns)
    own: NDArray[Any] = table.column(columns.frame_col).to_numpy()
    first_own, next_own = (int(own.min()), int(own.max()) + 1) if len(own) else (0, 0)
    pieces = [table]
    rows = [table.num_rows]
    if plan.before is not None and plan.before_key is not None:
        other = with_meta(_joined(plan.before, columns, wanted), columns, plan.before_key)
        number = other.column(columns.frame_col).to_numpy()
        last = np.unique(number)[-frames:]
        kept = _adjoining(other.filter(pa.array(np.isin(number, last))), table, before=True)
        pieces.insert(0, _renumbered(kept, table, columns, first_own - len(last)))
        rows.insert(0, kept.num_rows)
    core_place = len(rows) - 1
    if plan.after is not None and plan.after_key is not None:
        other = with_meta(_joined(plan.after, columns, wanted), columns, plan.after_key)
        number = other.column(columns.frame_col).to_numpy()
        first = np.unique(number)[:frames]
        kept = _adjoining(other.filter(pa.array(np.isin(number, first))), table, before=False)
        pieces.append(_renumbered(kept, table, columns, next_own))
        rows.append(kept.num_rows)
    joined = pa.concat_tables(pieces, promote_options="default")
    core = np.repeat(np.arange(len(rows)) == core_place, rows)
    return joined, core


def _adjoining(kept: pa.Table, table: pa.Table, *, before: bool) -> pa.Table:
    """Return a neighbour's rows on their side of the entry's own in time, one step away if they must be moved."""
    if not kept.num_rows or not table.num_rows or TIME not in table.column_names:
        return kept
    own, theirs = _times(table), _times(kept)
    if theirs[-1] < own[0] if before else own[-1] < theirs[0]:
        return kept
    steps = np.diff(np.unique(own))
    step = int(np.median(steps)) if len(steps) else 1
    moved = theirs + (own[0] - step - theirs[-1] if before else own[-1] + step - theirs[0])
    place = kept.column_names.index(TIME)
    return kept.set_column(place, kept.schema.field(place), pa.array(moved))


def _signed_frames(table: pa.Table, columns: Columns) -> pa.Table:
    """Return the table with frame numbers that can be below zero, as those of a neighbour before it may be."""
    place = table.column_names.index(columns.frame_col)
    kind = table.schema.field(place)
    if not pa.types.is_unsigned_integer(kind.type):
        return table
    return table.set_column(place, kind.with_type(pa.int64()), table.column(place).cast(pa.int64()))


def _renumbered(other: pa.Table, table: pa.Table, columns: Columns, first_frame: int) -> pa.Table:
    number = other.column(columns.frame_col).to_numpy()
    _, rank = np.unique(number, return_inverse=True)
    frame = pa.array((first_frame + rank).astype(np.int64)).cast(table.schema.field(columns.frame_col).type)
    other = other.set_column(other.column_names.index(columns.frame_col), columns.frame_col, frame)
    if table.num_rows and TIME in table.column_names:
        seconds = pa.array(_seconds(_times(other), _times(table)[:1]) + _first_seconds(table, columns))
        seconds = seconds.cast(table.schema.field(columns.time_col).type)
        other = other.set_column(other.column_names.index(columns.time_col), columns.time_col, seconds)
    return other.select(table.column_names) if set(table.column_names) <= set(other.column_names) else other


def _first_seconds(table: pa.Table, columns: Columns) -> float:
    return float(table.column(columns.time_col)[0].as_py() or 0.0)


def _filtered(table: pa.Table, columns: Columns, options: RunOptions) -> pa.Table:
    """Return the rows in the half-open range of frames or seconds."""
    bounds: list[tuple[str, float | None, float | None]] = [
        (columns.frame_col, options.filter_start_frame, options.filter_end_frame),
        (columns.time_col, options.filter_start_time, options.filter_end_time),
    ]
    for name, start, end in bounds:
        if start is None and end is None:
            continue
        if name not in table.column_names:
            raise NotFound("a table without time cannot be filtered", field=name)
        values: NDArray[Any] = table.column(name).to_numpy()
        kept = np.ones(len(values), dtype=bool)
        if start is not None:
            kept &= values >= start
        if end is not None:
            kept &= values < end
        table = table.filter(pa.array(kept))
    return table
