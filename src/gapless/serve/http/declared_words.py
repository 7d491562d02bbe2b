"""What a topic's schema says of a field beside its type: words by key, such as its unit, and a shape."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def word_of(field: pa.Field, key: str) -> str | None:
    """Return what a field declares under a key, None for nothing."""
    told = (field.metadata or {}).get(key.encode())
    return None if told is None else told.decode("utf-8", "replace")


def shape_of(field: pa.Field) -> list[int] | None:
    """Return the lengths along each axis; None where nothing or something else was declared."""
    try:
        told = json.loads(word_of(field, "shape") or "null")
    except ValueError:
        return None
    known = isinstance(told, list) and all(isinstance(length, int) for length in told)
    return told if known else None
