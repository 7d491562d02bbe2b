"""What Arrow loses in silence when values take on a column's type: members of structs, and finite numbers.

A float of 16 or 32 bits makes infinity of what is beyond it; a struct leaves out what it has no member for.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa


def lost_member(found: pa.DataType, wanted: pa.DataType) -> str | None:
    """Return a member of a struct, at whatever depth, for which the wanted type has no place."""
    if isinstance(found, pa.StructType) and isinstance(wanted, pa.StructType):
        names = {child.name for child in _fields(wanted)}
        for child in _fields(found):
            if child.name not in names:
                return str(child.name)
            lost = lost_member(child.type, wanted.field(child.name).type)
            if lost is not None:
                return lost
        return None
    pairs = zip(_fields(found), _fields(wanted), strict=False)
    return next((lost for f, w in pairs if (lost := lost_member(f.type, w.type)) is not None), None)


def has_narrow_floats(kind: pa.DataType) -> bool:
    """Tell whether a type holds floats of 16 or 32 bits, at whatever depth."""
    if pa.types.is_dictionary(kind):
        return has_narrow_floats(kind.value_type)
    narrow = pa.types.is_float16(kind) or pa.types.is_float32(kind)
    return narrow or any(has_narrow_floats(child.type) for child in _fields(kind))


def with_doubles(kind: pa.DataType) -> pa.DataType:
    """Return the type with 64 bits for each float in it."""
    if pa.types.is_floating(kind):
        return pa.float64()
    children = [child.with_type(with_doubles(child.type)) for child in _fields(kind)]
    if isinstance(kind, pa.StructType):
        return pa.struct(children)
    if isinstance(kind, pa.MapType):
        return pa.map_(*children)
    if isinstance(kind, pa.FixedSizeListType):
        return pa.list_(children[0], kind.list_size)
    if isinstance(kind, pa.LargeListType):
        return pa.large_list(children[0])
    return pa.list_(children[0]) if isinstance(kind, pa.ListType) else kind


def infinities(array: pa.Array) -> int:
    """Return how many infinite numbers there are in an array, at whatever depth; those of null rows do not count."""
    if pa.types.is_dictionary(array.type):
        return infinities(array.dictionary_decode())
    if pa.types.is_floating(array.type):
        return int(np.isinf(array.drop_null().to_numpy(zero_copy_only=False)).sum())
    return sum(infinities(inside) for inside in _insides(array))


def _fields(kind: pa.DataType) -> list[pa.Field]:
    if isinstance(kind, pa.MapType):
        return [kind.key_field, kind.item_field]
    return [kind.field(i) for i in range(kind.num_fields)]


def _insides(array: pa.Array) -> Iterator[pa.Array]:
    """Yield the values inside, those of the array's own rows that are not null only."""
    if isinstance(array, pa.MapArray):
        whole = array.drop_null()
        first, last = (whole.offsets[0].as_py(), whole.offsets[-1].as_py()) if len(whole) else (0, 0)
        yield from (values.slice(first, last - first) for values in (whole.keys, whole.items))
    elif array.type.num_fields:
        yield from array.flatten() if pa.types.is_struct(array.type) else [array.flatten()]
