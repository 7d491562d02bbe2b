"""Angles in radians: the shortest way between two of them, and a course of them without jumps."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

AngleUnit = Literal["rad", "deg"]
_TURN = 2 * np.pi


def in_radians(angle: NDArray[np.float64], unit: AngleUnit) -> NDArray[np.float64]:
    """Return angles given in ``unit`` in radians."""
    return np.deg2rad(angle) if unit == "deg" else angle


def wrapped(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the same directions in [-π, π)."""
    return (angle + np.pi) % _TURN - np.pi


def unwrapped(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a course whose neighbouring values differ by at most π; missing values stay and are stepped over."""
    course = np.full(len(angle), np.nan)
    known = np.isfinite(angle)
    course[known] = np.unwrap(angle[known])
    return course
