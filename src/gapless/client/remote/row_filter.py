"""A pyarrow row filter as JSON: what a scan's ``filter=`` becomes on its way to a server.

Only what can be made again exactly travels: the sender builds the filter back from its JSON and compares.
The receiver makes it of listed functions alone, so a request cannot reach any other code of pyarrow. Values
travel as the columns of one Arrow batch of one row, so every type keeps all of its bits.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gapless.errors import UsageError

_DEEPEST = 64
_PLAIN = (
    "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "and_kleene", "or_kleene", "and",
    "or", "invert", "is_valid", "is_nan", "is_finite", "true_unless_null", "add_checked", "subtract_checked",
    "multiply_checked", "divide_checked", "abs", "negate", "utf8_lower", "utf8_upper", "list_value_length",
    "bit_wise_and",
)  # fmt: skip
_NAMED = {"and": "and_", "or": "or_"}  # words of Python
_MATCHES = ("match_substring", "match_substring_regex", "starts_with", "ends_with", "match_like")
_ADVICE = "scan without filter= and filter what comes"


def filter_to_json(expression: pc.Expression) -> dict[str, Any]:
    """Return a filter as a JSON object; UsageError for one that does not survive the way."""
    if not isinstance(expression, pc.Expression):
        raise UsageError("a filter is an expression of pyarrow.compute", found=type(expression).__name__)
    try:
        document = _Taken(expression).document()
        same = filter_from_json(document).equals(expression)
    except (pa.ArrowException, UsageError, LookupError, TypeError, ValueError, struct.error) as error:
        raise _no_way(expression) from error
    if not same:
        raise _no_way(expression)
    return document


def _no_way(expression: object) -> UsageError:
    return UsageError("this filter cannot be sent to a server", found=str(expression), next_step=_ADVICE)


class _Taken:
    """An expression taken apart: pyarrow gives its pieces as the metadata of a batch that holds its values."""

    def __init__(self, expression: pc.Expression) -> None:
        data = expression.__reduce__()[1][0]
        self._batch: pa.RecordBatch = pa.ipc.open_file(data).get_batch(0)
        self._words = iter(_words(pa.ipc.read_message(pa.py_buffer(data)[8:]).metadata.to_pybytes()))

    def document(self) -> dict[str, Any]:
        """Return the JSON object."""
        tree = self._node(*next(self._words))
        return {"tree": tree, "values": base64.b64encode(_written(self._batch)).decode()}

    def _node(self, kind: str, value: str) -> list[Any]:
        if kind == "field_ref":
            return ["field", value]
        if kind == "literal":
            return ["value", int(value)]
        if kind == "nested_field_ref":
            return ["field", *(self._field_name() for _ in range(int(value)))]
        if kind != "call":
            raise LookupError(kind)
        items: list[Any] = []
        chosen: dict[str, Any] = {}
        for word, text in self._words:
            if word == "end":
                return ["call", value, items, chosen]
            if word == "options":
                chosen = self._options(int(text))
            else:
                items.append(self._node(word, text))
        raise LookupError(value)

    def _field_name(self) -> str:
        kind, name = next(self._words)
        if kind != "field_ref":
            raise LookupError(kind)
        return name

    def _options(self, column: int) -> dict[str, Any]:
        """Return the options of a call; the values and the type among them stay in the batch."""
        scalar = self._batch.column(column)[0]
        known = {name: scalar[name] for name in scalar.type.names if name != "_type_name"}
        found: dict[str, Any] = {}
        for name, value in known.items():
            if name == "value_set":
                found["values"] = self._keep(pa.array([value.as_py()], value.type))
            elif name == "to_type":
                found["to_type"] = self._keep(pa.array([None], value.type))
            else:
                found[name] = value.as_py()
        return found

    def _keep(self, column: pa.Array) -> int:
        self._batch = pa.RecordBatch.from_arrays([*self._batch.columns, column],
                                                 names=[""] * (self._batch.num_columns + 1))  # fmt: skip
        return int(self._batch.num_columns) - 1


def filter_from_json(document: Mapping[str, Any]) -> pc.Expression:
    """Return the filter of a JSON object; UsageError for anything that :func:`filter_to_json` does not make."""
    try:
        values = _read(base64.b64decode(document["values"], validate=True))
        return _made(document["tree"], values, 0)
    except (
        pa.ArrowException, OSError, AttributeError, LookupError, TypeError, ValueError, binascii.Error,
    ) as error:  # fmt: skip
        raise UsageError("this is not a row filter", found=f"{type(error).__name__}: {error}") from error


def _made(node: Any, values: Sequence[pa.Scalar], depth: int) -> pc.Expression:
    if depth > _DEEPEST:
        raise ValueError("the filter is nested too deeply")
    if not isinstance(node, list) or not node:
        raise TypeError("a part of a filter is a list")
    kind, *rest = node
    if kind == "field" and rest and all(isinstance(name, str) for name in rest):
        return pc.field(*rest)
    if kind == "value":
        return pc.scalar(_at(values, *rest))
    if kind == "call":
        name, items, chosen = rest
        call = _call(str(name), dict(chosen), values)
        return call(*(_made(item, values, depth + 1) for item in items))
    raise LookupError(f"{kind!r} is no part of a filter")


def _call(name: str, chosen: dict[str, Any], values: Sequence[pa.Scalar]) -> Callable[..., pc.Expression]:
    """Return what makes the call of a listed function."""
    if name in _PLAIN:
        function: Callable[..., pc.Expression] = getattr(pc, _NAMED.get(name, name))
        return function
    if name == "is_null":
        return lambda item: pc.is_null(item, nan_is_null=bool(chosen["nan_is_null"]))
    if name == "is_in":
        wanted = pc.SetLookupOptions(_at(values, chosen["values"]).values,
                                     skip_nulls=chosen["null_matching_behavior"] == 1)  # fmt: skip
        return lambda item: pc.is_in(item, options=wanted)
    if name in _MATCHES:
        match = getattr(pc, name)
        return lambda item: match(item, str(chosen["pattern"]), ignore_case=bool(chosen["ignore_case"]))
    if name == "cast":
        flags = {key: bool(value) for key, value in chosen.items() if key.startswith("allow_")}
        cast = pc.CastOptions(_at(values, chosen["to_type"]).type, **flags)
        return lambda item: item.cast(options=cast)
    raise LookupError(f"the function {name!r} is not for filters")


def _at(values: Sequence[pa.Scalar], number: int) -> pa.Scalar:
    if not isinstance(number, int) or not 0 <= number < len(values):
        raise LookupError(f"there is no value {number!r}")
    return values[number]


def _written(batch: pa.RecordBatch) -> bytes:
    plain = pa.RecordBatch.from_arrays(batch.columns, names=[""] * batch.num_columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, plain.schema) as writer:
        writer.write_batch(plain)
    return bytes(sink.getvalue())


def _read(data: bytes) -> list[pa.Scalar]:
    with pa.ipc.open_stream(data) as reader:
        batch = reader.read_next_batch()
    batch.validate(full=True)
    if batch.num_columns and batch.num_rows != 1:
        raise ValueError("the values of a filter are one row")
    return [column[0] for column in batch.columns]


# -- the words of a schema's metadata: pyarrow's dict of them keeps one of several equal keys -----------


def _words(message: bytes) -> list[tuple[str, str]]:
    """Return key and value of each entry of a schema message's metadata, in order (Arrow's Message.fbs)."""
    schema = _table_at(message, _u32(message, 0), 2)
    start = _table_at(message, schema, 2)
    entries = (_follow(message, start + 4 + 4 * n) for n in range(_u32(message, start)))
    return [(_text(message, entry, 0), _text(message, entry, 1)) for entry in entries]


def _table_at(data: bytes, table: int, field: int) -> int:
    """Return the position of what a table's field points to."""
    layout = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, layout)[0]
    offset = struct.unpack_from("<H", data, layout + 4 + 2 * field)[0] if 4 + 2 * field < size else 0
    if not offset:
        raise LookupError(field)
    return _follow(data, table + offset)


def _text(data: bytes, table: int, field: int) -> str:
    start = _table_at(data, table, field)
    return data[start + 4 : start + 4 + _u32(data, start)].decode()


def _follow(data: bytes, position: int) -> int:
    return position + _u32(data, position)


def _u32(data: bytes, position: int) -> int:
    found: int = struct.unpack_from("<I", data, position)[0]
    return found
