"""One value in a topic's rows: a column, a member of a struct in it, or an element of a list."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gapless.errors import NotFound, UsageError
from gapless.store.declaration import TIME

Numbers = NDArray[Any]
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d{1,9})\]")
_List = pa.ListType | pa.LargeListType | pa.FixedSizeListType


@dataclass(frozen=True)
class Leaf:
    """Where a value is: ``steps`` lead from the column to it, a text into a struct, a number into a list."""

    name: str
    declared: pa.Field  # the column
    steps: tuple[str | int, ...]
    type: pa.DataType

    @classmethod
    def of(cls, schema: pa.Schema, name: str, topic: str) -> Leaf:
        """Return the leaf that a name such as ``x``, ``pose.position.x`` or ``joints[3]`` means.

        A column whose own name has dots comes first. Raises NotFound if there is none.
        """
        columns = [column for column in schema.names if column != TIME]
        for column in sorted(columns, key=len, reverse=True):
            if not name.startswith(column):
                continue
            steps = _steps(name[len(column) :])
            kind = None if steps is None else _type_at(schema.field(column).type, steps)
            if steps is not None and kind is not None:
                return cls(name, schema.field(column), steps, kind)
        raise NotFound(
            "the topic has no such column", topic=topic, field=name,
            expected=f"one of {', '.join(columns)}", next_step="correct the column name",
        )  # fmt: skip

    @property
    def column(self) -> str:
        """The column that holds the value."""
        return str(self.declared.name)

    @property
    def unit(self) -> str | None:
        """The unit that is declared nearest to the value: by a member, or else by what holds it."""
        known = [(field.metadata or {}).get(b"unit") for field in self._way]
        return next((unit.decode() for unit in reversed(known) if unit), None)

    @property
    def _way(self) -> list[pa.Field]:
        """The fields that lead to the value, from the column on."""
        way = [self.declared]
        for step in self.steps:
            kind = way[-1].type
            way.append(kind.value_field if isinstance(step, int) else kind.field(step))
        return way

    @property
    def uncertainty(self) -> str | None:
        """What the column declares: a number or text in its unit, or the name of another column."""
        known = (self.declared.metadata or {}).get(b"uncertainty")
        return known.decode() if known else None

    @property
    def is_number(self) -> bool:
        """Whether the value is a number or a bool."""
        kind = self.type
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))

    @property
    def is_text(self) -> bool:
        """Whether the value is text."""
        return bool(pa.types.is_string(self.type) or pa.types.is_large_string(self.type))

    def values(self, batch: pa.RecordBatch) -> pa.Array:
        """Return the values of a batch that holds the column; null where any step leads nowhere."""
        array = batch.column(self.column)
        for step in self.steps:
            array = _element(array, step) if isinstance(step, int) else pc.struct_field(array, step)
        return array

    def numbers(self, values: pa.Array) -> Numbers:
        """Return values as float64, uint64 or int64 (bool too), 0 for null, without rounding."""
        if not self.is_number:
            raise UsageError("the field is not a number", field=self.name, found=str(self.type))
        filled = values.fill_null(False if pa.types.is_boolean(self.type) else 0)
        array = filled.to_numpy(zero_copy_only=False)
        kinds = {"f": np.float64, "u": np.uint64}
        return np.asarray(array.astype(kinds.get(array.dtype.kind, np.int64), copy=False))


def _steps(text: str) -> tuple[str | int, ...] | None:
    """Return the steps that a text behind a column's name spells, None if it spells none."""
    steps: list[str | int] = []
    while text:
        found = _STEP.match(text)
        if found is None:
            return None
        steps.append(found[1] if found[1] is not None else int(found[2]))
        text = text[found.end() :]
    return tuple(steps)


def _type_at(kind: pa.DataType, steps: tuple[str | int, ...]) -> pa.DataType | None:
    for step in steps:
        if isinstance(step, int) and isinstance(kind, _List):
            if isinstance(kind, pa.FixedSizeListType) and step >= kind.list_size:
                return None
            kind = kind.value_type
        elif isinstance(step, str) and isinstance(kind, pa.StructType) and kind.get_field_index(step) >= 0:
            kind = kind.field(step).type
        else:
            return None
    return kind


def _element(array: pa.Array, place: int) -> pa.Array:
    """Return element ``place`` of each list, null where the list is shorter or null."""
    if isinstance(array.type, pa.FixedSizeListType):
        width = array.type.list_size
        places = (np.arange(len(array)) + array.offset) * width + place
        missing = array.is_null().to_numpy(zero_copy_only=False)
    else:
        lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
        places = array.offsets.to_numpy()[:-1].astype(np.int64) + place
        missing = lengths <= place
    return array.values.take(pa.array(np.where(missing, 0, places), pa.int64(), mask=missing))
