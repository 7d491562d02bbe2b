"""Labels on spans of a sequence: listed, put there, taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from gapless.catalog.label_span import outside
from gapless.serve.http.asking import Asking
from gapless.serve.http.names import Name, PathName
from gapless.serve.http.nanoseconds import AskedNanoseconds, Nanoseconds
from gapless.serve.rights import Right
from gapless.serve.visible import opened, reach

if TYPE_CHECKING:
    from gapless.catalog.annotations import Annotation
    from gapless.serve.http.asking import HttpCall

router = APIRouter(tags=["annotations"])
_Text = Annotated[str, Field(min_length=1, max_length=10_000)]


class Label(BaseModel):
    """A label on the span from ``start_ns`` to ``end_ns``, both included."""

    model_config = ConfigDict(extra="forbid")

    id: str
    start_ns: Nanoseconds
    end_ns: Nanoseconds
    label: str
    kind: str | None
    author: str | None
    confidence: float | None
    created_ns: Nanoseconds


class MadeLabel(Label):
    """A label that was put on a span, and what may be a slip of the pen."""

    warnings: list[str] = Field(description="in what way the span leaves the rows of the sequence")


class Labels(BaseModel):
    """The labels in force, in the order in which they were put there."""

    model_config = ConfigDict(extra="forbid")

    annotations: list[Label]


class NewLabel(BaseModel):
    """What to put on a span, both of its ends included."""

    model_config = ConfigDict(extra="forbid")

    start_ns: AskedNanoseconds
    end_ns: AskedNanoseconds
    label: _Text
    kind: _Text = "label"
    author: _Text | None = None
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None


class Removed(BaseModel):
    """The label that was taken back; the file of labels keeps both facts."""

    model_config = ConfigDict(extra="forbid")

    id: str


@router.get("/sequences/{name}/annotations")
def list_annotations(call: Asking, name: Name) -> Labels:
    """List the labels on a sequence."""
    return Labels(annotations=[_told(note) for note in opened(call.served, call, name).annotations()])


@router.post("/sequences/{name}/annotations", status_code=201)
def add_annotation(call: Asking, name: Name, label: NewLabel) -> MadeLabel:
    """Put a label on a span, durably; queries such as ``annotation == "spike"`` find it from then on.

    A span that leaves the rows is taken, with a warning; while the sequence grows only if it begins before them.
    """
    reach(call.served, call, Right.WRITE, name)
    warnings = _warnings(call, name, label)
    with call.audited(Right.WRITE.word, f"label {name}"):
        made = call.served.client.annotate(
            name,
            label.start_ns,
            label.end_ns,
            label.label,
            kind=label.kind,
            author=label.author,
            confidence=label.confidence,
        )
    return MadeLabel(**dict(_told(made)), warnings=warnings)


@router.delete("/sequences/{name}/annotations/{annotation}")
def remove_annotation(call: Asking, name: Name, annotation: PathName) -> Removed:
    """Take a label back."""
    reach(call.served, call, Right.WRITE, name)
    with call.audited(Right.WRITE.word, f"unlabel {name}"):
        call.served.client.remove_annotation(name, annotation)
    return Removed(id=annotation)


def _told(note: Annotation) -> Label:
    return Label(
        id=note.id,
        start_ns=note.start_ns,
        end_ns=note.end_ns,
        label=note.name,
        kind=note.kind,
        author=note.author,
        confidence=note.confidence,
        created_ns=note.created_ns,
    )


def _warnings(call: HttpCall, name: str, label: NewLabel) -> list[str]:
    handler = opened(call.served, call, name)
    last_ns = None if handler.owner_alive else handler.end_ns
    left = outside(label.start_ns, label.end_ns, handler.start_ns, last_ns, _seconds)
    return [f"the span {left}"] if left else []


def _seconds(length_ns: int) -> str:
    return f"{length_ns / 1e9:.6g} s"
