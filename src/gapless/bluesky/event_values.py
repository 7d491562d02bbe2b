"""Rows of a stream as event documents again: every value as it came, violations included."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from gapless.bluesky.lossless import decode
from gapless.bluesky.value_kind import axis_length, declared_shape, kind_of

Violations = Mapping[str, Sequence[tuple[str, str, str | None]]]  # event uid -> (key, kind, raw value)


class EventValues:
    """Turns batches of a stream's topic into events.

    ``columns``: data key to column. Arrays come back as nested lists of the declared shape.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        data_keys: Mapping[str, Mapping[str, Any]],
        descriptor_uids: Sequence[str],
    ) -> None:
        self._columns = dict(columns)
        self._data_keys = data_keys
        self._descriptors = list(descriptor_uids)

    def descriptor_uid(self, ordinal: int) -> str:
        """Return the uid of the descriptor with this ordinal in the stream."""
        return self._descriptors[ordinal]

    def events(self, batch: pa.RecordBatch, violations: Violations) -> Iterator[dict[str, Any]]:
        """Yield the rows as events, in order."""
        data, stamps = self._cells(batch)
        lead = [batch.column(name).to_pylist() for name in ("uid", "descriptor", "seq_num", "time")]
        for n, (uid, ordinal, seq_num, time) in enumerate(zip(*lead, strict=True)):
            event = {
                "uid": uid,
                "descriptor": self._descriptors[ordinal],
                "seq_num": seq_num,
                "time": time,
                "data": {key: values[n] for key, values in data.items()},
                "timestamps": {key: values[n] for key, values in stamps.items()},
            }
            for violation in violations.get(uid, ()):
                _restore(event, *violation)
            yield event

    def page(self, batch: pa.RecordBatch) -> dict[str, Any]:
        """Return rows of one descriptor, none of which has a violation, as an event_page."""
        data, stamps = self._cells(batch)
        uid, ordinal, seq_num, time = (
            batch.column(name).to_pylist() for name in ("uid", "descriptor", "seq_num", "time")
        )
        return {
            "uid": uid,
            "descriptor": self._descriptors[ordinal[0]],
            "seq_num": seq_num,
            "time": time,
            "data": data,
            "timestamps": stamps,
        }

    def _cells(self, batch: pa.RecordBatch) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        data = {
            key: values_of(batch.column(column), self._data_keys[key])
            for key, column in self._columns.items()
        }
        stamps = {key: batch.column(f"ts_{column}").to_pylist() for key, column in self._columns.items()}
        return data, stamps


def values_of(cells: pa.Array, data_key: Mapping[str, Any]) -> list[Any]:
    """Return the values of a column as they were before they became cells."""
    if pa.types.is_list(cells.type):
        return [_nested(cell, declared_shape(data_key)) for cell in cells]
    values: list[Any] = cells.to_pylist()
    if pa.types.is_string(cells.type) and str not in kind_of(data_key).plain:
        return [None if value is None else decode(value) for value in values]
    return values


def _nested(cell: pa.Scalar, shape: Sequence[Any]) -> list[Any] | None:
    if not cell.is_valid:
        return None
    flat = cell.values
    sizes = _sizes(len(flat), shape)
    if len(sizes) < 2:
        plain: list[Any] = flat.to_pylist()
        return plain
    numbers = flat.to_numpy(zero_copy_only=False)
    nested: list[Any] = np.asarray(numbers).reshape(sizes).tolist()
    return nested


def _sizes(length: int, shape: Sequence[Any]) -> tuple[int, ...]:
    """Return the shape of so many elements; flat where more than one size is not known."""
    sizes = [axis_length(size) for size in shape]
    if sizes.count(None) > 1:
        return (length,)
    known = math.prod(size for size in sizes if size)
    if None not in sizes and known != length:
        return (length,)
    return tuple(length // known if size is None else size for size in sizes)


def _restore(event: dict[str, Any], key: str, kind: str, value: str | None) -> None:
    """Put back what a violation kept apart."""
    data, stamps = event["data"], event["timestamps"]
    raw: Any = None if value is None else decode(value)
    if kind == "missing":
        data.pop(key, None)
        if stamps.get(key) is None:
            stamps.pop(key, None)
    elif kind == "extra" and not key:
        event.update(raw)
    elif kind == "extra":
        if "value" in raw:
            data[key] = raw["value"]
        if "timestamp" in raw:
            stamps[key] = raw["timestamp"]
    elif kind == "timestamp":
        if value is None:
            stamps.pop(key, None)
        else:
            stamps[key] = raw
    elif kind == "time":
        event["time"] = raw
    elif kind != "unresolved":  # there a datum is missing, which a normalised event does not name
        data[key] = raw
