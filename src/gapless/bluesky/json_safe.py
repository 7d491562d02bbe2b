"""The part of a document that JSON and the metadata index can hold; the lossless text is kept beside it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_DECIMAL_BITS = 14_000  # Python prints at most 4,300 decimals


def json_safe(value: Any) -> Any:
    """Return the value as JSON of dict, list, text, 64-bit int, finite float, bool and None.

    NaN and infinity become None, wider integers text, arrays lists, bytes base64 text, and anything else
    its ``str``.
    """
    if value is None or isinstance(value, bool | np.bool_):
        return None if value is None else bool(value)
    if isinstance(value, str):
        return str.__str__(value).encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, int | np.integer):
        return int(value) if _INT64_MIN <= value <= _INT64_MAX else digits(int(value))
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        return json_safe(value.tolist())
    if isinstance(value, Mapping):
        return {json_safe(str(key)): json_safe(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [json_safe(inner) for inner in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    return json_safe(str(value))


def digits(value: int) -> str:
    """Return an integer as text: decimal, or hexadecimal where Python refuses so many decimals."""
    return str(value) if value.bit_length() < _DECIMAL_BITS else hex(value)
