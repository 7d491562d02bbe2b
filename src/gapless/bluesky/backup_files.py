"""Files of documents as JSON lines: our spool's and those that the public writers leave, torn lines included."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gapless.bluesky.document import Document
from gapless.bluesky.lossless import loads
from gapless.bluesky.spool import FOLDER, SUFFIX
from gapless.errors import DocumentRefused, ImportRefused, NotFound

_DOCUMENT_BEGINS: Final = re.compile(r'\{"name": ?"[a-z_]+", ?"doc": ?\{')
_SUFFIXES: Final = (SUFFIX, ".json")


class PlacedDocument(dict[str, Any]):
    """A document that knows where it was read: ``file`` and ``line``, counted from 1."""

    file: Path
    line: int


@dataclass(frozen=True, slots=True)
class TornLine:
    """A line, or the beginning of one, that holds no whole document."""

    file: Path
    line: int
    reason: str


def backup_files(source: Path) -> list[Path]:
    """Return the files to read: the file itself, those of a folder, or of the spool of a store.

    Raises NotFound for a path that is not there and ImportRefused for a file of another kind.
    """
    if source.is_file():
        if source.suffix not in _SUFFIXES:
            raise ImportRefused("a backup of documents is a .jsonl file", found=str(source))
        return [source]
    if not source.is_dir():
        raise NotFound("there is no such file or folder", found=str(source), next_step="check the path")
    found = _files_in(source)
    if (source / "gapless.json").exists() or (not found and (source / FOLDER).is_dir()):
        found = _files_in(source / FOLDER)
    return found


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix in _SUFFIXES and path.is_file())


def read_backup(path: Path) -> Iterator[tuple[str, PlacedDocument] | TornLine]:
    """Yield the documents of a file in its order, and each line that cannot be read.

    Takes JSON lines, a JSON array with one document on a line, and a line in which a document follows on one
    that was cut off: the cut one is reported, the one behind it is read.
    """
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            text = raw.decode("utf-8", "backslashreplace").strip()
            if text in ("", "[", "]", ","):
                continue
            for found in _read_line(text):
                yield _placed(found, path, number)


def _read_line(text: str) -> Iterator[tuple[str, Document] | DocumentRefused]:
    found = _read_document(text)
    yield found
    if not isinstance(found, DocumentRefused):
        return
    for begin in _DOCUMENT_BEGINS.finditer(text, 1):
        behind = _read_document(text[begin.start() :])
        if not isinstance(behind, DocumentRefused):
            yield behind
            return


def _read_document(text: str) -> tuple[str, Document] | DocumentRefused:
    try:
        return loads(text)
    except DocumentRefused as error:
        return error


def _placed(
    found: tuple[str, Document] | DocumentRefused, path: Path, number: int
) -> tuple[str, PlacedDocument] | TornLine:
    if isinstance(found, DocumentRefused):
        return TornLine(path, number, str(found.found or found.message))
    name, doc = found
    placed = PlacedDocument(doc)
    placed.file, placed.line = path, number
    return name, placed
