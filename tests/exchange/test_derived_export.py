"""Outputs of feature runs leave the store like recorded topics, with their units."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.store.derived_run import RUN, SPEED, begin_run, record_entry, speeds

import gapless
from gapless.client.sequence_handler import SequenceHandler
from gapless.errors import NotFound
from gapless.exchange.csv_export import export_csv
from gapless.exchange.parquet_export import export_parquet

TOPIC = f"features/speed@{RUN}"


@pytest.fixture
def walk(tmp_path: Path) -> SequenceHandler:
    """Return a sequence that a run gave two speeds."""
    with gapless.connect(tmp_path / "store") as client:
        with client.sequence_create("walk", group="field") as seq:
            seq.log("x", 1.0, timestamp_ns=0)
        record_entry(begin_run(client.path, "speed"), "walk", speeds([0, 10], [0.5, 2.5]))
        return client.sequence_handler("walk")


def test_parquet_keeps_the_schema(walk: SequenceHandler, tmp_path: Path) -> None:
    """One file, in a folder by an encoded name or where it is wanted; the units are in it."""
    [file] = export_parquet(walk, tmp_path / "out", [TOPIC]).files
    assert file.path == tmp_path / "out" / "features%2Fspeed%400.1-0123456789ab.parquet"
    table = pq.read_table(file.path)
    assert table.schema.equals(SPEED, check_metadata=True)
    assert table["speed"].to_pylist() == [0.5, 2.5]


def test_csv_has_the_units_in_its_header(walk: SequenceHandler, tmp_path: Path) -> None:
    """A window and a choice of columns apply."""
    export_csv(walk, tmp_path / "speed.csv", [TOPIC], columns=["speed"], start_ns=5)
    header, row = (tmp_path / "speed.csv").read_text(encoding="utf-8").splitlines()
    assert "speed [m/s]" in header
    assert row.endswith("2.5")


def test_only_what_is_named_is_exported(walk: SequenceHandler, tmp_path: Path) -> None:
    """Without names the sequence's own topics leave; an unknown run is refused before any file is written."""
    assert [file.topic for file in export_parquet(walk, tmp_path / "own").files] == ["x"]
    with pytest.raises(NotFound, match="features/other@1"):
        export_parquet(walk, tmp_path / "none", ["x", "features/other@1"])
    assert not (tmp_path / "none").exists()
