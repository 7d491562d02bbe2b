"""Functions that a rig names: registered under a short name, or found as ``module:function``.

``register_curve`` makes a calibration curve of a function of one number; a derived channel takes a function
of several, see ``derived``.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gapless.acquire.calibration.curve import Curve, Floats, Statuses, all_ok
from gapless.errors import RigRefused, UsageError

CENTRAL_STEP: float = float(np.finfo(float).eps) ** (1 / 3)  # where a central difference errs least


@dataclass(frozen=True)
class Named:
    """A function with its derivatives, and whether it takes arrays as well as numbers."""

    name: str
    function: Callable[..., Any]
    derivative: Callable[..., Any] | None = None
    takes_arrays: bool = False

    def source_sha256(self) -> str | None:
        """Return the digest of the function's source text, None where Python has none."""
        try:
            source = inspect.getsource(self.function)
        except (OSError, TypeError):
            return None
        return hashlib.sha256(source.encode()).hexdigest()


class FunctionRegistry:
    """Functions by name. ``kind`` is what they are, for messages."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._known: dict[str, Named] = {}

    def add(self, named: Named) -> None:
        """Keep a function; UsageError if another one has the name. The same one, loaded again, replaces."""
        known = self._known.get(named.name)
        if known is not None and _origin(known.function) != _origin(named.function):
            raise UsageError(f"there is another {self.kind} of that name", found=named.name)
        self._known[named.name] = named

    def find(self, reference: str) -> Named:
        """Return a registered function, or import ``module:function``; raises RigRefused.

        One that its module registers under another name keeps the derivative it is registered with.
        """
        if reference in self._known:
            return self._known[reference]
        module, colon, path = reference.partition(":")
        if not colon:
            raise RigRefused(
                f"there is no {self.kind} of that name",
                found=reference,
                expected=f"one of {', '.join(sorted(self._known))}, or module:function",
            )
        function = imported(module, path)
        registered = (
            replace(named, name=reference) for named in self._known.values() if named.function is function
        )
        return next(registered, Named(reference, function))


def _origin(function: Callable[..., Any]) -> tuple[str, str]:
    return function.__module__, function.__qualname__


def imported(module: str, path: str) -> Callable[..., Any]:
    """Return a function of a module, or raise RigRefused."""
    try:
        found: Callable[..., Any] = operator.attrgetter(path)(importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise RigRefused("a function cannot be imported", found=f"{module}:{path}: {error}") from error
    if not callable(found):
        raise RigRefused("this is no function", found=f"{module}:{path}")
    return found


CURVES = FunctionRegistry("curve")


def register_curve(
    name: str, *, derivative: Callable[[Any], Any] | None = None, takes_arrays: bool = False
) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Register the decorated function as the curve ``name``.

    ``derivative``: dy/dx; without it a central difference stands in. ``takes_arrays``: the function, and
    its derivative, work on float64 arrays too.
    """

    def decorate(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        CURVES.add(Named(name, function, derivative, takes_arrays))
        return function

    return decorate


class FunctionCurve(Curve):
    """A curve that is a Python function, proven at construction by test vectors of (raw, calibrated).

    Where the function has no value (ArithmeticError, ValueError) the result is NaN.
    """

    def __init__(
        self,
        named: Named,
        test_vectors: Sequence[tuple[float, float]],
        *,
        tolerance: float = 1e-9,
        unit: str | None = None,
    ) -> None:
        super().__init__(unit)
        self.named, self.test_vectors, self.tolerance = named, list(test_vectors), tolerance
        number = _guarded(named.function)
        self.value = lambda x: (number(x), 0)
        scale = max((abs(x) for x, _ in test_vectors), default=1.0) * 1e-6
        self._floor = scale or 1e-6
        self.slope = self._difference if named.derivative is None else _guarded(named.derivative)
        self._check_vectors()

    def _check_vectors(self) -> None:
        if not self.test_vectors:
            raise RigRefused(
                "a function used as a curve needs test vectors",
                found=self.named.name,
                next_step="give test_vectors = [[raw, calibrated], …]",
            )
        for x, expected in self.test_vectors:
            found, _ = self.value(x)
            if not math.isclose(found, expected, rel_tol=self.tolerance, abs_tol=self.tolerance):
                raise RigRefused(
                    f"the curve {self.named.name!r} does not give what its test vector at {x} says",
                    found=found,
                    expected=expected,
                )

    def _difference(self, x: float) -> float:
        step = CENTRAL_STEP * max(abs(x), self._floor)
        above, below = x + step, x - step
        rise: float = self.value(above)[0] - self.value(below)[0]
        return rise / (above - below)

    def values(self, x: Floats) -> tuple[Floats, Statuses]:
        """Return the function at each value."""
        return self._mapped(self.named.function, lambda v: self.value(v)[0], x), all_ok(x)

    def slopes(self, x: Floats) -> Floats:
        """Return the derivative, or the central difference, at each value."""
        return self._mapped(self.named.derivative, self.slope, x)

    def _mapped(
        self, function: Callable[..., Any] | None, one: Callable[[float], float], x: Floats
    ) -> Floats:
        if self.named.takes_arrays and function is not None:
            with np.errstate(all="ignore"):
                return np.asarray(function(x), np.float64)
        return np.fromiter(map(one, x.tolist()), np.float64, len(x))

    def to_json(self) -> dict[str, Any]:
        """Return name, source digest, test vectors and unit: what is known of a function."""
        return {
            "kind": "callable",
            "function": self.named.name,
            "source_sha256": self.named.source_sha256(),
            "test_vectors": [[x, y] for x, y in self.test_vectors],
            "tolerance": self.tolerance,
            "unit": self.unit,
        }


def _guarded(function: Callable[..., Any]) -> Callable[[float], float]:
    def number(x: float) -> float:
        try:
            return float(function(x))
        except (ArithmeticError, ValueError):
            return math.nan

    return number
