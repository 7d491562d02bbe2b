"""A file of comma-separated numbers as rows, its lines."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from gapless.bluesky.external.external_file import Array, unreadable


class CsvFile:
    """Reads the lines that are asked for; those before them are skipped, not parsed.

    Parameters: ``sep`` or ``delimiter``, ``header`` (a line number, by default none), ``skiprows``,
    ``comment``, ``encoding``, ``usecols``, and ``dtype``, the type that the data key declares. Raises
    IntegrityError for a line that does not hold such values.
    """

    def __init__(self, path: Path, uri: str, parameters: Mapping[str, Any]) -> None:
        self._path, self._uri = path, uri
        header = parameters.get("header")
        self._skipped = int(parameters.get("skiprows") or 0) + (0 if header is None else int(header) + 1)
        self._delimiter = str(parameters.get("sep") or parameters.get("delimiter") or ",")
        self._comment = parameters.get("comment")
        self._encoding = str(parameters.get("encoding") or "utf-8")
        self._columns = parameters.get("usecols")
        self.dtype: np.dtype[Any] = np.dtype(parameters.get("dtype") or "<f8")
        self.rows = sum(1 for _ in self._lines())
        first = self.read(0, 1) if self.rows else np.empty((0, 0), self.dtype)
        self.row_shape: tuple[int, ...] = first.shape[1:]

    def read(self, start: int, stop: int) -> Array:
        """Return the lines ``[start, stop)``; one column for each value, none for a structured type."""
        lines = itertools.islice(self._lines(), start, stop)
        try:
            values: Array = np.loadtxt(
                lines,
                dtype=self.dtype,
                delimiter=self._delimiter,
                comments=None,
                usecols=self._columns,
                quotechar='"',
                ndmin=1 if self.dtype.names else 2,
            )
        except (ValueError, TypeError, IndexError) as error:
            raise unreadable(self._uri, error) from error
        return values

    def _lines(self) -> Iterator[str]:
        """Yield the lines that hold values."""
        try:
            with self._path.open(encoding=self._encoding, newline=None) as file:
                for line in itertools.islice(file, self._skipped, None):
                    held = line.split(self._comment, 1)[0] if self._comment else line
                    if held.strip():
                        yield held
        except (OSError, UnicodeError, LookupError) as error:
            raise unreadable(self._uri, error) from error

    def others(self) -> Iterable[Path]:
        """Return nothing: the file has all of it."""
        return ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is kept open between reads."""
