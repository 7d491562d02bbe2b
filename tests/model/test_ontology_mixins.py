"""Header, covariance and variance: columns only where they are used."""

from __future__ import annotations

import pickle

import pytest

from gapless.errors import SchemaRefused, ValueRefused
from gapless.model.ontology import (
    IMU,
    CovarianceMixin,
    Header,
    HeaderMixin,
    OntologyRegistry,
    Pressure,
    Time,
    VarianceMixin,
    Vector3d,
)

UP = Vector3d(0, 0, 9.81)


class StampedIMU(HeaderMixin, IMU):
    """An IMU whose rows carry the device's header."""


def test_mixins_add_columns_under_the_same_tag() -> None:
    """A variant has the tag of its type, more columns and another fingerprint, and is made once."""
    variant = IMU.using(HeaderMixin, CovarianceMixin)
    assert variant is IMU.using(CovarianceMixin).using(HeaderMixin)
    assert variant.tag == "IMU"
    assert variant.fingerprint() != IMU.fingerprint()
    added = {leaf.name for leaf in variant.leaves()} - {leaf.name for leaf in IMU.leaves()}
    assert {"header.frame_id", "header.timestamp.seconds", "covariance", "covariance_type"} <= added
    assert variant.using() is variant
    assert IMU.using() is IMU


def test_a_header_comes_back() -> None:
    """Header, covariance and the plain values survive the row."""
    variant = IMU.using(HeaderMixin, acceleration=CovarianceMixin)
    inner = Vector3d.using(CovarianceMixin)
    row = variant(inner(0, 0, 9.81, covariance=[1.0] * 9), header=Header(Time(1, 2), "base", 7))
    assert variant.unflatten(variant.flatten(row)) == row


def test_plain_rows_fit_the_variant() -> None:
    """A topic with the columns takes rows without them: they are null."""
    variant = IMU.using(HeaderMixin, acceleration=CovarianceMixin)
    back = variant.unflatten(variant.flatten(IMU(UP)))
    assert (back.acceleration.z, back.acceleration.covariance, back.header) == (9.81, None, None)


def test_a_header_without_columns_is_refused_with_the_remedy() -> None:
    """A header never vanishes: the error tells how to make the topic."""
    assert IMU.flatten(StampedIMU(UP))[2] == 9.81
    with pytest.raises(ValueRefused, match=r"IMU\.using\(HeaderMixin\)") as refusal:
        IMU.flatten(StampedIMU(UP, header=Header(frame_id="base")))
    assert refusal.value.field == "header"
    nested = Vector3d.using(CovarianceMixin)(0, 0, 1, covariance=[1.0])
    with pytest.raises(ValueRefused) as refusal:
        IMU.flatten(IMU(nested))
    assert refusal.value.field == "acceleration.covariance"


def test_a_mixin_in_the_class_statement_is_the_same_variant() -> None:
    """``class StampedIMU(HeaderMixin, IMU)`` has the columns of ``IMU.using(HeaderMixin)``."""
    assert StampedIMU.tag == "IMU"
    assert StampedIMU.fingerprint() == IMU.using(HeaderMixin).fingerprint()
    row = StampedIMU(UP, header=Header(frame_id="base"))
    assert StampedIMU.unflatten(StampedIMU.flatten(row)) == row


def test_the_unit_of_a_member_does_not_spread_to_its_covariance() -> None:
    """A covariance of an acceleration is not in m/s^2, a sample counter has no unit."""
    variant = IMU.using(acceleration=(CovarianceMixin, HeaderMixin))
    units = {leaf.name: leaf.unit for leaf in variant.leaves()}
    assert units["acceleration.x"] == "m/s^2"
    assert units["acceleration.covariance"] is None
    assert units["acceleration.header.sample_counter"] is None
    assert units["acceleration.header.timestamp.seconds"] == "s"


def test_stamps_are_exact() -> None:
    """Nanoseconds become seconds and nanoseconds and back without rounding, below zero too."""
    assert Time.from_ns(1_700_000_000_123_456_789).to_ns() == 1_700_000_000_123_456_789
    assert Time.from_ns(-1) == Time(-1, 999_999_999)


def test_rows_travel_between_processes() -> None:
    """Plain rows and rows of variants survive pickling, with their class."""
    row = IMU.using(HeaderMixin)(UP, header=Header(frame_id="base"))
    back = pickle.loads(pickle.dumps([row, IMU(UP)]))
    assert back == [row, IMU(UP)]
    assert type(back[0]) is type(row)


def test_only_mixins_can_be_used() -> None:
    """A type is no mixin, a column no nested member."""
    with pytest.raises(SchemaRefused, match="takes mixins"):
        IMU.using(Pressure)
    with pytest.raises(SchemaRefused, match="no nested member"):
        Pressure.using(value=VarianceMixin)


def test_a_registry_reads_variants_that_it_never_saw() -> None:
    """The variant of stored rows follows from their columns and is proved by the fingerprint."""
    variant = IMU.using(HeaderMixin, angular_velocity=CovarianceMixin)
    columns = variant.schema().names
    registry = OntologyRegistry()
    assert registry.resolve("IMU", variant.fingerprint(), columns) is variant
    assert registry.resolve("IMU", IMU.fingerprint(), IMU.schema().names) is IMU
    registry.register(StampedIMU)
    assert registry.resolve("IMU", StampedIMU.fingerprint(), StampedIMU.schema().names) is StampedIMU
