"""Curves: what they give, what they flag, that one by one and as arrays they give the same bits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gapless.acquire.calibration.calibration import Calibration
from gapless.acquire.calibration.config import CurveConfig
from gapless.acquire.calibration.curve import Curve, Identity, Linear, Polynomial
from gapless.acquire.calibration.function import CURVES, FunctionCurve, Named, register_curve
from gapless.acquire.calibration.table import Lookup, Piecewise
from gapless.acquire.emission import SampleStatus as Status
from gapless.errors import RigRefused, UsageError

CONFIG: TypeAdapter[Any] = TypeAdapter(CurveConfig)
TABLE = [(-2.0, 5.0), (0.0, 1.0), (0.5, 1.5), (3.0, -7.0)]
PIECES = Piecewise([-1.0, 1.0, 4.0], [[0.0, 1.0], [1.0, -1.0, 1.0]])
# Not a number, no end, more than half of all floats squared: what devices send when they break.
RAW = (
    st.floats(allow_nan=True, allow_infinity=True)
    | st.floats(-5, 5)
    | st.sampled_from([-2.0, 0.5, 3.0, 1.0, 4.0])
)


@register_curve("thermistor", derivative=lambda x: -3950 / (x * x))
def _thermistor(x: float) -> float:
    return 3950 / x


def _log(x: float) -> float:
    return math.log(x)


def _curves() -> list[Curve]:
    return [
        Identity(),
        Linear(2.5, -1.0),
        Polynomial([1.0, -2.0, 0.5, 3.0]),
        Lookup(TABLE),
        PIECES,
        FunctionCurve(Named("log", _log), [(1.0, 0.0)]),
        Lookup(TABLE).converted(1.8, 32.0),
        Linear(2.0).converted(0.001, 3.0),
        Identity().converted(1.0, 273.15),
    ]


def _name(curve: Curve) -> str:
    return str(curve.to_json()["kind"])


@pytest.mark.parametrize("curve", _curves(), ids=_name)
@given(raw=st.lists(RAW, min_size=1, max_size=20))
def test_one_by_one_and_as_an_array_give_the_same_bits(curve: Curve, raw: list[float]) -> None:
    """Values, statuses and slopes; so a device of blocks and one of samples record the same numbers."""
    x = np.array(raw)
    with np.errstate(all="ignore"):
        values, statuses = curve.values(x)
        slopes = curve.slopes(x)
    assert values.dtype == np.float64
    assert statuses.dtype == np.int8
    for n, number in enumerate(raw):
        value, status = curve.value(number)
        assert np.array_equal(value, values[n], equal_nan=True), number
        assert status == statuses[n], number
        assert np.array_equal(curve.slope(number), slopes[n], equal_nan=True), number


@given(raw=st.lists(RAW, min_size=1, max_size=20))
def test_a_calibration_gives_the_same_bits_both_ways(raw: list[float]) -> None:
    """With range and uncertainty; an array says NaN where a sample says None."""
    from gapless.acquire.calibration.uncertainty import Uncertainty

    spread = Uncertainty.of([("absolute", 0.2, 2.0), ("relative", 0.01, 1.0), ("input_noise", 0.1, 1.0)])
    for curve in _curves():
        calibration = Calibration(curve, (-1.0, 2.0), spread)
        apply, x = calibration.compiled(), np.array(raw)
        values, statuses, uncertainties = calibration.apply_all(x)
        assert uncertainties is not None
        for n, number in enumerate(raw):
            value, status, uncertainty = apply(number)
            assert np.array_equal(value, values[n], equal_nan=True)
            assert status == statuses[n], (curve.to_json(), number)
            found = math.nan if uncertainty is None else uncertainty
            assert np.array_equal(found, uncertainties[n], equal_nan=True), (curve.to_json(), number)


def test_linear_and_polynomial_formulas() -> None:
    """Offsets add, coefficients ascend, two points are met."""
    assert Linear(2.0, 1.0).value(3.0) == (7.0, 0)
    assert Linear.through((4.0, 0.0), (20.0, 100.0)).value(12.0) == (50.0, 0)
    assert Polynomial([1.0, 2.0, 3.0]).value(2.0) == (17.0, 0)
    assert Polynomial([1.0, 2.0, 3.0]).slope(2.0) == 14.0
    assert Polynomial([7.0]).slope(2.0) == 0.0


@pytest.mark.parametrize(
    ("x", "y", "status"),
    [
        (-2.0, 5.0, Status.OK),
        (-1.0, 3.0, Status.OK),
        (0.25, 1.25, Status.OK),
        (3.0, -7.0, Status.OK),
        (-2.0001, 5.0, Status.BELOW_RANGE | Status.CLAMPED),
        (3.0001, -7.0, Status.ABOVE_RANGE | Status.CLAMPED),
        (math.inf, -7.0, Status.ABOVE_RANGE | Status.CLAMPED),
    ],
)
def test_a_table_is_read_between_its_points_and_clamps_with_a_flag(
    x: float, y: float, status: Status
) -> None:
    """An end value that stands in for one outside is never taken for a measured one."""
    assert Lookup(TABLE).value(x) == (y, status)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20, unique=True), st.randoms())
def test_a_table_meets_its_points_exactly(xs: list[float], random: Any) -> None:
    """Also the last one, where a formula from the left would miss by a rounding."""
    table = [(round(x, 3), random.uniform(-100, 100)) for x in sorted({round(x, 3) for x in [*xs, 1e7, 2e7]})]
    curve = Lookup(table)
    assert [curve.value(x) for x, _ in table] == [(y, 0) for _, y in table]


def test_pieces_meet_and_clamp() -> None:
    """The right piece holds at a break; outside the end values stand in, flagged."""
    assert PIECES.value(0.5) == (0.5, 0)
    assert PIECES.value(1.0) == (1.0, 0)
    assert PIECES.value(4.0) == (13.0, 0)
    assert PIECES.slope(2.0) == 3.0
    assert PIECES.value(9.0) == (13.0, Status.ABOVE_RANGE | Status.CLAMPED)
    assert PIECES.value(-9.0) == (-1.0, Status.BELOW_RANGE | Status.CLAMPED)


def test_a_declared_tolerance_allows_a_small_jump() -> None:
    """Published coefficients meet to a few digits only; who uses them says so."""
    breaks, pieces = [0.0, 1.0, 2.0], [[0.0, 1.0], [0.001, 1.0]]
    with pytest.raises(RigRefused, match="jumps at 1"):
        Piecewise(breaks, pieces)
    with pytest.raises(RigRefused, match="jumps at 1"):
        Piecewise(breaks, pieces, tolerance=0.0009)
    assert Piecewise(breaks, pieces, tolerance=0.002).value(1.5)[0] == 1.501


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Lookup([(0.0, 1.0), (0.0, 2.0)]), "one raw value twice"),
        (lambda: Lookup([(1.0, 1.0), (0.0, 2.0)]), "not sorted"),
        (lambda: Lookup([(1.0, 1.0)]), "at least two points"),
        (lambda: Lookup([(0.0, 1.0), (1.0, math.nan)]), "not finite"),
        (lambda: Lookup([(0.0, 0.0), (5e-324, 1.0)]), "slope of a table"),
        (lambda: Polynomial([1.0, math.inf]), "not finite"),
        (lambda: Polynomial([]), "at least one"),
        (lambda: Linear(math.nan), "not finite"),
        (lambda: Linear.through((1.0, 0.0), (1.0, 5.0)), "different raw values"),
        (lambda: Piecewise([0.0, 1.0], [[1.0], [2.0]]), "one break more"),
        (lambda: Piecewise([0.0, 0.0], [[1.0]]), "one raw value twice"),
        (lambda: FunctionCurve(Named("log", _log), []), "test vectors"),
        (lambda: FunctionCurve(Named("log", _log), [(1.0, 0.1)]), "does not give what its test vector"),
        (lambda: FunctionCurve(Named("log", _log), [(-1.0, 0.0)]), "does not give what its test vector"),
        (lambda: CURVES.find("nothing"), "no curve of that name"),
        (lambda: CURVES.find("no_such_module:f"), "cannot be imported"),
        (lambda: CURVES.find("math:no_such"), "cannot be imported"),
        (lambda: CURVES.find("math:pi"), "no function"),
    ],
)
def test_a_curve_that_means_nothing_is_refused(make: Callable[[], object], words: str) -> None:
    """When it is made, not when the first sample arrives."""
    with pytest.raises(RigRefused, match=words):
        make()


def test_a_function_is_found_by_name_or_by_module() -> None:
    """A registered one with its derivative; math's own by module:function, with a difference instead."""
    curve = FunctionCurve(CURVES.find("thermistor"), [(10.0, 395.0)])
    assert curve.value(20.0) == (197.5, 0)
    assert curve.slope(20.0) == -9.875
    root = FunctionCurve(CURVES.find("math:sqrt"), [(4.0, 2.0)])
    assert root.slope(9.0) == pytest.approx(1 / 6, rel=1e-9)


def test_a_registered_function_keeps_its_derivative_by_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rig file names the module, which registers the function as it loads."""
    source = (
        "from gapless.acquire.calibration.function import register_curve\n"
        "@register_curve('cube', derivative=lambda x: 'asked')\n"
        "def cube(x):\n    return x ** 3\n"
    )
    (tmp_path / "my_curves.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    named = CURVES.find("my_curves:cube")
    assert named.name == "my_curves:cube"
    assert named.derivative is not None
    assert named.derivative(1.0) == "asked"
    assert CURVES.find("cube").function is named.function


def test_a_function_without_a_value_gives_a_flagged_nan() -> None:
    """log(-1) raises; the sample says NOT_FINITE, and the worker lives on."""
    apply = Calibration(FunctionCurve(Named("log", _log), [(1.0, 0.0)])).compiled()
    value, status, uncertainty = apply(-1.0)
    assert math.isnan(value)
    assert status == Status.NOT_FINITE
    assert uncertainty is None


def test_a_function_that_takes_arrays_is_called_once() -> None:
    """Not once for each value of a block."""
    calls: list[int] = []

    def squared(x: Any) -> Any:
        calls.append(np.size(x))
        return x * x

    curve = FunctionCurve(Named("squared", squared, lambda x: 2 * x, takes_arrays=True), [(3.0, 9.0)])
    calls.clear()
    assert curve.values(np.arange(5.0))[0].tolist() == [0.0, 1.0, 4.0, 9.0, 16.0]
    assert curve.slopes(np.arange(3.0)).tolist() == [0.0, 2.0, 4.0]
    assert calls == [5]


def test_a_name_belongs_to_one_function() -> None:
    """Loading the same module again is no conflict; another function under the name is."""
    register_curve("taken")(_log)
    register_curve("taken")(_log)
    with pytest.raises(UsageError, match="another curve"):
        register_curve("taken")(_thermistor)


@pytest.mark.parametrize(
    ("x", "status"),
    [(3.9, Status.BELOW_RANGE), (4.0, Status.OK), (20.0, Status.OK), (20.5, Status.ABOVE_RANGE)],
)
def test_a_believed_range_flags_and_changes_nothing(x: float, status: Status) -> None:
    """3.9 mA from a 4–20 mA loop is a broken wire, and the value stays what the curve says."""
    assert Calibration(Linear(10.0), (4.0, 20.0)).compiled()(x) == (10.0 * x, status, None)


def test_a_clamped_value_has_no_uncertainty() -> None:
    """What was declared holds for measured values, not for an end value that stands in."""
    from gapless.acquire.calibration.uncertainty import Uncertainty

    calibration = Calibration(Lookup(TABLE), None, Uncertainty.of([("absolute", 0.5, 1.0)]))
    assert calibration.compiled()(0.0) == (1.0, 0, 0.5)
    assert calibration.compiled()(99.0)[2] is None


# -- as a rig file writes them ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "x", "y"),
    [
        ({"kind": "identity"}, 2.0, 2.0),
        ({"kind": "linear", "gain": 3, "offset": 1}, 2.0, 7.0),
        ({"kind": "linear", "gain": 3}, 2.0, 6.0),
        ({"kind": "linear", "points": [[0, 10], [10, 20]]}, 5.0, 15.0),
        ({"kind": "polynomial", "coefficients": [0, 0, 1]}, 3.0, 9.0),
        ({"kind": "lookup", "table": [[0, 0], [1, 10]]}, 0.5, 5.0),
        ({"kind": "piecewise", "breaks": [0, 1, 2], "pieces": [[0, 1], [0, 1]]}, 1.5, 1.5),
        ({"kind": "callable", "function": "thermistor", "test_vectors": [[10, 395]]}, 10.0, 395.0),
    ],
)
def test_each_kind_is_written_as_a_table(table: dict[str, Any], x: float, y: float) -> None:
    """And a table survives being written as JSON and read again, which a recalibration relies on."""
    config = CONFIG.validate_python(table)
    assert config.curve().value(x) == (y, 0)
    again = CONFIG.validate_python(config.model_dump(mode="json", exclude_defaults=True))
    assert again.curve().digest() == config.curve().digest()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"kind": "cubic"}, "cubic"),
        ({"kind": "linear"}, "either gain"),
        ({"kind": "linear", "gain": 1, "points": [[0, 0], [1, 1]]}, "either gain"),
        ({"kind": "linear", "offset": 1, "points": [[0, 0], [1, 1]]}, "either gain"),
        ({"kind": "linear", "gain": 1, "slope": 2}, "slope"),
        ({"kind": "lookup", "table": [[1, 1], [0, 2]]}, "not sorted"),
        ({"kind": "lookup", "table": [[1, 1], [1, 2]]}, "one raw value twice"),
        ({"kind": "polynomial", "coefficients": [1, math.nan]}, "finite"),
        ({"kind": "piecewise", "breaks": [0, 1, 2], "pieces": [[0], [5]]}, "jumps at 1"),
        ({"kind": "callable", "function": "math:sqrt", "test_vectors": []}, "at least 1"),
        ({"kind": "callable", "function": "math:sqrt", "test_vectors": [[4, 3]]}, "test vector"),
    ],
)
def test_a_table_that_means_nothing_is_refused_when_it_is_read(table: dict[str, Any], words: str) -> None:
    """By the reader of the file, with the reason."""
    with pytest.raises(ValidationError, match=words):
        CONFIG.validate_python(table)


def test_digests_tell_curves_apart() -> None:
    """Every curve has one of its own, and equal ones are equal."""
    digests = [curve.digest() for curve in _curves()]
    assert len(set(digests)) == len(digests)
    assert digests == [curve.digest() for curve in _curves()]
    changed: Sequence[Curve] = [Linear(2.5, -1.0, "degC"), Linear(2.5, -1.0000000001), Lookup(TABLE[:-1])]
    assert not set(digests) & {curve.digest() for curve in changed}


def test_the_digest_of_a_function_follows_its_source() -> None:
    """The name stays, the code does not: two recordings are not said to have one curve."""
    two = [FunctionCurve(Named("same", f), [(1.0, 0.0)]) for f in (_log, math.log2)]
    assert two[0].to_json()["source_sha256"] != two[1].to_json()["source_sha256"]
    for first, second in itertools.combinations(two, 2):
        assert first.digest() != second.digest()
