"""Which keys metadata may have here: those that a query can name."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from gapless.model.metadata import MAX_DEPTH

_ALPHABET: Final = frozenset(string.ascii_letters + string.digits + "-_ ")


def check_keys(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata, or raise ``pyarrow.ArrowInvalid`` naming the first key that is refused.

    A key is not empty, is made of ``A-Z a-z 0-9 - _`` and spaces, and does not hold ``--``.
    """
    _check(metadata, "", 0)
    return dict(metadata)


def _check(value: object, path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise pa.ArrowInvalid(f"metadata is nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            place = f"{path}.{key}" if path else str(key)
            if not key or "--" in key or not set(key) <= _ALPHABET:
                raise pa.ArrowInvalid(
                    f"invalid metadata key {place!r}: a key is made of letters, digits, '-', '_' and spaces,"
                    " without '--'"
                )
            _check(inner, place, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, path, depth + 1)
