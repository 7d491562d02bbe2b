"""Files that were sealed with a sequence, and what made the recording."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from gapless.errors import IntegrityError, NotFound
from gapless.serve.http.asking import Asking
from gapless.serve.http.download import saved_as
from gapless.serve.http.finite import finite
from gapless.serve.http.names import Name, PathName
from gapless.serve.visible import opened

if TYPE_CHECKING:
    from gapless.client.sequence_handler import SequenceHandler

router = APIRouter(tags=["sequences"])
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9.+_-]+/[A-Za-z0-9.+_-]+")
_FILE: Final = "/sequences/{name}/artifacts/{artifact}"
_PROVENANCE: Final = "provenance.json"
_ANY: Final[dict[str, Any]] = {"*/*": {"schema": {"type": "string", "format": "binary"}}}


class Artifact(BaseModel):
    """A file of a sequence: one of its own, or one that lies elsewhere."""

    model_config = ConfigDict(extra="forbid")

    name: str
    media_type: str | None
    bytes: int | None
    digest: str | None
    uri: str | None = Field(description="where a file that is not in the store lies")
    missing: str | None = Field(description="the path of a file that was never made")
    here: bool = Field(description="its bytes can be had from this server")


class Artifacts(BaseModel):
    """The artifacts of a sequence and its layers."""

    model_config = ConfigDict(extra="forbid")

    artifacts: list[Artifact]


class LayerProvenance(BaseModel):
    """What made a layer."""

    model_config = ConfigDict(extra="forbid")

    layer: str
    provenance: dict[str, Any] | None


class Provenance(BaseModel):
    """Command, commit, packages, machine and configuration; null where nothing was kept (yet)."""

    model_config = ConfigDict(extra="forbid")

    sequence: dict[str, Any] | None
    layers: list[LayerProvenance]


@router.get("/sequences/{name}/artifacts")
def list_artifacts(call: Asking, name: Name) -> Artifacts:
    """List the files that were sealed with a sequence."""
    known = opened(call.served, call, name).artifacts
    return Artifacts(artifacts=[_told(artifact, entry) for artifact, entry in known.items()])


@router.head(_FILE, response_class=FileResponse, include_in_schema=False)
@router.get(
    _FILE,
    response_class=FileResponse,
    responses={
        200: {"description": "the bytes of the file, under its own media type", "content": _ANY},
        206: {"description": "the bytes that a Range header asks for", "content": _ANY},
        416: {"description": "the file does not have the bytes that a Range header asks for"},
    },
)
def read_artifact(call: Asking, name: Name, artifact: PathName) -> FileResponse:
    """Send an artifact as a file to save, in parts where a Range header asks for them."""
    handler = opened(call.served, call, name)
    path = _inside(handler, artifact)
    declared = str(handler.artifacts[artifact].get("media_type") or "")
    kind = declared if _MEDIA_TYPE.fullmatch(declared) else "application/octet-stream"
    return FileResponse(path, media_type=kind, headers=saved_as(artifact))


@router.get("/sequences/{name}/provenance")
def show_provenance(call: Asking, name: Name) -> Provenance:
    """Tell what made a recording and its layers."""
    base, *layers = opened(call.served, call, name).reader.folders
    told = [LayerProvenance(layer=f.layer_name, provenance=_provenance(f.path)) for f in layers]
    return Provenance(sequence=_provenance(base.path), layers=told)


def _told(name: str, entry: dict[str, Any]) -> Artifact:
    return Artifact(
        name=name,
        media_type=entry.get("media_type"),
        bytes=entry.get("bytes"),
        digest=entry.get("sha256"),
        uri=entry.get("uri"),
        missing=entry.get("missing"),
        here="path" in entry and "missing" not in entry,
    )


def _inside(handler: SequenceHandler, artifact: str) -> Path:
    """Return the file of an artifact; IntegrityError for one that leads out of the sequence's folder."""
    path = handler.artifact_path(artifact)
    if not path.resolve().is_relative_to(handler.path.resolve()):
        raise IntegrityError("an artifact lies outside its bundle", sequence=handler.name, found=artifact)
    if not path.is_file():
        raise NotFound("the file of the artifact is gone", sequence=handler.name, found=artifact,
                       next_step="`gapless verify` tells what else is missing")  # fmt: skip
    return path


def _provenance(folder: Path) -> dict[str, Any] | None:
    path = folder / _PROVENANCE
    try:
        told = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise IntegrityError(f"what made a recording cannot be read: {path}", found=str(error)) from error
    return finite(told) if isinstance(told, dict) else None
