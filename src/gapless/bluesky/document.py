"""Documents of the event model as plain dicts: their names, and a copy that no device can overwrite."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from gapless.errors import DocumentRefused

#: A document: a dict of JSON values, numpy scalars and arrays.
Document = dict[str, Any]

#: Every name that a document can come under.
DOCUMENT_NAMES: Final = frozenset(
    (
        "start",
        "descriptor",
        "event",
        "event_page",
        "bulk_events",
        "resource",
        "stream_resource",
        "datum",
        "datum_page",
        "bulk_datum",
        "stream_datum",
        "stop",
    )
)

_IMMUTABLE: Final = frozenset(
    (
        str,
        float,
        int,
        bool,
        type(None),
        bytes,
        complex,
        dt.datetime,
        dt.date,
        dt.timedelta,
        np.float64,
        np.float32,
        np.int64,
        np.int32,
        np.uint8,
        np.bool_,
        np.str_,
    )
)
_DEEPEST: Final = 100  # levels; a document nested deeper refers to itself, or might as well


def copy_document(doc: Mapping[str, Any]) -> Document:
    """Return a copy that shares no dict, list, set or buffer with the document.

    Arrays and buffers are copied with their contents, since a device may fill them again; other objects are
    kept by reference. Raises DocumentRefused for a document that is no mapping or is nested deeper than 100
    levels.
    """
    if not isinstance(doc, Mapping):
        raise DocumentRefused("a document is a mapping", found=type(doc).__name__, expected="dict")
    return _copied_mapping(doc, _DEEPEST)


def _copied_mapping(values: Mapping[Any, Any], depth: int) -> Document:
    copy = dict(values)
    for key, value in copy.items():
        if value.__class__ not in _IMMUTABLE:
            copy[key] = _copied(value, depth)
    return copy


def _copied(value: Any, depth: int) -> Any:
    if depth == 0:
        raise DocumentRefused("the document is nested too deep", expected=f"at most {_DEEPEST} levels")
    if isinstance(value, Mapping):
        return _copied_mapping(value, depth - 1)
    if isinstance(value, list):
        return [item if item.__class__ in _IMMUTABLE else _copied(item, depth - 1) for item in value]
    if isinstance(value, tuple):
        return tuple(_copied(item, depth - 1) for item in value)
    if isinstance(value, set | frozenset):
        return set(value)
    if isinstance(value, np.ndarray):
        return _copied_array(value, depth)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    return value


def _copied_array(values: np.ndarray[Any, Any], depth: int) -> np.ndarray[Any, Any]:
    copy = np.array(values, copy=True, subok=False)
    if copy.dtype == object:  # numpy copies the references only
        flat = copy.reshape(-1)
        for place in range(flat.size):
            flat[place] = _copied(flat[place], depth - 1)
    return copy
