"""One JSON form for equal values, and no form at all for what has none: the ground that identities stand on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
from pydantic import BaseModel

from gapless.errors import IdentityRefused


def canonical(value: Any, path: str = "value") -> Any:
    """Return the JSON value that stands for a value: equal values give equal ones, others give others.

    Mappings by sorted text keys, sets sorted, sequences in order, enums by value, models by their identity
    dump. Raises IdentityRefused, naming the place, for anything else.
    """
    if isinstance(value, Enum):
        return canonical(value.value, path)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic):
        return canonical(value.item(), path)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, BaseModel):
        dump = getattr(value, "identity_dump", None)
        if dump is not None:
            return canonical(dump(), path)
        return canonical(
            {name: getattr(value, name) for name, f in type(value).model_fields.items() if not f.exclude},
            path,
        )
    if isinstance(value, Mapping):
        return _mapping(value, path)
    if isinstance(value, list | tuple):
        return [canonical(item, f"{path}[{place}]") for place, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        items = [canonical(item, f"{path}{{}}") for item in value]
        return {"$set": sorted(items, key=lambda item: json.dumps(item, sort_keys=True))}
    raise IdentityRefused(
        "a parameter has no canonical form", field=path, found=f"{type(value).__module__}.{type(value).__qualname__}",
        expected="None, bool, int, float, str, path, enum, list, tuple, set, mapping or a model of them",
    )  # fmt: skip


def _float(value: float) -> Any:
    """Return a number that JSON can hold; 1.0 is not 1, and what is no number is named."""
    if math.isfinite(value):
        return {"$float": repr(value)} if value == int(value) or abs(value) >= 1e16 else value
    return {"$float": repr(value)}


def _mapping(value: Mapping[Any, Any], path: str) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise IdentityRefused("the key of a mapping is no text", field=path, found=repr(key))
    out = {key: canonical(value[key], f"{path}.{key}") for key in sorted(value)}
    if any(key.startswith("$") for key in out):  # or a mapping could look like a tagged value
        return {"$map": [[key, item] for key, item in out.items()]}
    return out


def canonical_text(value: Any) -> str:
    """Return the canonical form as text."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
