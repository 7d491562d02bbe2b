"""Topics made by ``seq.log`` from the first value that comes."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import pyarrow as pa

from gapless.errors import ValueRefused

VALUE = "value"


def logged_schema(value: Any, unit: str | None, sequence: str, topic: str) -> pa.Schema:
    """Return the schema of a topic whose first value this is."""
    if unit is not None and not isinstance(unit, str):
        raise ValueRefused("a unit is text", sequence=sequence, topic=topic, field="unit", found=repr(unit))
    if isinstance(value, Mapping):
        if not value or not all(isinstance(key, str) for key in value):
            raise ValueRefused(
                "a mapping's keys name the columns",
                sequence=sequence,
                topic=topic,
                found=repr(value),
                expected="at least one key, all text",
            )
        return pa.schema([_field(str(key), item, unit, sequence, topic) for key, item in value.items()])
    return pa.schema([_field(VALUE, value, unit, sequence, topic)])


def _field(name: str, value: Any, unit: str | None, sequence: str, topic: str) -> pa.Field:
    metadata = {"unit": unit} if unit else None
    if isinstance(value, bool | np.bool_):
        return pa.field(name, pa.bool_(), nullable=True, metadata=metadata)
    if isinstance(value, Real) or value is None:  # numbers share one type, so that 21 and 21.3 fit one topic
        return pa.field(name, pa.float64(), nullable=True, metadata=metadata)
    if isinstance(value, str):
        return pa.field(name, pa.string(), nullable=True, metadata=metadata)
    if isinstance(value, bytes | bytearray | memoryview):
        return pa.field(name, pa.large_binary(), nullable=True, metadata=metadata)
    if isinstance(value, list | tuple | np.ndarray):
        return pa.field(name, pa.list_(pa.float64()), nullable=True, metadata=metadata)
    raise ValueRefused(
        "log takes numbers, bools, text, bytes, arrays and mappings of these",
        sequence=sequence,
        topic=topic,
        field=name,
        found=repr(value),
        expected="a number, bool, text, bytes or array",
    )


def logged_values(value: Any, names: tuple[str, ...] | None, sequence: str, topic: str) -> tuple[Any, ...]:
    """Return the row of a logged value in the order of the topic's columns."""
    if names is None:
        return (value,)
    if not isinstance(value, Mapping):
        raise ValueRefused(
            "the topic was logged as a mapping",
            sequence=sequence,
            topic=topic,
            found=repr(value),
            expected=f"a mapping of {', '.join(names)}",
        )
    unknown = [str(key) for key in value if key not in names]
    if unknown:
        raise ValueRefused(
            "the topic has no column of this name",
            sequence=sequence,
            topic=topic,
            field=unknown[0],
            expected=", ".join(names),
        )
    return tuple(value.get(name) for name in names)


def check_unit(schema: pa.Schema, unit: str, sequence: str, topic: str) -> None:
    """Raise ValueRefused for a unit other than the topic's: a column has one unit for ever."""
    known = [
        (field.metadata or {}).get(b"unit", b"").decode() for field in schema if field.name != "timestamp_ns"
    ]
    if any(have != unit for have in known):
        raise ValueRefused(
            "the topic was logged in another unit",
            sequence=sequence,
            topic=topic,
            field="unit",
            found=unit,
            expected=" ".join(sorted(set(known))) or "no unit",
        )
