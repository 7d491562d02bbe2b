"""The rate that a live view shows of a device: steady for what is steady, whatever its bursts."""

from __future__ import annotations

from gapless.acquire.rate_window import WINDOW_S, RateWindow


def rates(counts: list[int], step_s: float = 0.5) -> list[float | None]:
    """Return what a window tells of counts that are taken twice a second."""
    window = RateWindow()
    return [window.tell(100.0 + n * step_s, count) for n, count in enumerate(counts)]


def test_the_first_second_has_no_rate_and_a_steady_one_is_exact() -> None:
    """Ten a second are 10 Hz from the first second on, at any number of looks, and whenever it began."""
    found = rates([0, 0, 0, *(5 * n for n in range(1, 60))])
    assert found[:4] == [None] * 4
    assert set(found[4:]) == {10.0}
    assert set(rates(list(range(600)), 0.1)[10:]) == {10.0}


def test_pictures_in_groups_are_no_standstill() -> None:
    """Eighteen at a time every 1.5 s: after the first group the rate is never 0, then near 12 Hz."""
    found = [rate for rate in rates([18 * (n // 3) for n in range(120)])[4:] if rate is not None]
    assert min(found) > 0
    assert all(10.0 <= rate <= 14.0 for rate in found[20:])


def test_what_stops_is_at_zero_when_the_window_is_over() -> None:
    """Nothing of the past is kept for longer."""
    stop = 40
    found = rates([min(n, stop) for n in range(100)])
    assert found[stop] == 2.0
    assert found[stop + round(WINDOW_S / 0.5) + 2] == 0.0
