"""A pipeline as a file: TOML that names features and models, or Python that makes a ``pipeline``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from gapless.errors import ArgumentRefused, NotFound
from gapless.features.columns import Columns
from gapless.features.dataset import Dataset
from gapless.features.pipeline import Pipeline
from gapless.features.step import FeatureStep, ModelStep

_TOP = frozenset(["topic", "where", "columns", "defaults", "steps"])
_STEP = frozenset(["name", "feature", "model", "inputs", "params", "config", "run"])


@dataclass
class PipelineFile:
    """A pipeline with the data set it is written for."""

    pipeline: Pipeline
    topic: str = "tracks"
    where: str | None = None
    columns: Columns = field(default_factory=Columns)

    def dataset(self, store: str | os.PathLike[str]) -> Dataset:
        """Return the data set in a store."""
        where = None
        if self.where is not None:
            from gapless.model.query_text import parse

            where = parse(self.where)
        return Dataset(store, self.columns, self.topic, where)


def load_pipeline(path: str | os.PathLike[str]) -> PipelineFile:
    """Return the pipeline of a ``.toml`` or ``.py`` file; ArgumentRefused names what is wrong in it."""
    file = Path(path)
    if not file.is_file():
        raise NotFound(
            "there is no such file", found=str(file), next_step="name a PIPELINE.toml or PIPELINE.py"
        )
    if file.suffix == ".toml":
        try:
            return pipeline_of(tomllib.loads(file.read_text(encoding="utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ArgumentRefused(f"{file} is no TOML", found=str(error)) from error
    if file.suffix == ".py":
        return _from_python(file)
    raise ArgumentRefused("a pipeline is a .toml or a .py file", found=str(file))


def pipeline_of(document: Mapping[str, Any]) -> PipelineFile:
    """Return the pipeline that the tables of a TOML file describe."""
    _check_keys(document, _TOP, "the file")
    pipeline = Pipeline(document.get("defaults"))
    steps = document.get("steps")
    if not isinstance(steps, list) or not steps:
        raise ArgumentRefused("a pipeline has steps", found=steps, expected="one table [[steps]] or more")
    for number, entry in enumerate(steps, 1):
        _check_keys(entry, _STEP, f"[[steps]] {number}")
        pipeline.add(_step(entry, number))
    return PipelineFile(
        pipeline,
        document.get("topic", "tracks"),
        document.get("where"),
        Columns.model_validate(document.get("columns", {})),
    )


def _check_keys(table: Any, known: frozenset[str], place: str) -> None:
    if not isinstance(table, Mapping):
        raise ArgumentRefused(f"{place} is a table", found=table)
    unknown = sorted(set(table) - known)
    if unknown:
        raise ArgumentRefused(f"{place} has unknown keys", found=unknown, expected=", ".join(sorted(known)))


def _step(entry: Mapping[str, Any], number: int) -> FeatureStep | ModelStep:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise ArgumentRefused(f"[[steps]] {number} has no name", found=name)
    if ("feature" in entry) == ("model" in entry):
        raise ArgumentRefused(f"step {name!r} names either a feature or a model", found=sorted(entry))
    inputs = list(entry.get("inputs", []))
    if "model" in entry:
        return ModelStep(name, model_class(entry["model"]), entry.get("config"), inputs)
    return FeatureStep(
        name, feature_class(entry["feature"]), entry.get("params"), inputs, dict(entry.get("run", {}))
    )


def feature_class(name: str) -> type:
    """Return a feature of the library, of an installed plugin, or ``module:Class``."""
    return _class(name, "gapless.features", "feature")


def model_class(name: str) -> type:
    """Return a model of the library, of an installed plugin, or ``module:Class``."""
    return _class(name, "gapless.models", "model")


def _class(name: str, group: str, what: str) -> type:
    if ":" in name:
        module_name, _, attribute = name.partition(":")
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())  # as `python -m` does: the user's own module lies there
        try:
            found = getattr(importlib.import_module(module_name), attribute)
        except (ImportError, AttributeError) as error:
            raise ArgumentRefused(
                f"the {what} cannot be imported", found=name, expected=str(error)
            ) from error
    else:
        plugins = {point.name: point for point in entry_points(group=group)}
        if name not in plugins:
            raise ArgumentRefused(
                f"there is no {what} of that name", found=name,
                expected=f"{', '.join(sorted(plugins))} or module:Class",
            )  # fmt: skip
        found = plugins[name].load()
    if not inspect.isclass(found):
        raise ArgumentRefused(f"a {what} is a class", found=name)
    return found


def _from_python(file: Path) -> PipelineFile:
    """Run a file as a module of its own name, so that other processes can import its classes as well."""
    sys.path.insert(0, str(file.resolve().parent))
    module = importlib.import_module(file.stem)
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
    return PipelineFile(
        found,
        getattr(module, "topic", "tracks"),
        getattr(module, "where", None),
        getattr(module, "columns", Columns()),
    )
