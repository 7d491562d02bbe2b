"""Equality of documents that may hold arrays and NaN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def same_value(one: Any, other: Any) -> bool:
    """Say whether two values are the same: equal types and contents, NaN being the same as NaN."""
    if one is other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_value(one[key], other[key]) for key in one)
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_value, one, other))
    if isinstance(one, np.ndarray):
        return _same_array(one, other)
    return bool(one == other) or bool(one != one and other != other)


def _same_array(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.hasobject:
        return same_value(one.tolist(), other.tolist())
    return one.tobytes() == other.tobytes()
