"""What is exported and imported again is equal, row by row and unit by unit."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gapless.errors import NameTaken, NotFound, UsageError
from gapless.exchange.csv_export import export_csv
from gapless.exchange.csv_import import import_csv, read_batches
from gapless.exchange.csv_plan import plan_csv
from gapless.exchange.formats import exporter_for, format_names, importer_for
from gapless.exchange.instants import MAX_NS, MIN_NS, iso_text, text_ns
from gapless.exchange.parquet_export import export_parquet
from gapless.exchange.parquet_import import import_parquet

Make = Callable[..., Any]

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=8)
VALUES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "float64": (pa.float64(), st.floats()),
    "float32": (pa.float32(), st.floats(width=32)),
    "bool": (pa.bool_(), st.booleans()),
    "string": (
        pa.string(),
        TEXTS | st.sampled_from(["", "NA", "nan", "1", "1,5", "true", "2024-01-01T00:00:00Z", "#"]),
    ),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Tables of every type that CSV can carry, with missing values, odd names and units."""
    rows = draw(st.integers(1, 8))
    times = draw(st.lists(st.integers(MIN_NS, MAX_NS), min_size=rows, max_size=rows))
    fields = [pa.field("timestamp_ns", pa.int64(), nullable=False)]
    columns = [pa.array(times, pa.int64())]
    names = draw(st.lists(NAMES.filter(lambda n: n not in ("_seq", "timestamp_ns")), max_size=4, unique=True))
    for name in names:
        kind, values = VALUES[draw(st.sampled_from(sorted(VALUES)))]
        cells = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        unit = draw(st.none() | st.sampled_from(["V", "m/s^2", "°C", "%"]))
        fields.append(pa.field(name, kind, metadata={"unit": unit} if unit else None))
        columns.append(pa.array(cells, kind))
    return pa.table(columns, schema=pa.schema(fields))


def plain(value: object) -> object:
    """Return a value that compares equal to itself, NaN included."""
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


@given(table=tables(), time_format=st.sampled_from(["iso", "ns"]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_csv_round_trip(make_sequence: Make, table: pa.Table, time_format: Literal["iso", "ns"]) -> None:
    """Every value, missing value, name and unit survives an export to CSV and an import."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "topic.csv"
        export_csv(make_sequence("s", {"topic": table}), path, time_format=time_format)
        plan = plan_csv(path)
        again = [row for b in read_batches(plan, lambda row: pytest.fail(str(row))) for row in b.to_pylist()]
    assert [list(map(plain, row.values())) for row in again] == [
        list(map(plain, row.values())) for row in table.to_pylist()
    ]
    assert plan.schema().names == table.schema.names
    for field in table.schema:
        assert plan.schema().field(field.name).metadata == field.metadata


@given(ns=st.integers(MIN_NS, MAX_NS))
def test_iso_text_round_trip(ns: int) -> None:
    """Every nanosecond that can be stored is written as a time and read back exactly."""
    assert text_ns(iso_text(ns), None) == ns


def test_parquet_round_trip(tmp_path: Path, make_sequence: Make, client: Any) -> None:
    """Types, units, nulls and rows survive an export to Parquet and an import of the folder."""
    schema = pa.schema(
        [
            pa.field("timestamp_ns", pa.int64(), nullable=False),
            pa.field("a.x", pa.float32(), metadata={"unit": "m/s^2", "uncertainty": "0.1"}),
            pa.field("list", pa.list_(pa.float64())),
            pa.field("fixed", pa.list_(pa.float32(), 3)),
            pa.field("image", pa.large_binary()),
            pa.field("label", pa.string()),
        ]
    )
    rows = {
        "timestamp_ns": [1, 2**62, -5],
        "a.x": [1.5, None, float("inf")],
        "list": [[1.0], [], None],
        "fixed": [[1, 2, 3], None, [4, 5, 6]],
        "image": [b"\x00\xff", b"", None],
        "label": ["", None, "ü"],
    }
    table = pa.table(rows, schema=schema)
    report = export_parquet(
        make_sequence("s", {"sensors/imu": table, "gps": table.select([0, 1])}), tmp_path / "out"
    )
    assert [(f.topic, f.path.name, f.rows) for f in report.files] == [
        ("sensors/imu", "sensors%2Fimu.parquet", 3),
        ("gps", "gps.parquet", 3),
    ]
    assert pq.read_schema(tmp_path / "out" / "gps.parquet").field("a.x").metadata[b"unit"] == b"m/s^2"
    import_parquet(client, tmp_path / "out", "again")
    again = client.sequences["again"]
    assert again.topics == ["gps", "sensors/imu"]
    assert again.topic("sensors/imu").table().equals(table, check_metadata=True)


def test_window_and_columns(tmp_path: Path, make_sequence: Make) -> None:
    """An export holds the rows of the half-open window and the chosen columns only."""
    table = pa.table({"timestamp_ns": [1, 2, 3], "a": [1, 2, 3], "b": [4, 5, 6]})
    sequence = make_sequence("s", {"t": table})
    export_csv(sequence, tmp_path / "t.csv", columns=["b"], start_ns=2, end_ns=3, time_format="ns")
    assert (tmp_path / "t.csv").read_text() == "timestamp_ns,b\n2,5\n"
    export_parquet(sequence, tmp_path / "t.parquet", columns=["b"], start_ns=2, end_ns=3)
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == [{"timestamp_ns": 2, "b": 5}]


@pytest.mark.parametrize("name", ["csv", "parquet"])
def test_a_topic_without_rows(tmp_path: Path, make_sequence: Make, client: Any, name: str) -> None:
    """A topic without rows is exported with its columns and comes back as a topic without rows."""
    table = pa.schema(
        [pa.field("timestamp_ns", pa.int64(), nullable=False), ("a", pa.string())]
    ).empty_table()
    path = tmp_path / f"t.{name}"
    exporter_for(name).run(make_sequence("s", {"t": table}), path)
    assert importer_for(path).run(client, path).rows == {"data": 0}


def test_lists_and_bytes_in_csv(tmp_path: Path, make_sequence: Make) -> None:
    """In CSV, lists are JSON and bytes are base64."""
    table = pa.table({"timestamp_ns": [1], "l": [[1.5, 2.0]], "b": [b"\x00\x01"]})
    export_csv(make_sequence("s", {"t": table}), tmp_path / "t.csv", time_format="ns")
    assert (tmp_path / "t.csv").read_text() == 'timestamp_ns,l,b\n1,"[1.5, 2.0]","AAE="\n'


def test_refused_exports(tmp_path: Path, make_sequence: Make) -> None:
    """An export refuses unknown topics and columns, several topics in one file, and files that exist."""
    table = pa.table({"timestamp_ns": [1], "a": [1]})
    sequence = make_sequence("s", {"t": table, "u": table})
    with pytest.raises(NotFound):
        export_csv(sequence, tmp_path, topics=["x"])
    with pytest.raises(NotFound):
        export_csv(sequence, tmp_path, columns=["x"])
    with pytest.raises(UsageError):
        export_csv(sequence, tmp_path / "all.csv")
    assert list(tmp_path.iterdir()) == []
    export_csv(sequence, tmp_path, topics=["t"])
    with pytest.raises(NameTaken):
        export_csv(sequence, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]
    export_csv(sequence, tmp_path, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv", "u.csv"]


def test_a_failing_export_leaves_no_file(tmp_path: Path, make_sequence: Make) -> None:
    """When reading fails half way, neither the file nor a part of it is left."""
    sequence = make_sequence("s", {"t": pa.table({"timestamp_ns": [1], "a": [1]})})
    sequence.tables["t"].schema = pa.schema(
        [("timestamp_ns", pa.int64()), ("a", pa.int64()), ("gone", pa.int64())]
    )
    for export in (export_csv, export_parquet):
        with pytest.raises(KeyError):
            export(sequence, tmp_path / "t.csv" if export is export_csv else tmp_path / "t.parquet")
    assert os.listdir(tmp_path) == []


def test_formats(tmp_path: Path) -> None:
    """Formats are found by suffix, by the files of a folder, or by name, and unknown ones are refused."""
    assert importer_for("a.CSV").format == "csv"
    assert importer_for("a.pq").format == "parquet"
    assert importer_for("a.dat", "csv").format == "csv"
    assert format_names("gapless.exporters")[:2] == ["csv", "parquet"]
    (tmp_path / "a.parquet").touch()
    assert importer_for(tmp_path).format == "parquet"
    (tmp_path / "a.csv").touch()
    for call in (lambda: importer_for(tmp_path), lambda: importer_for("a.dat"), lambda: exporter_for("xlsx")):
        with pytest.raises(UsageError):
            call()


def test_import_csv_of_an_exported_folder(tmp_path: Path, make_sequence: Make, client: Any) -> None:
    """A folder of exported topics becomes a sequence of the same topics."""
    table = pa.table({"timestamp_ns": [1, 2], "a": [1.0, None]})
    export_csv(make_sequence("s", {"x/y": table, "z": table}), tmp_path / "out")
    assert import_csv(client, tmp_path / "out").rows == {"x/y": 2, "z": 2}
    assert client.sequences["out"].topic("x/y").table().to_pylist() == table.to_pylist()
