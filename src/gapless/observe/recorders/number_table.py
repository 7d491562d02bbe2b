"""Tables of plain numbers: each column is one float64, copied exactly from what the source's callables return."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from gapless.errors import SchemaRefused, UsageError, ValueRefused
from gapless.observe.recorder import Every, TableSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gapless.observe.sources import Read
    from gapless.observe.step import StepContext

_EXACT = 2**53  # every whole number up to this is a float64


@dataclass(frozen=True)
class Column:
    """A column before it has its place: name, unit if it is known, meaning."""

    name: str
    unit: str | None
    description: str

    @property
    def field(self) -> pa.Field:
        """The Arrow field."""
        words = {"description": self.description} | ({"unit": self.unit} if self.unit else {})
        return pa.field(self.name, pa.float64(), nullable=False, metadata=words)


@dataclass(frozen=True)
class Part:
    """The columns that one callable gives at once; ``name`` is what an error calls them."""

    name: str
    read: Read
    columns: Sequence[Column]


class NumberTable:
    """A table whose rows are the numbers of its parts, one after the other.

    Reading raises ValueRefused, naming topic and column, for what is no number, for another count of
    numbers, and for whole numbers that a float64 would round. NaN is a number. A refused read leaves the
    row as it was.
    """

    def __init__(
        self,
        topic: str,
        parts: Sequence[Part],
        *,
        version: int,
        roles: Mapping[str, Sequence[str]],
        every: Every = "tick",
    ) -> None:
        columns = [column for part in parts for column in part.columns]
        _check_names(topic, [column.name for column in columns])
        schema = pa.schema([column.field for column in columns])
        self.spec = TableSpec(topic, schema, version, every, roles)
        self._values = np.zeros(len(columns))
        self._parts = list(self._places(parts))
        self.row: list[float] = self._values.tolist()

    def _places(self, parts: Iterable[Part]) -> Iterator[tuple[Part, NDArray[np.float64]]]:
        first = 0
        for part in parts:
            yield part, self._values[first : first + len(part.columns)]
            first += len(part.columns)

    def read(self, context: StepContext) -> None:
        """Copy what the callables return now."""
        del context  # every step is read alike
        for part, place in self._parts:
            place[:] = self._numbers(part, part.read())
        self.row[:] = self._values.tolist()

    def _numbers(self, part: Part, value: Any) -> NDArray[Any]:
        """Return a value as an array that float64 holds exactly."""
        try:
            array = np.atleast_1d(np.asarray(value))
        except (TypeError, ValueError) as error:
            raise self._refused(part.name, f"{type(value).__name__}: {error}", part) from error
        if array.shape != (len(part.columns),):
            raise self._refused(part.name, f"shape {list(array.shape)}", part)
        if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
            field, found = _odd_one(part, array)
            raise self._refused(field, found, part)
        if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
            large = np.flatnonzero((array > _EXACT) | (array < -_EXACT))
            if large.size:
                raise self._refused(part.columns[large[0]].name, str(array[large[0]]), part)
        return array

    def _refused(self, field: str, found: str, part: Part) -> ValueRefused:
        return ValueRefused(
            f"the source of {part.name} gave something else than its numbers",
            topic=self.spec.topic,
            field=field,
            found=found,
            expected=f"{len(part.columns)} numbers that a float64 holds",
        )


def _odd_one(part: Part, array: NDArray[Any]) -> tuple[str, str]:
    """Return the column and the value that are to blame, or the whole part and its type."""
    if array.dtype == object:
        for column, value in zip(part.columns, array, strict=True):
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not number or abs(value) > _EXACT:
                return column.name, repr(value)
    return part.name, f"an array of {array.dtype}"


def _check_names(topic: str, names: Sequence[str]) -> None:
    """Return if there are columns and each has a name of its own."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise SchemaRefused(
            "each column has a name of its own" if twice else "a table has columns",
            topic=topic,
            found=", ".join(twice) or "no columns",
        )


def names_of(names: Any, what: str) -> list[str]:
    """Return names as a list; UsageError for one word, and for anything that is no text or empty."""
    found = [names] if isinstance(names, str) else list(names)
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in found):
        raise UsageError(f"{what} is a list of names", field=what, found=repr(names))
    return found


def check_units(units: Mapping[str, str], known: Iterable[str]) -> None:
    """Return if every name with a unit is known."""
    names = list(known)
    unknown = sorted(set(units) - set(names))
    if unknown:
        raise UsageError(
            "a unit is given to something that there is not",
            field="units",
            found=", ".join(unknown),
            expected=", ".join(names),
        )


def pose_part(name: str, read: Read, prefix: str, whose: str) -> Part:
    """Return the seven columns of a pose: x, y, z in metres and the quaternion w, x, y, z."""
    place = [Column(f"{prefix}position.{a}", "m", f"place of {whose} in the world") for a in "xyz"]
    turn = [Column(f"{prefix}orientation.{a}", "1", f"attitude of {whose}, unit quaternion") for a in "wxyz"]
    return Part(name, read, [*place, *turn])
