"""Holes in a producer's numbering against a plain set of numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.store.holes import SeqHoles

RUNS = st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=12), min_size=1, max_size=8)


@given(RUNS)
def test_what_is_missing_is_every_number_above_the_first_that_never_came(runs: list[list[int]]) -> None:
    """However the numbers are cut into runs, late or twice: the holes are exactly the missing numbers."""
    holes = SeqHoles()
    seen: list[int] = []
    for run in runs:
        holes.add(np.array(run), np.arange(len(seen), len(seen) + len(run)))
        holes = SeqHoles.from_json(holes.to_json())
        seen += run
    first = seen[0]
    expected = set(range(first, max(seen) + 1)) - set(seen) if max(seen) >= first else set()
    found = [n for hole in holes.holes for n in range(hole.first, hole.last + 1)]
    assert sorted(found) == sorted(expected)
    assert holes.missing == len(expected)


@given(RUNS)
def test_holes_do_not_depend_on_how_the_numbers_were_cut(runs: list[list[int]]) -> None:
    """One run or many: the same holes between the same stamps."""
    flat = np.array([n for run in runs for n in run])
    at_once, in_runs = SeqHoles(), SeqHoles()
    at_once.add(flat, np.arange(len(flat)))
    start = 0
    for run in runs:
        in_runs.add(np.array(run), np.arange(start, start + len(run)))
        start += len(run)
    assert sorted(map(repr, in_runs.holes)) == sorted(map(repr, at_once.holes))


@pytest.mark.parametrize(
    ("given_up", "late", "missing"),
    [
        (0, [], 3),
        (2, [], 1),
        (3, [], 0),
        (9, [], 0),
        (2, [4], 0),
        (1, [4], 1),
        (3, [3, 4, 5], 0),
    ],
)
def test_numbers_of_messages_that_came_and_have_no_row_are_not_missing(
    given_up: int, late: list[int], missing: int
) -> None:
    """Numbers 3 to 5 have no row where so many messages were given up; some of the numbers come late."""
    holes = SeqHoles()
    holes.add(np.array([0, 1, 2, 6]), np.arange(4), {3: given_up})
    for number in late:
        holes = SeqHoles.from_json(holes.to_json())
        holes.add(np.array([number]), np.array([9]))
    assert holes.missing == missing
    assert all(0 <= hole.missing <= hole.last - hole.first + 1 for hole in holes.holes)
