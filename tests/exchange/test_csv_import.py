"""What an import of CSV stores, and how it names what it could not store."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.errors import ImportRefused, NotFound
from gapless.exchange.csv_import import import_csv, plan_import, read_batches
from gapless.exchange.csv_plan import plan_csv
from gapless.exchange.report import BadRow

Write = Callable[..., Path]

UGLY = (
    "time,name,v\n"  # 1
    '0,"two\nlines",1\n'  # 2-3
    "1,few\n"  # 4
    "2,many,3,4\n"  # 5
    "\n"  # 6
    "3,text,abc\n"  # 7
    "soon,text,4\n"  # 8
    '4,"stray,5\n'  # 9
    '5,"a ""quoted"" word",6\r\n'  # 10
    '6,"after"x,7\n'  # 11
    "time,name,v\n"  # 12
    ",no time,8\n"  # 13
    "7,fine,9\n"  # 14
    "1e30,far,10\n"  # 15
    "8,cut"  # 16
)


def test_bad_rows_are_reported_by_line(csv_file: Write, client: Any) -> None:
    """Every row is stored or reported with the right line, its reason and its text."""
    report = import_csv(client, csv_file(UGLY))
    stored = client.sequences["data"].topic("data").table().to_pylist()
    assert [row["v"] for row in stored] == [1, 6, 9]
    assert stored[0]["name"] == "two\nlines"
    assert [(b.line, b.reason.split(":")[0]) for b in report.bad] == [
        (4, "too few cells"),
        (5, "too many cells"),
        (7, "v"),
        (8, "time"),
        (9, "text after a closing quotation mark"),
        (11, "text after a closing quotation mark"),
        (12, "repeats the header"),
        (13, "time"),
        (15, "time"),
        (16, "too few cells"),
    ]
    assert report.bad[2].text == "3,text,abc"
    assert (report.rows, report.bad_rows, report.exit_code) == ({"data": 3}, 10, 1)


def test_bad_rows_become_events(csv_file: Write, client: Any) -> None:
    """The sequence holds an event for each bad row, and one that sums them up."""
    import_csv(client, csv_file("t,v\n0,1\n1,x\n2,3\n"))
    first, last = client.sequences["data"].events
    assert first[:2] == ("warning", "import")
    assert first[4]["text"] == "1,x"
    assert last[4] == {"rows": 1}


def test_events_are_bounded(csv_file: Write, client: Any) -> None:
    """A file of many bad rows gives at most a thousand events and a sum; all bad rows are counted."""
    report = import_csv(client, csv_file("t,v\n" + "0,1\n" * 3000 + "0\n" * 1500))
    assert len(client.sequences["data"].events) == 1001
    assert (report.bad_rows, len(report.bad)) == (1500, 1500)


def test_a_clean_import(csv_file: Write, client: Any) -> None:
    """A clean file gives exit code 0, the names given, and metadata that tell where the rows are from."""
    path = csv_file("t,v [V]\n0,1\n")
    report = import_csv(client, path, "run", "volts", group="lab", metadata={"a": 1})
    sequence = client.sequences["run"]
    assert (report.exit_code, report.rows, sequence.events, sequence.group) == (0, {"volts": 1}, [], "lab")
    origin = sequence.metadata["import"]["files"][0]
    assert (sequence.metadata["a"], origin["file"], origin["bytes"]) == (1, "data.csv", path.stat().st_size)
    assert report.assumed == origin["assumed"]


def test_undecodable_bytes_are_bad_rows(csv_file: Write, client: Any) -> None:
    """With a named encoding, noise in one line costs that line and is shown byte by byte."""
    report = import_csv(client, csv_file("t,v\n0,1\n1,ÿ\n2,3\n", "latin-1"), encoding="utf-8")
    assert [(b.line, b.text) for b in report.bad] == [(3, "1,\\xff")]


def test_stray_quote_costs_one_line(csv_file: Write, client: Any) -> None:
    """A quotation mark that never closes costs its own line, not the rest of the file."""
    lines = [f"{i},ok,{i}" for i in range(5000)]
    lines[100] = '100,"open,100'
    report = import_csv(client, csv_file("t,name,v\n" + "\n".join(lines)))
    assert (report.rows["data"], [b.line for b in report.bad]) == (4999, [102])


def test_folder(tmp_path: Path, client: Any) -> None:
    """Each file of a folder becomes the topic that its name stands for."""
    (tmp_path / "sensors%2Fimu.csv").write_text("t,a\n0,1\n")
    (tmp_path / "gps.csv").write_text("t,b\n0,1\n1,2\n")
    report = import_csv(client, tmp_path, "trip")
    assert report.rows == {"gps": 2, "sensors/imu": 1}
    assert [i.topic for i in plan_import(tmp_path)] == ["gps", "sensors/imu"]


def test_empty_folder(tmp_path: Path, client: Any) -> None:
    """A folder without CSV files is NotFound."""
    with pytest.raises(NotFound):
        import_csv(client, tmp_path)


def test_a_file_that_changes_is_refused(csv_file: Write) -> None:
    """A file that is no longer the one that was planned is refused, also when it changes while it is read."""
    path = csv_file("t,v\n" + "0,1\n" * 20_000)
    batches = read_batches(plan_csv(path), lambda row: None)
    next(batches)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ImportRefused, match="changed"):
        list(batches)


def test_a_refused_file_leaves_nothing(csv_file: Write, client: Any) -> None:
    """A refused file leaves no sequence behind."""
    with pytest.raises(ImportRefused):
        import_csv(client, csv_file("time,v\n2024-01-01 00:00,1\n"))
    assert client.sequences == {}


def test_fast_and_slow_ways_agree(csv_file: Write) -> None:
    """A chunk with one odd cell gives the same values for its other rows as one without."""
    cells = [f"{i * 7 % 1000 / 8},{'' if i % 9 == 0 else i * 37 % 1000 / 8}" for i in range(500)]
    clean = plan_csv(csv_file("t,v\n" + "\n".join(cells), name="a.csv"))
    mixed = plan_csv(csv_file("t,v\n" + "\n".join([*cells, "1,x", "y,2"]), name="b.csv"))
    bad: list[BadRow] = []
    one = [row for b in read_batches(clean, bad.append) for row in b.to_pylist()]
    assert bad == []
    assert one == [row for b in read_batches(mixed, bad.append) for row in b.to_pylist()]
    assert [b.line for b in bad] == [502, 503]


PIECES = [
    *(
        "0",
        "1",
        "time",
        "v",
        ",",
        ";",
        "\t",
        " ",
        "\n",
        "\r\n",
        "\r",
        '"',
        '""',
        "1,5",
        "2.5",
        "nan",
        "NA",
        "#",
    ),
    *("[V]", "(s)", "1700000000", "2024-01-01T00:00:00Z", "2024-01-01 10:00", "1e999", "\x0b", "é", "true"),
]


@given(
    text=st.lists(
        st.sampled_from(PIECES),
        max_size=40,
    ),
    start=st.sampled_from(["", "time,v\n", "time,v\n0,1\n1,2\n2,3\n", "t;v;w\n0;1;2\n1;2;3\n"]),
)
@settings(max_examples=300, deadline=None)
def test_no_line_is_lost(text: list[str], start: str) -> None:
    """Any text is refused as a whole, or each of its records is either a row or a bad row."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        path.write_bytes((start + "".join(text)).encode())
        try:
            plan = plan_csv(path, tz="UTC")
        except ImportRefused:
            return
        bad: list[BadRow] = []
        rows = sum(batch.num_rows for batch in read_batches(plan, bad.append))
    assert rows + len(bad) == plan.rows
    assert [b.line for b in bad] == sorted(b.line for b in bad)
