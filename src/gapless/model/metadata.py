"""Metadata is any JSON document: checked once, copied, flattened for the index, written canonically."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gapless.errors import MetadataRefused

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
MAX_DEPTH = 100  # also ends documents that contain themselves
JsonScalar = str | int | float | bool | None


def check_metadata(value: object, *, sequence: str | None = None, topic: str | None = None) -> dict[str, Any]:
    """Return a deep copy made of plain dict, list, str, int, float, bool and None; None gives ``{}``.

    Raises MetadataRefused naming the path of the first thing that is not JSON: another type, a key that
    is not text, NaN or infinity, an integer outside 64 bits, a lone surrogate, or nesting too deep.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise MetadataRefused(
            "metadata must be an object with text keys", sequence=sequence, topic=topic, found=repr(value)
        )
    try:
        copied: dict[str, Any] = _copy(value, ())
    except _NotJsonError as problem:
        raise MetadataRefused(
            f"metadata {problem.reason}",
            sequence=sequence,
            topic=topic,
            field=join_path(problem.path) or None,
            found=problem.found,
        ) from None
    return copied


class _NotJsonError(Exception):
    """Where and why a value is not JSON; turned into MetadataRefused, which also knows the topic."""

    def __init__(self, reason: str, path: tuple[str, ...], found: object) -> None:
        self.reason, self.path, self.found = reason, path, repr(found)


def _copy(value: object, path: tuple[str, ...]) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, path, value)
    if isinstance(value, int):
        if not INT64_MIN <= value <= INT64_MAX:
            raise _NotJsonError("holds an integer outside 64 bits", path, value)
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _NotJsonError("holds a number that JSON cannot", path, value)
        return float(value)
    if len(path) > MAX_DEPTH:
        raise _NotJsonError(f"is nested more than {MAX_DEPTH} deep", path[:3], "…")
    if isinstance(value, Mapping):
        return {_key(key, path): _copy(inner, (*path, str(key))) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(inner, (*path, str(n))) for n, inner in enumerate(value)]
    raise _NotJsonError("holds a value that is not JSON", path, value)


def _key(key: object, path: tuple[str, ...]) -> str:
    if not isinstance(key, str):
        raise _NotJsonError("holds a key that is not text", path, key)
    return _text(key, path, key)


def _text(value: str, path: tuple[str, ...], found: object) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _NotJsonError("holds text with a lone surrogate", path, found) from None
    return str.__str__(value)


def flatten_metadata(doc: Mapping[str, Any]) -> list[tuple[str, JsonScalar]]:
    """Return (path, scalar) for each scalar; the items of a list stand at the path of the list.

    So a predicate on ``tags`` or ``cameras.model`` holds if it holds for any item.
    """
    return list(_flatten(doc, None))


def _flatten(value: Any, path: str | None) -> Iterator[tuple[str, JsonScalar]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            part = escape_key(key)
            yield from _flatten(inner, part if path is None else f"{path}.{part}")
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _flatten(inner, path)
    else:
        yield path or "", value


def escape_key(key: str) -> str:
    r"""Return the key as one part of a path: ``a.b`` becomes ``a\.b``, and a backslash is doubled."""
    return key.replace("\\", "\\\\").replace(".", "\\.")


def join_path(keys: Sequence[str]) -> str:
    """Return the path of nested keys; :func:`split_path` is the inverse."""
    return ".".join(escape_key(key) for key in keys)


def split_path(path: str) -> list[str]:
    r"""Return the keys of a path: ``a.b\.c`` gives ``["a", "b.c"]``.

    A backslash before anything but a dot or a backslash stands for itself.
    """
    keys, part, n = [], "", 0
    while n < len(path):
        if path[n] == "\\" and path[n + 1 : n + 2] in (".", "\\"):
            part += path[n + 1]
            n += 2
            continue
        if path[n] == ".":
            keys.append(part)
            part = ""
        else:
            part += path[n]
        n += 1
    return [*keys, part]


def canonical_json(value: object) -> bytes:
    """Return the one byte string of a JSON value: sorted keys, no spaces, UTF-8.

    Raises MetadataRefused for NaN, infinity, lone surrogates and what JSON has no form for.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as problem:  # a lone surrogate is a ValueError too
        raise MetadataRefused(f"a value has no canonical JSON: {problem}") from problem


def event_data(data: Any, sequence: str) -> str:
    """Return an event's data as JSON text, or raise MetadataRefused."""
    checked = check_metadata({"data": data}, sequence=sequence, topic="_events")
    return canonical_json(checked["data"]).decode()
