"""Units: equal text costs nothing, the rest is exact or refused."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gapless.acquire import units
from gapless.acquire.unit_prefix import PREFIXED, ratio_of
from gapless.errors import MissingExtra, RigRefused

ONTOLOGY = Path(__file__).resolve().parents[2] / "src" / "gapless" / "model" / "ontology"


@pytest.fixture
def no_pint(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installation without the extra, with nothing remembered from before."""
    units._registry.cache_clear()
    units.conversion.cache_clear()
    monkeypatch.setitem(sys.modules, "pint", None)
    yield
    monkeypatch.undo()
    units._registry.cache_clear()


@pytest.mark.parametrize(
    ("source", "target", "factor", "offset"),
    [
        ("mV", "V", 0.001, 0.0),
        ("degC", "K", 1.0, 273.15),
        ("degF", "degC", 5 / 9, -17.77777777777778),
        ("°C", "degC", 1.0, 0.0),
        ("%", "1", 0.01, 0.0),
        ("N.m", "J", 1.0, 0.0),
        ("kg.m^2", "g.cm^2", 1e7, 0.0),
        ("m/s^2", "km/h/s", 3.6, 0.0),
        ("A.h", "C", 3600.0, 0.0),
        ("byte", "bit", 8.0, 0.0),
        ("sccm", "slpm", 0.001, 0.0),
        ("degC/s", "K/min", 60.0, 0.0),
        ("", "1", 1.0, 0.0),
    ],
)
def test_a_conversion_is_the_nearest_float_to_the_exact_one(
    source: str, target: str, factor: float, offset: float
) -> None:
    """No rounding from steps on the way: 1 degC is 274.15 K and nothing near it."""
    assert units.conversion(source, target) == (factor, offset)


def test_every_unit_of_the_ontology_is_known() -> None:
    """What gapless writes itself can be converted to itself by pint, pixels and decibels too."""
    written = {
        unit
        for path in ONTOLOGY.glob("*.py")
        for unit in re.findall(r'unit="([^"]+)"', path.read_text(encoding="utf-8"))
    }
    assert len(written) > 15
    assert [unit for unit in sorted(written) if units._parsed(unit, "a test") is None] == []


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("V", "A", "measure different things"),
        ("sccm", "L/min", "measure different things"),
        ("V", "blorb", "no unit 'blorb'"),
        ("m//", "m", "no unit 'm//'"),
        ("V", "((", r"no unit '\(\('"),
        ("dBm", "W", "no factor and offset"),
    ],
)
def test_what_cannot_be_converted_is_refused_by_place(source: str, target: str, reason: str) -> None:
    """The message names the channel and both units."""
    with pytest.raises(RigRefused, match=reason) as caught:
        units.check_compatible(source, target, "channel 'heater'")
    assert "channel 'heater'" in str(caught.value)


def test_without_the_extra_equal_units_still_work(no_pint: None) -> None:
    """Only a comparison beyond text and prefix needs pint, and then the message is the command to type."""
    assert units.conversion("blorb", "blorb") == (1.0, 0.0)
    assert units.is_same_unit("degC", "degC", "x")
    with pytest.raises(MissingExtra, match=re.escape("pip install 'gapless[units]'")):
        units.conversion("degF", "degC")


@pytest.mark.parametrize(
    ("source", "target", "factor"),
    [
        ("byte", "GB", 1e-9),
        ("B", "byte", 1.0),
        ("KiB", "byte", 1024.0),
        ("mV", "V", 0.001),
        ("kHz", "MHz", 0.001),
    ],
)
def test_without_the_extra_a_prefix_is_converted(
    no_pint: None, source: str, target: str, factor: float
) -> None:
    """The commonest conversions of a rig need nothing installed."""
    assert units.conversion(source, target) == (factor, 0.0)


def test_prefixes_mean_what_pint_says() -> None:
    """With or without the extra, the factor is the same number."""
    for unit, (stem, ratio) in PREFIXED.items():
        assert units._magnitude(1, units._parsed(unit, "a test"), units._parsed(stem, "a test")) == ratio, (
            unit
        )


@pytest.mark.parametrize(("source", "target"), [("V", "A"), ("B", "bit"), ("m", "min"), ("GB", "GHz")])
def test_prefixes_say_nothing_of_other_units(source: str, target: str) -> None:
    """Two stems are never one unit."""
    assert ratio_of(source, target) is None


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [("580 degC", 580.0, "degC"), ("-1.5e3Pa", -1500.0, "Pa"), (" 7 ", 7.0, ""), ("20 %", 20.0, "%")],
)
def test_a_quantity_is_a_number_and_a_unit(text: str, value: float, unit: str) -> None:
    """With or without a blank; the unit may be missing."""
    assert units.parse_quantity(text) == (value, unit)


@pytest.mark.parametrize("text", ["", "degC", "1,5 V", "nan V", "1 2"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    """A comma is no decimal point here: 1,5 could mean two things."""
    with pytest.raises(RigRefused):
        units.parse_quantity(text)


def test_a_quantity_in_a_unit() -> None:
    """A bare number is in the unit already."""
    assert units.in_unit("580 degC", "K", "x") == 853.15
    assert units.in_unit("580", "K", "x") == 580.0
    assert units.is_same_unit("°C", "degC", "x")
    assert not units.is_same_unit("K", "degC", "x")
