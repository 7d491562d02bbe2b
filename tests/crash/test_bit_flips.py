"""Flipped bits: a reader gives the exact rows, or the rows without those that a gap row names, or an error."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from tests.crash.small_bundle import ROWS, SmallRecording, damaged_or_exact, exact_but_for_gaps, expected

from gapless.errors import IntegrityError
from gapless.store.reader import open_bundle
from gapless.store.recover import recover
from gapless.store.verify import verify

FLIPS = int(os.environ.get("GAPLESS_FLIPS", "1000"))


def flip(path: Path, dice: random.Random) -> tuple[int, int]:
    """Flip one random bit of a file."""
    data = bytearray(path.read_bytes())
    at, bit = dice.randrange(len(data)), dice.randrange(8)
    data[at] ^= 1 << bit
    path.write_bytes(data)
    return at, bit


@pytest.mark.crash
@pytest.mark.timeout(60 + FLIPS)
def test_no_flipped_bit_of_a_sealed_file_gives_other_rows_and_verify_finds_each(ram_path: Path) -> None:
    """Reading gives the exact rows or raises IntegrityError, and verify has an error for every flip."""
    recording = SmallRecording(ram_path / "small")
    recording.fill()
    recording.seal()
    truth = expected(ROWS)
    files = sorted(p for p in (ram_path / "small").rglob("*") if p.is_file())
    assert damaged_or_exact(ram_path / "small", truth) == "exact"
    assert verify(ram_path / "small", deep=True) == []
    dice = random.Random(1)
    for path in dice.choices(files, weights=[p.stat().st_size for p in files], k=FLIPS):
        whole = path.read_bytes()
        where = flip(path, dice)
        damaged_or_exact(ram_path / "small", truth)
        findings = verify(ram_path / "small")
        assert [f for f in findings if f.severity == "error"], f"verify missed {path.name} {where}"
        path.write_bytes(whole)


@pytest.mark.crash
@pytest.mark.timeout(60 + FLIPS)
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "killed"])
def test_no_flipped_bit_of_a_journal_gives_other_rows(ram_path: Path, closed: bool) -> None:
    """Reading and recovering give the exact rows but for those that a gap row names, or raise IntegrityError."""
    recording = SmallRecording(ram_path / "small")
    recording.fill()
    if closed:
        recording.close()
        recording.writer.release()
    else:
        recording.abandon()
    truth = expected(ROWS)
    dice = random.Random(2)
    files = sorted(p for p in recording.bundle.journal.rglob("*") if p.is_file() and p.stat().st_size)
    chosen = dice.choices(files, weights=[min(4000, p.stat().st_size) for p in files], k=FLIPS // 2)
    outcomes = {"recovered": 0, "refused": 0}
    for number, path in enumerate(chosen):
        copy = ram_path / f"copy{number}"
        shutil.copytree(ram_path / "small", copy)
        where = flip(copy / path.relative_to(ram_path / "small"), dice)
        live_prefix_or_error(copy, truth, f"{path.name} {where}")
        try:
            recover(copy)
            exact_but_for_gaps(open_bundle(copy), truth)
            assert not [f for f in verify(copy, deep=True) if f.severity == "error"]
            outcomes["recovered"] += 1
        except IntegrityError:
            outcomes["refused"] += 1
        shutil.rmtree(copy)
    assert outcomes["recovered"] > 0.95 * (FLIPS // 2)


def live_prefix_or_error(path: Path, truth: dict[str, pa.Table], where: str) -> None:
    """Assert that a reader of the damaged journal gives each topic whole, or refuses."""
    try:
        reader = open_bundle(path)
        for name, table in truth.items():
            if name in reader.topics:
                assert reader.topic(name).to_arrow().equals(table), where
    except IntegrityError:
        return
