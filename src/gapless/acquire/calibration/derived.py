"""Functions of derived channels: ratio, difference, sum, mean, and what a user registers.

``value(*inputs)`` of numbers and ``values(*inputs)`` of arrays; ``parts`` are df/dx of each input, through
which the inputs' uncertainties reach the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gapless.acquire.calibration.curve import Floats
from gapless.acquire.calibration.function import CENTRAL_STEP, FunctionRegistry, Named
from gapless.acquire.units import conversion, quotient
from gapless.errors import RigRefused

DERIVED = FunctionRegistry("derived function")
Partials = Callable[..., Sequence[float]]


def register_derived(
    name: str, *, partials: Partials | None = None, takes_arrays: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function of several numbers as the derived function ``name``.

    ``partials``: returns df/dx of each input; without it central differences stand in. ``takes_arrays``:
    function and partials work on float64 arrays too.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        DERIVED.add(Named(name, function, partials, takes_arrays))
        return function

    return decorate


def _divided(a: float, b: float) -> float:
    """Return a / b with the infinities and NaN of IEEE, as arrays have them."""
    if b != 0.0:
        return a / b
    return math.nan if a == 0.0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _ratio(a: Any, b: Any) -> Any:
    return _divided(a, b) if isinstance(a, float) and isinstance(b, float) else np.divide(a, b)


def _ratio_partials(a: Any, b: Any) -> Sequence[Any]:
    return _ratio(1.0 + 0.0 * a, b), -_ratio(a, b * b)


def _difference(a: Any, b: Any) -> Any:
    return a - b


def _sum(*inputs: Any) -> Any:
    return sum(inputs)


def _mean(*inputs: Any) -> Any:
    return sum(inputs) / len(inputs)


register_derived("ratio", partials=_ratio_partials, takes_arrays=True)(_ratio)
register_derived("difference", partials=lambda *_: (1.0, -1.0), takes_arrays=True)(_difference)
register_derived("sum", partials=lambda *inputs: [1.0] * len(inputs), takes_arrays=True)(_sum)
register_derived("mean", partials=lambda *inputs: [1.0 / len(inputs)] * len(inputs), takes_arrays=True)(_mean)


def factor_of(function: str, units: Sequence[str], unit: str, where: str) -> float:
    """Return the factor from the function's own unit into ``unit``; raises RigRefused where there is none.

    Sums, means and differences take inputs of one unit. A registered function answers for its own unit.
    """
    if function == "ratio":
        factor, offset = conversion(quotient(*units), unit, where)
        if offset:
            raise RigRefused(f"{where}: a ratio has no zero to shift", found=quotient(*units), expected=unit)
        return factor
    if function not in ("sum", "mean", "difference"):
        return 1.0
    different = sorted({other for other in units if other != units[0]})
    if different:
        raise RigRefused(
            f"{where}: a {function} takes inputs of one unit", found=", ".join(different), expected=units[0]
        )
    factor, offset = conversion(units[0], unit, where)
    if offset and function != "difference":  # 20 degC less 18 degC is 2 K, but their mean is no 19 K
        raise RigRefused(f"{where}: a {function} keeps the unit", found=unit, expected=units[0])
    return factor


class DerivedFunction:
    """A function of ``count`` inputs, scaled by ``factor`` into the channel's unit."""

    def __init__(self, named: Named, count: int, factor: float = 1.0) -> None:
        self.named, self.count, self.factor = named, count, factor

    def value(self, *inputs: float) -> float:
        """Return the result; NaN where the function has none."""
        try:
            return self.factor * float(self.named.function(*inputs))
        except (ArithmeticError, ValueError):
            return math.nan

    def partials(self, *inputs: float) -> list[float]:
        """Return df/dx of each input, by central difference if the function gives none."""
        if self.named.derivative is None:
            return [self._difference(n, inputs) for n in range(self.count)]
        try:
            return [self.factor * float(part) for part in self.named.derivative(*inputs)]
        except (ArithmeticError, ValueError):
            return [math.nan] * self.count

    def _difference(self, n: int, inputs: Sequence[float]) -> float:
        x = inputs[n]
        step = CENTRAL_STEP * (abs(x) or 1.0)
        above, below = x + step, x - step
        rise: float = self.value(*inputs[:n], above, *inputs[n + 1 :]) - self.value(
            *inputs[:n], below, *inputs[n + 1 :]
        )
        return rise / (above - below)

    def values(self, *inputs: Floats) -> Floats:
        """Return the result for arrays of one length."""
        if self.named.takes_arrays:
            with np.errstate(all="ignore"):
                return np.asarray(self.factor * self.named.function(*inputs), np.float64)
        rows = zip(*(column.tolist() for column in inputs), strict=True)
        return np.fromiter((self.value(*row) for row in rows), np.float64, len(inputs[0]))

    def partials_all(self, *inputs: Floats) -> list[Floats]:
        """Return df/dx of each input for arrays of one length."""
        length = len(inputs[0])
        if self.named.takes_arrays and self.named.derivative is not None:
            with np.errstate(all="ignore"):
                parts = self.named.derivative(*inputs)
                return [np.broadcast_to(self.factor * np.asarray(part, np.float64), length) for part in parts]
        rows = zip(*(column.tolist() for column in inputs), strict=True)
        table = np.array([self.partials(*row) for row in rows]).reshape(length, self.count)
        return [table[:, n] for n in range(self.count)]
