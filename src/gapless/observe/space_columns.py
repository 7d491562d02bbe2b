"""A gymnasium space as columns: every number of its values has a place, exact and named by its path.

``Dict`` keys and ``Tuple`` places become parts of a dotted name (``observation.arm.0``). Floating point
becomes float64, integers int64, bools stay: no number that an environment may give is rounded. An array of
up to 512 numbers becomes one column for each, a larger one a list of fixed size in C order. A uint8 array
``[height, width, 3]`` is a picture, where pictures are wanted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from gymnasium import spaces
from numpy.typing import NDArray

from gapless.errors import SchemaRefused, ValueRefused
from gapless.model.metadata import canonical_json

_MAX_SCALARS = 512
_ARROW = {"f": pa.float64(), "i": pa.int64(), "u": pa.int64(), "b": pa.bool_()}


@dataclass(frozen=True)
class Leaf:
    """An array inside the values of a space: where it is, what it is called, and what it must look like."""

    path: tuple[str | int, ...]
    name: str
    shape: tuple[int, ...]
    kind: pa.DataType

    @property
    def is_list(self) -> bool:
        """Whether it is one column and not one for each number."""
        return math.prod(self.shape) > _MAX_SCALARS

    def fields(self) -> list[pa.Field]:
        """Return its columns."""
        words = {"description": f"of the space {self.name}"}
        if self.is_list:
            words["shape"] = canonical_json(list(self.shape)).decode()
            return [_field(self.name, pa.list_(self.kind, math.prod(self.shape)), words)]
        names = [".".join([self.name, *map(str, place)]) for place in np.ndindex(self.shape)]
        return [_field(name, self.kind, words) for name in names]

    def array(self, value: Any) -> NDArray[Any]:
        """Return this array of a value as it is; raises ValueRefused if it is not there or has another shape."""
        try:
            for key in self.path:
                value = value[key]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueRefused(
                "a value is not in its space", field=self.name, found=f"{type(error).__name__}: {error}"
            ) from error
        array = np.asarray(value)
        if array.shape != self.shape:
            raise ValueRefused(
                "a value is not in its space", field=self.name,
                found=f"shape {list(array.shape)}", expected=f"shape {list(self.shape)}",
            )  # fmt: skip
        return array

    def numbers(self, value: Any) -> list[Any]:
        """Return a copy of this array for its columns."""
        array = self.array(value)
        dtype = self.kind.to_pandas_dtype()
        if not np.can_cast(array.dtype, dtype, "safe"):
            raise ValueRefused(
                "a value has another type than its space",
                field=self.name, found=str(array.dtype), expected=str(self.kind),
            )  # fmt: skip
        exact = array.astype(dtype).ravel()
        return [exact] if self.is_list else exact.tolist()


class SpaceColumns:
    """The columns of a space; ``pictures`` are the leaves that are none, if they are wanted.

    Raises SchemaRefused, naming the space, for one that has no columns (Text, Sequence, Graph, OneOf).
    """

    def __init__(self, space: spaces.Space[Any], name: str, *, with_pictures: bool = False) -> None:
        leaves = list(_leaves(space, (), name))
        self.pictures = [leaf for leaf, picture in leaves if picture and with_pictures]
        self._numbers = [leaf for leaf, _ in leaves if leaf not in self.pictures]
        self.fields = [field for leaf in self._numbers for field in leaf.fields()]

    def values(self, value: Any) -> list[Any]:
        """Return the numbers of a value in the order of ``fields``; a later change of the value changes none."""
        return [number for leaf in self._numbers for number in leaf.numbers(value)]

    @property
    def names(self) -> Sequence[str]:
        """The names of the columns."""
        return [field.name for field in self.fields]


def _leaves(space: Any, path: tuple[str | int, ...], name: str) -> Iterator[tuple[Leaf, bool]]:
    """Yield the arrays of a space in their order, each with whether it looks like a picture."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        inner = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for key, part in inner:
            yield from _leaves(part, (*path, key), f"{name}.{key}")
    elif isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        dtype = np.dtype(space.dtype)
        if dtype.kind not in _ARROW or dtype in (np.dtype(np.uint64), np.dtype(np.longdouble)):
            raise _refused(space, name)
        shape = tuple(space.shape or ())
        picture = dtype == np.uint8 and len(shape) == 3 and shape[2] == 3
        yield Leaf(path, name, shape, _ARROW[dtype.kind]), picture
    else:
        raise _refused(space, name)


def _refused(space: Any, name: str) -> SchemaRefused:
    return SchemaRefused(
        "a space has no columns",
        field=name,
        found=repr(space),
        expected="Box, Discrete, MultiDiscrete or MultiBinary of up to 64 bits, or Dict and Tuple of them",
        next_step="wrap the environment so that it gives numbers",
    )


def _field(name: str, kind: pa.DataType, words: dict[str, str]) -> pa.Field:
    return pa.field(name, kind, nullable=False, metadata=words)
