"""Which values a data key takes, and how they become cells: told by the descriptor, never by the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from gapless.bluesky.array_elements import exact_elements
from gapless.bluesky.lossless import encode

_EXACT_INT = 2**53  # every smaller integer is a float64


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a value is no cell of its column: ``type``, ``shape`` or ``range``."""

    kind: str


Cell = Any
_TYPE, _SHAPE, _RANGE = Refusal("type"), Refusal("shape"), Refusal("range")


@dataclass(frozen=True, slots=True)
class ValueKind:
    """What a data key's values are.

    ``plain``: Python types of which a whole column goes to Arrow at once. ``accept(value)`` returns the
    cell of one value, or a :class:`Refusal`. ``words`` names what is expected. ``exact``: the declared type
    where the column's is wider.
    """

    type: pa.DataType
    plain: frozenset[type]
    accept: Callable[[Any], Cell | Refusal]
    words: str
    is_array: bool = False
    exact: pa.DataType | None = None

    def column(self, values: Sequence[Any]) -> pa.Array:
        """Return values of ``plain`` types as a column; raises what Arrow does when one is out of range."""
        if self.exact is None:
            return pa.array(values, self.type)
        return pa.array(values, self.exact).cast(self.type)


def kind_of(data_key: Mapping[str, Any]) -> ValueKind:
    """Return the kind of a data key: by ``dtype_numpy``, else by ``dtype``; what neither tells is kept as JSON."""
    dtype, exact = data_key.get("dtype"), data_key.get("dtype_numpy")
    if exact is not None and not isinstance(exact, str):
        return _json("structured values as JSON")  # a list of named parts
    element = _element(exact)
    if dtype == "array" or (dtype is None and data_key.get("shape")):
        return _array(element, declared_shape(data_key))
    scalar = _scalar(element) if element is not None else None
    by_dtype = _BY_DTYPE.get(str(dtype))
    if scalar is not None and by_dtype is not None and dtype != "string":
        return scalar
    return by_dtype or scalar or _json("any value as JSON")


def _scalar(element: np.dtype[Any]) -> ValueKind | None:
    """Return the kind of a single value of a numpy type; None for a type that tells none."""
    if element.kind not in "iu":
        return _SCALARS.get(element.kind)
    if element.itemsize < 8:
        return _narrow(element.newbyteorder("="))
    return _INTEGER if element.kind == "i" else _UNSIGNED


def _narrow(element: np.dtype[Any]) -> ValueKind:
    """Return the kind of an integer of less than 64 bits; its column has 64, whatever the descriptor says."""
    limits = np.iinfo(element)
    lowest, highest = int(limits.min), int(limits.max)

    def accept(value: Any) -> Cell | Refusal:
        cell = _integer(value)
        outside = isinstance(cell, int) and not lowest <= cell <= highest
        return _RANGE if outside else cell

    words = f"an integer from {lowest} to {highest}"
    return ValueKind(_INTEGER.type, _INTEGER.plain, accept, words, exact=pa.from_numpy_dtype(element))


def _element(exact: str | None) -> np.dtype[Any] | None:
    """Return the numpy type of one element; None where it is not told or numpy does not know it."""
    if not exact:
        return None
    try:
        return np.dtype(exact)
    except (TypeError, ValueError, SyntaxError):  # it parses some texts as Python
        return None


def _number(value: Any) -> Cell | Refusal:
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, np.floating):
        return float(value) if float(value) == value or value != value else _RANGE
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return _number(value.item())
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return float(value) if abs(int(value)) <= _EXACT_INT else _RANGE
    return _TYPE


def _integer(value: Any) -> Cell | Refusal:
    if value is None:
        return None
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return _integer(value.item())
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value) if -(2**63) <= value < 2**63 else _RANGE
    return _TYPE


def _unsigned(value: Any) -> Cell | Refusal:
    cell = _integer(value) if not isinstance(value, int | np.integer) else value
    if isinstance(cell, int | np.integer) and not isinstance(cell, bool):
        return int(cell) if 0 <= cell < 2**64 else _RANGE
    return _TYPE if isinstance(cell, bool) else cell


def _boolean(value: Any) -> Cell | Refusal:
    if value is None or isinstance(value, bool | np.bool_):
        return None if value is None else bool(value)
    return _TYPE


def _string(value: Any) -> Cell | Refusal:
    if value is None or isinstance(value, str):
        return value if value is None or _is_text(value) else _RANGE
    return _TYPE


def _is_text(value: str) -> bool:
    """Tell whether UTF-8 can hold the text: a lone surrogate it cannot."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


_NONE = type(None)
_NUMBER = ValueKind(pa.float64(), frozenset([float, int, np.float64, np.float32, _NONE]), _number, "a number")
_INTEGER = ValueKind(
    pa.int64(), frozenset([int, np.int64, np.int32, _NONE]), _integer, "an integer of 64 bits"
)
_UNSIGNED = ValueKind(
    pa.uint64(), frozenset([int, np.uint64, _NONE]), _unsigned, "an integer from 0 to 2**64 - 1"
)
_BOOLEAN = ValueKind(pa.bool_(), frozenset([bool, np.bool_, _NONE]), _boolean, "true or false")
_STRING = ValueKind(pa.string(), frozenset([str, _NONE]), _string, "text")
_SCALARS = {"f": _NUMBER, "b": _BOOLEAN, "U": _STRING, "S": _STRING}
_BY_DTYPE = {"number": _NUMBER, "integer": _INTEGER, "boolean": _BOOLEAN, "string": _STRING}


def _json(words: str) -> ValueKind:
    return ValueKind(
        pa.string(), frozenset([_NONE]), lambda value: None if value is None else encode(value), words
    )


def _array(element: np.dtype[Any] | None, sizes: tuple[Any, ...]) -> ValueKind:
    """Return the kind of an array: a flat list of its elements, row by row, in the descriptor's type."""
    known = element if element is not None else np.dtype("<f8")
    native = known.newbyteorder("=")  # Arrow has no other order of bytes
    inner = _arrow_type(native)
    if inner is None:
        return _json("an array as JSON")
    if sum(not size for size in sizes) > 1:
        return _json("an array whose shape only its values tell, as JSON")
    words = f"an array of {'text' if known.kind in 'US' else known.str} with shape {list(sizes)}"
    return ValueKind(
        pa.list_(inner), frozenset([_NONE]), lambda value: cell_of(value, native, sizes), words, is_array=True
    )


def _arrow_type(element: np.dtype[Any]) -> pa.DataType | None:
    """Return the type of an array's elements in a list of Arrow's; None where it has no such type."""
    if element.kind in "US":
        return pa.string()
    try:
        return pa.from_numpy_dtype(element) if element.kind in "iufb" else None
    except pa.ArrowNotImplementedError:  # of more than 64 bits
        return None


def cell_of(value: Any, element: np.dtype[Any], sizes: tuple[Any, ...]) -> Cell | Refusal:
    """Return the flat elements of an array; with the declared shape they give the array back."""
    if value is None:
        return None
    found = exact_elements(value, element)
    if isinstance(found, str):
        return Refusal(found)
    return found.reshape(-1) if _gives_back(found.shape, sizes) else _SHAPE


def _gives_back(found: tuple[int, ...], sizes: tuple[Any, ...]) -> bool:
    """Tell whether the shape is the declared one, so that the number of elements gives it back.

    One axis may be of any length; without a declared shape an array has one axis.
    """
    if not sizes:
        return len(found) == 1
    lengths = [axis_length(size) for size in sizes]
    return (
        len(found) == len(lengths)
        and lengths.count(None) <= 1
        and all(length in (None, size) for length, size in zip(lengths, found, strict=True))
    )


def declared_shape(data_key: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the sizes that a data key declares, none where its shape is no list."""
    shape = data_key.get("shape")
    return tuple(shape) if isinstance(shape, list | tuple) else ()


def axis_length(size: Any) -> int | None:
    """Return the length that a descriptor's shape tells of an axis; None for any: None, 0, or no number."""
    try:
        return int(size) or None
    except (TypeError, ValueError, OverflowError):
        return None
