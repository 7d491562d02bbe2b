"""Values that an Arrow column can hold and a Parquet part cannot: they are refused before they are recorded.

Otherwise the seal would meet them, when nothing can be done about them any more.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

_MOST_SECONDS = (2**63 - 1) // 1000  # parts keep milliseconds
_MOST_DATE64 = (2**31 - 1) * 86_400_000  # parts keep days in 32 bits


def is_suspect(kind: pa.DataType) -> bool:
    """Tell whether a type has values that :func:`refusal` must look for."""
    if kind == pa.date64() or (pa.types.is_timestamp(kind) and kind.unit == "s"):
        return True
    return any(not child.nullable or is_suspect(child.type) for child in _fields(kind))


def refusal(array: pa.Array) -> str | None:
    """Return why an array cannot be stored, or None. Its own nulls are not looked at, those inside are."""
    kind = array.type
    if pa.types.is_timestamp(kind) and kind.unit == "s" and not _within(array, _MOST_SECONDS):
        return "a time is outside 64 bits in milliseconds"
    if kind == pa.date64() and not _within(array, _MOST_DATE64):
        return "a date is outside 32 bits in days"
    for child, values in zip(_fields(kind), _children(array), strict=True):
        if not child.nullable and values.null_count:
            return f"nulls in {child.name!r}, which may not be null"
        found = refusal(values) if is_suspect(child.type) else None
        if found is not None:
            return found
    return None


def _fields(kind: pa.DataType) -> list[pa.Field]:
    if isinstance(kind, pa.StructType):
        return [kind.field(i) for i in range(kind.num_fields)]
    if isinstance(kind, pa.MapType):
        return [kind.key_field, kind.item_field]
    if isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        return [kind.value_field]
    return []


def _children(array: pa.Array) -> Iterator[pa.Array]:
    """Yield the values inside, those of the array's own rows only."""
    if isinstance(array, pa.StructArray):
        yield from (array.field(i) for i in range(array.type.num_fields))
    elif isinstance(array, pa.MapArray):
        first, last = (array.offsets[0].as_py(), array.offsets[-1].as_py()) if len(array) else (0, 0)
        yield array.keys.slice(first, last - first)
        yield array.items.slice(first, last - first)
    elif _fields(array.type):
        yield array.flatten()


def _within(array: pa.Array, most: int) -> bool:
    found = pc.min_max(array.cast(pa.int64())).as_py()
    return found["min"] is None or (found["min"] >= -most and found["max"] <= most)
