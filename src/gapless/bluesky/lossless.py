"""One document as one line of JSON text that gives back exactly what it was made from.

A plain JSON document is encoded as plain JSON. What JSON cannot say becomes an object that names its kind
under the key ``__gapless__``::

    {"__gapless__": "ndarray", "dtype": "<f8", "shape": [2, 3], "data": "<base64, row-major>"}
    {"__gapless__": "masked", "data": <ndarray>, "mask": <ndarray>}       a masked numpy array
    {"__gapless__": "scalar", "dtype": "<i4", "data": "<base64>"}        a numpy scalar
    {"__gapless__": "float", "value": "nan" | "inf" | "-inf"}
    {"__gapless__": "int", "value": "<decimal or 0x… text>"}              beyond 64 bits
    {"__gapless__": "bytes", "data": "<base64>"}
    {"__gapless__": "tuple" | "set", "items": [...]}
    {"__gapless__": "complex", "real": …, "imag": …}
    {"__gapless__": "datetime" | "date", "value": "<ISO 8601>"}
    {"__gapless__": "timedelta", "microseconds": …}
    {"__gapless__": "dict", "items": [[key, value], …]}                   keys that are no text, or the marker itself
    {"__gapless__": "object", "type": "<class>", "text": "<repr>"}        anything else, as far as text tells it

An object of one of these kinds whose value cannot be read stays the object.

The line is ``{"name": name, "doc": doc}``, as the writers of JSON lines around Bluesky leave it.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.lib.recfunctions import repack_fields

from gapless.bluesky.document import Document, ObjectText, is_of_the_value, object_text
from gapless.bluesky.json_safe import digits
from gapless.errors import DocumentRefused

_MARK: Final = "__gapless__"
_DECIMAL_BITS: Final = 2_000
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


def dumps(name: str, doc: Mapping[str, Any], *, reason: str | None = None) -> bytes:
    """Return the line of one document, newline included: ASCII, and no other newline in it.

    ``reason`` is one more key of the line, which readers of such lines pass over.
    """
    line = {"name": name, "doc": doc}
    if reason is not None:
        line["reason"] = reason
    return (encode(line) + "\n").encode("ascii")


def loads(line: bytes | str) -> tuple[str, Document]:
    """Return name and document of one line; raises DocumentRefused for a line that is not whole.

    Also takes ``["name", {…}]`` and a line of a JSON array, that is one with a comma behind it.
    """
    try:
        text = line.decode("utf-8") if isinstance(line, bytes) else line
        found = decode(text.strip().removesuffix(","))
    except (ValueError, RecursionError) as error:
        raise DocumentRefused("the line is no JSON document", found=str(error)) from error
    if isinstance(found, dict):
        name, doc = found.get("name"), found.get("doc")
    elif isinstance(found, list) and len(found) == 2:
        name, doc = found
    else:
        name = doc = None
    if not isinstance(name, str) or not isinstance(doc, dict):
        raise DocumentRefused("the line holds no document", expected='{"name": …, "doc": {…}}')
    return name, doc


def encode(value: Any) -> str:
    """Return any value of a document as JSON text in ASCII; :func:`decode` gives the value back.

    Of a value that cannot be told otherwise it is the text, so it raises for what is nested too deep alone.
    """
    return json.dumps(_encoded(value), allow_nan=False, separators=(",", ":"))


def decode(text: str) -> Any:
    """Return the value that the text was made from; raises ValueError for text that is no such JSON."""
    return json.loads(text, object_hook=_decoded)


def _encoded(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is float:
        return value if math.isfinite(value) else {_MARK: "float", "value": repr(value)}
    if kind is int:
        return value if _INT64_MIN <= value <= _INT64_MAX else {_MARK: "int", "value": digits(value)}
    try:
        return _encoded_large(value)
    except BaseException as error:
        if not is_of_the_value(error):
            raise
        return _encoded_object(value)


def _encoded_large(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _encoded_mapping(value)
    if isinstance(value, list):
        return [_encoded(item) for item in value]
    if isinstance(value, tuple):
        return {_MARK: "tuple", "items": [_encoded(item) for item in value]}
    if isinstance(value, np.ndarray):
        return _encoded_array(value)
    if isinstance(value, np.generic):
        return _encoded_scalar(value)
    return _encoded_other(value)


def _encoded_mapping(values: Mapping[Any, Any]) -> Any:
    if _MARK in values or any(type(key) is not str for key in values):
        return {_MARK: "dict", "items": [[_encoded(key), _encoded(item)] for key, item in values.items()]}
    return {key: _encoded(item) for key, item in values.items()}


def _encoded_array(values: np.ndarray[Any, Any]) -> Any:
    if isinstance(values, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(values)
        return {_MARK: "masked", "data": _encoded_array(values.data), "mask": _encoded_array(mask)}
    words: dict[str, Any] = {_MARK: "ndarray", "shape": list(values.shape)}
    content = _content(values)
    if content is None:
        return words | {"dtype": "object", "items": [_encoded(item) for item in values.reshape(-1).tolist()]}
    return words | content


def _encoded_scalar(value: np.generic) -> Any:
    content = _content(value)
    return _encoded_object(value) if content is None else {_MARK: "scalar"} | content


def _content(values: np.ndarray[Any, Any] | np.generic) -> dict[str, Any] | None:
    """Return type and bytes, None for what they do not tell.

    Fields that lie in another order than they are named, as some columns of a table do, change places.
    """
    if not _is_described(values.dtype):
        values = repack_fields(values, recurse=True)
    if values.dtype.hasobject or not _is_described(values.dtype):
        return None
    return {"dtype": np.lib.format.dtype_to_descr(values.dtype), "data": _base64(values.tobytes())}


def _is_described(dtype: np.dtype[Any]) -> bool:
    try:
        return dtype.names is None or dtype.descr is not None
    except ValueError:
        return False


def _encoded_other(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {_MARK: "bytes", "data": _base64(bytes(value))}
    if isinstance(value, set | frozenset):
        return {_MARK: "set", "items": [_encoded(item) for item in value]}
    if isinstance(value, complex):
        return {_MARK: "complex", "real": _encoded(value.real), "imag": _encoded(value.imag)}
    if isinstance(value, dt.date):
        return _encoded_date(value)
    if isinstance(value, dt.timedelta):
        return {_MARK: "timedelta", "microseconds": value // dt.timedelta(microseconds=1)}
    return _encoded_plain(value)


def _encoded_date(value: dt.date) -> Any:
    """Encode a date or a moment; what is neither although its class says so, such as NaT, is an object."""
    kind = dt.datetime if isinstance(value, dt.datetime) else dt.date
    text = value.isoformat()
    try:
        kind.fromisoformat(text)
    except ValueError:
        return _encoded_object(value)
    return {_MARK: kind.__name__, "value": text}


def _encoded_plain(value: Any) -> Any:
    """Encode a subclass of text or a number, such as an enum's member, as what it is a subclass of."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return _encoded(int(value))
    if isinstance(value, float):
        return _encoded(float(value))
    return _encoded_object(value)


def _encoded_object(value: Any) -> Any:
    said = value if type(value) is ObjectText else object_text(value)
    return {_MARK: "object", "type": said.type_name, "text": said.text}


def _int_text(value: int) -> str:
    """Return a number as text; Python refuses to write one of thousands of digits in decimal."""
    return str(value) if value.bit_length() < _DECIMAL_BITS else hex(value)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


# -- back -----------------------------------------------------------------------------------------


def _decoded(words: dict[str, Any]) -> Any:
    """Return what an object of JSON stands for; its values were decoded before.

    One value that cannot be read, such as a date that is none, keeps nobody from the document around it.
    """
    kind = words.get(_MARK)
    if kind is None:
        return words
    decoder = _DECODERS.get(kind) if isinstance(kind, str) else None
    if decoder is None:  # not written by encode(): a foreign document that happens to use the key
        return words
    try:
        return decoder(words)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return words


def _decoded_array(words: dict[str, Any]) -> np.ndarray[Any, Any]:
    shape = tuple(words["shape"])
    if words["dtype"] == "object":
        flat = np.empty(len(words["items"]), dtype=object)
        for place, item in enumerate(words["items"]):
            flat[place] = item
        return flat.reshape(shape)
    data = bytearray(
        base64.b64decode(words["data"], validate=True)
    )  # a bytearray, so that it can be written to
    return np.ndarray(shape, dtype=_dtype_of(words["dtype"]), buffer=data)


def _decoded_scalar(words: dict[str, Any]) -> Any:
    data = base64.b64decode(words["data"], validate=True)
    return np.ndarray((), dtype=_dtype_of(words["dtype"]), buffer=data)[()]


def _dtype_of(words: Any) -> np.dtype[Any]:
    return np.lib.format.descr_to_dtype(_tupled(words) if isinstance(words, list) else words)


def _tupled(words: list[Any]) -> list[Any]:
    """Return a structured dtype's description as numpy wants it: a list of tuples."""
    fields = []
    for field in words:
        name, kind, *shape = field
        known = tuple(name) if isinstance(name, list) else name  # a title and the name
        fields.append((known, _tupled(kind) if isinstance(kind, list) else kind, *map(tuple, shape)))
    return fields


def _hashable(value: Any) -> Any:
    """Return a member of a set: a set within it was a frozenset."""
    if isinstance(value, set):
        return frozenset(map(_hashable, value))
    return tuple(map(_hashable, value)) if isinstance(value, tuple) else value


_DECODERS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "ndarray": _decoded_array,
    "masked": lambda words: np.ma.MaskedArray(words["data"], words["mask"]),
    "scalar": _decoded_scalar,
    "float": lambda words: float(words["value"]),
    "int": lambda words: int(words["value"], 16 if "x" in words["value"] else 10),
    "bytes": lambda words: base64.b64decode(words["data"], validate=True),
    "tuple": lambda words: tuple(words["items"]),
    "set": lambda words: set(map(_hashable, words["items"])),
    "complex": lambda words: complex(words["real"], words["imag"]),
    "datetime": lambda words: dt.datetime.fromisoformat(words["value"]),
    "date": lambda words: dt.date.fromisoformat(words["value"]),
    "timedelta": lambda words: dt.timedelta(microseconds=words["microseconds"]),
    "dict": lambda words: dict(words["items"]),
    "object": lambda words: words["text"],
}
