"""What planning finds in a CSV file, and what it refuses to guess."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gapless.errors import ImportRefused, NotFound
from gapless.exchange.csv_import import read_batches
from gapless.exchange.csv_plan import CsvPlan, plan_csv
from gapless.exchange.report import BadRow

Write = Callable[..., Path]


def rows_of(plan: CsvPlan) -> tuple[list[dict[str, Any]], list[BadRow]]:
    """Return the rows and the bad rows of a planned file."""
    bad: list[BadRow] = []
    rows = [row for batch in read_batches(plan, bad.append) for row in batch.to_pylist()]
    return rows, bad


@pytest.mark.parametrize(
    ("text", "options", "advice"),
    [
        ("time,v\n2024-01-01 00:00:00,1\n", {}, "--tz UTC"),
        ("time,v\n2024-01-01,1\n", {}, "--tz UTC"),
        ("time,v\n2024-01-01T00:00:00Z,1\n2024-01-01T00:00:01,1\n", {}, "--tz UTC"),
        ("time,v\n2024-01-01T00:00:00,1\n", {"tz": "Mars/Olympus"}, "another tz"),
        ("timestamp,elapsed,v\n1700000000,0,1\n", {}, "--time 'timestamp'"),
        ("a,b\n2024-01-01T00:00:00Z,2024-01-01T00:00:01Z\n", {}, "--time 'a'"),
        ("time,v\n100000,1\n200000,2\n", {}, "--units 'time=s'"),
        ("time,v\n0,1\n1700000000,2\n", {}, "--units 'time=s'"),
        ("time [s],v\n1700000000000,1\n", {}, "--units 'time=ms'"),
        ("time [V],v\n1,1\n", {"time": "time"}, "--units 'time=s'"),
        ("time,v\n01/02/2024 10:00,1\n", {"tz": "UTC"}, "--date-order dmy"),
        ("time,v\n13/02/2024 10:00,1\n02/13/2024 10:00,1\n", {"tz": "UTC"}, "--date-order dmy"),
        ("a;b,c\n1;2,3\n4;5,6\n", {}, "--delimiter ';'"),
        ('time,v\n0,"1,234"\n1,"2,345"\n', {}, "--decimal"),
        ("time;v\n0;1,5\n1;1.5\n", {}, "--decimal"),
        ("time,v\n0,5,1,5\n1,5,2,5\n", {}, "--skip-lines N"),
        ("device ACME\nserial 5\ntime,a,b\n0,1,2\n1,2,3\n2,3,4\n", {}, "--skip-lines N"),
        ("a,b\n0,1\n", {}, "--time NAME"),
        ("1,2\n3,4\n", {}, "--time NAME"),
        ("time,v\n10:00:00,1\n", {"time": "time"}, "DATE+TIME"),
        ("time,v\n0,1\n", {"time": "nope"}, "--time"),
        ("time,v\n0,1\n", {"units": {"nope": "V"}}, "names of the file"),
        ("time,v\n0,1\n", {"types": {"v": "complex"}}, "one of these"),
        ("time,v\n1700000000,1\n", {"start": "2024-01-01T00:00:00Z"}, "leave the start out"),
        ("time,v\n", {}, "check the path"),
        ("", {}, "check the path"),
        ("time\x00v", {}, "--encoding utf-16-le"),
        ("PK\x03\x04...", {}, "save it as CSV"),
    ],
)
def test_ambiguity_is_refused(csv_file: Write, text: str, options: dict[str, Any], advice: str) -> None:
    """A file that can be read in two ways is refused, and the message names the choice to make."""
    with pytest.raises(ImportRefused) as caught:
        plan_csv(csv_file(text), **options)
    assert advice in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "base64", "hex", "idna", "no-such"])
def test_an_encoding_that_does_not_fit_is_refused(csv_file: Write, encoding: str) -> None:
    """Wide text without its mark, what encodes no text, and what nobody knows."""
    with pytest.raises(ImportRefused, match="--encoding"):
        plan_csv(csv_file("time,v\n0,1\n1,2\n"), encoding=encoding)


def test_missing_file(tmp_path: Path) -> None:
    """A path without a file is NotFound."""
    with pytest.raises(NotFound):
        plan_csv(tmp_path / "none.csv")


def test_not_utf8_names_the_line(csv_file: Write) -> None:
    """Bytes that are not UTF-8 are refused by line when no encoding was named, and read when it is."""
    path = csv_file("time,T [°C]\n0,1\n", "latin-1")
    with pytest.raises(ImportRefused, match="cp1252"):
        plan_csv(path)
    assert plan_csv(path, encoding="cp1252").columns[0].unit == "°C"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_mark(csv_file: Write, encoding: str) -> None:
    """A byte order mark tells the encoding and is no part of the first name."""
    plan = plan_csv(csv_file("time,T [°C]\r\n0,1.5\r\n", encoding))
    assert (plan.time_name, plan.columns[0].unit, rows_of(plan)[0][0]["T"]) == ("time", "°C", 1.5)


@pytest.mark.parametrize(
    ("header", "name", "unit"),
    [
        ("T [°C]", "T", "°C"),
        ("force (kN)", "force", "kN"),
        ("a (m/s^2)", "a", "m/s^2"),
        ("speed (left)", "speed (left)", None),
        ("x []", "x", None),
        ("x [y] []", "x [y]", None),
        (" x ", "x", None),
    ],
)
def test_units(csv_file: Write, header: str, name: str, unit: str | None) -> None:
    """Units come from square brackets, and from round ones when they hold a known unit."""
    plan = plan_csv(csv_file(f"time,{header}\n0,1\n"))
    assert (plan.columns[0].name, plan.columns[0].unit) == (name, unit)
    assert plan.schema().field(name).metadata == ({b"unit": unit.encode()} if unit else None)


@pytest.mark.parametrize(
    ("header", "cell", "options", "expected"),
    [
        ("time", "2024-01-01T00:00:00Z", {}, 1704067200_000000000),
        ("time", "2024-01-01T00:00:00.123456789Z", {}, 1704067200_123456789),
        ("time", "2024-01-01 01:00:00,5+01:00", {"delimiter": ";"}, 1704067200_500000000),
        ("time", "20240101T000000Z", {}, 1704067200_000000000),
        ("time", "2024/1/1 0:00", {"tz": "UTC"}, 1704067200_000000000),
        ("time", "1969-12-31T23:59:59.999999999Z", {}, -1),
        ("time", "2024-06-01 12:00:00", {"tz": "Europe/Berlin"}, 1717236000_000000000),
        ("time", "31.12.2023 11:00:00 PM", {"tz": "-01:00"}, 1704067200_000000000),
        ("time", "1/2/2024 10:00", {"tz": "UTC", "date_order": "mdy"}, 1704189600_000000000),
        ("timestamp", "1700000000", {}, 1700000000_000000000),
        ("timestamp", "1700000000.123456789", {}, 1700000000_123456789),
        ("timestamp", "1700000000123", {}, 1700000000_123000000),
        ("timestamp", "1700000000123456", {}, 1700000000_123456000),
        ("timestamp", "1700000000123456789", {}, 1700000000_123456789),
        ("timestamp_ns", "9007199254740993", {}, 9007199254740993),
        ("time", "0.1", {}, 100000000),
        ("t_ms", "250", {}, 250000000),
        ("t [us]", "-3", {}, -3000),
        ("t", "1.5e-3", {}, 1500000),
        ("t", "0.30000000000000004", {}, 300000000),
        ("t", "2", {"start": "2024-01-01T00:00:00Z"}, 1704067202_000000000),
        ("when", "5", {"time": "when", "units": {"when": "ms"}}, 5000000),
    ],
)
def test_times_are_exact(
    csv_file: Write, header: str, cell: str, options: dict[str, Any], expected: int
) -> None:
    """Each way of writing a time gives the exact nanosecond."""
    mark = options.get("delimiter", ",")
    rows, bad = rows_of(plan_csv(csv_file(f"{header}{mark}v\n{cell}{mark}1\n"), **options))
    assert bad == []
    assert rows == [{"timestamp_ns": expected, "v": 1}]


def test_date_and_clock_are_joined(csv_file: Write) -> None:
    """A column of dates and one of clocks are one time, unasked when there is no other."""
    plan = plan_csv(csv_file("Date,Time,v\n2024-01-01,00:00:01.5,1\n"), tz="UTC")
    assert plan.time_name == "Date+Time"
    assert rows_of(plan)[0] == [{"timestamp_ns": 1704067201_500000000, "v": 1}]


def test_local_times_that_are_not_unique(csv_file: Write) -> None:
    """A local time that occurs twice or never is a bad row, and the rows round it are kept."""
    text = (
        "time,v\n2024-10-27 01:59:00,1\n2024-10-27 02:30:00,2\n2024-03-31 02:30:00,3\n2024-10-27 03:00:00,4\n"
    )
    rows, bad = rows_of(plan_csv(csv_file(text), tz="Europe/Berlin"))
    assert [row["v"] for row in rows] == [1, 4]
    assert [(b.line, "twice" in b.reason, "not exist" in b.reason) for b in bad] == [
        (3, True, False),
        (4, False, True),
    ]


def test_types_are_found_over_the_whole_file(csv_file: Write) -> None:
    """A column is typed by all its rows: a float after 40,000 whole numbers makes it a float column."""
    lines = "".join(f"{i},{i},{i}\n" for i in range(40_000))
    plan = plan_csv(csv_file(f"t,a,b\n{lines}40000,0.5,18446744073709551615\n"))
    assert [c.type for c in plan.columns] == ["double", "uint64"]
    batches = list(read_batches(plan, lambda row: pytest.fail(str(row))))
    assert sum(b.num_rows for b in batches) == 40_001
    assert len(batches) > 1


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "NA", "", "nan"], "int64", [1, None, None, None]),
        (["1.5", "NA", "", "nan"], "double", [1.5, None, None, "nan"]),
        (["a", "NA", "", "NaN"], "string", ["a", None, None, None]),
        (["a", '""', '"NA"', "x"], "string", ["a", "", "NA", "x"]),
        (["true", "False", "", "TRUE"], "bool", [True, False, None, True]),
        (["007", "008", "009", ""], "string", ["007", "008", "009", None]),
        (["99999999999999999999", "1", "2", "3"], "string", ["99999999999999999999", "1", "2", "3"]),
        (["-9223372036854775808", "9223372036854775807", "+1", ""], "int64", [-(2**63), 2**63 - 1, 1, None]),
        (["9007199254740993", "1", "", "2"], "int64", [2**53 + 1, 1, None, 2]),
        (["inf", "-inf", "1", "1e3"], "double", [float("inf"), float("-inf"), 1.0, 1000.0]),
        (["'a'", "0x1F", "1_000", "1 000"], "string", ["'a'", "0x1F", "1_000", "1 000"]),
    ],
)
def test_cells(csv_file: Write, cells: list[str], kind: str, values: list[object]) -> None:
    """Cells become the type that holds them without loss, and missing ones become null."""
    text = "t,v,w\n" + "".join(f"{i},{cell},1\n" for i, cell in enumerate(cells))
    plan = plan_csv(csv_file(text))
    rows, bad = rows_of(plan)
    assert (plan.columns[0].type, bad) == (kind, [])
    assert [str(r["v"]) if r["v"] != r["v"] else r["v"] for r in rows] == values


def test_decimal_comma(csv_file: Write) -> None:
    """With semicolons, 1,5 is one and a half, also in the time."""
    plan = plan_csv(csv_file("time;T (°C);n\n0,25;1,5;1\n1,5;;2\n"))
    assert rows_of(plan)[0] == [
        {"timestamp_ns": 250000000, "T": 1.5, "n": 1},
        {"timestamp_ns": 1500000000, "T": None, "n": 2},
    ]
    assert "decimal comma" in plan.describe()[0]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|", " "])
def test_delimiters(csv_file: Write, mark: str) -> None:
    """The delimiter is found from the lines."""
    plan = plan_csv(csv_file(f"time{mark}a{mark}b\n0{mark}1{mark}2.5\n1{mark}2{mark}3.5\n"))
    assert plan.dialect.delimiter == mark
    assert rows_of(plan)[0][1] == {"timestamp_ns": 10**9, "a": 2, "b": 3.5}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("# made by x\n# t a b\n0 1 2.5\n1 2 3.5\n", ["a", "b"]),
        ("sep=;\nt;a;b\n0;1;2\n", ["a", "b"]),
        ("\n\nt,a,b\n\n0,1,2\n\n", ["a", "b"]),
        ("t,a,a\n0,1,2\n", ["a", "a_2"]),
        ("t,a [V],a [A]\n0,1,2\n", ["a [V]", "a [A]"]),
        (",t,a\n0,5,1\n1,6,2\n", ["column_1", "a"]),
        ("t,a,\n0,1,\n1,2,\n", ["a"]),
        ("t,a\n0,1,\n1,2,\n", ["a"]),
        ("t,_seq,A,a\n0,1,2,3\n", ["seq", "A", "a"]),
        ('"t","a ""q""","b\nc"\n0,1,2\n', ['a "q"', "b c"]),
        ("t,a,1,2\n0,1,2,3\n", ["a", "1", "2"]),
        ("t,T\n0,21.5\n", ["T"]),
    ],
)
def test_headers(csv_file: Write, text: str, names: list[str]) -> None:
    """Names are found behind comments, blank lines and marks, and made unique."""
    plan = plan_csv(csv_file(text))
    assert [c.name for c in plan.columns] == names
    assert rows_of(plan)[1] == []


def test_another_time_than_timestamp_ns(csv_file: Write) -> None:
    """A column called timestamp_ns that is not the chosen time keeps its values under another name."""
    plan = plan_csv(csv_file("t,timestamp_ns\n1,7\n"), time="t")
    assert rows_of(plan)[0] == [{"timestamp_ns": 10**9, "file_timestamp_ns": 7}]


def test_unit_row(csv_file: Write) -> None:
    """A line of units below the header gives the units."""
    plan = plan_csv(csv_file("t,x,label\nms,mV,\n0,1,a\n5,2,b\n"))
    assert [(c.name, c.unit) for c in plan.columns] == [("x", "mV"), ("label", None)]
    assert rows_of(plan)[0][1] == {"timestamp_ns": 5_000_000, "x": 2, "label": "b"}


def test_no_header(csv_file: Write) -> None:
    """Without a header the columns are numbered and every line is a row."""
    plan = plan_csv(csv_file("0,1\n1,2\n"), time="column_1")
    assert [r["column_2"] for r in rows_of(plan)[0]] == [1, 2]


def test_given_units_and_types(csv_file: Write) -> None:
    """Units and types that are given come before what the file says."""
    plan = plan_csv(csv_file("t,v [mV],n\n0,1,2\n"), units={"v": "V"}, types={"n": "text", "v": "number"})
    expected = pa.schema(
        [
            pa.field("timestamp_ns", pa.int64(), nullable=False),
            pa.field("v", pa.float64(), metadata={"unit": "V"}),
            pa.field("n", pa.string()),
        ]
    )
    assert plan.schema().equals(expected, check_metadata=True)


def test_describe(csv_file: Write) -> None:
    """The description names the delimiter, the time, every column and the cells that do not fit."""
    plan = plan_csv(csv_file("time,v [V]\n0,1\n1,abc\n2,3\n"))
    assert plan.describe() == [
        "data.csv: 3 rows, utf-8, separated by comma, decimal point, column names in the first line",
        "time: time (relative time in s, counted from 1970-01-01T00:00:00.000000000Z)",
        "column v [V]: whole number; 1 cells do not fit, the first in line 3",
    ]
