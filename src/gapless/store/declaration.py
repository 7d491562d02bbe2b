"""What a topic is: the declaration that its journal frame, its manifest entry and its readers share."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from gapless.errors import SchemaRefused

TIME = "timestamp_ns"
SEQ = "_seq"
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
    twice = sorted({n for n in names if names.count(n) > 1})
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
    for column in schema:
        _check_type(column.type, column.name, topic)
    rest = [column for column in schema if column.name != TIME]
    if not rest:
        raise SchemaRefused("a topic needs at least one column besides the time", topic=topic)
    return pa.schema([pa.field(TIME, pa.int64(), nullable=False), *rest], metadata=schema.metadata)


def _check_type(kind: pa.DataType, name: str, topic: str) -> None:
    refused = (pa.types.is_union, pa.types.is_null, pa.types.is_run_end_encoded, pa.types.is_interval)
    if any(test(kind) for test in refused) or isinstance(kind, pa.BaseExtensionType):
        raise SchemaRefused(
            "a column type cannot be stored in Parquet as it is",
            topic=topic,
            field=name,
            found=str(kind),
            expected="numbers, bool, text, binary, times, lists or structs",
        )
