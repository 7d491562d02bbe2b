"""What a stream's topic looks like, told by its first descriptor: columns, types, units."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from gapless.bluesky.json_safe import json_safe
from gapless.bluesky.value_kind import ValueKind, declared_shape, kind_of
from gapless.model.metadata import canonical_json

EXTERNAL = "/_external"  # the suffix of the topic that lists a stream's external frames
DOCUMENTS = "bluesky/documents"
VIOLATIONS = "bluesky/violations"
_LEAD = (
    pa.field("seq_num", pa.int64(), nullable=False),
    pa.field(
        "time", pa.float64(), nullable=False, metadata={"unit": "s", "description": "seconds since 1970"}
    ),
    pa.field("uid", pa.string(), nullable=False),
    pa.field("descriptor", pa.int32(), nullable=False, metadata={"description": "ordinal in the stream"}),
)
_TAKEN = frozenset(["timestamp_ns", *(field.name for field in _LEAD)])

EXTERNAL_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("uid", "stream_resource", "data_key")]
    + [
        pa.field(name, pa.int64(), nullable=False)
        for name in ("index_start", "index_stop", "seq_start", "seq_stop")
    ]
    + [pa.field("descriptor", pa.int32(), nullable=False)]
)
DOCUMENTS_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("uid", pa.string(), nullable=False),
        pa.field("stream", pa.string()),
        pa.field("document", pa.string()),
        pa.field("original", pa.string()),
    ]
)
VIOLATIONS_SCHEMA = pa.schema(
    [
        pa.field("stream", pa.string(), nullable=False),
        pa.field("uid", pa.string(), nullable=False),
        pa.field("seq_num", pa.int64(), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in ("key", "kind", "expected", "found")),
        pa.field("value", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """One internal data key: its column, the column of its timestamps, and which values it takes."""

    key: str
    column: str
    stamp: str
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class StreamSchema:
    """The columns of a stream's topic in order, and which data keys lie in external files."""

    keys: tuple[KeyColumn, ...]
    external: frozenset[str]
    schema: pa.Schema

    @classmethod
    def of(cls, descriptor: Mapping[str, Any]) -> StreamSchema:
        """Return the schema that a stream's first descriptor declares."""
        data_keys: Mapping[str, Mapping[str, Any]] = descriptor["data_keys"]
        external = frozenset(key for key, words in data_keys.items() if "external" in words)
        inner = [key for key in data_keys if key not in external]
        columns = column_names(inner)
        keys, fields = [], list(_LEAD)
        for key in inner:
            column, stamp = columns[key]
            kind = kind_of(data_keys[key])
            keys.append(KeyColumn(key, column, stamp, kind))
            fields.append(pa.field(column, kind.type, metadata=_facts(data_keys[key], kind)))
            fields.append(pa.field(stamp, pa.float64(), metadata={"unit": "s"}))
        return cls(tuple(keys), external, pa.schema(fields))

    def topic_metadata(self, stream: str, descriptor: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the topic's metadata keeps of the stream and its first descriptor."""
        columns = {k.key: k.column for k in self.keys if k.column != k.key}
        words = {"bluesky": {"stream": stream, "descriptor": descriptor["uid"], "columns": columns}}
        kept = ("data_keys", "configuration", "hints", "object_keys")
        return words | {name: json_safe(descriptor[name]) for name in kept if name in descriptor}


def column_names(keys: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return each data key's column and that of its timestamps, ``ts_<column>``, all different.

    A key keeps its name where it can. One that a column of every stream has, that begins with ``_``, or
    that is another key's ``ts_``, loses the leading underscores and gets ``_`` appended until it is free.
    """
    known = frozenset(keys)
    plain = {key for key in keys if _is_plain(key, known)}
    taken = set(_TAKEN) | plain | {f"ts_{key}" for key in plain}
    names = {key: (key, f"ts_{key}") for key in plain}
    for key in keys:
        if key in plain:
            continue
        column = key.lstrip("_")
        while not column or {column, f"ts_{column}"} & taken:
            column += "_" if column else "key"
        taken |= {column, f"ts_{column}"}
        names[key] = (column, f"ts_{column}")
    return names


def _is_plain(key: str, keys: frozenset[str]) -> bool:
    stamp_of = key[3:] if key.startswith("ts_") else None
    return bool(key) and not key.startswith("_") and key not in _TAKEN and stamp_of not in keys


def _facts(data_key: Mapping[str, Any], kind: ValueKind) -> dict[str, str]:
    """Return what an Arrow field can say of a quantity: unit, source, shape."""
    facts: dict[str, str] = {}
    if data_key.get("units"):
        facts["unit"] = str(data_key["units"])
    if data_key.get("source"):
        facts["description"] = str(data_key["source"])
    if kind.is_array and (shape := declared_shape(data_key)):
        facts["shape"] = canonical_json(json_safe(shape)).decode()
    return facts
