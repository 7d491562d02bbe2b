"""Structs to flat columns and back, whole columns at a time; nothing here looks at single rows.

A member of a struct is a column with a dotted name. An optional struct is null where all its members are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.errors import SchemaRefused, ValueRefused


@dataclass(frozen=True, slots=True)
class Member:
    """A column that a struct becomes: its dotted name, and whether null can stand there."""

    path: str
    field: pa.Field
    nullable: bool


def members(fields: Iterable[pa.Field], prefix: str = "", *, nullable: bool = False) -> Iterator[Member]:
    """Yield the columns that fields become; SchemaRefused for a struct without members."""
    for field in fields:
        path, optional = f"{prefix}{field.name}", nullable or field.nullable
        if not pa.types.is_struct(field.type):
            yield Member(path, field, optional)
            continue
        if not field.type.num_fields:
            raise SchemaRefused("a struct without members cannot be stored", field=path)
        yield from members(field.type, f"{path}.", nullable=optional)


def flatten(array: pa.Array, field: pa.Field, prefix: str = "") -> Iterator[tuple[str, pa.Array]]:
    """Yield the columns of an array of a field, in the order of :func:`members`."""
    path = f"{prefix}{field.name}"
    if not pa.types.is_struct(field.type):
        yield path, array
        return
    for child, inner in zip(array.flatten(), field.type, strict=True):
        yield from flatten(child, inner, f"{path}.")


def nest(columns: Mapping[str, pa.Array], field: pa.Field, rows: int) -> pa.Array:
    """Return the array of a field made of flat columns; one that is not there is null.

    Raises ValueRefused where the field, or a member of it, may not be null and is.
    """
    array, empty = _nest(columns, field, rows, "")
    _check_present(field, empty, None, "")
    return array


def _nest(
    columns: Mapping[str, pa.Array], field: pa.Field, rows: int, prefix: str
) -> tuple[pa.Array, pa.Array | None]:
    """Return the array, and where it and all in it is null: None for nowhere."""
    path = f"{prefix}{field.name}"
    if not pa.types.is_struct(field.type):
        array = fit(columns[path], field.type) if path in columns else pa.nulls(rows, field.type)
        return array, array.is_null() if array.null_count else None
    nested = [_nest(columns, inner, rows, f"{path}.") for inner in field.type]
    empty = _all([empty for _, empty in nested])
    for inner, (_, missing) in zip(field.type, nested, strict=True):
        _check_present(inner, missing, empty, f"{path}.")
    mask = empty if field.nullable else None
    arrays = [array for array, _ in nested]
    return pa.StructArray.from_arrays(arrays, fields=list(field.type), mask=mask), empty


def _all(masks: list[pa.Array | None]) -> pa.Array | None:
    """Return where every mask is true, None where that is nowhere."""
    result: pa.Array | None = None
    for mask in masks:
        if mask is None:
            return None
        result = mask if result is None else pc.and_(result, mask)
    return result


def _check_present(field: pa.Field, missing: pa.Array | None, parent: pa.Array | None, prefix: str) -> None:
    """Raise ValueRefused where a required field is null and the struct around it is not."""
    if field.nullable or missing is None:
        return
    refused = missing if parent is None else pc.and_not(missing, parent)
    if pc.any(refused).as_py():
        raise ValueRefused(
            "a value is missing that the type must have", field=f"{prefix}{field.name}", found="null"
        )


def fit(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return the array as one of another type that holds the same values.

    Structs in lists are matched by the names of their members; a member that is not there is null, one
    that is not wanted is left out. Raises ``pyarrow.ArrowInvalid`` for a number that does not fit.
    """
    if array.type.equals(kind):
        return array
    if pa.types.is_struct(kind) and pa.types.is_struct(array.type):
        given = {array.type.field(n).name: child for n, child in enumerate(array.flatten())}
        children = [
            fit(given[inner.name], inner.type) if inner.name in given else pa.nulls(len(array), inner.type)
            for inner in kind
        ]
        mask = array.is_null() if array.null_count else None
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=mask)
    if pa.types.is_list(kind) and pa.types.is_list(array.type):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int32))).astype(np.int32)
        mask = array.is_null() if array.null_count else None
        values = fit(array.flatten(), kind.value_type)
        return pa.ListArray.from_arrays(pa.array(offsets), values, type=kind, mask=mask)
    return array.cast(kind, safe=True)
