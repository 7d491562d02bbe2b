"""What one event's external value is: its shape, its type, and how the files cut it up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

Shape: TypeAlias = tuple[int | None, ...]
Join: TypeAlias = Literal["stack", "concat"]


@dataclass(frozen=True, slots=True)
class Datum:
    """The value of one event.

    ``shape`` may hold None for a size that the files tell. ``dtype`` is None where the data key does not
    declare one. ``join`` says how events follow each other: along a new first axis, or along the first one
    they have. ``files`` is how many files of a numbered sequence hold one event.
    """

    shape: Shape
    dtype: np.dtype[Any] | None
    join: Join
    files: int = 1

    @classmethod
    def of(cls, data_key: Mapping[str, Any], parameters: Mapping[str, Any], join: Join = "stack") -> Datum:
        """Return what a data key and the parameters of a resource declare; ``join`` is the format's habit."""
        chosen: Join = "concat" if parameters.get("join_method", join) == "concat" else "stack"
        shape = _event_shape(data_key.get("shape") or (), parameters, chosen)
        return cls(shape, _dtype(data_key.get("dtype_numpy")), chosen, _files(shape, parameters, chosen))

    def fit(self, rows: int | None, row_shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]] | None:
        """Return rows per event and the event's shape for files whose rows have this shape.

        ``rows``: how many rows of the files make one event, None if their shapes decide. Axes of length 1
        may be there or not. None: the rows are no part of such events.
        """
        if None in self.shape:
            return self._fit_open(rows, row_shape)
        wanted = tuple(int(size) for size in self.shape if size is not None)
        size, row_size = math.prod(wanted), math.prod(row_shape)
        if rows is None:
            rows = size // row_size if row_size and size % row_size == 0 else 0
        if rows < 1 or _without_ones((rows, *row_shape)) != _without_ones(wanted):
            return None
        return rows, wanted

    def _fit_open(self, rows: int | None, row_shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]] | None:
        known = [(1 if rows is None else rows, *row_shape), row_shape]
        if rows is None and self.shape and self.shape[0] is not None:
            known.insert(0, (self.shape[0], *row_shape))
        for found in known:
            if len(found) == len(self.shape) and all(
                want in (None, have) for want, have in zip(self.shape, found, strict=True)
            ):
                return (found[0] if len(found) > len(row_shape) else 1), found
        return None


def _event_shape(declared: Sequence[int | None], parameters: Mapping[str, Any], join: Join) -> Shape:
    shape: Shape = tuple(declared)
    if shape == (1,) and join == "stack":
        shape = ()
    multiplier = parameters.get("multiplier")
    if not multiplier:
        return shape
    if not shape:
        return (int(multiplier),)
    if shape[0] == multiplier:
        return shape
    return (int(multiplier), *(shape[1:] if shape[0] == 1 else shape))


def _files(shape: Shape, parameters: Mapping[str, Any], join: Join) -> int:
    """Return how many numbered files hold one event: told, or by the frames that each file has."""
    told = parameters.get("files_per_datum")
    if told:
        return int(told)
    if not shape or shape[0] is None:
        return 1
    chunk = tuple(parameters.get("chunk_shape") or ())
    if join == "concat":
        lead = chunk[0] if chunk else 1
        frames = lead if shape[0] % lead == 0 else shape[0]
    elif parameters.get("multiplier"):
        frames = 1
    elif chunk and len(chunk) == len(shape) and chunk[1:] == shape[1:] and shape[0] % chunk[0] == 0:
        frames = chunk[0]
    else:
        frames = shape[0]
    return max(shape[0] // max(int(frames), 1), 1)


def _dtype(words: Any) -> np.dtype[Any] | None:
    if not words:
        return None
    try:
        if isinstance(words, str):
            return np.dtype(words)
        return np.dtype([tuple(field) for field in words])
    except (TypeError, ValueError):
        return None


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
