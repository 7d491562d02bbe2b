"""The statistics of an entry are those that a sealer counts, found another way."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from gapless.features.entry_statistics import table_statistics
from gapless.store.pyramid import reductions
from gapless.store.statistics import PartStatistics, encode

INF = math.inf
COLUMNS = {
    "whole numbers": pa.array([5, -3, 2**62, -(2**62)], pa.int64()),
    "numbers": pa.array([0.5, -1e300, 5e-324, 2.0], pa.float64()),
    "some are NaN": pa.array([math.nan, 1.0, -2.0, math.nan], pa.float64()),
    "all are NaN": pa.array([math.nan] * 4, pa.float64()),
    "infinite above": pa.array([INF, 1.0, 2.0, 3.0], pa.float64()),
    "infinite on both sides": pa.array([INF, -INF, 2.0, math.nan], pa.float64()),
    "some are null": pa.array([None, 1, 2, None], pa.int64()),
    "all are null": pa.array([None] * 4, pa.float64()),
    "narrow": pa.array([-1, 2, 3, 4], pa.int8()),
    "unsigned": pa.array([0, 2**64 - 1, 3, 4], pa.uint64()),
    "single": pa.array([0.1, 0.2, 0.3, 0.4], pa.float32()),
    "half": pa.array([np.float16(1.5)] * 4, pa.float16()),
    "yes or no": pa.array([True, False, None, True], pa.bool_()),
    "text": pa.array(["b", "a", None, "ü"], pa.string()),
    "wide text": pa.array(["x" * 300, "a", "b", "c"], pa.string()),
    "bytes": pa.array([b"a"] * 4, pa.binary()),
    "list": pa.array([[1.0], [2.0], [], None], pa.list_(pa.float64())),
    "time": pa.array([1, 2, 3, 4], pa.timestamp("ns")),
}


def counted(table: pa.Table) -> dict[str, object]:
    """Return what a sealer counts."""
    statistics = PartStatistics(table.schema)
    statistics.add(table, reductions(table, table.schema))
    return dict(statistics.to_json())


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("chunks", [1, 2])
def test_the_statistics_of_a_column_are_those_of_a_sealer(name: str, chunks: int) -> None:
    """To the letter of the footer."""
    column = COLUMNS[name]
    table = pa.table({name: pa.chunked_array([column] * chunks)})
    assert encode(table_statistics(table)) == encode(counted(table))  # type: ignore[arg-type]


def test_all_columns_are_told_in_their_order() -> None:
    """Also those without a number, by which nothing can be told."""
    table = pa.table(COLUMNS)
    assert list(table_statistics(table)) == list(counted(table))
    assert table_statistics(table.slice(0, 0)).keys() == counted(table).keys()
