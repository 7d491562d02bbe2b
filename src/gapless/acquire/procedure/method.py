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
from gapless.errors import NotFound, RigRefused

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
            raise _refused(source, [_placed(problem, mapping) for problem in _details(error)]) from error
        problems = [*_parameter_problems(document), *_batch_problems(document)]
        steps, wrong = _checked(document, {}, rig)
        problems += wrong
        for index, run in enumerate(document.runs):
            _, mine = _checked(document, run.parameters, rig)
            problems += [
                (("runs", index, *path), words) for path, words in mine if (path, words) not in wrong
            ]
        if problems:
            raise _refused(source, problems)
        return cls(document.method.name, steps, document.parameters, document)


@dataclass(frozen=True)
class MethodRun:
    """One run of a batch; a method without ``[[runs]]`` is a batch of one."""

    method: Method
    metadata: dict[str, Any]
    fail_fast: bool = True
    cooldown_s: float = 0.0


def load_method(path: Path, rig: MethodRig) -> Method:
    """Return the method of a file, or raise RigRefused naming all that is wrong with it; NotFound.

    A file whose ``method`` is the path of another file is a batch of that method: its ``[batch]`` and
    ``[[runs]]`` are used. The path is relative to the file that names it.
    """
    tables = _read(path)
    if isinstance(tables.get("method"), str):
        tables = _joined(path, tables)
    return Method.of(tables, rig, source=str(path))


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


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(
            "there is no such method file", found=str(path), next_step="correct the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RigRefused("the method file is no TOML", found=f"{path}: {error}") from error


def _joined(path: Path, tables: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of a batch file with those of the method that it names."""
    base = _read(path.parent / tables["method"])
    strange = sorted(tables.keys() - {"method", "batch", "runs"})
    if strange or "runs" in base or "batch" in base or "runs" not in tables:
        raise RigRefused(
            "a batch file has method, batch and [[runs]], and the method it names has no runs of its own",
            found=f"{path}: {', '.join(strange) or 'runs in both or none'}",
        )
    return {**base, **{key: value for key, value in tables.items() if key != "method"}}


def _checked(
    document: MethodDocument, own: Mapping[str, ParameterValue], rig: MethodRig
) -> tuple[tuple[AnyStepSpec, ...], Problems]:
    """Return the steps with a run's own parameters, and all that is wrong with them on this rig."""
    steps, problems = _steps(document, {**document.parameters, **own})
    if problems:
        return steps, problems
    return steps, try_plan(steps, rig)[1]


def _steps(
    document: MethodDocument, parameters: Mapping[str, ParameterValue]
) -> tuple[tuple[AnyStepSpec, ...], Problems]:
    steps: list[AnyStepSpec] = []
    problems: Problems = []
    for index, table in enumerate(document.steps):
        given = substitute(table, parameters)
        try:
            steps.append(_STEP.validate_python(given))
        except ValidationError as error:
            found = (_placed(problem, given) for problem in _details(error))
            problems += dict.fromkeys((("steps", index, *path), words) for path, words in found)
    return tuple(steps), problems


def _parameter_problems(document: MethodDocument) -> Problems:
    used = {name: path for path, name in references(document.steps, ("steps",))}
    problems: Problems = [
        (path, f"there is no parameter {name!r} in [parameters]")
        for name, path in used.items()
        if name not in document.parameters
    ]
    problems += [
        (("parameters", name), "no step uses this parameter")
        for name in document.parameters
        if name not in used
    ]
    for index, run in enumerate(document.runs):
        problems += [
            (("runs", index, "parameters", name), "there is no such parameter in [parameters]")
            for name in run.parameters
            if name not in document.parameters
        ]
    return problems


def _batch_problems(document: MethodDocument) -> Problems:
    if document.batch is not None and not document.runs:
        return [(("batch",), "has no effect without [[runs]]")]
    return []


def _details(error: ValidationError) -> list[Any]:
    return list(error.errors(include_url=False, include_input=False))


def _placed(problem: Any, table: Mapping[str, Any]) -> tuple[tuple[str | int, ...], str]:
    """Return place and words of one finding of pydantic; the place holds only what the file could hold."""
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
    return tuple(place), problem["msg"].removeprefix("Value error, ")


def _refused(source: str, problems: Problems) -> RigRefused:
    lines = [f"{_path_text(path)}: {words}" if path else words for path, words in problems]
    return RigRefused(f"{source} cannot run: " + "; ".join(lines))


def _path_text(path: tuple[str | int, ...]) -> str:
    """Return ``steps[2].until`` for a place in the file."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
