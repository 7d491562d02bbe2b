"""Recovery of journals from which files are gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.store.live_recording import Recording

from gapless.store.recover import recover, segment_paths
from gapless.store.verify import verify


def test_durable_rows_that_are_gone_are_told(tmp_path: Path) -> None:
    """Without its segments a journal gives no rows, and the sealed bundle says how much was durable."""
    with Recording(tmp_path) as recording:
        recording.push_many(2)
    for path in segment_paths(recording.bundle):
        path.unlink()
    manifest = recover(tmp_path)
    (damage,) = manifest["record"]["damage"]
    assert damage["reason"].endswith("bytes durable, 0 are there")
    (finding,) = verify(tmp_path, deep=True)
    assert (finding.code, finding.severity, finding.message) == ("V015", "warning", damage["reason"])


def test_a_segment_shorter_than_its_durable_part_is_told(tmp_path: Path) -> None:
    """A cut at a frame's end leaves no torn bytes, and is told all the same."""
    with Recording(tmp_path) as recording:
        recording.push_many(1)
        short = segment_paths(recording.bundle)[-1].stat().st_size
        recording.push_many(1)
    path = segment_paths(recording.bundle)[-1]
    with path.open("r+b") as file:
        file.truncate(short)
    manifest = recover(tmp_path)
    assert [d["reason"].endswith(f"{short:,} are there") for d in manifest["record"]["damage"]] == [True]
    assert manifest["content"]["topics"]["t"]["rows"] == 50
    assert [f.code for f in verify(tmp_path)] == ["V015"]


@pytest.mark.parametrize("blocks", [1, 60])
def test_a_whole_journal_has_no_damage(tmp_path: Path, blocks: int) -> None:
    """Segments that became parts while recording went on are not missed."""
    with Recording(tmp_path) as recording:
        recording.push_many(blocks)
    manifest = recover(tmp_path)
    assert manifest["record"]["damage"] == []
    assert verify(tmp_path, deep=True) == []
    assert manifest["content"]["topics"]["t"]["rows"] == 50 * blocks


def test_an_unreadable_watermark_proves_nothing(tmp_path: Path) -> None:
    """Without a watermark nobody knows what was durable, so nothing is claimed."""
    with Recording(tmp_path) as recording:
        recording.push_many(1)
    for path in segment_paths(recording.bundle):
        path.unlink()
    (recording.bundle.journal / "watermark").write_bytes(b"x" * 64)
    assert recover(tmp_path)["record"]["damage"] == []


def test_a_file_that_was_never_noted_is_put_aside(tmp_path: Path) -> None:
    """What a writer died copying is no artifact of the sequence, and none of its bytes is deleted."""
    with Recording(tmp_path) as recording:
        recording.push_many(1)
    half = recording.bundle.artifacts / "1c541853d78c9595.upload"
    half.parent.mkdir()
    half.write_bytes(b"half of a model")
    recover(tmp_path)
    assert verify(tmp_path, deep=True) == []
    assert not half.exists()
    assert (recording.bundle.journal / "quarantine" / half.name).read_bytes() == b"half of a model"
