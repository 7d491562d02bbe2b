"""Features and models by name: of the library, of an installed plugin, or ``module:Class`` of the user's own."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from gapless.errors import ArgumentRefused
from gapless.features.error_place import error_place


def feature_class(name: str, beside: Path | None = None) -> type:
    """Return a feature of the library, of an installed plugin, or ``module:Class``."""
    return _class(name, "gapless.features", "feature", beside)


def model_class(name: str, beside: Path | None = None) -> type:
    """Return a model of the library, of an installed plugin, or ``module:Class``."""
    return _class(name, "gapless.models", "model", beside)


def _class(name: str, group: str, what: str, beside: Path | None) -> type:
    module_name, colon, attribute = name.partition(":")
    plugins = {point.name: point for point in entry_points(group=group)}
    if colon:
        module = user_module(module_name, beside, f"the {what} {name} cannot be imported")
        if not hasattr(module, attribute):
            classes = [key for key, value in vars(module).items() if inspect.isclass(value)]
            raise ArgumentRefused(
                f"the {what} cannot be imported: its module has no such name", found=name,
                expected=", ".join(classes) or "a class of the module",
            )  # fmt: skip
        found = getattr(module, attribute)
    elif name in plugins:
        found = _called(plugins[name].load, f"the {what} {name} cannot be imported")
    else:
        raise ArgumentRefused(
            f"there is no {what} of that name", found=name,
            expected=f"{', '.join(sorted(plugins))} or module:Class",
            next_step=f"name a {what} of the library, or write module:Class for one of yours",
        )  # fmt: skip
    if not inspect.isclass(found):
        raise ArgumentRefused(f"a {what} is a class", found=name)
    return found


def user_module(name: str, beside: Path | None, failure: str) -> Any:
    """Return a module that lies in a folder, in the working folder, or is installed.

    What it raises becomes an ArgumentRefused of one line: the file and the line, then ``failure``.
    """
    for folder in (Path.cwd(), beside):  # the last one comes first on the path
        if folder is not None:
            _put_first(folder)
    return _called(lambda: importlib.import_module(name), failure)


def _put_first(folder: Path) -> None:
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))


def _called(load: Callable[[], Any], failure: str) -> Any:
    try:
        return load()
    except BaseException as error:
        if not isinstance(error, Exception):  # the operator stopped it, or it ended the program
            raise
        place = error_place(error)
        raise ArgumentRefused(
            f"{f'{place}: ' if place else ''}{failure}", found=f"{type(error).__name__}: {_text(error)}",
            next_step="correct that line" if place else "install what is missing, or correct the name",
        ) from error  # fmt: skip


def _text(error: Exception) -> str:
    return str(error.msg) if isinstance(error, SyntaxError) else " ".join(str(error).split())
