"""Journals cut at every byte, and files cut or missing: the rows that are left come back, and no other."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from tests.crash.small_bundle import ROWS, TOPICS, SmallRecording, exact_but_for_gaps, expected

from gapless.errors import IntegrityError
from gapless.store.frame import Frame, Kind, scan
from gapless.store.layout import CUTS, Bundle
from gapless.store.reader import open_bundle
from gapless.store.recover import recover
from gapless.store.verify import verify

STEP = 1 if "GAPLESS_KILLS" in os.environ else 9  # `make crash` cuts at every byte
NEAR_BYTES = 8


def whole_rows(path: Path, nonce: int, cut: int) -> dict[int, int]:
    """Return how many rows of each topic lie in frames that end at or before the cut."""
    rows: dict[int, int] = {}
    for item in scan(path, nonce):
        if isinstance(item, Frame) and item.end <= cut and item.header.kind in (Kind.PACKED, Kind.ARROW):
            rows[item.header.topic] = item.header.first_seq + item.header.rows
    return rows


def cuts_of(path: Path, nonce: int) -> list[int]:
    """Return where a segment is cut: around the ends of frames at every byte, elsewhere at one in STEP, anywhere."""
    ends = [item.end for item in scan(path, nonce) if isinstance(item, Frame)]
    size, phase = path.stat().st_size, random.SystemRandom().randrange(STEP)
    near = {cut for end in ends for cut in range(end - NEAR_BYTES, end + NEAR_BYTES + 1)}
    return sorted({0, size, *near, *range(phase, size, STEP)} & set(range(size + 1)))


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(600)
def test_a_journal_cut_at_any_byte_gives_exactly_the_rows_of_the_frames_before_the_cut(
    ram_path: Path,
) -> None:
    """A torn frame costs only itself: every whole frame before it is back, exact, in order."""
    recording = SmallRecording(ram_path / "small", segment_bytes=1 << 20)
    for _ in range(2):
        for which in range(3):
            recording.push(which, 2)
        recording.writer.flush()
    recording.abandon()
    segment = next(recording.bundle.journal.glob("*.seg"))
    truth = expected(ROWS)
    nonce = recording.header["nonce"]
    for cut in cuts_of(segment, nonce):
        copy = ram_path / "copy"
        shutil.copytree(ram_path / "small", copy)
        with (copy / "journal" / segment.name).open("r+b") as file:
            file.truncate(cut)
        recover(copy)
        reader = open_bundle(copy)
        rows = whole_rows(segment, nonce, cut)
        for index, topic in enumerate(TOPICS, 16):
            found = reader.topic(topic.name).to_arrow()
            assert found.equals(truth[topic.name].slice(0, rows.get(index, 0))), f"{topic.name} cut at {cut}"
        shutil.rmtree(copy)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_segment_becomes_gap_rows_and_later_frames_survive(ram_path: Path, lost: int) -> None:
    """Rows of other segments come back; arrival numbers of the lost one are named as damaged."""
    recording = SmallRecording(ram_path / "small", cuts=CUTS)
    recording.fill()
    recording.close()
    recording.writer.release()
    segments = sorted(recording.bundle.journal.glob("*.seg"))
    segments[min(lost, len(segments) - 1)].unlink()
    recover(ram_path / "small")
    exact_but_for_gaps(open_bundle(ram_path / "small"), expected(ROWS))


def test_a_bundle_without_any_header_is_refused_and_left_as_it_is(ram_path: Path) -> None:
    """When neither open.json nor a segment tells whose journal it is, recovery raises and touches nothing."""
    recording = SmallRecording(ram_path / "small", segment_bytes=1 << 20)
    recording.push(0, 3)
    recording.close()
    recording.writer.release()
    journal = recording.bundle.journal
    (journal / "open.json").write_bytes(b"{}")
    for segment in journal.glob("*.seg"):
        segment.write_bytes(b"\0" * 64 + segment.read_bytes()[64:][:100])
    before = sorted((p.name, p.stat().st_size) for p in journal.iterdir())
    with pytest.raises(IntegrityError, match="whose journal"):
        recover(ram_path / "small")
    assert sorted((p.name, p.stat().st_size) for p in journal.iterdir()) == before
    assert "V016" in {f.code for f in verify(ram_path / "small")}


def test_a_header_lost_in_open_json_is_found_in_a_segment(ram_path: Path) -> None:
    """Every segment begins with the sequence's header, so one damaged file costs nothing."""
    recording = SmallRecording(ram_path / "small")
    recording.fill()
    recording.close()
    recording.writer.release()
    (recording.bundle.journal / "open.json").write_bytes(b"\xff\xfe")
    manifest = recover(ram_path / "small")
    assert manifest["content"]["name"] == "small"
    exact_but_for_gaps(open_bundle(ram_path / "small"), expected(ROWS))
    assert Bundle(ram_path / "small").manifest.exists()
    assert pa.concat_tables([open_bundle(ram_path / "small").topic("notes").to_arrow()]).num_rows == 20
