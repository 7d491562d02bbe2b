"""Which events are new, the same again, or a second try; which numbers never came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gapless.bluesky.sequence_numbers import CoveredNumbers, SeenRanges, SequenceNumbers


def test_numbers_that_follow_are_all_new() -> None:
    """Nothing is counted, nothing is missing."""
    numbers = SequenceNumbers()
    assert numbers.new_rows([1, 2, 3], ["a", "b", "c"]) is None
    assert numbers.new_rows([4], ["d"]) is None
    assert (numbers.duplicates, numbers.superseded, numbers.reordered) == (0, 0, 0)
    assert list(numbers.holes()) == []


def test_the_same_event_again_is_no_row() -> None:
    """Known by number and uid, also after another try of the same number."""
    numbers = SequenceNumbers()
    numbers.new_rows([1, 2], ["a", "b"])
    assert numbers.new_rows([2], ["b"]) == []
    assert numbers.new_rows([2], ["other"]) is None
    assert numbers.new_rows([2], ["b"]) == []
    assert (numbers.duplicates, numbers.superseded) == (2, 1)


def test_holes_are_what_lies_between_and_what_the_end_counts() -> None:
    """Numbers far ahead cost no memory for those between."""
    numbers = SequenceNumbers()
    numbers.new_rows([2, 5], ["a", "b"])
    numbers.new_rows([10_000_000_000], ["c"])
    assert list(numbers.holes()) == [(1, 1), (3, 4), (6, 9_999_999_999)]
    few = SequenceNumbers()
    few.new_rows([1], ["a"])
    assert list(few.holes(4)) == [(2, 4)]


def test_numbers_below_one_are_rows_and_make_no_hole() -> None:
    """They break the event model; what they carry is kept."""
    numbers = SequenceNumbers()
    assert numbers.new_rows([0, -3, 1], ["a", "b", "c"]) is None
    assert numbers.new_rows([0], ["a"]) == []
    assert list(numbers.holes()) == []


@given(st.lists(st.tuples(st.integers(1, 12), st.sampled_from("abc")), max_size=30), st.integers(1, 4))
def test_every_pair_is_one_row_whatever_the_batches(events: list[tuple[int, str]], size: int) -> None:
    """Rows, duplicates, superseded rows and holes are those of a plain list."""
    numbers, kept = SequenceNumbers(), []
    for at in range(0, len(events), size):
        part = events[at : at + size]
        new = numbers.new_rows([n for n, _ in part], [f"{n}{uid}" for n, uid in part])
        kept += part if new is None else [part[place] for place in new]
    assert kept == list(dict.fromkeys(events))
    assert numbers.duplicates == len(events) - len(kept)
    assert numbers.superseded == len(kept) - len({n for n, _ in kept})
    missing = {n for first, last in numbers.holes() for n in range(first, last + 1)}
    top = max((n for n, _ in events), default=0)
    assert missing == set(range(1, top + 1)) - {n for n, _ in events}


@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from("ab")), max_size=30))
def test_a_range_comes_once_under_one_uid(datums: list[tuple[int, str]]) -> None:
    """In order or not."""
    seen = SeenRanges()
    kept = [(start, uid) for start, uid in datums if seen.is_new(start, start + 1, uid)]
    assert kept == list(dict.fromkeys(datums))


@given(st.lists(st.tuples(st.integers(1, 15), st.integers(0, 4)), max_size=12), st.integers(0, 20))
def test_covered_numbers_leave_the_holes_of_a_set(ranges: list[tuple[int, int]], end: int) -> None:
    """Whatever the order and the overlaps."""
    covered, numbers = CoveredNumbers(), set()
    for start, count in ranges:
        covered.add(start, start + count)
        numbers |= set(range(start, start + count))
    missing = {n for first, last in covered.holes(end) for n in range(first, last + 1)}
    assert missing == set(range(1, max([end, *numbers]) + 1)) - numbers


@given(
    st.lists(st.tuples(st.integers(-1, 12), st.sampled_from("abc")), max_size=12),
    st.lists(st.tuples(st.integers(-1, 12), st.sampled_from("abc")), min_size=1, max_size=12),
)
def test_a_batch_that_is_taken_back_never_came(
    before: list[tuple[int, str]], batch: list[tuple[int, str]]
) -> None:
    """Counts, holes and what is new are as if it had not come."""
    plain, other = SequenceNumbers(), SequenceNumbers()
    for numbers in (plain, other):
        if before:
            numbers.new_rows([n for n, _ in before], [uid for _, uid in before])
    columns = [n for n, _ in batch], [uid for _, uid in batch]
    other.new_rows(*columns)
    other.take_back()
    assert other.new_rows(*columns) == plain.new_rows(*columns)
    assert list(other.holes()) == list(plain.holes())
    assert (other.duplicates, other.superseded, other.reordered) == (
        plain.duplicates,
        plain.superseded,
        plain.reordered,
    )
