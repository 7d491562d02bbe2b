"""The hand-over: bounded by number and by bytes, and nothing is left in it when it was closed."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from gapless.bluesky.hand_over import HandOver
from gapless.errors import WriterClosed


def test_items_come_in_order_and_the_last_ends_it() -> None:
    """What is put in front of the last item is taken; nothing is taken or accepted behind it."""
    hand_over = HandOver(10, 1 << 20)
    for item in ("a", "b"):
        assert hand_over.put(item, 1.0)
    hand_over.close("end")
    hand_over.close("another end")
    with pytest.raises(WriterClosed):
        hand_over.put("c", 1.0)
    with pytest.raises(WriterClosed):
        hand_over.put_now("d")
    assert hand_over.take(10) == ["a", "b", "end"]
    with pytest.raises(WriterClosed):
        hand_over.put("e", 1.0)
    assert len(hand_over) == 0


def test_bytes_are_bounded_as_items_are() -> None:
    """A large item fills it, whatever the number of items, until it is taken."""
    hand_over = HandOver(1_000, 10_000)
    assert hand_over.put("large", 0.01, size_bytes=1_000_000)
    assert not hand_over.put("small", 0.01)
    assert hand_over.put("start", 0.01, always=True)
    assert hand_over.blocked == 2
    assert hand_over.take(10) == ["large", "start"]
    assert hand_over.put("small", 0.01)


def test_large_items_are_taken_a_few_at_a_time() -> None:
    """A group of large items is smaller than one of small items."""
    hand_over = HandOver(1_000, 1 << 40)
    for number in range(10):
        hand_over.put(number, 1.0, size_bytes=40 << 20)
    assert hand_over.take(100) == [0, 1]


def test_every_put_that_returns_is_in_front_of_the_end() -> None:
    """Threads that put while another closes: what they put was taken, or they heard that it was not."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(10):
            _race()
    finally:
        sys.setswitchinterval(interval)


def _race() -> None:
    hand_over = HandOver(1_000_000, 1 << 40)
    accepted: list[list[int]] = [[], []]
    taken: list[object] = []

    def put(mine: list[int], first: int) -> None:
        try:
            for number in range(first, 20_000, 2):
                hand_over.put(number, 1.0)
                mine.append(number)
        except WriterClosed:
            return

    def take() -> None:
        while taken[-1:] != ["end"]:
            taken.extend(hand_over.take(16))

    threads = [threading.Thread(target=put, args=(mine, n)) for n, mine in enumerate(accepted)]
    threads.append(threading.Thread(target=take))
    for thread in threads:
        thread.start()
    while not all(accepted):
        time.sleep(0.0001)
    hand_over.close("end")
    for thread in threads:
        thread.join(60)
    assert taken[-1] == "end"
    assert set(taken[:-1]) == {*accepted[0], *accepted[1]}
    assert len(hand_over) == 0
