"""Declaring a type: columns, units, shapes, fingerprints and what is refused."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from gapless.errors import SchemaRefused, ValueRefused
from gapless.model.ontology import (
    GPS,
    IMU,
    Float32,
    Image,
    Ontology,
    Point3d,
    Pose,
    Quaternion,
    RobotPath,
    Values,
    Vector3d,
    field,
)


class Battery(Ontology, tag="Battery", version=3):
    """A cell."""

    made: ClassVar[str] = "here"
    voltage: float = field(unit="V", uncertainty="sigma", allow_nan=False)
    sigma: Float32 = field(default=0.1, unit="V")
    matrix: Values[float] = field(default_factory=list, shape=(2, 3), description="a matrix")
    label: str | None = None


def test_a_type_in_a_few_lines_gives_its_columns() -> None:
    """A declared class answers tag, version, leaves and Arrow schema with all that was said of the fields."""
    assert (Battery.tag, Battery.version) == ("Battery", 3)
    schema = Battery.schema()
    assert schema.names == ["timestamp_ns", "voltage", "sigma", "matrix", "label"]
    assert schema.field("timestamp_ns") == pa.field("timestamp_ns", pa.int64(), nullable=False)
    assert schema.field("voltage").metadata == {
        b"unit": b"V",
        b"uncertainty": b"sigma",
        b"allow_nan": b"false",
    }
    assert schema.field("sigma").type == pa.float32()
    assert schema.field("matrix").type == pa.list_(pa.float64(), 6)
    assert schema.field("matrix").metadata[b"shape"] == b"[2, 3]"
    assert schema.field("label").nullable


def test_nested_members_become_flat_columns_with_the_unit_of_the_member() -> None:
    """A nested type flattens to dotted leaves; an optional one to nullable leaves."""
    leaves = {leaf.name: leaf for leaf in IMU.leaves()}
    assert list(leaves)[:4] == ["acceleration.x", "acceleration.y", "acceleration.z", "angular_velocity.x"]
    assert leaves["acceleration.x"].unit == "m/s^2"
    assert not leaves["acceleration.x"].nullable
    assert leaves["angular_velocity.x"].nullable
    assert leaves["orientation.w"].unit is None


def test_bytes_of_images_are_large_binary() -> None:
    """A topic of images is not limited to 2 GiB a batch."""
    assert Image.schema().field("data").type == pa.large_binary()


def test_the_tag_defaults_to_the_class_name_and_fields_may_be_called_tag() -> None:
    """The interface of the class stays apart from the fields of its rows."""

    class Label(Ontology):
        tag: str
        version: int

    row = Label("x", 7)
    assert (Label.tag, Label.version) == ("Label", 1)
    assert (row.tag, row.version) == ("x", 7)
    assert Label.unflatten(Label.flatten(row)) == row


def test_values_pass_through_as_they_are() -> None:
    """Flattening copies neither arrays nor lists."""
    values = np.arange(6.0).reshape(2, 3)
    assert Battery.flatten(Battery(1.0, matrix=values))[2] is values


def test_objects_in_lists_become_structs_and_come_back() -> None:
    """A list of a nested type is one column of Arrow structs."""
    path = RobotPath([Pose(Point3d(1, 2, 3), Quaternion(0, 0, 0, 1))])
    (column,) = RobotPath.flatten(path)
    stored = pa.array([column], RobotPath.leaves()[0].type.arrow()).to_pylist()
    assert RobotPath.unflatten(stored) == path


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (IMU(acceleration=9.8), "acceleration"),  # type: ignore[arg-type]  # the mistake under test
        (IMU(Vector3d(0, 0, 1), orientation=Vector3d(0, 0, 1)), "orientation"),  # type: ignore[arg-type]
        (RobotPath([Pose(Vector3d(0, 0, 1), None)]), "poses"),  # type: ignore[arg-type]  # no rotation
        (RobotPath(3), "poses"),  # type: ignore[arg-type]  # not a list
        (GPS(None), "position"),  # type: ignore[arg-type]  # required
    ],
)
def test_a_wrong_member_is_refused_by_name(row: Ontology, name: str) -> None:
    """A member of the wrong type raises ValueRefused that names the field."""
    with pytest.raises(ValueRefused) as refusal:
        type(row).flatten(row)
    assert refusal.value.field == name


def test_another_class_is_refused() -> None:
    """Flattening takes rows of its own type only."""
    with pytest.raises(ValueRefused, match="expected IMU"):
        IMU.flatten(GPS(Vector3d(1, 2, 3)))


def test_a_type_with_the_same_columns_fits() -> None:
    """A Point3d may stand where a Vector3d is due, since nothing is lost."""
    assert GPS.flatten(GPS(Point3d(1, 2, 3)))[:3] == (1, 2, 3)  # type: ignore[arg-type]  # same columns


def test_a_subclass_with_values_of_its_own_is_refused() -> None:
    """A value without a column is never dropped silently."""

    class Precise(Vector3d):
        sigma: float | None = None

    assert IMU.flatten(IMU(Precise(1, 2, 3)))[:3] == (1, 2, 3)
    with pytest.raises(ValueRefused, match="no columns"):
        IMU.flatten(IMU(Precise(1, 2, 3, 0.5)))


def test_a_wrong_number_of_values_is_refused() -> None:
    """Unflattening takes exactly one value per leaf."""
    with pytest.raises(ValueRefused, match="10 leaf values"):
        IMU.unflatten((1, 2))


def test_the_fingerprint_follows_meaning_and_not_wording() -> None:
    """Units, types and versions change it; descriptions do not."""

    def made(version: int = 1, unit: str = "V", description: str = "a") -> str:
        class Cell(Ontology, version=version):
            volts: float = field(unit=unit, description=description)

        return Cell.fingerprint()

    assert made() == made(description="b")
    assert len({made(), made(version=2), made(unit="mV")}) == 3
    assert len(made()) == 16


def test_fields_are_inherited() -> None:
    """A type may extend another; it has a tag of its own and all the fields."""

    class Stamped(Vector3d):
        sensor: str = "a"

    assert Stamped.tag == "Stamped"
    assert Stamped.flatten(Stamped(1, 2, 3)) == (1, 2, 3, "a")


def test_what_cannot_be_a_column_is_refused_at_the_class() -> None:
    """A bad annotation raises SchemaRefused naming the field, when the class is made."""
    with pytest.raises(SchemaRefused) as refusal:

        class Bad(Ontology):
            thing: dict[str, int]

    assert refusal.value.field == "thing"
    with pytest.raises(SchemaRefused, match="cannot be resolved"):

        class Unknown(Ontology):
            thing: NotThere  # type: ignore[name-defined]  # noqa: F821 - the mistake under test

    with pytest.raises(SchemaRefused, match="one type or None"):

        class Both(Ontology):
            thing: int | str

    with pytest.raises(SchemaRefused, match="of this name"):

        class Reserved(Ontology):
            timestamp_ns: int

    with pytest.raises(SchemaRefused, match="no fields"):

        class Empty(Ontology):
            pass

    with pytest.raises(SchemaRefused, match="shape"):

        class Shaped(Ontology):
            thing: float = field(shape=(2,))


def test_query_paths_start_from_the_class() -> None:
    """``IMU.Q.acceleration.x`` is a field of the IMU tag."""
    assert "acceleration.x" in repr(IMU.Q.acceleration.x.gt(9.8))
