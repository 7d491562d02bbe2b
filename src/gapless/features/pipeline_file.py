"""A pipeline as a file: TOML that names features and models, or Python that makes a ``pipeline``."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gapless.errors import ArgumentRefused, NotFound
from gapless.features.columns import Columns
from gapless.features.dataset import Dataset
from gapless.features.named_class import feature_class, model_class, user_module
from gapless.features.pipeline import Pipeline
from gapless.features.step import FeatureStep, ModelStep

_TOP: Mapping[str, type] = {"topic": str, "where": str, "columns": dict, "defaults": dict, "steps": list}
_STEP: Mapping[str, type] = {
    "name": str, "feature": str, "model": str, "inputs": list, "params": dict, "config": dict, "run": dict,
}  # fmt: skip
_KINDS: Mapping[type, str] = {str: "text in quotes", dict: "a table", list: "a list"}


@dataclass
class PipelineFile:
    """A pipeline with the data set it is written for; ``where`` is a query, as text or as an expression."""

    pipeline: Pipeline
    topic: str = "tracks"
    where: Any = None
    columns: Columns = field(default_factory=Columns)

    def dataset(self, store: str | os.PathLike[str]) -> Dataset:
        """Return the data set in a store."""
        where = self.where
        if isinstance(where, str):
            from gapless.model.query_text import parse

            where = parse(where)
        return Dataset(store, self.columns, self.topic, where)


def load_pipeline(path: str | os.PathLike[str]) -> PipelineFile:
    """Return the pipeline of a ``.toml`` or ``.py`` file; modules are looked for beside it, then in the cwd.

    ArgumentRefused names what is wrong in it; what its code raises is told with file and line.
    """
    file = Path(path)
    if not file.is_file():
        raise NotFound(
            "there is no such file", found=str(file), next_step="name a PIPELINE.toml or PIPELINE.py"
        )
    if file.suffix not in (".toml", ".py"):
        raise ArgumentRefused(
            "a pipeline is a .toml or a .py file", found=str(file),
            next_step="name such a file; docs/features.md shows both",
        )  # fmt: skip
    try:
        return _from_toml(file) if file.suffix == ".toml" else _from_python(file)
    except ArgumentRefused as error:
        raise refused_in(file, error) from error


def refused_in(file: str | os.PathLike[str], error: ArgumentRefused) -> ArgumentRefused:
    """Return the error with the file that is to be corrected, unless it says already what to do."""
    if error.advice != ArgumentRefused.next_step:
        return error
    return ArgumentRefused(
        error.message, sequence=error.sequence, topic=error.topic, field=error.field,
        found=error.found, expected=error.expected,
        next_step=f"correct {file}; 'Pipeline files' in docs/features.md explains every key",
    )  # fmt: skip


# -- TOML --------------------------------------------------------------------------------------


def _from_toml(file: Path) -> PipelineFile:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ArgumentRefused(
            f"{file} is no TOML", found=str(error), next_step="correct the line that is named"
        ) from error
    return pipeline_of(document, file.resolve().parent)


def pipeline_of(document: Mapping[str, Any], beside: Path | None = None) -> PipelineFile:
    """Return the pipeline that the tables of a TOML file describe; ``beside``: where its modules may lie."""
    _check_keys(document, _TOP, "the file")
    topic = document.get("topic", "tracks")
    pipeline = Pipeline(document.get("defaults"))
    steps = document.get("steps")
    if not steps:
        raise ArgumentRefused("a pipeline has steps", found=steps, expected="one table [[steps]] or more")
    for number, entry in enumerate(steps, 1):
        _check_keys(entry, _STEP, f"[[steps]] {number}")
        pipeline.add(_step(entry, number, topic, list(pipeline.steps), beside))
    return PipelineFile(pipeline, topic, document.get("where"), Columns(**document.get("columns", {})))


def _check_keys(table: Any, known: Mapping[str, type], place: str) -> None:
    if not isinstance(table, Mapping):
        raise ArgumentRefused(f"{place} is a table", found=table)
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise ArgumentRefused(f"{place} has unknown keys", found=unknown, expected=", ".join(sorted(known)))
    for key, value in table.items():
        if not isinstance(value, known[key]):
            raise ArgumentRefused(
                f"{place} has a value of the wrong kind", field=key, found=value,
                expected=_KINDS[known[key]],
            )  # fmt: skip


def _step(
    entry: Mapping[str, Any], number: int, topic: str, earlier: list[str], beside: Path | None
) -> FeatureStep | ModelStep:
    name = entry.get("name")
    if not name:
        raise ArgumentRefused(f"[[steps]] {number} has no name", found=name)
    if ("feature" in entry) == ("model" in entry):
        raise ArgumentRefused(f"step {name!r} names either a feature or a model", found=sorted(entry))
    inputs = [_input(item, name, topic, earlier) for item in entry.get("inputs", [])]
    wrong = sorted(set(entry) & ({"params", "run"} if "model" in entry else {"config"}))
    if wrong:
        raise ArgumentRefused(
            f"step {name!r} has a key of the other kind of step", found=wrong,
            expected="params and run for a feature, config for a model",
        )  # fmt: skip
    if "model" in entry:
        return ModelStep(name, model_class(entry["model"], beside), entry.get("config"), inputs)
    cls = feature_class(entry["feature"], beside)
    return FeatureStep(name, cls, entry.get("params"), inputs, dict(entry.get("run", {})))


def _input(item: Any, step: str, topic: str, earlier: list[str]) -> str:
    """Return an input as a step calls it: the name of an earlier step, or "tracks" for the topic of the file."""
    if item in earlier:
        return str(item)
    if item in ("tracks", topic):
        return "tracks"
    steps = f"an earlier step ({', '.join(earlier)}) or " if earlier else ""
    raise ArgumentRefused(
        f"step {step!r} reads a step that is not there", found=item,
        expected=f'{steps}"tracks", which is the topic of the file, {topic!r}',
    )  # fmt: skip


# -- Python ------------------------------------------------------------------------------------


def _from_python(file: Path) -> PipelineFile:
    """Run a file as a module of its own name, so that other processes can import its classes as well."""
    if "." in file.stem:
        raise ArgumentRefused(
            "no module can have this name", found=file.name, next_step="rename the file, without the dot"
        )
    module = user_module(file.stem, file.resolve().parent, f"the pipeline {file.name} cannot be run")
    if Path(str(module.__file__)).resolve() != file.resolve():
        raise ArgumentRefused(
            "a module of that name is installed already", found=file.stem, next_step="rename the file"
        )
    found = getattr(module, "pipeline", None)
    if isinstance(found, PipelineFile):
        return found
    if not isinstance(found, Pipeline):
        raise ArgumentRefused(f"{file} makes no pipeline", found=type(found).__name__,
                              expected="a variable called pipeline")  # fmt: skip
    topic = getattr(module, "topic", "tracks")
    columns = getattr(module, "columns", Columns())
    if not isinstance(topic, str) or not isinstance(columns, Columns):
        raise ArgumentRefused(
            f"{file} has a variable of the wrong kind", found=f"topic={topic!r}, columns={columns!r}",
            expected="topic: text, columns: Columns(...)",
        )  # fmt: skip
    return PipelineFile(found, topic, getattr(module, "where", None), columns)
