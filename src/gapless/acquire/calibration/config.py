"""How a rig file writes a curve and its uncertainty; each table says its ``kind``.

Numbers must be finite. A curve that cannot be built is refused when the file is read.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from gapless.acquire.calibration.curve import Curve, Identity, Linear, Polynomial
from gapless.acquire.calibration.function import CURVES, FunctionCurve
from gapless.acquire.calibration.table import Lookup, Piecewise
from gapless.acquire.device_config import Strict
from gapless.errors import GaplessError

Point = tuple[FiniteFloat, FiniteFloat]


class _CurveConfig(Strict):
    """What all curves say. ``certificate``: who calibrated it, when, against what.

    ``unit``: of the curve's values; left out, the channel's.
    """

    unit: str | None = None
    certificate: str = ""

    @abstractmethod
    def curve(self) -> Curve:
        """Return the compiled curve; raises RigRefused."""


class IdentityConfig(_CurveConfig):
    """The raw value itself; its unit is the raw unit."""

    kind: Literal["identity"]
    unit: None = None

    def curve(self) -> Curve:
        """Return the compiled curve."""
        return Identity()


class LinearConfig(_CurveConfig):
    """``gain * raw + offset``, or the line through two ``points`` of (raw, calibrated)."""

    kind: Literal["linear"]
    gain: FiniteFloat | None = None
    offset: FiniteFloat | None = None
    points: tuple[Point, Point] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.gain is None) == (self.points is None) or (self.points and self.offset is not None):
            raise ValueError("a linear curve has either gain (and offset) or two points")
        return self

    def curve(self) -> Curve:
        """Return the compiled curve."""
        if self.points is not None:
            return Linear.through(*self.points, self.unit)
        assert self.gain is not None
        return Linear(self.gain, self.offset or 0.0, self.unit)


class PolynomialConfig(_CurveConfig):
    """``coefficients`` ascending: ``c[0] + c[1] raw + c[2] raw² + …``"""

    kind: Literal["polynomial"]
    coefficients: tuple[FiniteFloat, ...] = Field(min_length=1)

    def curve(self) -> Curve:
        """Return the compiled curve."""
        return Polynomial(self.coefficients, self.unit)


class LookupConfig(_CurveConfig):
    """``table`` of (raw, calibrated), rising in raw, with straight lines between."""

    kind: Literal["lookup"]
    table: tuple[Point, ...] = Field(min_length=2)

    def curve(self) -> Curve:
        """Return the compiled curve."""
        return Lookup(self.table, self.unit)


class PiecewiseConfig(_CurveConfig):
    """Ascending coefficients in ``pieces[k]`` for raw values from ``breaks[k]`` to ``breaks[k + 1]``."""

    kind: Literal["piecewise"]
    breaks: tuple[FiniteFloat, ...] = Field(min_length=2)
    pieces: tuple[tuple[FiniteFloat, ...], ...] = Field(min_length=1)
    tolerance: FiniteFloat | None = Field(default=None, ge=0)

    def curve(self) -> Curve:
        """Return the compiled curve."""
        return Piecewise(self.breaks, self.pieces, self.tolerance, self.unit)


class CallableConfig(_CurveConfig):
    """A ``function`` registered by ``register_curve`` or named ``module:function``.

    ``test_vectors`` of (raw, calibrated) are checked when the file is read, to ``tolerance``, relative and
    absolute.
    """

    kind: Literal["callable"]
    function: str = Field(min_length=1)
    test_vectors: tuple[Point, ...] = Field(min_length=1)
    tolerance: FiniteFloat = Field(default=1e-9, gt=0)

    def curve(self) -> Curve:
        """Return the compiled curve."""
        named = CURVES.find(self.function)
        return FunctionCurve(named, self.test_vectors, tolerance=self.tolerance, unit=self.unit)


def _buildable(config: _CurveConfig) -> _CurveConfig:
    try:
        config.curve()
    except GaplessError as error:
        raise ValueError(str(error)) from error
    return config


CurveConfig = Annotated[
    IdentityConfig | LinearConfig | PolynomialConfig | LookupConfig | PiecewiseConfig | CallableConfig,
    Field(discriminator="kind"),
    AfterValidator(_buildable),
]


class UncertaintyConfig(Strict):
    """One source of uncertainty: its ``magnitude`` at the declared ``coverage_factor``.

    absolute: in the channel's unit. relative: a fraction of the calibrated value, 0.0075 for 0.75 %.
    input_noise: of the raw value, in the raw unit; it reaches the value through the slope of the curve.
    """

    kind: Literal["absolute", "relative", "input_noise"]
    magnitude: FiniteFloat = Field(ge=0)
    coverage_factor: FiniteFloat = Field(default=1.0, gt=0)
    method: str = ""


__all__ = [
    "CallableConfig",
    "CurveConfig",
    "IdentityConfig",
    "LinearConfig",
    "LookupConfig",
    "PiecewiseConfig",
    "PolynomialConfig",
    "UncertaintyConfig",
]
