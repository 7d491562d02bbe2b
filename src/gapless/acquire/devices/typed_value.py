"""Values that come with a type of their own, as the type of a column: nothing is bent until it fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

from gapless.errors import ValueRefused

ScalarType = Literal["float64", "int64", "bool", "string"]
_INT64 = range(-(2**63), 2**63)


def typed(found: Any, dtype: ScalarType) -> Any:
    """Return a value as a float, int, bool or str; raise ValueRefused for what it is not.

    Whole numbers become floats, floats without a fraction integers, 0 and 1 truths; what is no text becomes
    JSON.
    """
    return _CONVERT[dtype](found)


def _float(found: Any) -> float:
    if isinstance(found, int | float):
        try:
            return float(found)
        except OverflowError as error:
            raise ValueRefused("the number is too large for float64", found=str(found)[:40]) from error
    raise ValueRefused("the value is no number", found=repr(found)[:80], expected="float64")


def _integer(found: Any) -> int:
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, int) and found in _INT64:
        return int(found)
    raise ValueRefused("the value is no integer of 64 bits", found=repr(found)[:80], expected="int64")


def _truth(found: Any) -> bool:
    if found in (0, 1):
        return bool(found)
    raise ValueRefused("the value is neither true nor false", found=repr(found)[:80], expected="bool")


def _words(found: Any) -> str:
    return found if isinstance(found, str) else json.dumps(found)


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "float64": _float,
    "int64": _integer,
    "bool": _truth,
    "string": _words,
}

__all__ = ["ScalarType", "typed"]
