"""Files become sealed sequences of a real store and come out of it unchanged."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

import gapless
from gapless.exchange.csv_export import export_csv
from gapless.exchange.csv_import import import_csv
from gapless.exchange.parquet_export import export_parquet
from gapless.exchange.parquet_import import import_parquet

CSV = (
    "time,T [°C],n,name,on\n"
    "2024-01-01T00:00:01Z,1.5,1,a,true\n"
    "2024-01-01T00:00:00.000000001Z,,18446744073709551615,NA,false\n"
    "2024-01-01T00:00:02Z,hot,3,c,\n"
    '2024-01-01T00:00:03Z,nan,,"",\n'
)


def test_csv_through_a_store(tmp_path: Path) -> None:
    """Rows, units and nulls of a CSV file are in the sealed sequence, and come back from its export."""
    (tmp_path / "oven.csv").write_text(CSV)
    with gapless.connect(str(tmp_path / "store")) as client:
        report = import_csv(client, tmp_path / "oven.csv", group="lab")
        sequence = client.sequence_handler("oven")
        topic = sequence.topic("data")
        rows = topic.to_arrow().to_pylist()
        assert (sequence.state, sequence.outcome, sequence.group) == ("sealed", "completed", "lab")
        assert [r["timestamp_ns"] - 1704067200 * 10**9 for r in rows] == [1, 10**9, 3 * 10**9]
        assert [(r["n"], r["name"], r["on"]) for r in rows] == [
            (18446744073709551615, None, False),
            (1, "a", True),
            (None, "", None),
        ]
        assert topic.schema.field("T").metadata[b"unit"] == "°C".encode()
        assert [(b.line, b.text) for b in report.bad] == [(4, "2024-01-01T00:00:02Z,hot,3,c,")]
        assert [n.message for n in sequence.notifications()] == ["1 rows were not imported"]
        events = sequence.topic("_events").to_arrow().to_pylist()
        assert events[0]["message"] == "line 4 was not imported: T: not a number: 'hot'"
        assert (events[0]["source"], events[0]["severity"]) == ("data", "warning")
        export_csv(sequence, tmp_path / "again.csv")
        assert import_csv(client, tmp_path / "again.csv").exit_code == 0
        again = client.sequence_handler("again").topic("data")
        assert str(again.to_arrow().to_pylist()) == str(rows)
        assert again.schema.equals(topic.schema, check_metadata=True)


def test_parquet_through_a_store(tmp_path: Path) -> None:
    """The Parquet parts of a bundle can be imported themselves, without the hidden column."""
    (tmp_path / "oven.csv").write_text(CSV)
    with gapless.connect(str(tmp_path / "store")) as client:
        import_csv(client, tmp_path / "oven.csv", topic="oven/pv")
        sequence = client.sequence_handler("oven")
        first = sequence.topic("oven/pv").to_arrow()
        export_parquet(sequence, tmp_path / "out")
        assert str(pq.read_table(tmp_path / "out" / "oven%2Fpv.parquet")) == str(first)
        import_parquet(client, tmp_path / "out", "from export")
        parts = tmp_path / "store" / "sequences" / "oven" / "topics" / "oven%2Fpv"
        import_parquet(client, parts, "from parts")
        for name, topic in (("from export", "oven/pv"), ("from parts", "oven/pv")):
            again = client.sequence_handler(name).topic(topic).to_arrow()
            assert str(again.to_pylist()) == str(first.to_pylist())
            assert again.schema.equals(first.schema, check_metadata=True)
