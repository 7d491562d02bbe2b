"""Method files: the steps of a run, their parameters, and batches of runs.

A file is checked as a whole against the rig when it is loaded: unknown keys, units of another kind, limits,
channels, setpoints and functions that are not there. Every run of a batch is checked with its own values.
"""

from __future__ import annotations

import tomllib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from gapless.acquire.device_config import Strict
from gapless.acquire.procedure.context import MethodRig
from gapless.acquire.procedure.parameters import references, substitute
from gapless.acquire.procedure.planning import Problems, try_plan
from gapless.acquire.procedure.steps import AnyStepSpec
from gapless.errors import RigRefused

ParameterValue = str | bool | int | FiniteFloat

_STEP: TypeAdapter[AnyStepSpec] = TypeAdapter(Annotated[AnyStepSpec, Field(discriminator="kind")])


class MethodHead(Strict):
    """``[method]``: the name goes into the sequence's metadata and events."""

    name: str = Field(min_length=1)
    description: str = ""


class BatchSpec(Strict):
    """``[batch]``: what happens between runs. ``fail_fast``: a run that does not complete ends the batch."""

    fail_fast: bool = True
    cooldown_s: float = Field(default=0.0, ge=0)


class RunSpec(Strict):
    """``[[runs]]``: one run of the batch, with its own parameters and metadata."""

    parameters: dict[str, ParameterValue] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)


class MethodDocument(Strict):
    """A whole method file; the steps are read once their parameters are known."""

    method: MethodHead
    parameters: dict[str, ParameterValue] = Field(default_factory=dict)
    steps: tuple[dict[str, Any], ...] = Field(min_length=1)
    batch: BatchSpec | None = None
    runs: tuple[RunSpec, ...] = ()


@dataclass(frozen=True)
class Method:
    """The steps of one run, checked, and the document that other runs of its batch are made from."""

    name: str
    steps: tuple[AnyStepSpec, ...]
    parameters: Mapping[str, ParameterValue]
    document: MethodDocument = field(repr=False)

    def snapshot(self) -> dict[str, Any]:
        """Return the method as run, as JSON values, to be sealed with the data."""
        return {
            "name": self.name,
            "description": self.document.method.description,
            "parameters": dict(self.parameters),
            "steps": [step.model_dump(mode="json", by_alias=True, exclude_unset=True) for step in self.steps],
        }

    @classmethod
    def of(cls, mapping: Mapping[str, Any], rig: MethodRig, *, source: str = "method") -> Method:
        """Return the method that a mapping of a file's shape describes, or raise RigRefused."""
        try:
            document = MethodDocument.model_validate(mapping)
        except ValidationError as error:
            raise _refused(source, _schema_problems(error, ())) from error
        problems = _parameter_problems(document)
        method = _with_parameters(document, {}, rig, problems)
        for index, run in enumerate(document.runs):
            mine: Problems = []
            _with_parameters(document, run.parameters, rig, mine)
            problems += [
                (("runs", index, *path), words) for path, words in mine if (path, words) not in problems
            ]
        if problems:
            raise _refused(source, problems)
        return method


@dataclass(frozen=True)
class MethodRun:
    """One run of a batch; a method without ``[[runs]]`` is a batch of one."""

    method: Method
    metadata: dict[str, Any]
    fail_fast: bool = True
    cooldown_s: float = 0.0


def load_method(path: Path, rig: MethodRig) -> Method:
    """Return the method of a file, or raise RigRefused naming all that is wrong with it."""
    return Method.of(_read(path), rig, source=str(path))


def iter_batch(method: Method, rig: MethodRig, *, batch_id: str | None = None) -> Iterator[MethodRun]:
    """Yield the runs of a method in their order.

    The metadata of each says ``batch_id``, ``batch_index`` (from 1) and ``batch_of`` where there are several.
    """
    document = method.document
    batch = document.batch or BatchSpec()
    if not document.runs:
        yield MethodRun(method, {"method": method.name}, batch.fail_fast, batch.cooldown_s)
        return
    batch_id = batch_id or uuid.uuid4().hex
    for index, run in enumerate(document.runs):
        metadata = {
            "method": method.name,
            "batch_id": batch_id,
            "batch_index": index + 1,
            "batch_of": len(document.runs),
            **run.parameters,
            **run.metadata,
        }
        mine = _with_parameters(document, run.parameters, rig, [])
        yield MethodRun(mine, metadata, batch.fail_fast, batch.cooldown_s)
