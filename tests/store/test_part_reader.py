"""Pruning by the statistics of a part never leaves out a row that the filter keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.store.bundle_files import TIME, table, write_bundle

from gapless.store.reader import open_bundle

NAN = float("nan")
MEMBER = pa.struct([("x", pa.float64())])
MEMBERS = [{"x": 5.0}, {"x": NAN}, {"x": 5.0}, None, {"x": None}]
DEEP = pa.struct([("q", pa.struct([("x", pa.float32())]))])
DEEP_MEMBERS = [{"q": {"x": 5.0}}, {"q": {"x": NAN}}, None, {"q": None}, {"q": {"x": 5.0}}]


@pytest.mark.parametrize(
    ("kind", "values", "at"),
    [
        (MEMBER, MEMBERS, ("x", "x")),
        (DEEP, DEEP_MEMBERS, ("x", "q", "x")),
        (pa.float64(), [5.0, NAN, 5.0], ("x",)),
    ],
    ids=["member", "deep member", "column"],
)
@pytest.mark.parametrize(
    "condition", [lambda x: x != 5, lambda x: ~(x <= 5), lambda x: ~(x == 5), lambda x: x == 5], ids="abcd"
)
def test_a_filter_keeps_nan_in_members_of_structs(
    tmp_path: Path, kind: pa.DataType, values: list[Any], at: tuple[str, ...], condition: Any
) -> None:
    """Statistics of a member leave NaN out like those of a column; the rows are those of Arrow's own filter."""
    schema = pa.schema([TIME, pa.field("x", kind)])
    rows = table(schema, range(len(values)), [pa.array(values, kind)], range(len(values)))
    write_bundle(tmp_path, {"a": (schema, [rows])})
    wanted = condition(pc.field(*at))
    found = open_bundle(tmp_path).topic("a").scan(filter=wanted)
    kept = [time for batch in found for time in batch["timestamp_ns"].to_pylist()]
    assert kept == rows.filter(wanted)["timestamp_ns"].to_pylist()


def test_a_filter_that_names_a_column_by_its_place_keeps_nan(tmp_path: Path) -> None:
    """Which column it is cannot be told from its text."""
    schema = pa.schema([TIME, pa.field("x", pa.float64())])
    write_bundle(tmp_path, {"a": (schema, [table(schema, range(3), [[5.0, NAN, 5.0]], range(3))])})
    found = open_bundle(tmp_path).topic("a").scan(filter=pc.field(1) != 5)
    assert [time for batch in found for time in batch["timestamp_ns"].to_pylist()] == [1]
