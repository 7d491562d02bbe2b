"""Bounds on waiting, with a clock that the test moves."""

from __future__ import annotations

import pytest

from gapless.errors import UsageError
from gapless.flow.deadline import Deadline, HeldCondition

HOLDS = True


class Hands:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def test_a_deadline_passes_once_its_time_is_over_and_can_start_again() -> None:
    """The time left shrinks to 0 and no further."""
    hands = Hands()
    deadline = Deadline(10.0, hands)
    assert (deadline.left_s, deadline.passed) == (10.0, False)
    hands.now_s += 9.0
    assert (deadline.left_s, deadline.passed) == (1.0, False)
    hands.now_s += 1.0
    assert (deadline.left_s, deadline.passed) == (0.0, True)
    hands.now_s += 100.0
    assert deadline.left_s == 0.0
    deadline.restart()
    assert (deadline.left_s, deadline.passed) == (10.0, False)


def test_a_condition_that_holds_too_long_is_told_once() -> None:
    """At the limit it is not told, beyond it it is, in one call only."""
    hands = Hands()
    condition = HeldCondition(10.0, hands)
    assert not condition.update(HOLDS)
    hands.now_s += 10.0
    assert not condition.update(HOLDS)
    hands.now_s += 1.0
    assert condition.held_s == 11.0
    assert condition.update(HOLDS)
    hands.now_s += 100.0
    assert not condition.update(HOLDS)


def test_a_break_starts_the_count_again() -> None:
    """A condition that was false in between has not held, and can be told again after a tripping."""
    hands = Hands()
    condition = HeldCondition(10.0, hands)
    told = []
    for state in (True, True, False, True, True, False, True, True):
        told.append(condition.update(state))
        hands.now_s += 9.0
    assert not any(told)
    hands.now_s += 2.0
    assert condition.update(HOLDS)
    assert not condition.update(not HOLDS)
    assert condition.held_s == 0.0
    assert not condition.update(HOLDS)
    hands.now_s += 11.0
    assert condition.update(HOLDS)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_bound_without_length_is_refused(seconds: float) -> None:
    """Zero, negative and not-a-number lengths are mistakes of the caller."""
    with pytest.raises(UsageError):
        Deadline(seconds)
    with pytest.raises(UsageError):
        HeldCondition(seconds)
