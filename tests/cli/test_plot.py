"""Plots in the terminal."""

from __future__ import annotations

import math

import pytest

from gapless.cli.plot import bucketed, render

POINTS = [(1_000_000_000 * i, math.sin(i / 10)) for i in range(1_000)]


@pytest.mark.parametrize("braille", [True, False])
def test_a_plot_fits_80_columns(braille: bool) -> None:
    """No line is wider than asked for, and both axes are labelled with units."""
    curve = bucketed(POINTS, POINTS[0][0], POINTS[-1][0], 160)
    lines = render(curve, title="imu x", unit="m/s²", columns=80, braille=braille)
    assert max(map(len, lines)) <= 80
    assert lines[0] == "imu x [m/s²]"
    assert "0 s" in lines[-2]
    assert lines[1].split()[0] == "1.00"


def test_the_ascii_form_is_ascii() -> None:
    """Without braille every character of the drawing is ASCII."""
    curve = bucketed(POINTS, POINTS[0][0], POINTS[-1][0], 160)
    assert all("\n".join(render(curve, title="t", unit=None, braille=False)).isascii() for _ in (0,))


def test_one_extreme_in_a_million_is_drawn() -> None:
    """A single spike among many points reaches the top of the plot."""
    points = [(i, 0.0) for i in range(100_000)]
    points[77_777] = (77_777, 100.0)
    lines = render(bucketed(points, 0, 99_999, 160), title="t", unit=None, braille=False)
    assert "|" in lines[1].split("|", 1)[1]


@pytest.mark.parametrize("values", [[], [math.nan, math.inf]])
def test_nothing_finite_is_said(values: list[float]) -> None:
    """A field without a finite value gives a sentence, not an error."""
    curve = bucketed(list(enumerate(values)), 0, 10, 8)
    assert "no finite values" in render(curve, title="t", unit=None)[1]


def test_a_constant_is_drawn_in_the_middle() -> None:
    """A curve without a range is drawn and labelled."""
    lines = render(bucketed([(0, 5.0), (9, 5.0)], 0, 9, 10), title="t", unit=None, rows=9, braille=False)
    assert "*" in lines[5]


@pytest.mark.parametrize("braille", [True, False])
def test_values_as_far_apart_as_floats_can_be_are_drawn(braille: bool) -> None:
    """Their span is no float."""
    points = [(0, -1.7e308), (5, 1.7e308), (9, 3.5)]
    lines = render(bucketed(points, 0, 9, 10), title="t", unit=None, rows=9, braille=braille)
    assert lines[1].split()[0] == "1.700e+308"
    assert lines[1].split("│" if braille else "|", 1)[1].strip()
