"""One JSON form for equal values, and no form at all for what has none: the ground that identities stand on.

Different values have different forms: 1, 1.0 and true; a list and a set; two models of different classes
with the same fields. A tuple is a list, a path or an enum is its value.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Set
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
from pydantic import BaseModel

from gapless.errors import IdentityRefused


def canonical(value: Any, path: str = "value") -> Any:
    """Return the JSON value that stands for a value; ``path`` is what errors call its place.

    Mappings by sorted text keys, sets sorted, sequences in order, models by their class and identity dump.
    What JSON cannot hold is tagged: ``{"$float": "nan"}``, ``{"$set": [...]}``, ``{"$model": name, ...}``;
    a mapping with a key that looks like a tag becomes ``{"$map": [[key, value], ...]}``. Raises
    IdentityRefused, naming the place, for anything else. The value is not changed.
    """
    try:
        return _form(value, path)
    except RecursionError as error:
        raise IdentityRefused("a parameter contains itself", field=path) from error


def canonical_text(value: Any) -> str:
    """Return the canonical form of a value as text."""
    return form_text(canonical(value))


def form_text(form: Any) -> str:
    """Return the one text of a value that is in canonical form already."""
    return json.dumps(form, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def form_digest(form: Any) -> str:
    """Return the SHA-256 of :func:`form_text`, in 64 hex digits."""
    return hashlib.sha256(form_text(form).encode()).hexdigest()


def identity_fields(model: BaseModel) -> dict[str, Any]:
    """Return the fields of a model that can change a value, by name; without ``identity_dump`` what it dumps."""
    dump = getattr(model, "identity_dump", None)
    if dump is not None:
        return dict(dump())
    named = {
        name: getattr(model, name) for name, field in type(model).model_fields.items() if not field.exclude
    }
    return {**named, **(model.model_extra or {})}


def _form(value: Any, path: str) -> Any:
    if isinstance(value, Enum):
        return _form(value.value, path)
    if isinstance(value, np.timedelta64):  # a number to NumPy, but without its unit
        raise _refused(value, path)
    if isinstance(value, np.bool_ | np.number | np.str_):
        value = value.item()  # Python's own, or still NumPy's where Python has no exact type
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, PurePath):
        return _text(value.as_posix(), path)
    if isinstance(value, BaseModel):
        return {"$model": _class_name(value), **_items(identity_fields(value), path)}
    if isinstance(value, Mapping):
        return _mapping(value, path)
    if isinstance(value, list | tuple):
        return [_form(item, f"{path}[{place}]") for place, item in enumerate(value)]
    if isinstance(value, Set):
        return {"$set": sorted((_form(item, f"{path}{{}}") for item in value), key=form_text)}
    raise _refused(value, path)


def _refused(value: Any, path: str) -> IdentityRefused:
    kind = type(value)
    return IdentityRefused(
        "a parameter has no canonical form", field=path, found=f"{kind.__module__}.{kind.__qualname__}",
        expected="None, bool, int, float, str, path, enum, list, tuple, set, mapping or a model of them",
    )  # fmt: skip


def _text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise IdentityRefused("a text is no Unicode", field=path, found=repr(value)) from error
    return str.__str__(value)


def _mapping(value: Mapping[Any, Any], path: str) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise IdentityRefused("the key of a mapping is no text", field=path, found=repr(key))
    form = _items(value, path)
    if any(key.startswith("$") for key in form):
        return {"$map": [[key, form[key]] for key in sorted(form)]}
    return form


def _items(value: Mapping[str, Any], path: str) -> dict[str, Any]:
    return {_text(key, path): _form(value[key], f"{path}.{key}") for key in value}


def _class_name(model: BaseModel) -> str:
    """Return the class of a model without its type arguments, which show in the fields."""
    return (type(model).__pydantic_generic_metadata__["origin"] or type(model)).__qualname__
