"""Libraries that an extra brings, imported when they are needed and named with their extra when they are not there."""

from __future__ import annotations

import importlib
from types import ModuleType

from gapless.errors.usage import MissingExtra


def need(module: str, *, extra: str | None = None) -> ModuleType:
    """Return a module of an extra, by default of the extra of its name; raises MissingExtra if it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"this needs {module}, which is not installed",
            next_step=f"pip install 'gapless[{extra or module}]'",
        ) from error
