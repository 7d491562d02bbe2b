"""Messages: light, keyword-built, and data in each accepted form."""

from __future__ import annotations

from typing import Any

import pytest

from gapless.errors import ValueRefused
from gapless.model.message import Message, row_reader
from gapless.model.ontology import IMU, Vector3d, generic_type

NAMES = [leaf.name for leaf in IMU.leaves()]
NULLABLE = [leaf.nullable for leaf in IMU.leaves()]
ROW = (0, 0, 9.81, *[None] * 7)


def test_a_message_is_built_by_keywords() -> None:
    """Time and count may be left out."""
    message = Message(data=IMU(acceleration=Vector3d(0, 0, 9.81)))
    assert (message.timestamp_ns, message.seq) == (None, None)
    assert Message(timestamp_ns=5, data=message.data, seq=2).timestamp_ns == 5


@pytest.mark.parametrize(
    "data",
    [
        IMU(Vector3d(0, 0, 9.81)),
        {"acceleration.z": 9.81, "acceleration.x": 0, "acceleration.y": 0},
        ROW,
        generic_type(NAMES, "IMU").unflatten(ROW),
    ],
    ids=["object", "mapping", "tuple", "row"],
)
def test_each_form_of_data_gives_the_same_row(data: Any) -> None:
    """Object, mapping, tuple and generic row are equal ways to say one row."""
    assert tuple(row_reader(IMU, NAMES, NULLABLE)(data)) == ROW


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"acceleration.x": 0, "acceleration.y": 0}, "acceleration.z"),
        ({"acceleration.q": 0}, "acceleration.q"),
        ((1, 2), None),
        (3.5, None),
        (None, None),
    ],
)
def test_wrong_data_is_refused(data: Any, field: str | None) -> None:
    """A missing or unknown column is named; anything that is no row is refused."""
    with pytest.raises(ValueRefused) as refusal:
        row_reader(IMU, NAMES, NULLABLE)(data)
    assert refusal.value.field == field


def test_a_topic_without_a_class_takes_mappings_and_tuples() -> None:
    """A schema-only topic needs no type, and refuses objects that it has no columns for."""
    read = row_reader(None, ["a", "b"], [False, True])
    assert list(read({"a": 1})) == [1, None]
    assert list(read((1, 2))) == [1, 2]
    with pytest.raises(ValueRefused):
        read(IMU(Vector3d(0, 0, 1)))
