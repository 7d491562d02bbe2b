"""How the rows of one topic travel to the SDK and how they are stored, and what turns one into the other."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from gapless.errors import OntologyConflict, SchemaRefused, ValueRefused
from gapless.model.ontology.declaration import OntologyMeta
from gapless.model.ontology.mixins import MIXINS
from gapless.model.ontology.registry import OntologyRegistry
from gapless.serve.mosaico.nesting import Member, fit, flatten, members, nest
from gapless.serve.mosaico.types import row_type, serialization_format
from gapless.store.declaration import TIME, check_schema
from gapless.store.reader import TopicReader
from gapless.store.storable import is_suspect, refusal

UNMODELED: Final = "Unmodeled"  # what the SDK calls rows without a type of their own
_SENT = b"mosaico"  # the key of a stored schema under which the schema is kept that the SDK sent
_TIME_FIELD = pa.field(TIME, pa.int64(), nullable=False)
_PLAIN: Final = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}


@dataclass(frozen=True)
class RowShape:
    """The rows of one topic in both forms. ``ontology`` is what the topic's declaration says of its type."""

    tag: str
    layout: str  # the SDK's serialization format
    travelling: pa.Schema  # timestamp_ns, then members as the SDK has them
    stored: pa.Schema  # timestamp_ns, then flat columns
    ontology: dict[str, Any] = field(default_factory=dict)

    def store(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return rows that the SDK sent as they are stored; ValueRefused for a null or number that cannot be."""
        if not batch.schema.equals(self.travelling):
            raise SchemaRefused(
                "a batch has other columns than the topic",
                found=str(batch.schema),
                expected=str(self.travelling),
            )
        found: dict[str, pa.Array] = {}
        for column, kind in zip(batch.columns, self.travelling, strict=True):
            found.update(flatten(column, kind))
        return pa.RecordBatch.from_arrays(
            [_stored(found[column.name], column) for column in self.stored], schema=self.stored
        )

    def send(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return stored rows as the SDK gets them; ValueRefused where its type must have what the rows lack."""
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        return pa.RecordBatch.from_arrays(
            [nest(columns, kind, batch.num_rows) for kind in self.travelling], schema=self.travelling
        )


def _stored(array: pa.Array, column: pa.Field) -> pa.Array:
    if array.null_count and not column.nullable:
        raise ValueRefused("a value is missing", field=column.name, found="null", expected=str(column.type))
    try:
        stored = fit(array, column.type)
    except pa.ArrowException as error:
        raise ValueRefused(
            f"a value does not fit its column: {error}", field=column.name, expected=str(column.type)
        ) from error
    reason = refusal(stored) if is_suspect(column.type) else None
    if reason is not None:
        raise ValueRefused(f"a value cannot be stored: {reason}", field=column.name)
    return stored


# -- the shape of rows that arrive ---------------------------------------------------------------


def arriving(tag: str, layout: str, sent: pa.Schema, topic: str) -> RowShape:
    """Return the shape of a topic that the SDK writes; SchemaRefused for what cannot be stored.

    Rows of a type that both sides have are stored under it with the columns of the mixins that were sent;
    of any other type, under its tag with the columns as they were named.
    """
    if [column for column in sent if column.name == TIME] != [_TIME_FIELD]:
        raise SchemaRefused(
            "a topic has one column of times", topic=topic, expected=f"{TIME}: int64 not null"
        )
    body = [column for column in sent if column.name != TIME]
    _check_kind(pa.struct(body), topic)
    known = row_type(tag)
    described: dict[str, Any] = {"tag": tag, "version": 1, "fingerprint": ""}
    fields = [_plain_field(member) for member in members(body)]
    if known is not None and pa.struct(body).equals(known):
        full = full_type(tag)
        described |= {"version": full.version, "fingerprint": full.fingerprint()}
        fields = _fields_of(full, list(members(body)))
    schema = check_schema(pa.schema(fields), topic)
    words = json.dumps({"layout": layout, "schema": base64.b64encode(sent.serialize()).decode()})
    return RowShape(tag, layout, sent, schema.with_metadata({_SENT: words.encode()}), described)


def _check_kind(kind: pa.DataType, topic: str) -> None:
    """Raise SchemaRefused for two members of one name, and for dictionaries: no batch of them stands alone."""
    if pa.types.is_dictionary(kind):
        raise SchemaRefused(
            "a dictionary column cannot be sent back as it came", topic=topic, found=str(kind)
        )
    if pa.types.is_struct(kind):
        names = [inner.name for inner in kind]
        if len(set(names)) < len(names):
            raise SchemaRefused("two members of a struct have one name", topic=topic, found=", ".join(names))
    for number in range(kind.num_fields):
        _check_kind(kind.field(number).type, topic)


def _plain_field(member: Member) -> pa.Field:
    kind = _PLAIN.get(member.field.type, member.field.type)
    return pa.field(member.path, _opened(kind), member.nullable, member.field.metadata)


def _fields_of(full: OntologyMeta, sent: list[Member]) -> list[pa.Field]:
    """Return the columns of a type, with null allowed also where the SDK allows it."""
    theirs = {member.path: member for member in sent}
    found = []
    for leaf in full.leaves():
        own, member = leaf.arrow_field(), theirs[leaf.name]
        found.append(own.with_type(_opened(own.type)).with_nullable(own.nullable or member.nullable))
    return found


def _opened(kind: pa.DataType) -> pa.DataType:
    """Return a type with null allowed everywhere inside: a part of Parquet holds no null under a required name.

    What may be null is known from the schema that was sent.
    """
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(inner.name, _opened(inner.type)) for inner in kind])
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_opened(kind.value_type), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(_opened(kind.value_type))
    if pa.types.is_map(kind):
        return pa.map_(kind.key_type, _opened(kind.item_type))
    return kind


def full_type(tag: str) -> Any:
    """Return our type of a tag with every column that the SDK's type has."""
    kind, own = row_type(tag), OntologyRegistry().get(tag)
    if kind is None or own is None:
        raise OntologyConflict("no type of that tag is known", found=tag)
    added = dict(_mixins(own, kind, ""))
    return own.using(*added.pop("", ()), **added)


def _mixins(
    own: OntologyMeta, kind: pa.StructType, path: str
) -> Iterator[tuple[str, tuple[OntologyMeta, ...]]]:
    """Yield the mixins that a struct has and our type lacks, for it and for each member."""
    specs = own._declaration.specs
    more = {inner.name for inner in kind} - specs.keys()
    found = tuple(mixin for mixin in MIXINS if more & mixin._declaration.specs.keys())
    if found:
        yield path, found
    for name, spec in specs.items():
        if spec.nested is None:
            continue
        inner = kind.field(name).type
        yield from _mixins(
            spec.nested, inner.value_type if spec.many else inner, f"{path}.{name}" if path else name
        )


# -- the shape of rows that are there ------------------------------------------------------------


def leaving(reader: TopicReader) -> RowShape:
    """Return the shape in which the SDK reads a topic, whoever wrote it.

    A topic that the SDK wrote comes back exactly as it was sent. One of ours comes as the SDK's type of
    the same tag, widened by what it does not have; where that would leave a column out, and without a tag,
    as a struct made of the dotted names.
    """
    schema = reader.schema
    tag = str(reader.ontology.get("tag") or UNMODELED)
    kept = (schema.metadata or {}).get(_SENT)
    if kept is not None:
        words = json.loads(kept)
        sent = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(words["schema"])))
        return RowShape(tag, words["layout"], sent, schema)
    known = row_type(tag)
    columns = [column for column in schema if column.name != TIME]
    body = list(known) if known is not None and _covers(known, columns) else _nested(columns)
    return RowShape(tag, serialization_format(tag), pa.schema([_TIME_FIELD, *body]), schema)


def _covers(known: pa.StructType, columns: list[pa.Field]) -> bool:
    """Tell whether every column has its place in the SDK's type."""
    places = {member.path: member.field.type for member in members(known)}
    return all(column.name in places and _fits(column.type, places[column.name]) for column in columns)


def _fits(own: pa.DataType, theirs: pa.DataType) -> bool:
    """Tell whether values of our type become theirs without leaving a member out."""
    if pa.types.is_struct(own) and pa.types.is_struct(theirs):
        places = {inner.name: inner.type for inner in theirs}
        return all(inner.name in places and _fits(inner.type, places[inner.name]) for inner in own)
    if pa.types.is_list(own) and pa.types.is_list(theirs):
        return _fits(own.value_type, theirs.value_type)
    bytes_like = (pa.binary(), pa.large_binary())
    whole = pa.types.is_integer(own) and pa.types.is_integer(theirs)
    return own.equals(theirs) or whole or (own in bytes_like and theirs in bytes_like)


def _nested(columns: list[pa.Field]) -> list[pa.Field]:
    """Return flat columns as members of structs; the names stay as they are where one is inside another."""
    names = {column.name for column in columns}
    if any(".".join(name.split(".")[:n]) in names for name in names for n in range(1, name.count(".") + 1)):
        return columns
    return _grouped([(column.name.split("."), column) for column in columns])


def _grouped(columns: list[tuple[list[str], pa.Field]]) -> list[pa.Field]:
    heads: dict[str, list[tuple[list[str], pa.Field]]] = {}
    for parts, column in columns:
        heads.setdefault(parts[0], []).append((parts[1:], column))
    fields = []
    for head, inner in heads.items():
        if not inner[0][0]:
            fields.append(inner[0][1].with_name(head))
            continue
        body = pa.struct(_grouped(inner))
        fields.append(pa.field(head, body, all(column.nullable for _, column in inner)))
    return fields
