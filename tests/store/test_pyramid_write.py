"""The pyramid file of a sealed topic: row groups of one size over parts, the same bytes for the same rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless import connect
from gapless.store import part as part_module
from gapless.store.pyramid import LEVELS, group_buckets
from gapless.store.pyramid_write import MOST_BUCKETS, group_size, row_groups

ROWS = 2_500_000  # three parts
SCHEMA = pa.schema([("timestamp_ns", pa.int64()), ("x", pa.int64())])


@given(sizes=st.lists(st.integers(0, 40), max_size=120), size=st.integers(1, 50))
def test_row_groups_hold_all_rows_in_order(sizes: Sequence[int], size: int) -> None:
    """Every row once; all groups but the last are full."""
    ends = np.cumsum([0, *sizes])
    batches = [pa.record_batch({"n": pa.array(range(a, b), pa.int64())}) for a, b in pairwise(ends)]
    tables = list(row_groups(iter(batches), size))
    assert [n for table in tables for n in table["n"].to_pylist()] == list(range(ends[-1]))
    assert all(table.num_rows == size for table in tables[:-1])
    assert all(0 < table.num_rows <= size for table in tables)
    assert all(table["n"].num_chunks == 1 for table in tables)


def test_wide_topics_have_smaller_row_groups() -> None:
    """What is in memory at one time does not grow with the fields."""
    wide = [(f"f{n}", pa.float64()) for n in range(400)]
    assert group_size(SCHEMA) == MOST_BUCKETS
    assert group_size(pa.schema([("timestamp_ns", pa.int64()), *wide])) == (32 << 20) // (36 + 28 * 400)
    wide = [(f"f{n}", pa.float64()) for n in range(4000)]
    assert group_size(pa.schema([("timestamp_ns", pa.int64()), *wide])) == 1024


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pyramid file of x = row number."""
    return record(tmp_path_factory.mktemp("sealed"), 500_000)


def record(root: Path, block: int) -> Path:
    """Record the rows in blocks and return the pyramid file."""
    with connect(root) as client, client.sequence_create("s") as sequence:
        topic = sequence.topic_create("t", schema=SCHEMA)
        for start in range(0, ROWS, block):
            count = np.arange(start, min(ROWS, start + block), dtype=np.int64)
            topic.push_columns(count, {"x": count})
    return root / "sequences" / "s" / "pyramids" / "t.parquet"


def test_levels_are_joined_over_parts(sealed: Path) -> None:
    """Each level begins a row group and fills it, whatever the part; statistics and checksums are there."""
    footer = pq.read_metadata(sealed)
    groups = [footer.row_group(n) for n in range(footer.num_row_groups)]
    names = [footer.schema.column(n).path for n in range(footer.num_columns)]
    level, start = names.index("level"), names.index("start_ns")
    assert [group.column(level).statistics.min for group in groups] == sorted(LEVELS)
    assert all(g.column(level).statistics.min == g.column(level).statistics.max for g in groups)
    assert [group.num_rows for group in groups] == [9766, 611, 39]
    assert all(group.column(start).statistics.has_min_max for group in groups)


def test_buckets_are_those_of_the_rows(sealed: Path) -> None:
    """Every level covers every row once, and says its least, greatest and mean value."""
    table = pq.read_table(sealed, page_checksum_verification=True)
    for level in LEVELS:
        rows = table.filter(pa.array(table["level"].to_numpy() == level))
        starts, counts = rows["start_ns"].to_numpy(), rows["rows"].to_numpy()
        assert np.array_equal(starts, np.concatenate([[0], np.cumsum(counts)[:-1]]))
        assert counts.sum() == ROWS
        assert np.array_equal(rows["x:count"].to_numpy(), counts)
        assert np.array_equal(rows["x:min"].to_numpy(), starts)
        assert np.array_equal(rows["x:max"].to_numpy(), starts + counts - 1)
        assert np.array_equal(rows["end_ns"].to_numpy(), starts + counts - 1)
        assert np.array_equal(rows["x:mean"].to_numpy(), starts + (counts - 1) / 2)


def test_the_same_rows_give_the_same_bytes(sealed: Path, tmp_path: Path) -> None:
    """However they were pushed."""
    other = record(tmp_path, 77_777)
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (sealed, other)}
    assert len(digests) == 1


@pytest.mark.parametrize("level", range(len(LEVELS)))
def test_curves_that_differ_from_the_rows_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    """The bytes are those that were sealed, so that only the rows tell: a deep verification compares them."""

    def raised(
        table: pa.Table, schema: pa.Schema, part: int, row_start: int, *more: Any
    ) -> list[pa.RecordBatch]:
        made = group_buckets(table, schema, part, row_start, *more)
        if row_start == 65_536:
            top = made[level].schema.get_field_index("x:max")
            higher = pc.add(made[level].column(top), 1)
            made[level] = made[level].set_column(top, made[level].schema.field(top), higher)
        return made

    monkeypatch.setattr(part_module, "group_buckets", raised)
    with connect(tmp_path) as client:
        with client.sequence_create("s") as sequence:
            topic = sequence.topic_create("t", schema=SCHEMA)
            count = np.arange(200_000, dtype=np.int64)
            topic.push_columns(count, {"x": count})
        assert client.verify("s") == []
        [finding] = client.verify("s", deep=True)
    assert (finding.code, finding.file) == ("V018", "pyramids/t.parquet")
    assert "from row 65536 on" in finding.message


def test_curves_with_nulls_and_without_numbers_are_those_of_the_rows(tmp_path: Path) -> None:
    """NaN, infinities, nulls and late rows over several row groups: nothing is found."""
    dice = np.random.default_rng(1)
    values = dice.normal(size=150_000)
    values[::7], values[1000:2000], values[5000], values[5001] = np.nan, np.nan, np.inf, -np.inf
    with connect(tmp_path) as client:
        with client.sequence_create("s") as sequence:
            topic = sequence.topic_create("t", schema=pa.schema([("x", pa.float64()), ("n", pa.int8())]))
            times = dice.permutation(150_000)
            nulls = pa.array(dice.integers(-9, 9, 150_000), pa.int8(), mask=dice.random(150_000) < 0.5)
            topic.push_columns(times, {"x": values, "n": nulls})
        assert client.verify("s", deep=True) == []
