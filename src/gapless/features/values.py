"""Columns of several sources as one table: outputs of features, recorded topics and labels, row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.errors import ArgumentRefused, MixedTimebaseError, NotFound, UsageError
from gapless.features.entry import EntryKey
from gapless.features.frame import EntryPlan, InputSource, read_frame
from gapless.features.identity import RunOptions
from gapless.features.labels_source import FeatureLabelsSource, LabelsSource
from gapless.features.pandas_frame import as_pandas
from gapless.features.result import ResultColumn, TracksColumn
from gapless.features.scope import Scope
from gapless.features.table_source import TableSource, record_source
from gapless.store.declaration import TIME

if TYPE_CHECKING:
    import pandas as pd

    from gapless.features.dataset import Dataset
    from gapless.features.labels import LabelSet

ValueSource = ResultColumn | TracksColumn | LabelsSource[Any]


@dataclass(frozen=True, slots=True)
class _Column:
    """One column to load: where its rows lie for an entry, and its name there; or the labels on these rows."""

    name: str
    find: Callable[[EntryKey], TableSource]
    column: str | None = None
    labels: Mapping[EntryKey, LabelSet] | None = None


def load_values(
    ds: Dataset,
    sources: Sequence[ValueSource],
    *,
    sequence: str | None = None,
    groups: Iterable[str] | None = None,
    sequences: Iterable[str] | None = None,
) -> pd.DataFrame:
    """Return one column for each source, for all rows of the sequences in scope, one after the other.

    First come the columns that say which row it is: ``timestamp_ns``, group, sequence, frame, time and, where
    there is one, id. A column is named like its source, labels by their kind; the columns of sources with
    one name get ``-1``, ``-2``. Rows are those of the first source that is not labels, by (timestamp_ns, id),
    else those of the data set's topic; rows of one time and id keep the order that each source has. A row
    without a label has the label "".

    Raises MixedTimebaseError if another source has other rows, NotFound for an output or a column that is
    not there, LabelsMissing if no sequence in scope has labels, ArgumentRefused for sources that are none.
    """
    _check(sources)
    if sequence is not None:
        if sequences is not None:
            raise ArgumentRefused("sequence and sequences exclude each other", found=(sequence, sequences))
        sequences = [sequence]
    scope = ds.scope(groups, sequences)
    columns = [
        _column(ds, scope, name, source) for name, source in zip(_names(sources), sources, strict=True)
    ]
    return as_pandas(_stacked([_entry(ds, key, columns) for key in scope.keys], columns))


# -- what was asked for ------------------------------------------------------------------------


def _check(sources: Sequence[ValueSource]) -> None:
    if not sources:
        raise ArgumentRefused("there is nothing to load", found="no sources")
    for source in sources:
        if not isinstance(source, ResultColumn | TracksColumn | LabelsSource):
            raise ArgumentRefused(
                "values come from columns and labels", found=repr(source),
                expected="ResultColumn, TracksColumn or a LabelsSource",
            )  # fmt: skip


def _names(sources: Sequence[ValueSource]) -> list[str]:
    """Return a name for each source; sources that share one are numbered from 1."""
    plain = [
        source.kind
        if isinstance(source, LabelsSource) and not isinstance(source, FeatureLabelsSource)
        else source.column
        for source in sources
    ]
    total, seen = Counter(plain), Counter[str]()
    names = []
    for name in plain:
        seen[name] += 1
        names.append(name if total[name] == 1 else f"{name}-{seen[name]}")
    return names


def _column(ds: Dataset, scope: Scope, name: str, source: ValueSource) -> _Column:
    if isinstance(source, ResultColumn):
        return _Column(name, _outputs(ds, source), source.column)
    if isinstance(source, FeatureLabelsSource):
        result = ResultColumn(feature=source.feature, run_id=source.run_id, column=source.column)
        return _Column(name, _outputs(ds, result), source.column)

    def recorded(key: EntryKey) -> TableSource:
        return scope.entries[key].topics[ds.topic]

    if isinstance(source, TracksColumn):
        return _Column(name, recorded, source.column)
    from gapless.features.labels import label_sets, labels_missing

    labels = label_sets(ds, source, scope.keys)
    if not labels:
        raise labels_missing(source)
    return _Column(name, recorded, labels=labels)


def _outputs(ds: Dataset, result: ResultColumn) -> Callable[[EntryKey], TableSource]:
    """Return what finds a feature's output for an entry; one statement reads the records of all."""
    storage, run_id = ds.resolve(result)
    records, folder = ds.entry_records(result), ds.run_root(result)
    topic = f"features/{storage}@{run_id}"

    def find(key: EntryKey) -> TableSource:
        record = records.get(key)
        if record is None or record.status == "failed":
            raise NotFound(
                "the run has no output for the sequence", sequence=key[1], topic=topic,
                next_step="run the feature for it, or name the sequences to load",
            )  # fmt: skip
        return record_source(storage, topic, folder, record)

    return find


# -- one sequence ------------------------------------------------------------------------------


def _entry(ds: Dataset, key: EntryKey, columns: Sequence[_Column]) -> pa.Table:
    leading = next((column for column in columns if column.column is not None), columns[0])
    first = _rows(ds, key, leading)
    table = first.select([name for name in (TIME, *_meta(ds)) if name in first.column_names])
    for column in columns:
        if column.labels is not None:
            values = _labels(first, column.labels.get(key))
        else:
            other = first if column is leading else _rows(ds, key, column)
            values = _aligned(first, other, column, ds.columns.id_col, key)
        table = _added(table, column.name, values, key)
    return table


def _meta(ds: Dataset) -> list[str]:
    names = ds.columns
    return [names.group_col, names.seq_col, names.frame_col, names.time_col, names.id_col]


def _rows(ds: Dataset, key: EntryKey, column: _Column) -> pa.Table:
    wanted = [column.column] if column.column is not None else []
    plan = EntryPlan(key, (InputSource(column.find(key)),))
    table = read_frame(plan, ds.columns, RunOptions(), wanted).table
    if TIME not in table.column_names:
        raise MixedTimebaseError(
            "a table without time has no rows to put values beside", sequence=key[1], found=column.name,
            next_step="read it with Dataset.results",
        )  # fmt: skip
    return table


def _labels(rows: pa.Table, labels: LabelSet | None) -> pa.ChunkedArray:
    from gapless.features.labels import labels_per_row

    codes, names = labels_per_row(rows.column(TIME).to_numpy(), labels.spans if labels else ())
    return pa.chunked_array([pa.array(np.array(names, object)[codes], pa.string())])


def _aligned(
    first: pa.Table, other: pa.Table, column: _Column, id_col: str, key: EntryKey
) -> pa.ChunkedArray:
    """Return a column in the order of the first source's rows; both must have the same rows."""
    left, right = _keys(first, id_col), _keys(other, id_col)
    values = other.column(column.column)
    if _same(left, right):
        return values
    order, back = _order(left), _order(right)
    if _same(left.take(order), right.take(back)) and _unique(left):
        return values.take(back.take(pc.sort_indices(order)))
    raise MixedTimebaseError(
        "two sources have other rows", sequence=key[1],
        found=f"{column.name}: {right.num_rows} rows by {', '.join(right.column_names)}",
        expected=f"{left.num_rows} rows by {', '.join(left.column_names)}",
        next_step="align them in a feature first",
    )  # fmt: skip


def _keys(table: pa.Table, id_col: str) -> pa.Table:
    """Return the columns that tell rows apart, plain values for encoded ones."""
    names = [name for name in (TIME, id_col) if name in table.column_names]
    return pa.table({name: _decoded(table.column(name)) for name in names})


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _same(left: pa.Table, right: pa.Table) -> bool:
    """Tell whether two tables of keys have the same rows; how text is laid out in memory does not matter."""
    if left.column_names != right.column_names or left.num_rows != right.num_rows:
        return False
    pairs = zip(left.columns, right.columns, strict=True)
    return all(a.to_pylist() == b.to_pylist() if a.type != b.type else a.equals(b) for a, b in pairs)


def _order(keys: pa.Table) -> pa.Array:
    return pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names])


def _unique(keys: pa.Table) -> bool:
    return bool(keys.group_by(keys.column_names).aggregate([]).num_rows == keys.num_rows)


def _added(table: pa.Table, name: str, values: pa.ChunkedArray, key: EntryKey) -> pa.Table:
    """Return the table with a column; a meta column that was asked for stands there already."""
    if name not in table.column_names:
        return table.append_column(name, values)
    if table.column(name).equals(values):
        return table
    raise MixedTimebaseError(
        "two sources have other values of a meta column", sequence=key[1], field=name,
        next_step="give the feature's own column another name",
    )  # fmt: skip


# -- all sequences -----------------------------------------------------------------------------


def _stacked(tables: Sequence[pa.Table], columns: Sequence[_Column]) -> pa.Table:
    if not tables:
        return pa.table({column.name: pa.array([], pa.float64()) for column in columns})
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UsageError(
            "a column has types in two sequences that no type can hold", found=str(error),
            next_step="load the sequences apart",
        ) from error  # fmt: skip
