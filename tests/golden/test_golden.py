"""Old bundles open for ever: what this and earlier releases wrote is read, verified and recovered exactly."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.golden.make_golden import ROWS

import gapless
from gapless.store.reader import BundleReader, open_bundle
from gapless.store.recover import recover
from gapless.store.verify import verify
from gapless.testing.sample import START_NS

GOLDEN = Path(__file__).parent
DIGESTS = {"format-1": "sha256:ea0756cd0295ce1b7e91f111aaeaf13fd79a5644487a9ec1bfea01b24345d0b5"}
LEDGER = {"produced": 368, "written": 361, "dropped": 0, "gapped": 7}


def check_rows(reader: BundleReader) -> None:
    """Compare every topic with what was pushed."""
    for topic, rows in ROWS.items():
        found = reader.topic(topic.name)
        assert found.to_arrow().equals(topic.table(0, rows)), topic.name
        assert found.metadata == {"vendor": "x"}
    assert reader.topic("numbered").to_arrow()["n"].to_pylist() == [1, 2, 5, 4, 9]
    assert reader.topic("numbered").schema.field("n").metadata[b"unit"] == b"counts"
    assert reader.topic("imu").to_arrow()["acceleration.z"].to_pylist() == [9.81]
    assert reader.topic("imu").ontology["tag"] == gapless.IMU.tag
    (event,) = reader.topic("_events").to_arrow().to_pylist()
    assert (event["timestamp_ns"], event["message"], event["data"]) == (START_NS, "too hot", '{"t":250}')


def gaps(reader: BundleReader) -> list[tuple[str, int | None, int | None, str]]:
    """Return topic, first number, count and cause of each gap row."""
    rows = reader.topic("_gaps").to_arrow().to_pylist()
    return [(r["topic"], r["first_seq"], r["count"], r["cause"]) for r in rows]


KNOWN_GAPS = {
    ("imu", None, 3, "overrun"),
    ("numbered", 3, 1, "producer_seq"),
    ("numbered", 6, 3, "producer_seq"),
}


@pytest.mark.parametrize("version", sorted(DIGESTS))
def test_a_golden_bundle_reads_exactly_and_verifies(version: str) -> None:
    """Rows, gaps, ledger, identity, layer and every byte are as they were written."""
    path = GOLDEN / version / "sealed"
    assert verify(path, deep=True) == []
    reader = open_bundle(path, layers=[])
    check_rows(reader)
    assert set(gaps(reader)) == KNOWN_GAPS
    assert (reader.name, reader.group, reader.state, reader.outcome) == (
        "golden",
        "golden",
        "sealed",
        "completed",
    )
    assert reader.metadata == {"vehicle": {"id": "ü-1"}, "runs": [1, 2.5, None]}
    assert reader.manifest is not None
    assert reader.manifest["content_digest"] == DIGESTS[version]
    assert reader.manifest["content"]["ledger"] == LEDGER
    assert open_bundle(path).topic("verdict").to_arrow()["value"].to_pylist() == ["good"]


@pytest.mark.parametrize("version", sorted(DIGESTS))
def test_a_golden_journal_reads_and_recovers_exactly(tmp_path: Path, version: str) -> None:
    """A journal that an earlier release left behind is read as it lies and sealed by this one."""
    shutil.copytree(GOLDEN / version / "journal", tmp_path / "journal")
    check_rows(open_bundle(tmp_path / "journal"))
    recover(tmp_path / "journal")
    reader = open_bundle(tmp_path / "journal")
    check_rows(reader)
    assert set(gaps(reader)) == KNOWN_GAPS | {("*", None, None, "killed")}
    assert (reader.state, reader.outcome) == ("sealed", "interrupted")
    assert verify(tmp_path / "journal", deep=True) == []
