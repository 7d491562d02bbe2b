"""Statistics as LeRobot keeps them: of each episode, and of the dataset, in float64 with true quantiles.

They are of the values in the dataset. NaN and infinities are left out and counted. Pictures' are of sampled
pictures as a decoder gives them, in 0..1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gapless.errors import ExportRefused
from gapless.model.picture_summary import PictureSummary
from gapless.model.summary import QUANTILES, Block, Summary, summarize

Stats = dict[str, dict[str, Any]]

COUNTS = pa.schema(
    [
        pa.field("feature", pa.string(), nullable=False),
        pa.field("channel", pa.int32(), nullable=False),
        pa.field("value", pa.int32(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
    ]
)
_STATS = ("min", "max", "mean", "std", *QUANTILES)
_CHANNELS = 3  # of picture statistics; grey has the same ones three times, as LeRobot's own tools expect


def episode_stats(table: pa.Table) -> tuple[Stats, int]:
    """Return the statistics of a table's columns of numbers and vectors, and how many values are not finite."""
    names = number_columns(table.schema)
    summaries = summarize(lambda: iter([_blocks(table, names)]))
    return _stats(summaries, names, table.schema), _unusable(summaries)


def dataset_stats(root: Path, files: Sequence[str], schema: pa.Schema) -> Stats:
    """Return the statistics of the columns over all files of rows, in bounded memory."""
    names = number_columns(schema)
    return _stats(summarize(partial(_file_blocks, root, files, names)), names, schema)


def picture_stats(summary: PictureSummary, pictures: int) -> dict[str, Any]:
    """Return the statistics of a camera, each a list ``(3, 1, 1)``; ``pictures`` is the count that is told."""
    figures = summary.figures()
    top = summary.counts.shape[1] - 1
    told: dict[str, Any] = {}
    for stat in _STATS:
        channels = figures[stat] * (_CHANNELS if len(figures[stat]) == 1 else 1)
        told[stat] = [[[value / top]] for value in channels]
    return told | {"count": [pictures]}


def counts_of(summary: PictureSummary) -> list[list[list[int]]]:
    """Return for each channel the pairs ``[value, count]`` of a summary, the greatest possible value last."""
    top = summary.counts.shape[1] - 1
    return [
        [[int(v), int(channel[v])] for v in [*np.flatnonzero(channel[:top]), top]]
        for channel in summary.counts
    ]


def summary_of(counts: Sequence[Sequence[Sequence[int]]]) -> PictureSummary:
    """Return a summary with the counts that :func:`counts_of` told."""
    summary = PictureSummary()
    summary.counts = np.zeros((len(counts), counts[0][-1][0] + 1), np.int64)
    for channel, pairs in enumerate(counts):
        for value, count in pairs:
            summary.counts[channel, value] = count
    return summary


def counts_table(summaries: Mapping[str, PictureSummary]) -> pa.Table:
    """Return the counts of all cameras as a table."""
    rows = [
        {"feature": key, "channel": channel, "value": value, "count": count}
        for key, summary in summaries.items()
        for channel, pairs in enumerate(counts_of(summary))
        for value, count in pairs
    ]
    return pa.Table.from_pylist(rows, COUNTS)


def counted(table: pa.Table) -> dict[str, PictureSummary]:
    """Return the summaries that :func:`counts_table` made a table of."""
    found: dict[str, list[list[list[int]]]] = {}
    for row in table.to_pylist():
        channels = found.setdefault(row["feature"], [])
        if row["channel"] == len(channels):
            channels.append([])
        channels[-1].append([row["value"], row["count"]])
    return {key: summary_of(counts) for key, counts in found.items()}


def number_columns(schema: pa.Schema) -> list[str]:
    """Return the columns of numbers and of vectors of numbers."""
    return [field.name for field in schema if not pa.types.is_struct(field.type)]


def _file_blocks(root: Path, files: Sequence[str], names: list[str]) -> Iterator[Mapping[str, Block]]:
    for name in files:
        with pq.ParquetFile(root / name) as file:
            for batch in file.iter_batches(columns=names):
                yield _blocks(pa.Table.from_batches([batch]), names)


def _blocks(table: pa.Table, names: Sequence[str]) -> dict[str, Block]:
    """Return a block for each number of a row: ``column`` or ``column/place``."""
    blocks: dict[str, Block] = {}
    for name in names:
        values = _values(table[name].combine_chunks())
        blocks |= {f"{name}/{place}": (values[:, place], 0) for place in range(values.shape[1])}
    return blocks


def _values(array: pa.Array) -> npt.NDArray[Any]:
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    width = array.type.list_size if pa.types.is_fixed_size_list(array.type) else 1
    flat = array.flatten() if pa.types.is_fixed_size_list(array.type) else array
    values: npt.NDArray[Any] = flat.to_numpy(zero_copy_only=False).reshape(-1, width)
    return values


def _stats(summaries: Mapping[str, Summary], names: Sequence[str], schema: pa.Schema) -> Stats:
    found: Stats = {}
    for name in names:
        kind = schema.field(name).type
        width = kind.list_size if pa.types.is_fixed_size_list(kind) else 1
        figures = [summaries[f"{name}/{place}"].figures() for place in range(width)]
        empty = next((place for place, one in enumerate(figures) if not one["count"]), None)
        if empty is not None:
            raise ExportRefused(
                "a column has no finite value, so it has no statistics and cannot be trained on",
                field=f"{name}, element {empty}",
                next_step="choose other fields (--state, --action), or leave the sequence out (--skip)",
            )
        rows = sum(int(figures[0][key]) for key in ("count", "nan_count", "infinite_count"))
        found[name] = {stat: [one[stat] for one in figures] for stat in _STATS} | {"count": [rows]}
    return found


def _unusable(summaries: Mapping[str, Summary]) -> int:
    return sum(summary.nan_count + summary.infinite_count for summary in summaries.values())
