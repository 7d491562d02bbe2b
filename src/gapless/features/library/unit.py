"""Units of what is computed from columns, as text: ``m/s`` per second is ``(m/s)/s``, squared ``(m/s)^2``."""

from __future__ import annotations


def rate(unit: str) -> str:
    """Return the unit of a change per second."""
    return f"{_one(unit)}/s"


def squared(unit: str) -> str:
    """Return the unit of a power."""
    return f"{_one(unit)}^2"


def density(unit: str) -> str:
    """Return the unit of a power per frequency."""
    return f"{squared(unit)}/Hz"


def _one(unit: str) -> str:
    """Return a unit as one factor."""
    return f"({unit})" if any(mark in unit for mark in "/*^·²³ ") else unit
