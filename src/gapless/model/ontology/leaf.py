"""A leaf is one column of a topic: its dotted name, its type and what the numbers mean.

Annotate a field with ``float``, ``int``, ``bool``, ``str``, ``bytes``, or with one of the aliases here
(``Float32``, ``UInt16``, ``LargeBytes`` …) to choose the width on disk.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    _T = TypeVar("_T")
    Values = Sequence[_T] | NDArray[Any]
else:
    Values = list  # what a type checker should accept for a list field, numpy arrays included

Int8 = Annotated[int, "int8"]
Int16 = Annotated[int, "int16"]
Int32 = Annotated[int, "int32"]
Int64 = Annotated[int, "int64"]
UInt8 = Annotated[int, "uint8"]
UInt16 = Annotated[int, "uint16"]
UInt32 = Annotated[int, "uint32"]
UInt64 = Annotated[int, "uint64"]
Float16 = Annotated[float, "float16"]
Float32 = Annotated[float, "float32"]
Float64 = Annotated[float, "float64"]
LargeBytes = Annotated[bytes, "large_binary"]

PYTHON_TYPES: dict[object, str] = {
    float: "float64",
    int: "int64",
    bool: "bool",
    str: "string",
    bytes: "binary",
}
_ARROW_NAMES = {"bool": "bool_"}
FLOATS = frozenset({"float16", "float32", "float64"})
NUMBERS = FLOATS | {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
DTYPES = NUMBERS | {"bool", "string", "binary", "large_binary"}


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number, truth value, text or byte string."""

    name: str

    def __str__(self) -> str:
        return self.name

    def arrow(self) -> pa.DataType:
        """Return the Arrow type."""
        import pyarrow as pa

        return getattr(pa, _ARROW_NAMES.get(self.name, self.name))()


@dataclass(frozen=True, slots=True)
class ListOf:
    """Any number of items, or exactly ``size`` of them."""

    item: LeafType
    size: int | None = None

    def __str__(self) -> str:
        return f"list<{self.item}>" if self.size is None else f"list<{self.item}>[{self.size}]"

    def arrow(self) -> pa.DataType:
        """Return the Arrow type: a list, or a fixed-size list when the size is known."""
        import pyarrow as pa

        return pa.list_(self.item.arrow(), -1 if self.size is None else self.size)


@dataclass(frozen=True, slots=True)
class StructOf:
    """Named members; only as the item of a list, since single nested types become flat columns."""

    members: tuple[tuple[str, LeafType, bool], ...]

    def __str__(self) -> str:
        inner = ",".join(f"{name}:{kind}{'?' if nullable else ''}" for name, kind, nullable in self.members)
        return f"struct<{inner}>"

    def arrow(self) -> pa.DataType:
        """Return the Arrow type."""
        import pyarrow as pa

        return pa.struct([pa.field(name, kind.arrow(), nullable) for name, kind, nullable in self.members])


LeafType = Scalar | ListOf | StructOf


def innermost(kind: LeafType) -> LeafType:
    """Return what the lists around it hold."""
    while isinstance(kind, ListOf):
        kind = kind.item
    return kind


@dataclass(frozen=True, slots=True)
class Leaf:
    """One column: ``str(leaf.type)`` is its canonical type, ``arrow_field()`` its Arrow field.

    ``uncertainty`` is a number or text in the unit of the leaf, or the name of the column that holds it.
    """

    name: str
    type: LeafType
    nullable: bool = False
    shape: tuple[int, ...] | None = None
    unit: str | None = None
    description: str | None = None
    uncertainty: str | float | None = None
    allow_nan: bool = True

    @property
    def is_float(self) -> bool:
        """Whether the values, or the items of the lists, can be NaN."""
        inner = innermost(self.type)
        return isinstance(inner, Scalar) and inner.name in FLOATS

    def arrow_field(self) -> pa.Field:
        """Return the Arrow field with unit, description, shape, uncertainty and allow_nan as metadata."""
        import pyarrow as pa

        meta: dict[str, str] = {}
        if self.unit is not None:
            meta["unit"] = self.unit
        if self.description is not None:
            meta["description"] = self.description
        if self.shape is not None:
            meta["shape"] = json.dumps(list(self.shape))
        if self.uncertainty is not None:
            meta["uncertainty"] = str(self.uncertainty)
        if self.is_float:
            meta["allow_nan"] = "true" if self.allow_nan else "false"
        return pa.field(self.name, self.type.arrow(), self.nullable, meta or None)

    def identity(self) -> list[object]:
        """Return what makes two columns the same column; wording may change, meaning may not."""
        shape = None if self.shape is None else list(self.shape)
        uncertainty = None if self.uncertainty is None else str(self.uncertainty)
        return [self.name, str(self.type), self.nullable, shape, self.unit, uncertainty, self.allow_nan]
