"""Work that may be given up: its owner learns its end, or it is undone; never both, never neither."""

from __future__ import annotations

import threading

import pytest

from gapless.acquire.attempt import Attempt
from gapless.errors import DeadlinePassed

LATE = DeadlinePassed("too late")


def test_in_time() -> None:
    """A call that ends in time is not undone."""
    done: list[str] = []
    Attempt("a", lambda: done.append("called"), lambda error: done.append("undone")).within(60, LATE)
    assert done == ["called"]


def test_what_the_call_raises() -> None:
    """The owner gets the call's own error, also a TimeoutError, and nothing is undone."""

    def call() -> None:
        raise TimeoutError("its own")

    undone: list[BaseException] = []
    with pytest.raises(TimeoutError, match="its own"):
        Attempt("a", call, undone.append).within(60, LATE)
    assert undone == []


def test_too_late() -> None:
    """A call that is given up is undone when it ends, with the reason, on its own thread."""
    go, undone = threading.Event(), threading.Event()
    reasons: list[tuple[BaseException, int]] = []

    def undo(error: BaseException) -> None:
        reasons.append((error, threading.get_ident()))
        undone.set()

    def call() -> None:
        go.wait()

    attempt = Attempt("a", call, undo)
    with pytest.raises(DeadlinePassed, match="too late"):
        attempt.within(0.05, LATE)
    assert attempt.given_up is LATE
    assert not undone.is_set()
    go.set()
    assert undone.wait(60)
    assert reasons[0][0] is LATE
    assert reasons[0][1] != threading.get_ident()


def test_too_late_and_failed() -> None:
    """A call that is given up and then raises has cleaned up itself: nothing is undone."""
    go, ended = threading.Event(), threading.Event()
    undone: list[BaseException] = []

    def call() -> None:
        go.wait()
        try:
            raise OSError("the disk is gone")
        finally:
            ended.set()

    attempt = Attempt("a", call, undone.append)
    with pytest.raises(DeadlinePassed):
        attempt.within(0.05, LATE)
    go.set()
    assert ended.wait(60)
    for thread in threading.enumerate():
        if thread.name == "gapless-a":
            thread.join(60)
    assert undone == []
