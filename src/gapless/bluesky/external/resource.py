"""One stream_resource: where its frames are, and reading the frames of some indices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gapless.bluesky.external.datum import Datum
from gapless.bluesky.external.external_file import Array, ExternalFile
from gapless.bluesky.external.file_names import FileNames
from gapless.bluesky.external.file_uri import local_path
from gapless.bluesky.external.formats import Format, format_of
from gapless.bluesky.external.roots import Roots
from gapless.errors import DocumentRefused, IntegrityError, NotFound


@dataclass(frozen=True)
class Resource:
    """A stream_resource and the data key it belongs to.

    ``offset`` is the index that its first frame has: not 0 where indices go on counting from the resource
    before. Files are opened when frames are read, and closed again; nothing is written. ``roots``: the only
    folders below which they are opened, None for no limit but one's own rights.
    """

    uid: str
    mimetype: str
    uri: str
    parameters: Mapping[str, Any]
    data_key: Mapping[str, Any]
    offset: int = 0
    roots: Roots | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any], data_key: Mapping[str, Any], offset: int = 0) -> Resource:
        """Return the resource of a stream_resource document."""
        return cls(
            str(document["uid"]),
            str(document.get("mimetype", "application/octet-stream")),
            str(document.get("uri", "")),
            document.get("parameters") or {},
            data_key,
            offset,
        )

    @property
    def place(self) -> tuple[str, ...]:
        """What tells its data from others: two resources of one place count the same frames."""
        words = (self.parameters.get(name) for name in ("template", "filename", "dataset", "path"))
        return (self.uri, *map(str, words))

    @cached_property
    def format(self) -> Format | None:
        """How its files are read; None if its media type means nothing here."""
        return format_of(self.mimetype)

    @cached_property
    def datum(self) -> Datum:
        """What one event's value is."""
        return Datum.of(self.data_key, self.parameters, self.format.join if self.format else "stack")

    @cached_property
    def names(self) -> FileNames | None:
        """The names of its numbered files, None where it is one file."""
        default = self.format.template if self.format else None
        template = self.parameters.get("template") or default
        if not template:
            return None
        return FileNames(self.uri, str(template), str(self.parameters.get("filename") or ""))

    def files_of(self, start: int, stop: int) -> Iterator[tuple[str, Path]]:
        """Yield URI and path of each file that holds frames of the indices ``[start, stop)``."""
        if self.names is None:
            yield self.uri, local_path(self.uri)
            return
        files = self.datum.files
        for number in range((start - self.offset) * files, (stop - self.offset) * files):
            yield self.names.uri_of(number), self.names.path(number)

    @contextmanager
    def open(self, uri: str, path: Path) -> Iterator[ExternalFile]:
        """Open one of its files.

        NotFound if it is missing or lies elsewhere than it may, DocumentRefused if nothing reads such files.
        """
        if self.roots is not None:
            self.roots.check(path, uri)
        if self.format is None:
            raise DocumentRefused(
                "no reader knows this kind of external data",
                found=self.mimetype,
                next_step=f"open it with its own program: {self.uri}",
            )
        if not (path.is_dir() if self.format.is_folder else path.is_file()):
            raise NotFound(
                "an external file is missing", found=uri, next_step="bring the file back to where it was"
            )
        words = dict(self.parameters)
        if self.names is not None:
            words["template"] = True
        if self.datum.dtype is not None:
            words["dtype"] = self.datum.dtype
        with self.format.open(path, uri, words) as file:
            if self.roots is not None:
                for other in file.others():
                    self.roots.check(other, uri)
            yield file

    def read(self, start: int, stop: int) -> Array:
        """Return the values of the indices ``[start, stop)``, shape ``(stop - start, *event shape)``.

        The type is that of the files. Raises IntegrityError where they hold other shapes than the data
        key declares, or fewer frames.
        """
        if self.names is None:
            return self._from_one(start - self.offset, stop - self.offset)
        values = [self._from_many(index) for index in range(start, stop)]
        return _joined(self.uri, values, np.stack)

    def _from_one(self, start: int, stop: int) -> Array:
        with self.open(self.uri, local_path(self.uri)) as file:
            rows, shape = self.fit(self.uri, None, file)
            if stop * rows > file.rows or start < 0:
                raise IntegrityError(
                    "an external file holds fewer frames than the run took",
                    found=f"{file.rows // rows} in {self.uri}",
                    expected=f"frames {start} to {stop - 1}",
                    next_step="read fewer events, or again when the file is complete",
                )
            return file.read(start * rows, stop * rows).reshape(stop - start, *shape)

    def _from_many(self, index: int) -> Array:
        parts: list[Array] = []
        for uri, path in self.files_of(index, index + 1):
            with self.open(uri, path) as file:
                _, shape = self.fit(uri, file.rows * self.datum.files, file)
                parts.append(file.read(0, file.rows))
        return _joined(self.uri, parts, np.concatenate).reshape(shape)

    def fit(self, uri: str, rows: int | None, file: ExternalFile) -> tuple[int, tuple[int, ...]]:
        """Return rows per event and the event's shape in a file; IntegrityError if they do not fit."""
        found = self.datum.fit(rows, file.row_shape)
        if found is None:
            raise IntegrityError(
                "an external file holds values of another shape than its data key declares",
                found=f"{uri}: {rows or file.rows} rows of {list(file.row_shape)}",
                expected=f"{list(self.datum.shape)} for each event",
            )
        return found


def _joined(uri: str, parts: list[Array], join: Any) -> Array:
    """Join values of one type; another type in between is an error, never a cast."""
    kinds = {part.dtype.str for part in parts}
    shapes = {part.shape[1:] for part in parts}
    if len(kinds) > 1 or len(shapes) > 1:
        raise IntegrityError(
            "the files of one resource hold different types",
            found=f"{uri}: {', '.join(sorted(kinds | {str(list(s)) for s in shapes}))}",
        )
    values: Array = join(parts)
    return values
