"""The data keys that stand for a topic's columns, and their values in documents."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.types as kinds

from gapless.bluesky.event_values import values_of
from gapless.bluesky.json_safe import json_safe

_UNIT_OF = {"s": "s", "ms": "ms", "us": "us", "ns": "ns"}
ToValues: TypeAlias = Callable[[pa.Array], list[Any]]


@dataclass(frozen=True, slots=True)
class _Column:
    """One data key: the path to its Arrow array, what the key says, and how cells become values."""

    path: tuple[str, ...]
    words: dict[str, Any]
    values: ToValues


class TopicKeys:
    """The data keys of one topic: one for each column, for each field of a struct one.

    Numbers, booleans, text and arrays are what they are; times and durations are integers of their unit;
    bytes are base64 text; what an event cannot hold otherwise is JSON text.
    """

    def __init__(self, schema: pa.Schema, source: str) -> None:
        self._source = source
        self._columns: dict[str, _Column] = {}
        for field in schema:
            if field.name != "timestamp_ns":
                for column in _columns(field, ()):
                    self._columns[self._free(".".join(column.path))] = column

    def _free(self, name: str) -> str:
        key = document_key(name)
        while key in self._columns:
            key += "_"
        return key

    @property
    def names(self) -> list[str]:
        """The data keys, in the order of the columns."""
        return list(self._columns)

    @property
    def hinted(self) -> list[str]:
        """The data keys worth drawing: single numbers."""
        return [
            name for name, column in self._columns.items() if column.words["dtype"] in ("number", "integer")
        ]

    def data_keys(self, object_name: str) -> dict[str, dict[str, Any]]:
        """Return the data keys as a descriptor has them."""
        return {
            name: {"source": f"{self._source}/{'.'.join(column.path)}", "object_name": object_name}
            | column.words
            for name, column in self._columns.items()
        }

    def values(self, batch: pa.RecordBatch) -> dict[str, list[Any]]:
        """Return the values of a batch of rows by data key."""
        return {name: column.values(_at(batch, column.path)) for name, column in self._columns.items()}


def document_key(name: str) -> str:
    """Return a name as a key of a document: without ``.`` and ``/``."""
    return name.replace(".", "_").replace("/", "_") or "_"


def _at(batch: pa.RecordBatch, path: tuple[str, ...]) -> pa.Array:
    import pyarrow.compute as pc

    array = batch.column(path[0])
    for name in path[1:]:
        array = pc.struct_field(array, name)  # null where the struct is
    return array


def _columns(field: pa.Field, above: tuple[str, ...]) -> Iterator[_Column]:
    path, kind = (*above, field.name), field.type
    if kinds.is_struct(kind) and kind.num_fields:
        for child in kind:
            yield from _columns(child, path)
        return
    words, values = _told(kind)
    known = field.metadata or {}
    if b"unit" in known:
        words["units"] = known[b"unit"].decode()
    if b"description" in known:
        words["description"] = known[b"description"].decode()
    if words["dtype"] == "array" and b"shape" in known:
        words["shape"] = _shape(known[b"shape"], words["shape"])
        values = _array_values(words)
    yield _Column(path, words, values)


def _told(kind: pa.DataType) -> tuple[dict[str, Any], ToValues]:
    """Return what a data key says of an Arrow type, and how its cells become values."""
    scalar = _scalar(kind)
    if scalar is not None:
        return scalar
    if kinds.is_dictionary(kind):
        words, values = _told(kind.value_type)
        return words, lambda cells: values(cells.cast(kind.value_type))
    sizes, leaf = _list_shape(kind)
    inner = _scalar(leaf) if sizes else None
    if inner is not None and "dtype_numpy" in inner[0] and not kinds.is_temporal(leaf):
        words = {"dtype": "array", "shape": sizes, "dtype_numpy": inner[0]["dtype_numpy"]}
        return words, _array_values(words)
    return {"dtype": "string", "shape": [], "dtype_numpy": "<U0"}, _json_values


def _scalar(kind: pa.DataType) -> tuple[dict[str, Any], ToValues] | None:
    if kinds.is_boolean(kind):
        return _words("boolean", "|b1"), _plain
    if kinds.is_integer(kind):
        return _words("integer", _numpy(kind)), _plain
    if kinds.is_floating(kind):
        return _words("number", _numpy(kind)), _plain
    if kinds.is_string(kind) or kinds.is_large_string(kind):
        return _words("string", "<U0"), _plain
    if kinds.is_timestamp(kind) or kinds.is_duration(kind) or kinds.is_time(kind):
        return _words("integer", "<i8") | {"units": _UNIT_OF[kind.unit]}, _counts
    if kinds.is_date(kind) or kinds.is_decimal(kind):
        return _words("string", "<U0"), _texts
    if kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_fixed_size_binary(kind):
        return _words("string", "<U0") | {"encoding": "base64"}, _base64
    return None


def _words(dtype: str, numpy: str) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [], "dtype_numpy": numpy}


def _numpy(kind: pa.DataType) -> str:
    import numpy as np

    return str(np.dtype(kind.to_pandas_dtype()).str)


def _list_shape(kind: pa.DataType) -> tuple[list[int | None], pa.DataType]:
    sizes: list[int | None] = []
    while kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
        sizes.append(kind.list_size if kinds.is_fixed_size_list(kind) else None)
        kind = kind.value_type
    return sizes, kind


def _shape(told: bytes, sizes: list[int | None]) -> list[int | None]:
    """Return the shape that a field's metadata tells, where one flat list can have it."""
    try:
        shape = json.loads(told)
    except ValueError:
        return sizes
    fits = isinstance(shape, list) and len(sizes) == 1 and all(isinstance(n, int | None) for n in shape)
    return shape if fits else sizes


def _array_values(words: dict[str, Any]) -> ToValues:
    shape = words["shape"]

    def values(cells: pa.Array) -> list[Any]:
        if len(shape) > 1 and not kinds.is_nested(cells.type.value_type):
            flat = cells.cast(pa.list_(cells.type.value_type))
            return values_of(flat, words)
        return _plain(cells)

    return values


def _plain(cells: pa.Array) -> list[Any]:
    values: list[Any] = cells.to_pylist()
    return values


def _counts(cells: pa.Array) -> list[Any]:
    wide = pa.int64() if cells.type.bit_width == 64 else pa.int32()
    return _plain(cells.cast(wide))


def _texts(cells: pa.Array) -> list[Any]:
    return [None if value is None else str(value) for value in cells.to_pylist()]


def _base64(cells: pa.Array) -> list[Any]:
    return [None if value is None else base64.b64encode(value).decode("ascii") for value in cells.to_pylist()]


def _json_values(cells: pa.Array) -> list[Any]:
    return [None if value is None else json.dumps(json_safe(value)) for value in cells.to_pylist()]
