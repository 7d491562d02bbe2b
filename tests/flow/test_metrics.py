"""Latency figures of a hop."""

from __future__ import annotations

from gapless.flow.metrics import LatencyReservoir


def test_percentiles_are_of_the_latest_and_the_maximum_is_of_all() -> None:
    """A reservoir of 100 that saw 1 to 1,000 knows the last hundred and the longest ever."""
    reservoir = LatencyReservoir(100)
    assert reservoir.percentiles_ns() == (0, 0, 0)
    reservoir.add(5_000)
    for duration_ns in range(1, 1_001):
        reservoir.add(duration_ns)
    assert reservoir.percentiles_ns() == (950, 999, 5_000)


def test_one_sample_is_every_percentile() -> None:
    """Nearest rank needs no interpolation."""
    reservoir = LatencyReservoir()
    reservoir.add(7)
    assert reservoir.percentiles_ns() == (7, 7, 7)
