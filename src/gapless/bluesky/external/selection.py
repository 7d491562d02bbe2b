"""The part of a dataset that a resource means: its ``slice`` parameter, applied without reading the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from gapless.errors import DocumentRefused

Index: TypeAlias = int | slice


class DatasetSelection:
    """Rows of a dataset of a given shape after its slice: the first axis that is not a single index.

    ``words`` is ``":, 0, 2:5"``, with or without brackets, or a list of such parts, numbers, or objects of
    start, stop and step. Raises DocumentRefused for anything else, and for steps backwards.
    """

    def __init__(self, shape: tuple[int, ...], words: Any = None) -> None:
        axes = [*parse_slice(words)]
        axes += [slice(None)] * (len(shape) - len(axes))
        if len(axes) > len(shape):
            raise DocumentRefused(
                "a resource's slice has more dimensions than its dataset",
                found=words,
                expected=f"at most {len(shape)}",
            )
        self._axes = axes
        ranges = [
            range(*axis.indices(size)) if isinstance(axis, slice) else None
            for axis, size in zip(axes, shape, strict=True)
        ]
        self._lead = next((n for n, found in enumerate(ranges) if found is not None), None)
        self._rows = range(1) if self._lead is None else ranges[self._lead] or range(0)
        self.rows = len(self._rows)
        kept = [found for found in ranges if found is not None]
        self.row_shape = tuple(len(found) for found in kept[1:])

    def of_rows(self, start: int, stop: int) -> tuple[Index, ...]:
        """Return the index into the dataset of the rows ``[start, stop)``, ``start < stop``."""
        axes = list(self._axes)
        if self._lead is not None:
            chosen = self._rows[start:stop]
            axes[self._lead] = slice(chosen.start, chosen[-1] + 1, chosen.step)
        return tuple(axes)


def parse_slice(words: Any) -> list[Index]:
    """Return the axes of a slice parameter; nothing for none."""
    if words is None or words is False or words == "":
        return []
    if isinstance(words, str):
        return [_axis(part) for part in words.strip().strip("()[]").split(",") if part.strip()]
    if isinstance(words, Sequence):
        return [_axis(part) for part in words]
    raise _refused(words)


def _axis(part: Any) -> Index:
    if isinstance(part, slice):
        return _forward(part)
    if isinstance(part, Mapping):
        return _forward(slice(part.get("start"), part.get("stop"), part.get("step")))
    if isinstance(part, int) and not isinstance(part, bool):
        return part
    if not isinstance(part, str):
        raise _refused(part)
    numbers = part.strip().split(":")
    try:
        bounds = [int(number) if number.strip() else None for number in numbers]
    except ValueError as error:
        raise _refused(part) from error
    if len(bounds) == 1 and bounds[0] is not None:
        return bounds[0]
    if not 2 <= len(bounds) <= 3:
        raise _refused(part)
    return _forward(slice(*bounds))


def _forward(part: slice) -> slice:
    if part.step is not None and (not isinstance(part.step, int) or part.step < 1):
        raise _refused(part)
    return part


def _refused(words: Any) -> DocumentRefused:
    return DocumentRefused(
        "a resource's slice cannot be understood", found=repr(words), expected="such as ':, 0, 2:5'"
    )
