"""Ctrl-C while a run is started from Python: the first is a request, the second is what it always was."""

from __future__ import annotations

import signal
import threading

import pytest

from gapless.acquire.interrupt import Interrupt


def test_the_first_asks_and_the_second_interrupts() -> None:
    """One signal raises nothing; two raise KeyboardInterrupt; then the signal is as it was."""
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        asked = [interrupt.asked]
        signal.raise_signal(signal.SIGINT)
        asked.append(interrupt.asked)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert asked == [False, True]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_of_somebody_else_stays() -> None:
    """A program that handles Ctrl-C itself goes on to do so."""
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: heard.append(number))
    try:
        with Interrupt() as interrupt:
            signal.raise_signal(signal.SIGINT)
        assert not interrupt.asked
        assert heard == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_has_no_signals() -> None:
    """A run that is started on another thread leaves the signal alone."""
    seen: list[object] = []

    def work() -> None:
        with Interrupt():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert seen == [signal.getsignal(signal.SIGINT)]
