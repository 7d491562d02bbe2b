"""What every format of external files offers: rows of one shape and type, read in slices."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gapless.errors import IntegrityError, MissingExtra

Array: TypeAlias = NDArray[Any]


class ExternalFile(Protocol):
    """One open file, or one dataset in it, as rows.

    ``rows`` is how many there are now, ``row_shape`` and ``dtype`` are those of each row. Used in a
    with-block; nothing is ever written.
    """

    rows: int
    row_shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, start: int, stop: int) -> Array:
        """Return the rows ``[start, stop)``, all of which exist, with shape ``(stop - start, *row_shape)``."""

    def others(self) -> Iterable[Path]:
        """Return the other files that rows come from, and what symbolic links in a folder lead to."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LoadedFile:
    """An :class:`ExternalFile` whose rows were read at once: one picture, one array."""

    def __init__(self, values: Array) -> None:
        self._values = values
        self.rows = len(values)
        self.row_shape: tuple[int, ...] = values.shape[1:]
        self.dtype: np.dtype[Any] = values.dtype

    def read(self, start: int, stop: int) -> Array:
        """Return the rows ``[start, stop)``."""
        return self._values[start:stop]

    def others(self) -> Iterable[Path]:
        """Return nothing: the file has all of it."""
        return ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._values


def need(module: str) -> ModuleType:
    """Import the library of a format, or raise MissingExtra that says how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"reading this file needs {module}, which is not installed",
            next_step="pip install 'gapless[bluesky]'",
        ) from error


def unreadable(uri: str, error: Exception) -> IntegrityError:
    """Return the error of a file that is there but is not what its format asks for.

    It never has a piece of the file in its text, which parsers like to quote: whoever reads the error may
    not be allowed to read the file.
    """
    words = f": {error}" if isinstance(error, OSError) else ""
    return IntegrityError(
        "an external file cannot be read",
        found=f"{uri}: {type(error).__name__}{words}",
        next_step="`gapless verify NAME` lists the external files that are damaged",
    )
