"""What a document holds that is something else in the JSON of a server's metadata."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

_INT64 = range(-(2**63), 2**63)
_SHOWN = 5


def loss_in(what: str, doc: Mapping[str, Any]) -> list[str]:
    """Return one sentence on what of a document its metadata does not hold as it is, none if it holds all.

    Numbers of NumPy count as their values, arrays and tuples as lists. NaN, infinity, integers beyond 64 bits,
    bytes, dates, sets and keys that are no text do not survive.
    """
    places = list(dict.fromkeys(_places(doc, "")))
    if not places:
        return []
    more = f" and {len(places) - _SHOWN} more places" if len(places) > _SHOWN else ""
    shown = ", ".join(repr(place) for place in places[:_SHOWN])
    return [f"JSON has no word for what the {what} holds at {shown}{more}; the recording keeps it"]


def _places(value: Any, path: str) -> Iterator[str]:
    """Yield the dotted path of each value that JSON changes; the elements of a list share its path."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            below = f"{path}.{key}" if path else str(key)
            if not _is_text(key):
                yield below
            yield from _places(inner, below)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _places(inner, path)
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biufUO":
        yield from _places(value.tolist(), path)
    elif not _is_held(value):
        yield path


def _is_held(value: Any) -> bool:
    """Tell whether JSON holds a single value as it is."""
    if value is None or isinstance(value, bool | np.bool_):
        return True
    if isinstance(value, str):
        return _is_text(value)
    if isinstance(value, int | np.integer):
        return int(value) in _INT64
    if isinstance(value, float | np.floating):
        return math.isfinite(value) and float(value) == value
    return False


def _is_text(value: Any) -> bool:
    """Tell whether this is text that UTF-8 can write."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
