"""Method files: the steps of a run, their parameters, and batches of runs.

A file is checked as a whole against the rig when it is loaded: unknown keys, units of another kind, limits,
channels, setpoints and functions that are not there. Every run of a batch is checked with its own values.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from gapless.acquire.device_config import Strict
from gapless.acquire.problem import ConfigProblem, RigProblems
from gapless.acquire.procedure.context import MethodRig
from gapless.acquire.procedure.method_file import REFUSAL, read_method_file
from gapless.acquire.procedure.parameters import references, substitute
from gapless.acquire.procedure.planning import try_plan
from gapless.acquire.procedure.steps import AnyStepSpec

ParameterValue = str | bool | int | FiniteFloat

_FIX = "see docs/methods.md"

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
    def of(
        cls,
        mapping: Mapping[str, Any],
        rig: MethodRig,
        *,
        locate: Callable[[ConfigProblem], ConfigProblem] = lambda problem: problem,
    ) -> Method:
        """Return the method that a mapping of a file's shape describes, or raise RigProblems.

        ``locate`` gives a problem its file and line.
        """
        try:
            document = MethodDocument.model_validate(mapping)
        except ValidationError as error:
            raise RigProblems(map(locate, _schema_problems(error, mapping)), REFUSAL) from error
        problems = [*_parameter_problems(document), *_batch_problems(document)]
        steps, wrong = _checked(document, {}, rig)
        problems += wrong
        for index, run in enumerate(document.runs):
            _, mine = _checked(document, run.parameters, rig)
            problems += [_below(problem, "runs", index) for problem in mine if problem not in wrong]
        if problems:
            raise RigProblems(map(locate, problems), REFUSAL)
        return cls(document.method.name, steps, document.parameters, document)


@dataclass(frozen=True)
class MethodRun:
    """One run of a batch; a method without ``[[runs]]`` is a batch of one."""

    method: Method
    metadata: dict[str, Any]
    fail_fast: bool = True
    cooldown_s: float = 0.0


def load_method(path: str | os.PathLike[str], rig: MethodRig) -> Method:
    """Return the method of a file, or raise RigProblems naming all that is wrong with it.

    A file whose ``method`` is the path of another file is a batch of that method: its ``[batch]`` and
    ``[[runs]]`` are used. The path is relative to the file that names it.
    """
    found = read_method_file(Path(path))
    return Method.of(found.tables, rig, locate=found.locate)


def iter_batch(method: Method, *, batch_id: str | None = None) -> Iterator[MethodRun]:
    """Yield the runs of a method in their order.

    The metadata of each names the method and its parameters, and where there are several runs also
    ``batch_id``, ``batch_index`` (from 1) and ``batch_of``.
    """
    document = method.document
    batch = document.batch or BatchSpec()
    if not document.runs:
        yield MethodRun(method, _metadata(method), batch.fail_fast, batch.cooldown_s)
        return
    batch_id = batch_id or uuid.uuid4().hex
    for number, run in enumerate(document.runs, start=1):
        parameters = {**document.parameters, **run.parameters}
        steps, _ = _steps(document, parameters)
        mine = Method(method.name, steps, parameters, document)
        place = {"batch_id": batch_id, "batch_index": number, "batch_of": len(document.runs)}
        yield MethodRun(mine, {**run.metadata, **_metadata(mine), **place}, batch.fail_fast, batch.cooldown_s)


def _metadata(method: Method) -> dict[str, Any]:
    known: dict[str, Any] = {"method": method.name}
    return {**known, "parameters": dict(method.parameters)} if method.parameters else known


def _checked(
    document: MethodDocument, own: Mapping[str, ParameterValue], rig: MethodRig
) -> tuple[tuple[AnyStepSpec, ...], list[ConfigProblem]]:
    """Return the steps with a run's own parameters, and all that is wrong with them on this rig."""
    steps, problems = _steps(document, {**document.parameters, **own})
    return steps, problems or try_plan(steps, rig)[1]


def _steps(
    document: MethodDocument, parameters: Mapping[str, ParameterValue]
) -> tuple[tuple[AnyStepSpec, ...], list[ConfigProblem]]:
    steps: list[AnyStepSpec] = []
    problems: list[ConfigProblem] = []
    for index, table in enumerate(document.steps):
        given = substitute(table, parameters)
        try:
            steps.append(_STEP.validate_python(given))
        except ValidationError as error:
            problems += [_below(problem, "steps", index) for problem in _schema_problems(error, given)]
    return tuple(steps), problems


def _parameter_problems(document: MethodDocument) -> list[ConfigProblem]:
    used = {name: path for path, name in references(document.steps, ("steps",))}
    unknown = [(path, name) for name, path in used.items() if name not in document.parameters]
    for index, run in enumerate(document.runs):
        names = (name for name in run.parameters if name not in document.parameters)
        unknown += [(("runs", index, "parameters", name), name) for name in names]
    idle = [name for name in document.parameters if name not in used]
    return [
        *(ConfigProblem("R003", f"there is no {name!r} in [parameters]", path) for path, name in unknown),
        *(ConfigProblem("R004", "no step uses this parameter", ("parameters", name)) for name in idle),
    ]


def _batch_problems(document: MethodDocument) -> list[ConfigProblem]:
    if document.batch is not None and not document.runs:
        return [ConfigProblem("R004", "[batch] has no effect without [[runs]]", ("batch",))]
    return []


def _schema_problems(error: ValidationError, table: Mapping[str, Any]) -> list[ConfigProblem]:
    found = (
        _schema_problem(problem, table) for problem in error.errors(include_url=False, include_input=False)
    )
    return list(dict.fromkeys(found))


def _schema_problem(problem: Any, table: Mapping[str, Any]) -> ConfigProblem:
    """Return a finding of pydantic; its place holds only what the file could hold."""
    location = list(problem["loc"])
    if location and location[0] == table.get("kind"):
        location.pop(0)
    place: list[str | int] = location[:1]
    inside: Any = table.get(location[0]) if location else None
    for part in location[1:]:
        if isinstance(inside, Mapping) and isinstance(part, str):
            inside = inside.get(part)
        elif isinstance(inside, list | tuple) and isinstance(part, int) and part < len(inside):
            inside = inside[part]
        else:
            break
        place.append(part)
    return ConfigProblem("R002", problem["msg"].removeprefix("Value error, "), tuple(place), fix=_FIX)


def _below(problem: ConfigProblem, *path: str | int) -> ConfigProblem:
    return replace(problem, path=(*path, *problem.path))
