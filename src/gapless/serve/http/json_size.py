"""How large cells are as JSON, told from their columns before any of them is made."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as t

SHOWN_BYTES: Final = 1 << 10  # a longer binary cell is told by its length
_BINARY_WORDS: Final = 40  # {"bytes":1024,"base64":""} and its comma
_QUOTES: Final = 5  # brackets or quotes, and a comma; or null
_DIGITS: Final = {8: 5, 16: 7, 32: 12, 64: 24}  # of a whole number by its bits, with sign, quotes and comma
_FLOAT: Final = 26
_WORD: Final = 6  # false
_OTHER: Final = 48  # times, decimals


def row_bytes(batch: pa.RecordBatch) -> int:
    """Return at most how many bytes the rows of a batch take as JSON, but for escapes in text."""
    return sum(json_bytes(column) for column in batch.columns)


def json_bytes(column: pa.Array) -> int:
    """Return at most how many bytes the cells of a column take as JSON, but for escapes in text."""
    kind, rows = column.type, len(column)
    if t.is_dictionary(kind):
        return json_bytes(column.indices) + _texts_bytes(column)
    if is_binary(kind):
        return rows * _BINARY_WORDS + min(2 * int(column.nbytes), rows * SHOWN_BYTES * 3 // 2)
    if t.is_string(kind) or t.is_large_string(kind):
        return rows * _QUOTES + int(column.nbytes)
    if t.is_map(kind):
        return rows * _QUOTES + _map_bytes(column)
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        return rows * _QUOTES + json_bytes(column.flatten())
    if t.is_struct(kind):
        names = sum(len(kind.field(i).name.encode()) + _QUOTES for i in range(kind.num_fields))
        return rows * (_QUOTES + names) + sum(json_bytes(part) for part in column.flatten())
    if t.is_integer(kind):
        return rows * _DIGITS[kind.bit_width]
    if t.is_boolean(kind) or t.is_null(kind):
        return rows * _WORD
    return rows * (_FLOAT if t.is_floating(kind) else _OTHER)


def entries_of(column: pa.MapArray) -> tuple[pa.Array, pa.Array]:
    """Return the keys and items of these rows alone; a slice of a map array has those of all rows."""
    if not len(column):
        return column.keys.slice(0, 0), column.items.slice(0, 0)
    first, last = column.offsets[0].as_py(), column.offsets[-1].as_py()
    return column.keys.slice(first, last - first), column.items.slice(first, last - first)


def is_binary(kind: pa.DataType) -> bool:
    """Tell whether a type is bytes."""
    return bool(t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind))


def _map_bytes(column: pa.MapArray) -> int:
    keys, items = entries_of(column)
    return len(keys) * _QUOTES + json_bytes(keys) + json_bytes(items)


def _texts_bytes(column: pa.DictionaryArray) -> int:
    """Return how many bytes the values take that a dictionary's indices stand for."""
    values = column.dictionary
    if not (t.is_string(values.type) or t.is_large_string(values.type) or is_binary(values.type)):
        return len(column) * _OTHER
    return int(pc.sum(pc.binary_length(values).take(column.indices)).as_py() or 0)
