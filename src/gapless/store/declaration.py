"""What a topic is: the declaration that its journal frame, its manifest entry and its readers share."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from gapless.errors import SchemaRefused

TIME = "timestamp_ns"
SEQ = "_seq"
_MOST_NESTED = 32  # Parquet counts each list twice and ends at 100
_UNITS = ("unit", "description", "shape", "uncertainty")


@dataclass(frozen=True)
class TopicDeclaration:
    """A topic's number in its sequence, name, Arrow schema (time first, no ``_seq``) and description."""

    index: int
    name: str
    schema: pa.Schema
    ontology: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)
    producer_seq: bool = False  # the producer numbers its messages; holes become gaps

    @cached_property
    def stored_schema(self) -> pa.Schema:
        """The schema of the Parquet parts: the user's columns, then the hidden ``_seq``."""
        return self.schema.append(pa.field(SEQ, pa.int64(), nullable=False))

    def to_json(self) -> dict[str, Any]:
        """Return the declaration as JSON; :meth:`from_json` is the inverse."""
        return {
            "index": self.index,
            "name": self.name,
            "schema": base64.b64encode(self.schema.serialize().to_pybytes()).decode("ascii"),
            "ontology": self.ontology,
            "metadata": self.metadata,
            "producer_seq": self.producer_seq,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> TopicDeclaration:
        """Return the declaration that :meth:`to_json` wrote."""
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(document["schema"])))
        return cls(
            document["index"],
            document["name"],
            schema,
            document["ontology"],
            document["metadata"],
            document["producer_seq"],
        )

    def fields_json(self) -> list[dict[str, Any]]:
        """Return the columns for the manifest: name, type, nullable, and what is known of each quantity."""
        rows = []
        for column in self.schema:
            row: dict[str, Any] = {"name": column.name, "type": str(column.type), "nullable": column.nullable}
            known = column.metadata or {}
            row.update({key: known[key.encode()].decode() for key in _UNITS if key.encode() in known})
            rows.append(row)
        return rows


def check_schema(schema: pa.Schema, topic: str) -> pa.Schema:
    """Return the schema with ``timestamp_ns`` first, as int64 not null, or raise SchemaRefused.

    A schema without a time column gets one.
    """
    names = schema.names
    twice = names_twice(names)
    if twice:
        raise SchemaRefused("two columns have one name", topic=topic, found=", ".join(twice))
    hidden = [n for n in names if n.startswith("_") or not n]
    if hidden:
        raise SchemaRefused("a column name may not be empty or begin with '_'", topic=topic, field=hidden[0])
    if TIME in names:
        found = schema.field(TIME).type
        if not (pa.types.is_int64(found) or (pa.types.is_timestamp(found) and found.unit == "ns")):
            raise SchemaRefused(
                "the time column has the wrong type",
                topic=topic,
                field=TIME,
                found=str(found),
                expected="int64 nanoseconds",
            )
    rest = [_plain_column(column) for column in schema if column.name != TIME]
    for column in rest:
        _check_type(column.type, column.name, topic)
    if not rest:
        raise SchemaRefused("a topic needs at least one column besides the time", topic=topic)
    return pa.schema([pa.field(TIME, pa.int64(), nullable=False), *rest], metadata=schema.metadata)


def names_twice(names: list[str]) -> list[str]:
    """Return the names that stand in the list more than once, in order."""
    return (
        [] if len(set(names)) == len(names) else sorted(n for n, times in Counter(names).items() if times > 1)
    )


def _plain_column(column: pa.Field) -> pa.Field:
    """Return a dictionary column as one of its values: a frame stands alone and carries no dictionary."""
    return column.with_type(column.type.value_type) if pa.types.is_dictionary(column.type) else column


_STORED = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_fixed_size_binary,
    pa.types.is_decimal128,
    pa.types.is_temporal,
)


def _check_type(kind: pa.DataType, name: str, topic: str, depth: int = 0) -> None:
    if depth > _MOST_NESTED:
        raise SchemaRefused(
            "a column type is nested too deeply", topic=topic, field=name, expected=f"at most {_MOST_NESTED}"
        )
    if isinstance(kind, pa.StructType):
        children = [kind.field(i).type for i in range(kind.num_fields)]
    elif isinstance(kind, pa.MapType):
        children = [kind.key_type, kind.item_type]
    elif isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        children = [kind.value_type]
    else:
        children = []
    for child in children:
        _check_type(child, name, topic, depth + 1)
    empty = (
        (pa.types.is_fixed_size_binary(kind) and not kind.byte_width)
        or (pa.types.is_fixed_size_list(kind) and not kind.list_size)
        or (pa.types.is_decimal(kind) and kind.scale < 0)
    )
    plain = not empty and not isinstance(kind, pa.BaseExtensionType) and not pa.types.is_interval(kind)
    if empty or (not children and not (plain and any(test(kind) for test in _STORED))):
        raise SchemaRefused(
            "a column type cannot be stored as it is",
            topic=topic,
            field=name,
            found=str(kind),
            expected="numbers, bool, text, binary, times, lists, structs or maps of these",
        )
