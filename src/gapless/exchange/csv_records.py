"""The records of a delimited text file, one by one, each with the number of its first line.

A quoted cell is told from an unquoted one, because ``""`` is an empty text and nothing at all is a
missing value. One stray quotation mark costs one line, never the rest of the file.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

MAX_RECORD_CHARS = 1 << 20  # a stray quote would otherwise take the rest of the file into memory
MAX_RECORD_LINES = 1000  # each line with a quotation mark costs one more look at the whole record
UNDECODED = "bytes that are not text in the file's encoding"
_SURROGATE = re.compile("[\udc80-\udcff]")


class Quoted(str):
    """A cell that stood in quotation marks."""

    __slots__ = ()


class Record(NamedTuple):
    """One record: its first line (from 1), its text, and either its cells or what is wrong with it."""

    line: int
    text: str
    cells: list[str]
    problem: str | None = None


class OpenQuoteError(ValueError):
    """The text ends within a quoted cell."""


class StrayQuoteError(ValueError):
    """A quoted cell is followed by something else than a delimiter."""


def read_records(
    lines: Iterable[str], delimiter: str, *, first_line: int = 1, width: int | None = None
) -> Iterator[Record]:
    """Yield each record that is not blank; memory is bounded by the longest record allowed.

    With a ``width``, a record of several lines that has another number of cells counts as a stray
    quotation mark: its first line is reported alone and reading goes on with the second.
    """
    source = _Lines(lines, first_line)
    strip = " " if delimiter == "\t" else None
    while (text := source.take()) is not None:
        line = source.number
        bare = text.rstrip("\r\n")
        if not bare.strip(" ") or (delimiter != "\t" and not bare.strip()):
            continue
        if not bare.isascii() and _SURROGATE.search(bare):
            yield Record(line, bare, [], UNDECODED)
        elif '"' in bare:
            yield _quoted_record(source, text, delimiter, width)
        elif delimiter == " ":
            yield Record(line, bare, bare.split())
        elif " " in bare or not bare.isprintable():
            yield Record(line, bare, [cell.strip(strip) for cell in bare.split(delimiter)])
        else:
            yield Record(line, bare, bare.split(delimiter))


def split_record(text: str, delimiter: str) -> list[str]:
    """Return the cells of one record; unquoted ones without spaces round them, quoted ones as they are.

    Raises OpenQuoteError when the text ends within quotation marks, StrayQuoteError when text follows them.
    """
    cells: list[str] = []
    strip = " " if delimiter == "\t" else None
    if delimiter == " ":
        text = text.rstrip(" ")
    at, end = 0, len(text)
    while True:
        start = at
        while at < end and text[at] == " ":
            at += 1
        if at < end and text[at] == '"':
            at, cell = _quoted_cell(text, at + 1)
            cells.append(cell)
            while at < end and text[at] == " " and delimiter != " ":
                at += 1
            if at < end and text[at] != delimiter:
                raise StrayQuoteError(text[at])
        else:
            stop = text.find(delimiter, at if delimiter == " " else start)
            stop = end if stop < 0 else stop
            cells.append(text[start:stop].strip(strip))
            at = stop
        if at >= end:
            return cells
        at += 1


class _Lines:
    """Numbered lines that can be given back."""

    def __init__(self, lines: Iterable[str], first_line: int) -> None:
        self._lines = iter(lines)
        self._back: deque[str] = deque()
        self.number = first_line - 1

    def take(self) -> str | None:
        text = self._back.popleft() if self._back else next(self._lines, None)
        if text is not None:
            self.number += 1
        return text

    def give_back(self, lines: list[str]) -> None:
        self._back.extendleft(reversed(lines))
        self.number -= len(lines)


def _quoted_record(source: _Lines, text: str, delimiter: str, width: int | None) -> Record:
    first, line = text.rstrip("\r\n"), source.number
    more: list[str] = []
    length = len(text)
    problem = "a quotation mark that is never closed"
    while True:
        whole = "".join((text, *more)).rstrip("\r\n")
        try:
            cells = split_record(whole, delimiter)
        except OpenQuoteError:
            pass
        except StrayQuoteError as error:
            problem = f"text after a closing quotation mark: {error}"
            break
        else:
            if more and width is not None and len(cells) != width:
                problem = (
                    f"a quotation mark that is not closed on its line, or {len(cells)} cells for {width}"
                )
                break
            return Record(line, whole, cells)
        added = _lines_to_next_quote(source, MAX_RECORD_CHARS - length)
        more.extend(added)
        length += sum(map(len, added))
        if not added or '"' not in added[-1] or len(more) > MAX_RECORD_LINES:
            break
    source.give_back(more)
    return Record(line, first, [], problem)


def _lines_to_next_quote(source: _Lines, room: int) -> list[str]:
    """Take lines up to the next that holds a quotation mark, so that each rescan can end the record."""
    taken: list[str] = []
    while room > 0 and (text := source.take()) is not None:
        taken.append(text)
        room -= len(text)
        if '"' in text:
            break
    return taken


def _quoted_cell(text: str, at: int) -> tuple[int, Quoted]:
    start, doubled = at, False
    while True:
        stop = text.find('"', at)
        if stop < 0:
            raise OpenQuoteError
        if text.startswith('"', stop + 1):
            at, doubled = stop + 2, True
            continue
        cell = text[start:stop]
        return stop + 1, Quoted(cell.replace('""', '"') if doubled else cell)
