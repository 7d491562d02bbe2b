"""The map from events to frames is what a dict filled range by range would be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gapless.bluesky.external.frame_map import FrameMap, FrameRange, pieces_of

RANGES = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(0, 30), st.integers(0, 8), st.integers(1, 20), st.integers(0, 8)
    ),
    max_size=12,
)


def _ranges(drawn: list[tuple[int, int, int, int, int]]) -> list[FrameRange]:
    return [FrameRange(r, start, start + n, seq, seq + m) for r, start, n, seq, m in drawn]


@given(RANGES, st.integers(-3, 60), st.integers(-3, 60), st.integers(1, 4))
def test_the_range_that_comes_later_wins(
    drawn: list[tuple[int, int, int, int, int]], start: int, stop: int, step: int
) -> None:
    """The range that comes later wins."""
    frames, known = FrameMap(), dict[int, tuple[int, int]]()
    for one in _ranges(drawn):
        frames.add(one)
        for place in range(min(one.index_stop - one.index_start, one.seq_stop - one.seq_start)):
            known[one.seq_start + place] = (one.resource, one.index_start + place)
    expected = [(seq, *known[seq]) for seq in sorted(known)]
    assert frames.seq_nums().tolist() == sorted(known)
    assert len(frames) == len(known)
    places = range(*slice(start, stop, step).indices(len(known)))
    got = [
        (piece.seq_start + n, piece.resource, piece.index_start + n)
        for piece in frames.pieces(places)
        for n in range(len(piece))
    ]
    assert got == [expected[place] for place in places]


def test_ranges_that_follow_each_other_are_one() -> None:
    """Ranges that follow each other are one."""
    frames = FrameMap()
    for number in range(1000):
        frames.add(FrameRange(0, number, number + 1, number + 1, number + 2))
    assert list(frames.pieces(range(1000))) == [FrameRange(0, 0, 1000, 1, 1001)]


def test_pieces_skip_ranges_without_frames() -> None:
    """Pieces skip ranges without frames."""
    ranges = [FrameRange(0, 0, 2, 1, 3), FrameRange(0, 2, 2, 3, 3), FrameRange(1, 5, 7, 3, 5)]
    assert list(pieces_of(ranges, range(1, 3))) == [ranges[0].part(1, 2), ranges[2].part(0, 1)]
