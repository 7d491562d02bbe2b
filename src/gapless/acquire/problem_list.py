"""Everything that is wrong with one configuration, collected while it is read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic.fields import FieldInfo

from gapless.acquire.problem import ConfigProblem
from gapless.errors import GaplessError, MissingExtra

Path = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


class ProblemList:
    """Collects problems. Of a value that is spoilt from the start nothing else is said."""

    def __init__(self) -> None:
        self.problems: list[ConfigProblem] = []
        self._spoilt: set[Path] = set()

    @property
    def has_errors(self) -> bool:
        """Whether anything refuses the configuration."""
        return any(problem.severity == "error" for problem in self.problems)

    def say(
        self,
        code: str,
        message: str,
        *path: str | int,
        fix: str = "",
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        """Add a problem with the value at ``path``."""
        if path not in self._spoilt:
            self.problems.append(ConfigProblem(code, message, path, fix=fix, severity=severity))

    def spoil(self, code: str, message: str, *path: str | int) -> None:
        """Add a problem after which nothing else about this value is worth saying."""
        self.say(code, message, *path)
        self._spoilt.add(path)

    def say_error(self, code: str, error: GaplessError, *path: str | int, without: str = "") -> None:
        """Add what an error says, ``without`` a beginning that only repeats the path.

        A library that is missing has its own code and its own way out.
        """
        message = error.message.removeprefix(without)
        found = "" if error.found is None else f": {error.found}"
        expected = "" if error.expected is None else f"; expected {error.expected}"
        if isinstance(error, MissingExtra):
            self.say("R008", f"{message}: {error.advice}", *path, fix=error.advice)
        else:
            self.say(code, f"{message}{found}{expected}", *path)

    def checked(self, kind: type[Model], table: Any, *path: str | int) -> Model | None:
        """Return a table as ``kind``, or None after adding each of its problems."""
        try:
            return kind.model_validate(table)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
            for problem in found:
                if problem["type"] == "too_short" and _is_around(problem["loc"], found):
                    continue  # it is too short without the items that are said to be wrong
                place = _place(table, problem["loc"], problem["type"])
                self.say("R002", _words(kind, problem["type"], problem["msg"], problem["loc"]), *path, *place)
            return None


def _is_around(location: Path, problems: Iterable[Mapping[str, Any]]) -> bool:
    inside = [problem["loc"] for problem in problems if len(problem["loc"]) > len(location)]
    return any(other[: len(location)] == location for other in inside)


def _words(kind: type[BaseModel], error_type: str, message: str, location: Path) -> str:
    if error_type != "extra_forbidden":
        return message.removeprefix("Value error, ")
    return f"unknown key{did_you_mean(str(location[-1]), _known_keys(kind, location))}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean X?`` where a known word is near, else nothing."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _known_keys(kind: type[BaseModel], location: Path) -> set[str]:
    """Return the keys that the table has in which the last part of a location stands."""
    kinds = {kind}
    for part in location[:-1]:
        fields = [model.model_fields[part] for model in kinds if part in model.model_fields]
        if fields:  # any other part is an index, or the kind that chooses one of several tables
            kinds = {model for field in fields for model in _models(field.annotation)}
    return {
        key for model in kinds for name, field in model.model_fields.items() for key in _keys(name, field)
    }


def _keys(name: str, field: FieldInfo) -> Iterator[str]:
    """Yield the ways to write a field's key."""
    alias = field.validation_alias
    yield name
    for choice in alias.choices if isinstance(alias, AliasChoices) else (alias,):
        if isinstance(choice, str):
            yield choice


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the kinds of tables that an annotation holds, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _place(table: Any, location: Path, error_type: str) -> Path:
    """Return the part of a location that a file can have: what pydantic adds to it is left out."""
    place: list[str | int] = []
    here = table
    for n, part in enumerate(location):
        is_last = n == len(location) - 1
        if isinstance(here, Mapping) and part in here:
            here = here[str(part)]
        elif isinstance(here, Sequence) and isinstance(part, int) and part < len(here):
            here = here[part]
        elif not (is_last and error_type == "missing"):
            continue
        place.append(part)
    return tuple(place)
