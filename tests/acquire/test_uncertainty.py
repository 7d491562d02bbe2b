"""Uncertainty to first order, against Monte Carlo, and what the first order cannot know."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from gapless.acquire.calibration.calibration import Calibration
from gapless.acquire.calibration.curve import Curve, Linear, Polynomial
from gapless.acquire.calibration.derived import DERIVED, DerivedFunction, register_derived
from gapless.acquire.calibration.function import FunctionCurve, Named
from gapless.acquire.calibration.table import Lookup, Piecewise
from gapless.acquire.calibration.uncertainty import Uncertainty, check_correlation, combined, combined_all

DRAWS = 200_000
# The standard deviation of n normal draws is itself known to 1 in sqrt(2 n); five of those never happen.
MONTE_CARLO = 5 / math.sqrt(2 * DRAWS)


@register_derived("carried_heat")
def _carried_heat(flow: float, hot: float, cold: float) -> float:
    return 4186.0 * flow * (hot - cold)


def _curve(name: str) -> Curve:
    curves: dict[str, Callable[[], Curve]] = {
        "linear": lambda: Linear(-2.5, 3.0),
        "polynomial": lambda: Polynomial([1.0, 2.0, 0.05]),
        "lookup": lambda: Lookup([(0.0, 0.0), (50.0, 10.0), (100.0, 60.0)]),
        "piecewise": lambda: Piecewise([0.0, 50.0, 100.0], [[0.0, 1.0], [-50.0, 2.0]]),
        "callable": lambda: FunctionCurve(Named("math:exp", math.exp), [(0.0, 1.0)]),
        "in another unit": lambda: Polynomial([1.0, 2.0, 0.05]).converted(1.8, 32.0),
    }
    return curves[name]()


@pytest.mark.parametrize(
    ("name", "x", "sigma"),
    [
        ("linear", 7.0, 0.3),
        ("polynomial", 40.0, 0.02),
        ("lookup", 70.0, 0.5),
        ("piecewise", 25.0, 0.5),
        ("callable", 2.0, 0.002),
        ("in another unit", 40.0, 0.02),
    ],
)
def test_input_noise_reaches_the_value_through_the_slope(name: str, x: float, sigma: float) -> None:
    """What is predicted is what 200,000 noisy readings show, within the error of such a count."""
    curve = _curve(name)
    random = np.random.default_rng(20_260)
    noisy = curve.values(x + sigma * random.standard_normal(DRAWS))[0]
    spread = Calibration(curve, None, Uncertainty.of([("input_noise", sigma, 1.0)])).compiled()(x)[2]
    assert spread == pytest.approx(noisy.std(), rel=MONTE_CARLO)


def test_sources_add_in_quadrature() -> None:
    """Independent sources drawn independently: gain error, offset error and noise of the input."""
    curve, x = Polynomial([0.0, 3.0, 0.02]), 20.0
    y, _ = curve.value(x)
    random = np.random.default_rng(7)
    noisy = curve.values(x + 0.05 * random.standard_normal(DRAWS))[0]
    noisy = noisy + 0.004 * y * random.standard_normal(DRAWS) + 0.2 * random.standard_normal(DRAWS)
    sources = [("input_noise", 0.05, 1.0), ("relative", 0.008, 2.0), ("absolute", 0.6, 3.0)]
    spread = Calibration(curve, None, Uncertainty.of(sources)).compiled()(x)[2]
    assert spread == pytest.approx(noisy.std(), rel=MONTE_CARLO)


@pytest.mark.parametrize(
    ("function", "at", "sigmas"),
    [
        ("ratio", [10.0, 4.0], [0.02, 0.01]),
        ("difference", [10.0, 4.0], [0.3, 0.4]),
        ("sum", [1.0, 2.0, 3.0], [0.1, 0.2, 0.3]),
        ("mean", [1.0, 2.0, 3.0], [0.1, 0.2, 0.3]),
        ("carried_heat", [0.2, 80.0, 60.0], [0.0002, 0.05, 0.05]),
    ],
)
@pytest.mark.parametrize("correlation", [0.0, 0.6, -0.3])
def test_a_derived_value_combines_its_inputs(
    function: str, at: Sequence[float], sigmas: Sequence[float], correlation: float
) -> None:
    """Ratio, difference, sum, mean, and a registered function with numerical partials; correlated too."""
    derived = DerivedFunction(DERIVED.find(function), len(at))
    covariance = np.full((len(at), len(at)), correlation)
    np.fill_diagonal(covariance, 1.0)
    normal = np.random.default_rng(3).multivariate_normal(np.zeros(len(at)), covariance, DRAWS)
    noisy = derived.values(*(np.array(at) + normal * np.array(sigmas)).T)
    parts = [part * u for part, u in zip(derived.partials(*at), sigmas, strict=True)]
    # Products of noise bend a little: their second order is far below a thousandth here.
    assert combined(parts, correlation) == pytest.approx(noisy.std(), rel=MONTE_CARLO + 1e-3)


def test_arrays_combine_as_numbers_do() -> None:
    """Partials and sums of a block are those of its rows."""
    for function, inputs in (("ratio", 2), ("difference", 2), ("sum", 3), ("mean", 3), ("carried_heat", 3)):
        derived = DerivedFunction(DERIVED.find(function), inputs, factor=2.0)
        rows = np.random.default_rng(5).uniform(1, 9, (50, inputs))
        columns = [rows[:, n] for n in range(inputs)]
        values, partials = derived.values(*columns), derived.partials_all(*columns)
        together = combined_all([0.1 * part for part in partials], 0.25)
        for n, row in enumerate(rows.tolist()):
            assert values[n] == derived.value(*row)
            assert [part[n] for part in partials] == derived.partials(*row)
            assert together[n] == pytest.approx(combined([0.1 * p for p in derived.partials(*row)], 0.25))


def test_a_ratio_by_zero_is_not_finite_either_way() -> None:
    """As IEEE has it, for numbers and for arrays."""
    ratio = DerivedFunction(DERIVED.find("ratio"), 2)
    a, b = [1.0, -1.0, 0.0, 1.0, math.nan], [0.0, 0.0, 0.0, -0.0, 0.0]
    by_number = [ratio.value(x, y) for x, y in zip(a, b, strict=True)]
    assert np.array_equal(by_number, [math.inf, -math.inf, math.nan, -math.inf, math.nan], equal_nan=True)
    assert np.array_equal(ratio.values(np.array(a), np.array(b)), by_number, equal_nan=True)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ([("absolute", 0.5, 2.0)], 0.25),
        ([("relative", 0.01, 2.0)], 0.05),
        ([("absolute", 0.3, 1.0), ("absolute", 0.4, 1.0)], 0.5),
        ([("absolute", 0.0, 1.0)], 0.0),
    ],
)
def test_what_was_declared_is_divided_by_its_coverage_factor(sources: Any, expected: float) -> None:
    """±0.5 at k = 2 is a standard uncertainty of 0.25."""
    apply = Calibration(Linear(2.0), None, Uncertainty.of(sources)).compiled()
    assert apply(5.0)[2] == pytest.approx(expected)


def test_an_unmeasured_uncertainty_is_none_not_zero() -> None:
    """Nobody said how good the value is; zero would say that it is perfect."""
    assert Calibration(Linear(2.0)).compiled()(5.0)[2] is None


def test_the_first_order_says_too_little_where_a_curve_has_no_slope() -> None:
    """x² at 0: the prediction is 0, the truth sqrt(2) sigma². The limit of the method, stated in its docs."""
    square, sigma = Polynomial([0.0, 0.0, 1.0]), 0.1
    spread = Calibration(square, None, Uncertainty.of([("input_noise", sigma, 1.0)])).compiled()(0.0)[2]
    noisy = square.values(sigma * np.random.default_rng(1).standard_normal(DRAWS))[0]
    assert spread == 0.0
    assert noisy.std() == pytest.approx(math.sqrt(2) * sigma**2, rel=0.02)


@pytest.mark.parametrize(("correlation", "inputs"), [(1.01, 2), (-1.01, 2), (-0.51, 3), (math.nan, 2)])
def test_an_impossible_correlation_is_refused(correlation: float, inputs: int) -> None:
    """Three quantities cannot all move against each other."""
    with pytest.raises(ValueError, match="correlate"):
        check_correlation(correlation, inputs)


def test_full_correlation_cancels_in_a_difference() -> None:
    """One thermometer's offset read twice is no error of the difference."""
    assert combined([0.5, -0.5], 1.0) == 0.0
    assert combined([0.5, 0.5], 1.0) == 1.0
