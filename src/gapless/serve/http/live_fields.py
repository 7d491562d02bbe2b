"""The fields of a topic that fit a line of a live view: numbers, truth values and short texts, leaf by leaf."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from gapless.store.declaration import SEQ, TIME

MAX_FIELDS: Final = 64
MAX_ELEMENTS: Final = 32
_Step = str | int


@dataclass(frozen=True, slots=True)
class LiveField:
    """One leaf of a row; ``steps`` lead to it through structs (names) and lists (positions)."""

    path: str
    unit: str
    steps: tuple[_Step, ...]

    def value(self, row: dict[str, Any]) -> Any:
        """Return its value in a row, None where something on the way to it is null."""
        value: Any = row
        for step in self.steps:
            if value is None or (isinstance(step, int) and step >= len(value)):
                return None
            value = value[step]
        return value


def live_fields(schema: pa.Schema) -> list[LiveField]:
    """Return at most :data:`MAX_FIELDS` leaves of a topic's schema, in its order.

    Elements of lists of a fixed size up to :data:`MAX_ELEMENTS` are leaves; pictures and long lists are none.
    """
    leaves: list[LiveField] = []
    for field in schema:
        if field.name not in (TIME, SEQ):
            leaves += _leaves(field.type, field.name, _unit(field), (field.name,))
    return leaves[:MAX_FIELDS]


def _leaves(kind: pa.DataType, path: str, unit: str, steps: tuple[_Step, ...]) -> Iterator[LiveField]:
    if pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(field.type, f"{path}.{field.name}", _unit(field) or unit, (*steps, field.name))
    elif pa.types.is_fixed_size_list(kind):
        for n in range(kind.list_size if kind.list_size <= MAX_ELEMENTS else 0):
            yield from _leaves(kind.value_type, f"{path}[{n}]", unit, (*steps, n))
    elif _fits(kind):
        yield LiveField(path, unit, steps)


def _fits(kind: pa.DataType) -> bool:
    types = pa.types
    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string)
    return any(test(kind) for test in tests)


def _unit(field: pa.Field) -> str:
    words: bytes = (field.metadata or {}).get(b"unit", b"")
    return words.decode("utf-8", "replace")
