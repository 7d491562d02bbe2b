"""How a delimited text file is written, found from its beginning: encoding, delimiter, header."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gapless.errors import ImportRefused, NotFound
from gapless.exchange.cells import kind_of
from gapless.exchange.csv_records import UNDECODED, Record, read_records
from gapless.exchange.header import looks_like_unit
from gapless.exchange.instants import UNIT_WORDS
from gapless.exchange.time_column import OWN_NAMES

SAMPLE_CHARS = 1 << 18
SAMPLE_RECORDS = 1000
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "save it as CSV first"),
    (b"PAR1", "a Parquet file", "import it as Parquet (--format parquet)"),
    (b"\x1f\x8b", "a gzip file", "unpack it first: gunzip FILE"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save it as CSV first"),
)
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar", " ": "spaces"}


@dataclass(frozen=True)
class Dialect:
    """How the records of one file are found.

    ``lead`` lines are skipped before the header or the first row. ``titles`` are the header cells, from
    the header line or from a comment before the rows; None when the file names no columns.
    ``unit_row`` holds the units when a line below the header gives them.
    """

    encoding: str
    delimiter: str
    lead: int
    width: int
    titles: tuple[str, ...] | None
    header_line: bool
    unit_row: tuple[str, ...] | None
    notes: tuple[str, ...] = ()

    @property
    def delimiter_name(self) -> str:
        """The delimiter in words."""
        return _NAMES.get(self.delimiter, repr(self.delimiter))


def find_encoding(path: Path, encoding: str | None = None) -> str:
    """Return the encoding a file is marked with, else UTF-8; raises ImportRefused for what is no text."""
    try:
        with path.open("rb") as file:
            start = file.read(1 << 16)
    except FileNotFoundError as error:
        raise NotFound("there is no such file", found=str(path), next_step="check the path") from error
    for magic, what, advice in _FOREIGN:
        if start.startswith(magic):
            raise ImportRefused(f"{path.name} is {what}, not delimited text", next_step=advice)
    marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    if encoding is not None:
        try:
            "".encode(encoding)  # refuses also what is known and no encoding of text
        except LookupError as error:
            raise ImportRefused(
                "the encoding is not known",
                found=encoding,
                next_step="pass one that Python knows, as in --encoding cp1252",
            ) from error
        return "utf-8-sig" if marked == "utf-8-sig" and encoding.lower() in ("utf-8", "utf8") else encoding
    if marked is not None:
        return marked
    if b"\x00" in start:
        raise ImportRefused(
            f"{path.name} holds zero bytes: it is binary, or UTF-16 without a mark",
            next_step="if it is text, pass its encoding (--encoding utf-16-le)",
        )
    return "utf-8"


@contextmanager
def open_text(path: Path, encoding: str) -> Iterator[IO[str]]:
    """Open a file as lines that keep their ends; bytes that do not decode stay visible as surrogates."""
    wide = encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32"))
    with path.open(encoding=encoding, errors="strict" if wide else "surrogateescape", newline="") as file:
        try:
            yield file
        except UnicodeError as error:
            raise ImportRefused(
                f"{path.name} is not text in {encoding}: {getattr(error, 'reason', error)}",
                next_step="pass the right encoding (--encoding NAME; utf-16-le and utf-16-be need no mark)",
            ) from error


def check_decoded(record: Record, encoding: str, path: Path) -> None:
    """Raise ImportRefused for a record that is not in the encoding that was assumed."""
    if record.problem == UNDECODED:
        raise ImportRefused(
            f"{path.name} is not {encoding} in line {record.line}",
            found=record.text.encode("utf-8", "surrogateescape"),
            next_step="pass its encoding (--encoding cp1252 for Western Windows files), or "
            "--encoding utf-8 to report such lines as bad rows",
        )


def find_dialect(
    path: Path,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    skip_lines: int | None = None,
) -> Dialect:
    """Return how a file is written, or raise ImportRefused naming the choice to make."""
    assumed = encoding is None
    encoding = find_encoding(path, encoding)
    with open_text(path, encoding) as file:
        lines = _sample(file)
    lead, comments, told = _lead(lines, skip_lines)
    notes: list[str] = []
    body = lines[lead:]
    delimiter = delimiter or told
    if delimiter is None and body and body[0].rstrip().split(",")[0] in OWN_NAMES:
        delimiter = ","  # an export of gapless: other delimiters may well occur in its texts
    if not any(line.strip() for line in body):
        raise ImportRefused(f"{path.name} holds no rows", next_step="check the path")
    if delimiter is None:
        delimiter = _find_delimiter(body, header)
    elif len(delimiter) != 1 or delimiter in '"\r\n':
        raise ImportRefused(
            "a delimiter is one character", found=delimiter, next_step="pass one, as in ',' or ';'"
        )
    records = list(read_records(body, delimiter))
    if assumed:
        check_decoded(records[0], encoding, path)
    if records[0].problem is not None:
        raise ImportRefused(
            f"the first line of {path.name} cannot be read: {records[0].problem}",
            found=records[0].text.encode("utf-8", "surrogateescape"),
            next_step="correct that line, or pass --skip-lines",
        )
    rows = [r.cells for r in records if r.problem is None]
    if lead:
        notes.append(f"skipped {lead} line{'s' * (lead > 1)} before the data")
    titles = _comment_titles(comments, rows[0], delimiter) if header is None else None
    has_header = (titles is None and _has_header(rows)) if header is None else header
    width = _width(path, rows, has_header, titles)
    unit_row = _unit_row(rows) if has_header else None
    if has_header:
        titles = (*rows[0], *[""] * (width - len(rows[0])))
    return Dialect(encoding, delimiter, lead, width, titles, has_header, unit_row, tuple(notes))


def _sample(file: IO[str]) -> list[str]:
    lines: list[str] = []
    room = SAMPLE_CHARS
    while room > 0 and len(lines) < SAMPLE_RECORDS and (line := file.readline(room)):
        lines.append(line)
        room -= len(line)
    if room <= 0 and len(lines) > 1:
        lines.pop()  # the last line may be cut
    return lines


def _lead(lines: Sequence[str], skip_lines: int | None) -> tuple[int, list[str], str | None]:
    """Return the number of leading lines to skip, the comments among them, and a ``sep=`` delimiter."""
    if skip_lines is not None:
        return skip_lines, [], None
    comments: list[str] = []
    told = None
    for number, line in enumerate(lines):
        text = line.strip()
        if number == 0 and text.lower().startswith("sep=") and len(text) == 5:
            told = text[4]
        elif text.startswith("#"):
            comments.append(text.lstrip("#").strip())
        elif text:
            return number, comments, told
    return len(lines), comments, told


def _find_delimiter(lines: Sequence[str], header: bool | None) -> str:
    """Return the delimiter that splits the lines most evenly into cells that mean something."""
    ranked: list[tuple[tuple[bool, float, float], str, list[list[str]]]] = []
    for candidate in (",", ";", "\t", "|", " "):
        rows = [r.cells for r in read_records(lines, candidate) if r.problem is None]
        widths = Counter(map(len, rows))
        width, count = widths.most_common(1)[0] if widths else (1, 0)
        if len(rows) == 2 and len(widths) == 2:
            width, count = max(widths), 1
        if width < 2:
            continue
        cells = [
            cell
            for row in (rows[1:] if header is not False else rows)[:200]
            if len(row) == width
            for cell in row
        ]
        known = sum(kind_of(cell) not in ("text", "missing") for cell in cells)
        typed = known / max(1, sum(kind_of(cell) != "missing" for cell in cells))
        ranked.append(((len(rows[0]) == width, count / len(rows), round(typed, 6)), candidate, rows))
    if not ranked:
        return ","
    ranked.sort(key=lambda entry: entry[0], reverse=True)  # stable: spaces come last among equals
    best, chosen, rows = ranked[0]
    for other, candidate, _ in ranked[1:]:
        titled = not any(_is_value(cell) for cell in rows[0])
        even = other[:2] == best[:2] and candidate != " " and chosen != " "
        if even and best[0] and best[1] == 1.0 and (other[2] == best[2] or (titled and len(rows) > 1)):
            raise ImportRefused(
                "more than one delimiter splits the lines evenly",
                found=f"{_NAMES[chosen]} and {_NAMES[candidate]}",
                next_step=f"pass the delimiter, as in --delimiter '{chosen}'",
            )
    return chosen


def _is_value(cell: str) -> bool:
    kind = kind_of(cell)
    return kind not in ("text", "missing")


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether the first row names the columns: texts stand above values, or all cells are texts."""
    first, rest = rows[0], rows[1:200]
    if not any(_is_value(cell) for cell in first):
        return any(first)
    for column, cell in enumerate(first):
        if _is_value(cell) or not cell:
            continue
        below = [row[column] for row in rest if len(row) > column and row[column]]
        if below and 3 * sum(map(_is_value, below)) >= 2 * len(below):
            return True
    return False


def _comment_titles(comments: Sequence[str], first: Sequence[str], delimiter: str) -> tuple[str, ...] | None:
    """Return the names in the last comment before rows of numbers, as numpy.savetxt writes them."""
    if not comments or not all(_is_value(cell) or not cell for cell in first):
        return None
    records = [r.cells for r in read_records([comments[-1]], delimiter) if r.problem is None]
    if not records or len(records[0]) != len(first) or any(_is_value(cell) for cell in records[0]):
        return None
    return tuple(records[0])


def _width(path: Path, rows: Sequence[Sequence[str]], has_header: bool, titles: Sequence[str] | None) -> int:
    """Return the number of cells of a row; raises ImportRefused when header and rows disagree."""
    data = rows[1:] if has_header else rows
    usual = Counter(map(len, data)).most_common(1)[0][0] if data else len(rows[0])
    named = len(rows[0]) if has_header else len(titles or data[0])
    agreeing = sum(len(row) == named for row in data)
    if usual == named or (has_header and agreeing * 2 >= len(data)):
        return named
    if usual == named + 1 and all(row[-1] == "" for row in data if len(row) == usual):
        return usual  # each row ends with a delimiter, the header does not
    raise ImportRefused(
        f"the first line of {path.name} has {named} cell{'s' * (named != 1)}, most others have {usual}",
        next_step="pass --skip-lines N if the table begins later, or --delimiter if it is another one "
        "(a decimal comma needs a delimiter that is no comma)",
    )


def _unit_row(rows: Sequence[Sequence[str]]) -> tuple[str, ...] | None:
    """Return the units when the second line holds nothing else and the third holds values."""
    if len(rows) < 3 or len(rows[1]) != len(rows[0]) or not any(map(_is_value, rows[2])):
        return None
    cells = [cell.strip("[]() ") for cell in rows[1]]
    timed = any(cell.lower() in UNIT_WORDS for cell in cells)
    for cell, below in zip(cells, rows[2], strict=False):
        if cell not in ("", "-") and not (looks_like_unit(cell) and not cell.isdigit() and _is_value(below)):
            return None
    return tuple("" if cell == "-" else cell for cell in cells) if timed else None
