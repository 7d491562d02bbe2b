"""Documents of the event model as plain dicts: their names, and a copy that no device can overwrite."""

from __future__ import annotations

import datetime as dt
import enum
import numbers
import pathlib
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
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

_SMALL: Final = frozenset(
    (
        float,
        int,
        bool,
        type(None),
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
    )
)
# Nothing can change these; of their subclasses no more than attributes.
_IMMUTABLE: Final = (
    str,
    bytes,
    numbers.Number,
    np.generic,
    enum.Enum,
    type,
    type(None),
    dt.date,
    dt.time,
    dt.timedelta,
    uuid.UUID,
    pathlib.PurePath,
)
_SEQUENCES: Final = (list, deque)
_TEXTS: Final = (str, bytes)
_SETS: Final = (set, frozenset)
_BUFFERS: Final = (bytearray, memoryview)
_DEEPEST: Final = 100  # levels; a document nested deeper refers to itself, or might as well
_ITEM_BYTES: Final = 32  # of an item of a list: its reference and most often a float


@dataclass(frozen=True, slots=True)
class ObjectText:
    """Stands for an object that is no value of a document: its class and what it said of itself."""

    type_name: str
    text: str

    def __repr__(self) -> str:
        return self.text


def copy_document(doc: Mapping[str, Any]) -> Document:
    """Return a copy that shares no dict, list, set or buffer with the document.

    Arrays and buffers are copied with their contents, since a device may fill them again; of an object that
    is no value, an :class:`ObjectText` is kept. Raises DocumentRefused for a document that is no mapping or is
    nested deeper than 100 levels.
    """
    return weighed_copy(doc)[0]


def weighed_copy(doc: Mapping[str, Any]) -> tuple[Document, int]:
    """Return the copy, and about how many bytes the arrays, lists and texts in it hold."""
    if doc.__class__ is not dict and not isinstance(doc, Mapping):
        raise DocumentRefused("a document is a mapping", found=type(doc).__name__, expected="dict")
    sizes: list[int] = []
    copy = _copied_mapping(doc, _DEEPEST, sizes)
    return copy, sum(sizes) if sizes else 0


def _copied_mapping(values: Mapping[Any, Any], depth: int, sizes: list[int]) -> Document:
    if depth == 0:
        raise _too_deep()
    copy = dict(values)
    if _SMALL.issuperset(map(type, copy.values())):
        return copy
    for key, value in copy.items():
        kind = type(value)
        if kind is dict:
            copy[key] = _copied_mapping(value, depth - 1, sizes)
        elif kind is str:
            sizes.append(len(value))
        elif kind not in _SMALL:
            copy[key] = _copied(value, depth, sizes)
    return copy


def _copied(value: Any, depth: int, sizes: list[int]) -> Any:
    if depth == 0:
        raise _too_deep()
    try:
        return _copied_large(value, depth, sizes)
    except BaseException as error:
        if not is_of_the_value(error):
            raise
        return object_text(value)


def _copied_large(value: Any, depth: int, sizes: list[int]) -> Any:
    if isinstance(value, _SEQUENCES):
        return _copied_list(value, depth, sizes)
    if isinstance(value, Mapping):
        return _copied_mapping(value, depth - 1, sizes)
    if isinstance(value, tuple):
        return tuple(_copied_list(value, depth, sizes))
    if isinstance(value, np.ndarray):
        return _copied_array(value, depth, sizes)
    if isinstance(value, np.void):  # a row of a structured array, and a view of it
        return value.copy()
    if isinstance(value, _BUFFERS):
        value = bytes(value)
    if isinstance(value, _TEXTS):
        sizes.append(len(value))
    if isinstance(value, _IMMUTABLE):
        return value
    if isinstance(value, _SETS):
        return set(_copied_list(value, depth, sizes))
    return _copied_object(value, depth, sizes)


def _too_deep() -> DocumentRefused:
    return DocumentRefused("the document is nested too deep", expected=f"at most {_DEEPEST} levels")


def _copied_list(values: Any, depth: int, sizes: list[int]) -> list[Any]:
    items = list(values)
    sizes.append(_ITEM_BYTES * len(items))
    if _SMALL.issuperset(map(type, items)):
        return items
    return [item if type(item) in _SMALL else _copied(item, depth - 1, sizes) for item in items]


def _copied_array(values: np.ndarray[Any, Any], depth: int, sizes: list[int]) -> np.ndarray[Any, Any]:
    masked = isinstance(values, np.ma.MaskedArray)
    copy: np.ndarray[Any, Any] = values.copy() if masked else np.array(values, copy=True, subok=False)
    sizes.append(copy.nbytes)
    if copy.dtype == object and not masked:  # numpy copies the references only
        flat = copy.reshape(-1)
        for place in range(flat.size):
            flat[place] = _copied(flat[place], depth - 1, sizes)
    return copy


def _copied_object(value: Any, depth: int, sizes: list[int]) -> Any:
    """Return an array of what has a buffer, such as ``array.array``, and the text of anything else."""
    try:
        view = memoryview(value)
    except TypeError:
        return object_text(value)
    return _copied_array(np.asarray(view), depth, sizes)


def is_of_the_value(error: BaseException) -> bool:
    """Tell whether what a value raised while it was looked at is of itself, so that its text stands for it.

    Code of an object's class may raise anything, and so may a buffer that numpy cannot read. No value's own are
    what ends the program, want of memory, and a document that is nested too deep.
    """
    foreign = (DocumentRefused, MemoryError, RecursionError)
    return isinstance(error, Exception) and not isinstance(error, foreign)


def object_text(value: Any) -> ObjectText:
    """Return what is kept of an object that is no value; never raises what the object's class raises."""
    try:
        text = repr(value)
    except BaseException as error:  # code of the object's class may raise anything
        if not isinstance(error, Exception):
            raise
        text = f"<no text: {type(error).__name__}>"
    return ObjectText(type(value).__qualname__, text)
