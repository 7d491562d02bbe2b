"""Units: equal ones cost nothing, others are checked and converted exactly by pint.

A unit is text: ``degC``, ``m/s^2``, ``N.m``, ``%``, ``1`` for a pure number. Two units that are the same
text, or one unit with two prefixes (``mV`` and ``V``, ``GB`` and ``byte``), need no library; anything else
needs the extra ``units``.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import cache
from tokenize import TokenError
from typing import Any

from gapless.acquire.unit_prefix import ratio_of
from gapless.errors import MissingExtra, RigRefused

PURE_NUMBER = ("", "1")
_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*((?:[^\d.,\s].*?)?)\s*")
_DOT = re.compile(r"(?<=[A-Za-z)\d])\.(?=[A-Za-z(])")  # N.m is N*m; 0.5 is a number
# All that pint and the tokenizer below it raise for text that is no unit.
_NO_UNIT = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    KeyError,
    SyntaxError,
    TokenError,
    TypeError,
    ValueError,
)
# Flow controllers count gas at a stated temperature and pressure: no other litre is the same as theirs.
_STANDARD_FLOW = (
    "standard_litre = [standard_volume] = sL = sl",
    "slpm = standard_litre / minute = slm = SLPM = SLM",
    "sccm = standard_litre / 1000 / minute = SCCM",
    "sccs = standard_litre / 1000 / second = SCCS",
)


@cache
def _registry() -> Any:
    try:
        import pint
    except ImportError as error:
        raise MissingExtra(
            "units that differ by more than a prefix are compared by pint, which is not installed",
            next_step="pip install 'gapless[units]'",
        ) from error
    registry: Any = pint.UnitRegistry(non_int_type=Fraction)  # fractions: degC to K is 273.15, not nearly
    for definition in _STANDARD_FLOW:
        registry.define(definition)
    return registry


def _parsed(unit: str, where: str) -> Any:
    registry = _registry()
    if unit in PURE_NUMBER:
        return registry.dimensionless
    try:
        return registry.parse_units(_DOT.sub("*", unit))
    except _NO_UNIT as error:
        raise RigRefused(f"{where}: there is no unit {unit!r}", found=unit) from error


def _magnitude(value: int, source: Any, target: Any) -> Fraction:
    return Fraction(_registry().Quantity(Fraction(value), source).to(target).magnitude)


@cache
def conversion(source: str, target: str, where: str = "unit") -> tuple[float, float]:
    """Return factor and offset such that ``target = factor * source + offset``.

    The factor is the nearest float to the exact one. Raises RigRefused, naming ``where``, for unknown
    units, units of different kinds and those that are not linear in each other (dBm); MissingExtra.
    """
    if source == target or (source in PURE_NUMBER and target in PURE_NUMBER):
        return 1.0, 0.0
    if (ratio := ratio_of(source, target)) is not None:
        return float(ratio), 0.0
    units = _parsed(source, where), _parsed(target, where)
    if units[0].dimensionality != units[1].dimensionality:
        raise RigRefused(f"{where}: the units measure different things", found=source, expected=target)
    try:
        at_zero, at_one, at_two = (_magnitude(value, *units) for value in (0, 1, 2))
    except (TypeError, ValueError) as error:  # a logarithm of a fraction, or an offset unit in a product
        raise RigRefused(
            f"{where}: no factor and offset lead from one unit to the other", found=source, expected=target
        ) from error
    if at_two - at_one != at_one - at_zero:
        raise RigRefused(f"{where}: the units are not linear in each other", found=source, expected=target)
    return float(at_one - at_zero), float(at_zero)


def check_compatible(source: str, target: str, where: str) -> None:
    """Return if one unit can be converted to the other, or raise RigRefused naming ``where``."""
    conversion(source, target, where)


def is_same_unit(first: str, second: str, where: str) -> bool:
    """Tell whether two units are one, written in two ways: ``degC`` and ``°C``."""
    return first == second or conversion(first, second, where) == (1.0, 0.0)


def quotient(numerator: str, denominator: str) -> str:
    """Return the unit of a ratio."""
    return "1" if numerator == denominator else f"({numerator or '1'})/({denominator or '1'})"


def parse_quantity(text: str) -> tuple[float, str]:
    """Return number and unit of ``"580 degC"``; a bare number has the unit ``""``. Raises RigRefused."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise RigRefused("this is no quantity", found=text, expected="a number and a unit, such as 580 degC")
    return float(found[1]), found[2]


def in_unit(text: str, unit: str, where: str) -> float:
    """Return a quantity such as ``"580 degC"`` in ``unit``; a bare number is taken to be in it already."""
    value, written = parse_quantity(text)
    factor, offset = conversion(written or unit, unit, where)
    return factor * value + offset


__all__ = [
    "PURE_NUMBER",
    "check_compatible",
    "conversion",
    "in_unit",
    "is_same_unit",
    "parse_quantity",
    "quotient",
]
