"""The index of frames: what goes in comes out, in the asked order, and little is kept of each."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from gapless.store.frame_index import FrameIndex, FrameRef

_FILES = [Path(f"/journal/{number:08d}.seg") for number in range(3)]


def frame(first_seq: int, rows: int = 1, path: Path = _FILES[0]) -> FrameRef:
    """Return a reference whose other words depend on its arrival number."""
    return FrameRef(path, 100 * first_seq, 90, 3, first_seq, rows, 16 * rows, 1, first_seq * 7919 % 2**32)


def test_references_come_back_whole(tmp_path: Path) -> None:
    """The greatest values that a header may hold included."""
    large = FrameRef(tmp_path / "x.seg", 2**40, 2**30, 4, 2**60, 2**31, 2**45, 2**16 - 1, 2**32 - 1)
    frames = [frame(0), frame(1, 5, _FILES[1]), large]
    index = FrameIndex(frames)
    assert (list(index), len(index)) == (frames, 3)
    assert list(FrameIndex()) == []


def test_a_part_of_the_index_by_rows_and_by_files() -> None:
    """Frames that reach behind an arrival number; frames of some files; how much lies in each."""
    frames = [frame(10 * n, 10, _FILES[n % 3]) for n in range(9)]
    index = FrameIndex(frames)
    assert list(index.behind(35)) == frames[3:]
    assert list(index.behind(90)) == []
    assert list(index.inside([_FILES[1], Path("/other")])) == frames[1::3]
    assert index.sizes() == dict.fromkeys(_FILES, (3, 270))


def test_order_is_by_first_row_and_stable() -> None:
    """Equal first rows stay as they were appended."""
    frames = [frame(n % 50, 1 + n) for n in range(200)]
    random.Random(3).shuffle(frames)
    assert list(FrameIndex(frames).in_order()) == sorted(frames, key=lambda f: f.first_seq)


def test_rows_that_are_done_and_files_that_are_copied_leave_nothing_behind() -> None:
    """Frames can be appended after each change, and a file is named only while a frame lies in it."""
    frames = [frame(n, 1, _FILES[n // 10]) for n in range(30)]
    index = FrameIndex(frames)
    index.drop_until(15)
    assert list(index) == frames[15:]
    copy = replace(frames[15], rows=5, path=Path("/journal/carry.seg"))
    index.replace([_FILES[1]], [copy])
    index.append(frame(30))
    assert list(index) == [copy, *frames[20:], frame(30)]
    assert set(index.sizes()) == {copy.path, _FILES[2], _FILES[0]}
    index.drop_until(31)
    assert (len(index), index.sizes()) == (0, {})
