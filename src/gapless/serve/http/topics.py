"""A topic as it was declared, and how many rows of which times it holds; none of them is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gapless.serve.http.asking import Asking
from gapless.serve.http.declared_words import shape_of, word_of
from gapless.serve.http.finite import finite
from gapless.serve.http.inner_numbers import InnerNumber, inner_numbers
from gapless.serve.http.names import Name, TopicName
from gapless.serve.http.nanoseconds import Nanoseconds
from gapless.serve.visible import extent, opened
from gapless.store.pyramid import numeric_fields

if TYPE_CHECKING:
    import pyarrow as pa

    from gapless.store.reader import TopicReader

router = APIRouter(tags=["topics"])
_IMAGE_TAGS = ("Image", "CompressedImage")


class TopicField(BaseModel):
    """A column. ``uncertainty``: a number in its unit, or the name of the column that holds it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    type: str = Field(description="the Arrow type")
    unit: str | None
    description: str | None
    shape: list[int] | None = Field(description="of the array that a list stands for")
    uncertainty: str | None
    numeric: bool = Field(description="a number or bool, which curves can show")


class TopicInnerNumber(BaseModel):
    """A number inside of a column: a member of a struct, an element of a list."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="what curves are asked for; [*] stands for an element, [0] is the first")
    column: str
    type: str = Field(description="the Arrow type of the number")
    unit: str | None = Field(description="of the member, or else of what holds it")
    description: str | None
    lengths: list[int | None] = Field(
        description="of the lists, one for each [*]; null: each row has as many as it likes"
    )


class LedgerWords(BaseModel):
    """Messages: produced = written + dropped + gapped."""

    model_config = ConfigDict(extra="forbid")

    produced: int
    written: int
    dropped: int
    gapped: int


class Topic(BaseModel):
    """What is known of a topic. Of an open sequence: what is durable at this moment."""

    model_config = ConfigDict(extra="forbid")

    name: str
    ontology_tag: str | None
    metadata: dict[str, Any]
    clock: str = Field(description="who stamped the rows: gapless, producer, mixed, derived or unknown")
    rows: int
    start_ns: Nanoseconds | None
    end_ns: Nanoseconds | None
    bytes: int | None = Field(description="of its files; null until it is sealed")
    ledger: LedgerWords
    media: str | None = Field(
        description="what a row shows: png, mp4 or ffv1 as an encoder made it, image: a picture as it was"
        " pushed; null: no picture"
    )
    fields: list[TopicField]
    inner: list[TopicInnerNumber] = Field(
        description="the numbers inside of columns, which curves can show, too"
    )


@router.get("/sequences/{name}/topics/{topic}")
def show_topic(call: Asking, name: Name, topic: TopicName) -> Topic:
    """Tell what a topic is; reserved ones such as ``_events`` and the outputs of features included."""
    handler = opened(call.served, call, name)
    return topic_of(handler.reader.topic(topic))


def topic_of(reader: TopicReader) -> Topic:
    """Return what is known of a topic without reading rows that are in a Parquet file."""
    rows, start_ns, end_ns = extent(reader)
    sealed = reader.derived or reader.bundle.manifest is not None
    numbers = frozenset(numeric_fields(reader.schema))
    return Topic(
        name=reader.name,
        ontology_tag=reader.ontology.get("tag"),
        metadata=finite(reader.metadata),
        clock=reader.clock,
        rows=rows,
        start_ns=start_ns,
        end_ns=end_ns,
        bytes=sum(part.size_bytes for part in reader.parts()) if sealed else None,
        ledger=ledger_words(reader.ledger),
        media=media_of(reader),
        fields=[_field(field, numeric=field.name in numbers) for field in reader.schema],
        inner=[_inner(number) for number in inner_numbers(reader.schema)],
    )


def ledger_words(ledger: dict[str, int]) -> LedgerWords:
    """Return a ledger; what it does not tell is 0."""
    return LedgerWords(**{word: ledger.get(word, 0) for word in LedgerWords.model_fields})


def media_of(reader: TopicReader) -> str | None:
    """Return what pictures a topic holds, None for none."""
    told = (reader.schema.metadata or {}).get(b"media")
    if told is not None:
        return str(told.decode())
    return "image" if reader.ontology.get("tag") in _IMAGE_TAGS else None


def unit_of(field: pa.Field) -> str | None:
    """Return the unit of a column, None where it has none."""
    return word_of(field, "unit")


def _field(field: pa.Field, *, numeric: bool) -> TopicField:
    return TopicField(
        name=field.name,
        type=str(field.type),
        unit=unit_of(field),
        description=word_of(field, "description"),
        shape=shape_of(field),
        uncertainty=word_of(field, "uncertainty"),
        numeric=numeric,
    )


def _inner(number: InnerNumber) -> TopicInnerNumber:
    return TopicInnerNumber(
        name=number.name,
        column=number.column,
        type=str(number.type),
        unit=number.unit,
        description=number.description,
        lengths=list(number.lengths),
    )
