"""Parameters of a method: ``${name}`` in any text of its steps becomes the value of the run.

A text that is nothing but ``${name}`` becomes the value itself, so a number stays one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Parameters = Mapping[str, str | float | int | bool]

_REFERENCE = re.compile(r"\$\{([^}]*)\}")


def substitute(value: Any, parameters: Parameters) -> Any:
    """Return the value with every reference replaced; a name that is not given stays as it is."""
    if isinstance(value, Mapping):
        return {key: substitute(item, parameters) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [substitute(item, parameters) for item in value]
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole is not None:
        return parameters.get(whole[1], value)
    return _REFERENCE.sub(lambda found: str(parameters.get(found[1], found[0])), value)


def references(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the place and name of every reference in a value."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from references(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from references(item, (*path, index))
    elif isinstance(value, str):
        yield from ((path, found[1]) for found in _REFERENCE.finditer(value))
