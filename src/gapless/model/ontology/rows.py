"""Rows of a topic whose type is not known here: attribute access by path, no class needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gapless.errors import NotFound, ValueRefused

if TYPE_CHECKING:
    import pyarrow as pa

HIDDEN = ("timestamp_ns", "_seq")


class GenericType:
    """The columns of a schema-only topic; builds :class:`Row` objects and takes them apart."""

    __slots__ = ("_index", "_prefixes", "names", "tag")

    def __init__(self, names: Sequence[str], tag: str | None) -> None:
        self.tag = tag
        self.names = tuple(name for name in names if name not in HIDDEN)
        self._index = {name: n for n, name in enumerate(self.names)}
        self._prefixes = {
            name[:n] for name in self.names for n, character in enumerate(name) if character == "."
        }

    def unflatten(self, values: Sequence[Any]) -> Row:
        """Return the row of these column values, which stand in the order of ``names``."""
        if len(values) != len(self.names):
            raise ValueRefused(
                f"a row of {self.tag or 'this topic'} has {len(self.names)} values", found=values
            )
        return Row(self, tuple(values), "")

    def flatten(self, row: object) -> tuple[Any, ...]:
        """Return the values of a row that this type built; raises ValueRefused for anything else."""
        if isinstance(row, Row) and not row._prefix and row._kind.names == self.names:
            return row._values
        raise ValueRefused("a value has the wrong type", found=repr(row), expected=f"a row of {self.tag}")

    def __repr__(self) -> str:
        return f"GenericType({list(self.names)!r}, tag={self.tag!r})"


class Row:
    """One row, or the part of it below a dotted prefix: ``row.acceleration.x`` or ``row["acceleration.x"]``.

    A missing name is an AttributeError as attribute and NotFound as item.
    """

    __slots__ = ("_kind", "_prefix", "_values")

    def __init__(self, kind: GenericType, values: tuple[Any, ...], prefix: str) -> None:
        self._kind = kind
        self._values = values
        self._prefix = prefix

    def __getitem__(self, path: str) -> Any:
        full = f"{self._prefix}{path}"
        index = self._kind._index.get(full)
        if index is not None:
            return self._values[index]
        if full in self._kind._prefixes:
            return Row(self._kind, self._values, f"{full}.")
        raise NotFound("the row has no column of this name", field=full, expected=", ".join(self))

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except NotFound as problem:
            raise AttributeError(str(problem)) from problem

    def __iter__(self) -> Iterator[str]:
        start = len(self._prefix)
        return (name[start:] for name in self._kind.names if name.startswith(self._prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Row) and self._kind.tag == other._kind.tag and self.to_dict() == other.to_dict()
        )

    __hash__ = None  # type: ignore[assignment]  # rows can hold lists

    def to_dict(self) -> Mapping[str, Any]:
        """Return column name to value."""
        return {name: self._values[self._kind._index[f"{self._prefix}{name}"]] for name in self}

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in self.to_dict().items())
        return f"{self._kind.tag or 'Row'}({inner})"

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore, (self._kind.names, self._kind.tag, self._values, self._prefix))


def _restore(names: tuple[str, ...], tag: str | None, values: tuple[Any, ...], prefix: str) -> Row:
    return Row(GenericType(names, tag), values, prefix)


def generic_type(schema: pa.Schema | Sequence[str], tag: str | None = None) -> GenericType:
    """Return the type of a topic's rows made from its Arrow schema, or from its column names, alone."""
    names: Sequence[str] = getattr(schema, "names", schema)
    return GenericType(names, tag)
