"""Times as JSON carries them: int64 nanoseconds since 1970 are texts of digits, because a browser rounds numbers."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, TypeAlias

from fastapi import Query
from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from gapless.errors import UsageError

_DIGITS: Final = re.compile(r"-?[0-9]{1,19}")
_PATTERN: Final = "^-?[0-9]{1,19}$"
_INT64: Final = range(-(2**63), 2**63)


def asked_ns(value: Any) -> int:
    """Return the time that a text of digits or a whole number means; ValueError for all else."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value not in _INT64:
        raise ValueError("a time is a whole number of nanoseconds since 1970, within 64 bits")
    return value


Nanoseconds: TypeAlias = Annotated[
    int,
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": _PATTERN, "examples": ["1700000000000000000"]}, mode="serialization"
    ),
]
NanosecondsBetween: TypeAlias = Annotated[  # two times may lie further apart than 64 bits reach from zero
    int,
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": "^-?[0-9]{1,20}$", "examples": ["2500000000"]}, mode="serialization"
    ),
]
AskedNanoseconds: TypeAlias = Annotated[
    int,
    BeforeValidator(asked_ns),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _PATTERN},
                {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
            ],
            "examples": ["1700000000000000000"],
        },
        mode="validation",
    ),
]
StartNs: TypeAlias = Annotated[
    AskedNanoseconds | None, Query(description="first time that is wanted, in ns since 1970")
]
EndNs: TypeAlias = Annotated[
    AskedNanoseconds | None, Query(description="the time before which it ends, in ns since 1970")
]


def check_window(start_ns: int | None, end_ns: int | None) -> None:
    """Raise UsageError for a window that ends before it begins."""
    if start_ns is not None and end_ns is not None and end_ns < start_ns:
        raise UsageError("the window ends before it begins", field="end_ns", found=f"{start_ns} to {end_ns}",
                         next_step="exchange start_ns and end_ns")  # fmt: skip
