"""The elements of an array value in the declared type, where every one of them is the same there."""

from __future__ import annotations

from typing import Any

import numpy as np

_EXACT_INT = 2**53  # every smaller integer is a float64
_FAMILIES: dict[str, tuple[type, ...]] = {
    "f": (float, int, np.floating, np.integer),
    "i": (int, np.integer),
    "u": (int, np.integer),
    "b": (bool, np.bool_),
    "U": (str,),
    "S": (str,),
}
Elements = np.ndarray[Any, Any]


def exact_elements(value: Any, element: np.dtype[Any]) -> Elements | str:
    """Return the array, its elements in the declared type, or why not: ``type``, ``range`` or ``shape``.

    Text comes as an array of Python strings, for those of numpy lose trailing NULs. A list is judged by its
    leaves, for numpy would make one type of several without a word. A masked array is no array.
    """
    if isinstance(value, list | tuple):
        return _of_lists(value, element)
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):
        return "type"
    if element.kind in "US":
        return _texts(value.astype(object)) if value.dtype.kind in "UO" else "type"
    if value.dtype == element:
        return np.ascontiguousarray(value)
    if value.dtype.kind == "O":
        return _of_lists(value.tolist(), element)
    return _cast(value, element)


def _of_lists(value: Any, element: np.dtype[Any]) -> Elements | str:
    try:
        leaves = np.array(value, dtype=object)
    except ValueError:  # lists of different lengths
        return "shape"
    flat = leaves.reshape(-1)
    kinds = set(map(type, flat))
    if list in kinds or tuple in kinds:
        return "shape"
    family = _FAMILIES[element.kind]
    if any(not issubclass(kind, family) or (kind is bool and element.kind != "b") for kind in kinds):
        return "type"
    if element.kind in "US":
        return _texts(leaves)
    wide = any(issubclass(kind, int | np.integer) and kind is not bool for kind in kinds)
    if wide and not _holds(flat, element):
        return "range"
    with np.errstate(all="ignore"):
        made = leaves.astype(element)
    if element.kind == "f" and element.itemsize < 8:
        exact = leaves.astype(np.float64)
        return made if _same(made.astype(np.float64), exact) else "range"
    return made


def _holds(flat: Elements, element: np.dtype[Any]) -> bool:
    """Tell whether the type holds each whole number among the leaves."""
    whole = [int(leaf) for leaf in flat if isinstance(leaf, int | np.integer)]
    if element.kind == "f":
        return all(abs(number) <= _EXACT_INT for number in whole)
    limits = np.iinfo(element)
    return limits.min <= min(whole) and max(whole) <= limits.max


def _texts(leaves: Elements) -> Elements | str:
    for leaf in leaves.reshape(-1):
        if not isinstance(leaf, str):
            return "type"
        if not leaf.isascii() and any("\ud800" <= character <= "\udfff" for character in leaf):
            return "range"
    return leaves


def _cast(value: Elements, element: np.dtype[Any]) -> Elements | str:
    """Return an array of another numeric type in the declared one."""
    found, wanted = value.dtype.kind, element.kind
    if found not in {"f": "iuf", "i": "iu", "u": "iu", "b": "b"}[wanted]:
        return "type"
    if wanted in "iu" and value.size and not _holds(np.array([value.min(), value.max()], object), element):
        return "range"
    with np.errstate(all="ignore"):
        made = value.astype(element)
        back = made.astype(value.dtype)
    if found in "iu" and wanted == "f" and value.size:
        top = max(abs(int(value.min())), abs(int(value.max())))
        return made if top <= _EXACT_INT and _same(back, value) else "range"
    return made if _same(back, value) else "range"


def _same(left: Elements, right: Elements) -> bool:
    return bool(np.array_equal(left, right, equal_nan=left.dtype.kind == "f"))
