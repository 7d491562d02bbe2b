"""A message is one row on its way in or out: a time, the data, and optionally the producer's own count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gapless.errors import ValueRefused
from gapless.model.ontology.rows import Row

if TYPE_CHECKING:
    from gapless.model.ontology.declaration import OntologyMeta

RowReader = Callable[[Any], Sequence[Any]]


class Message(msgspec.Struct, gc=False):
    """One row: ``Message(timestamp_ns=t, data=IMU(acceleration=Vector3d(0, 0, 9.81)))``.

    Without ``timestamp_ns`` the sequence's clock stamps it. ``data`` is an ontology object, a mapping of
    column name to value, or a tuple in the order of the columns. ``seq`` is the producer's own count:
    holes in it become gaps.
    """

    timestamp_ns: int | None = None
    data: Any = None
    seq: int | None = None


def row_reader(
    ontology_type: OntologyMeta | None, names: Sequence[str], nullable: Sequence[bool]
) -> RowReader:
    """Return the function from a message's data to its column values, in the order of ``names``.

    It raises ValueRefused naming the field: a wrong class, an unknown or missing column, a wrong count.
    """
    columns = dict(zip(names, nullable, strict=True))
    flatten = None if ontology_type is None else ontology_type.flatten
    exact: object = ontology_type

    def read(data: Any) -> Sequence[Any]:
        if flatten is not None and data.__class__ is exact:
            return flatten(data)
        if isinstance(data, (tuple, list)):
            if len(data) != len(columns):
                raise ValueRefused(
                    "a row has the wrong number of values",
                    found=len(data),
                    expected=f"{len(columns)}: {', '.join(columns)}",
                )
            return data
        if isinstance(data, Mapping):
            return _from_mapping(data, columns)
        if isinstance(data, Row):
            return _from_mapping(data.to_dict(), columns)
        if flatten is not None:
            return flatten(data)
        raise ValueRefused(
            "the topic was made from a schema and takes rows without a class",
            found=repr(data),
            expected="a mapping of column name to value, or a tuple",
        )

    return read


def _from_mapping(data: Mapping[str, Any], columns: Mapping[str, bool]) -> list[Any]:
    unknown = next((name for name in data if name not in columns), None)
    if unknown is not None:
        raise ValueRefused(
            "the topic has no column of this name", field=str(unknown), expected=", ".join(columns)
        )
    missing = next((name for name, nullable in columns.items() if not nullable and name not in data), None)
    if missing is not None:
        raise ValueRefused("a column that may not be null has no value", field=missing)
    return [data.get(name) for name in columns]
