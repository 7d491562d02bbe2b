"""Curves with a formula: identity, linear, polynomial; and any curve followed by a change of unit.

``value(x)`` is compiled at construction and gives ``(y, status)``; ``values`` does the same for float64
arrays, with the same bits. ``slope``/``slopes`` are dy/dx, through which uncertainty travels.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gapless.errors import RigRefused
from gapless.model.metadata import canonical_json

Floats = npt.NDArray[np.float64]
Statuses = npt.NDArray[np.int8]


def digest_of(document: object) -> str:
    """Return the digest of a JSON value in its canonical form, as ``sha256:…``."""
    return f"sha256:{hashlib.sha256(canonical_json(document)).hexdigest()}"


def finite(numbers: Sequence[float], what: str) -> list[float]:
    """Return the numbers as floats, or raise RigRefused if there is none or one is not finite."""
    floats = [float(number) for number in numbers]
    if not floats:
        raise RigRefused(f"{what} needs at least one number")
    if not all(map(math.isfinite, floats)):
        raise RigRefused(f"{what} holds a number that is not finite", found=floats)
    return floats


class Curve(ABC):
    """A map from raw to calibrated values. ``unit`` is that of its values, None: the channel's.

    ``value`` and ``slope`` never raise for a float; a NaN gives a NaN.
    """

    value: Callable[[float], tuple[float, int]]
    slope: Callable[[float], float]

    def __init__(self, unit: str | None = None) -> None:
        self.unit = unit

    @abstractmethod
    def values(self, x: Floats) -> tuple[Floats, Statuses]:
        """Return the calibrated values and what is wrong with each."""

    @abstractmethod
    def slopes(self, x: Floats) -> Floats:
        """Return dy/dx at each raw value."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return all that decides the values, as JSON."""

    def digest(self) -> str:
        """Return the digest of the curve's canonical JSON."""
        return digest_of(self.to_json())

    def converted(self, factor: float, offset: float) -> Curve:
        """Return the curve followed by ``factor * y + offset``."""
        return self if (factor, offset) == (1.0, 0.0) else Converted(self, factor, offset)


def all_ok(x: Floats) -> Statuses:
    """Return as many good statuses as there are values."""
    return np.zeros(len(x), np.int8)


class Identity(Curve):
    """The raw value itself."""

    def __init__(self, unit: str | None = None) -> None:
        super().__init__(unit)
        self.value = lambda x: (x, 0)
        self.slope = lambda _x: 1.0

    def values(self, x: Floats) -> tuple[Floats, Statuses]:
        """Return the values as they are."""
        return x, all_ok(x)

    def slopes(self, x: Floats) -> Floats:
        """Return ones."""
        return np.ones(len(x))

    def to_json(self) -> dict[str, Any]:
        """Return the kind of curve."""
        return {"kind": "identity"}

    def converted(self, factor: float, offset: float) -> Curve:
        """Return the change of unit alone."""
        return self if (factor, offset) == (1.0, 0.0) else Linear(factor, offset)


class Linear(Curve):
    """``gain * x + offset``."""

    def __init__(self, gain: float, offset: float = 0.0, unit: str | None = None) -> None:
        super().__init__(unit)
        gain, offset = finite((gain, offset), "a linear curve")
        self.gain, self.offset = gain, offset
        self.value = lambda x: (gain * x + offset, 0)
        self.slope = lambda _x: gain

    @classmethod
    def through(
        cls, first: tuple[float, float], second: tuple[float, float], unit: str | None = None
    ) -> Linear:
        """Return the line through two points (raw, calibrated)."""
        (x0, y0), (x1, y1) = first, second
        if x0 == x1:
            raise RigRefused("a line goes through two points with different raw values", found=x0)
        gain = (y1 - y0) / (x1 - x0)
        return cls(gain, y0 - gain * x0, unit)

    def values(self, x: Floats) -> tuple[Floats, Statuses]:
        """Return the calibrated values."""
        return self.gain * x + self.offset, all_ok(x)

    def slopes(self, x: Floats) -> Floats:
        """Return the gain for each value."""
        return np.full(len(x), self.gain)

    def to_json(self) -> dict[str, Any]:
        """Return gain, offset and unit."""
        return {"kind": "linear", "gain": self.gain, "offset": self.offset, "unit": self.unit}


def horner(coefficients: Sequence[float]) -> Callable[[float], float]:
    """Return the polynomial of ascending coefficients, compiled."""
    top, *rest = reversed(coefficients)

    def polynomial(x: float) -> float:
        y = top
        for coefficient in rest:
            y = y * x + coefficient
        return y

    return polynomial


def horner_array(coefficients: Sequence[float], x: Floats) -> Floats:
    """Return the polynomial at each value, computed in the order of :func:`horner`."""
    top, *rest = reversed(coefficients)
    y = np.full(len(x), top)
    for coefficient in rest:
        y = y * x + coefficient
    return y


def derivative(coefficients: Sequence[float]) -> list[float]:
    """Return the coefficients of the derivative."""
    return [n * c for n, c in enumerate(coefficients)][1:] or [0.0]


class Polynomial(Curve):
    """``c[0] + c[1] x + c[2] x² + …``"""

    def __init__(self, coefficients: Sequence[float], unit: str | None = None) -> None:
        super().__init__(unit)
        self.coefficients = finite(coefficients, "a polynomial")
        polynomial = horner(self.coefficients)
        self.value = lambda x: (polynomial(x), 0)
        self._derivative = derivative(self.coefficients)
        self.slope = horner(self._derivative)

    def values(self, x: Floats) -> tuple[Floats, Statuses]:
        """Return the calibrated values."""
        return horner_array(self.coefficients, x), all_ok(x)

    def slopes(self, x: Floats) -> Floats:
        """Return the derivative at each value."""
        return horner_array(self._derivative, x)

    def to_json(self) -> dict[str, Any]:
        """Return the ascending coefficients and the unit."""
        return {"kind": "polynomial", "coefficients": self.coefficients, "unit": self.unit}


class Converted(Curve):
    """A curve whose values are then taken to another unit: ``factor * y + offset``."""

    def __init__(self, inner: Curve, factor: float, offset: float) -> None:
        super().__init__()
        self.inner, self.factor, self.offset = inner, factor, offset
        value, slope = inner.value, inner.slope

        def converted(x: float) -> tuple[float, int]:
            y, status = value(x)
            return factor * y + offset, status

        self.value = converted
        self.slope = lambda x: factor * slope(x)

    def values(self, x: Floats) -> tuple[Floats, Statuses]:
        """Return the values of the inner curve in the other unit."""
        y, status = self.inner.values(x)
        return self.factor * y + self.offset, status

    def slopes(self, x: Floats) -> Floats:
        """Return the slopes in the other unit."""
        return self.factor * self.inner.slopes(x)

    def to_json(self) -> dict[str, Any]:
        """Return the inner curve and the conversion."""
        return {"kind": "converted", "curve": self.inner.to_json(), "conversion": [self.factor, self.offset]}
