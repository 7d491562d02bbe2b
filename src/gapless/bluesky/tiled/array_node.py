"""An array of Tiled's tree, of which a request reads only the rows that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from tiled.adapters.core import Adapter
from tiled.ndslice import NDBlock, NDSlice
from tiled.structures.array import ArrayStructure, BuiltinDtype
from tiled.structures.core import Spec, StructureFamily

from gapless.bluesky.tiled.read_only import ReadOnly
from gapless.bluesky.tiled.refusal import told

_CHUNK_BYTES = 8 << 20
_ALL = NDSlice(...)


class ArraySource(Protocol):
    """Where the values of an array come from."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The length along each axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values, never object."""

    @property
    def version(self) -> str:
        """A text that changes when the values change."""

    def rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return the values from ``start`` to before ``stop`` along the first axis."""


class ArrayNode(ReadOnly, Adapter[ArrayStructure]):  # type: ignore[misc]
    """An array whose first axis runs along time."""

    structure_family = StructureFamily.array

    def __init__(
        self,
        source: ArraySource,
        *,
        metadata: dict[str, Any] | None = None,
        specs: Sequence[Spec] = (),
        dims: Sequence[str] | None = None,
        chunks: Sequence[int] | None = None,
    ) -> None:
        self._source = source
        shape = source.shape
        along = tuple(chunks) if chunks is not None else _even_chunks(shape, source.dtype.itemsize)
        structure = ArrayStructure(
            data_type=BuiltinDtype.from_numpy_dtype(source.dtype),
            shape=shape,
            chunks=(along or (0,), *((length,) for length in shape[1:])),
            dims=None if dims is None else tuple(dims),
        )
        super().__init__(structure, metadata=metadata or {}, specs=list(specs))

    def __dask_tokenize__(self) -> tuple[str, str]:
        return "ArrayNode", self._source.version

    def __repr__(self) -> str:
        return f"<ArrayNode {self._source.shape} {self._source.dtype}>"

    @property
    def dims(self) -> tuple[str, ...] | None:
        """The names of the axes."""
        found: tuple[str, ...] | None = self.structure().dims
        return found

    def read(self, slice: NDSlice = _ALL) -> npt.NDArray[Any]:  # noqa: A002 - Tiled's word
        """Return a part of the array."""
        shape = self._source.shape
        first, *rest = tuple(slice.expand_for_shape(shape)) if slice else (np.s_[:],) * len(shape)
        start, stop, within = _span(first, shape[0])
        with told():
            return self._source.rows(start, stop)[(within, *rest)]

    def read_block(self, block: NDBlock, slice: NDSlice = _ALL) -> npt.NDArray[Any]:  # noqa: A002
        """Return one chunk, or a part of it."""
        first, *rest = tuple(block.slice_from_chunks(self.structure().chunks))
        start, stop, _ = _span(first, self._source.shape[0])
        with told():
            values = self._source.rows(start, stop)[(np.s_[:], *rest)]
        return values[tuple(slice)] if slice else values


def _even_chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * itemsize
    rows = max(1, _CHUNK_BYTES // max(1, row_bytes))
    return tuple(min(rows, shape[0] - start) for start in range(0, shape[0], rows))


def _span(index: Any, length: int) -> tuple[int, int, Any]:
    """Return the rows that an index along the first axis needs, and the same index within them."""
    if isinstance(index, int):
        place = index + length if index < 0 else index
        if not 0 <= place < length:
            raise IndexError(index)
        return place, place + 1, 0
    places = range(*index.indices(length))
    if not places:
        return 0, 0, np.s_[:]
    low, high = min(places[0], places[-1]), max(places[0], places[-1])
    end = places[-1] - low + (1 if places.step > 0 else -1)
    return low, high + 1, np.s_[places[0] - low : None if end < 0 else end : places.step]
