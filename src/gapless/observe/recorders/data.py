"""The recorder of anything: the columns that its source declares, checked and copied at each read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from gapless.errors import SchemaRefused, UsageError, ValueRefused
from gapless.model.metadata import canonical_json
from gapless.observe.recorder import Camera, Table, TableSpec
from gapless.observe.sources import DataSource, Field
from gapless.store.cells import cell_for

if TYPE_CHECKING:
    from gapless.observe.step import StepContext


class DataRecorder:
    """Makes the table ``name`` with the columns of its source, in their order."""

    def __init__(self, name: str, source: DataSource) -> None:
        self.name = name
        self.tables: Sequence[Table] = [DataTable(name, source)]
        self.cameras: Sequence[Camera] = []

    def begin(self) -> None:
        """Do nothing: each row stands for itself."""

    def artifacts(self) -> Mapping[str, bytes]:
        """Return no files."""
        return {}


class DataTable:
    """A table of declared columns.

    Reading raises ValueRefused, naming topic and column, for a value that does not fit its column, one
    that is missing and one too many; only a nullable column may be left out of a mapping. A refused read
    leaves the row as it was.
    """

    def __init__(self, topic: str, source: DataSource) -> None:
        schema = _schema(topic, source.fields)
        _check_roles(topic, source.roles, schema.names)
        self.spec = TableSpec(topic, schema, source.version, source.every, source.roles)
        self.row: list[Any] = [None] * len(schema)
        self._read = source.read
        self._known = set(schema.names)
        self._columns = [(column, cell_for(column), _shape(column)) for column in schema]

    def read(self, context: StepContext) -> None:
        """Copy what the source returns now; a later change of it changes nothing."""
        del context  # every step is read alike
        values = self._ordered(self._read())
        self.row[:] = [
            self._copied(value, *column) for value, column in zip(values, self._columns, strict=True)
        ]

    def _ordered(self, values: Any) -> Sequence[Any]:
        if isinstance(values, Mapping):
            unknown = sorted(map(str, values.keys() - self._known))
            if unknown:
                raise self._refused("the source gave a column that it did not declare", unknown[0], "a value")
            return [values.get(column.name) for column, _, _ in self._columns]
        if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str | bytes):
            raise self._refused("the source gave no row", None, type(values).__name__)
        if len(values) != len(self._columns):
            raise self._refused("the source gave another number of values", None, f"{len(values)} values")
        return list(values)

    def _copied(self, value: Any, column: pa.Field, cell: Any, shape: tuple[int, ...] | None) -> Any:
        if value is None:
            if column.nullable:
                return None
            raise self._refused("a value is missing", column.name, "None", str(column.type))
        if shape is not None and np.shape(value) != shape:
            found = f"shape {list(np.shape(value))}"
            raise self._refused("a value has another shape", column.name, found, f"shape {list(shape)}")
        try:
            return cell(value)[0]
        except (TypeError, ValueError, OverflowError) as error:
            raise self._refused(
                f"a value does not fit its column: {error}", column.name, repr(value), str(column.type)
            ) from error

    def _refused(
        self, message: str, field: str | None, found: str, expected: str | None = None
    ) -> ValueRefused:
        names = ", ".join(column.name for column, _, _ in self._columns)
        return ValueRefused(
            message, topic=self.spec.topic, field=field, found=found, expected=expected or names
        )


def _schema(topic: str, fields: Mapping[str, Field] | pa.Schema) -> pa.Schema:
    """Return the columns as a schema, each with a name of its own; SchemaRefused."""
    if not isinstance(fields, pa.Schema):
        fields = pa.schema([_arrow(topic, name, field) for name, field in fields.items()])
    names = list(fields.names)
    if not names or len(set(names)) != len(names) or "timestamp_ns" in names:
        raise SchemaRefused(
            "a table has columns, each with a name of its own; the time is the observer's",
            topic=topic,
            found=", ".join(names) or "no columns",
        )
    return fields


def _arrow(topic: str, name: str, field: Field) -> pa.Field:
    words = {"description": field.description} | ({"unit": field.unit} if field.unit else {})
    try:
        kind = pa.type_for_alias(field.dtype) if isinstance(field.dtype, str) else field.dtype
        if field.shape:
            if not all(type(size) is int and size > 0 for size in field.shape):
                raise ValueError(f"a shape has sizes above 0: {list(field.shape)}")
            words["shape"] = canonical_json(list(field.shape)).decode()
            kind = pa.list_(kind, math.prod(field.shape))
        return pa.field(name, kind, nullable=False, metadata=words)
    except (TypeError, ValueError) as error:
        raise SchemaRefused(
            f"a column cannot be made: {error}", topic=topic, field=str(name), found=repr(field)
        ) from error


def _shape(column: pa.Field) -> tuple[int, ...] | None:
    """Return the shape that the values of a column of lists must have, if it says so."""
    told = (column.metadata or {}).get(b"shape")
    return None if told is None else tuple(json.loads(told))


def _check_roles(topic: str, roles: Mapping[str, Sequence[str]], names: Sequence[str]) -> None:
    for role, columns in roles.items():
        unknown = sorted(set(columns) - set(names))
        if unknown:
            raise UsageError(
                "a role names a column that there is not",
                topic=topic, field=role, found=", ".join(unknown), expected=", ".join(names),
            )  # fmt: skip
