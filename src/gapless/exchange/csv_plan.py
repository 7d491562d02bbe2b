"""A CSV file is understood before a row is stored: what every column is, and all that was assumed.

Planning reads the whole file once, in bounded memory, so that no later row can fail to fit a type
that was guessed from the first ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from gapless.errors import ImportRefused
from gapless.exchange.column_survey import ColumnSurvey
from gapless.exchange.csv_dialect import Dialect, check_decoded, find_dialect, open_text
from gapless.exchange.csv_records import Record, read_records
from gapless.exchange.header import unique_names
from gapless.exchange.time_column import OWN_NAMES, TimeColumn, TimeWish, choose_time

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_ROWS = 16_384
CHUNK_CHARS = 4 << 20
TYPES = {
    "number": "double", "float": "double", "double": "double", "float64": "double",
    "int": "int64", "integer": "int64", "int64": "int64", "uint64": "uint64",
    "text": "string", "string": "string", "str": "string", "bool": "bool", "boolean": "bool",
}  # fmt: skip
_WORDS = {"double": "number", "int64": "whole number", "uint64": "whole number (unsigned)", "string": "text",
          "bool": "true/false"}  # fmt: skip


@dataclass(frozen=True)
class CsvColumn:
    """One column that becomes a field; ``misfits`` counts the cells that its type cannot hold."""

    index: int
    name: str
    unit: str | None
    type: str
    misfits: int = 0
    first_misfit_line: int | None = None


@dataclass(frozen=True)
class CsvPlan:
    """How one CSV file becomes one topic; ``describe()`` says what was assumed."""

    path: Path
    dialect: Dialect
    decimal: str
    columns: tuple[CsvColumn, ...]
    time: TimeColumn
    time_name: str
    rows: int
    size_bytes: int
    modified_ns: int
    notes: tuple[str, ...] = field(default=())

    def schema(self) -> pa.Schema:
        """Return the Arrow schema of the topic: ``timestamp_ns`` and one field for each column."""
        import pyarrow as pa

        fields = [pa.field("timestamp_ns", pa.int64(), nullable=False)]
        for column in self.columns:
            metadata = {"unit": column.unit} if column.unit else None
            fields.append(pa.field(column.name, pa.type_for_alias(column.type), metadata=metadata))
        return pa.schema(fields)

    def describe(self) -> list[str]:
        """Return, line by line, what the plan assumes."""
        dialect = self.dialect
        header = "column names in the first line" if dialect.header_line else "no header line"
        if dialect.titles is not None and not dialect.header_line:
            header = "column names in a comment"
        decimal = "decimal comma" if self.decimal == "," else "decimal point"
        lines = [
            f"{self.path.name}: {self.rows} rows, {dialect.encoding}, separated by {dialect.delimiter_name}, "
            f"{decimal}, {header}",
            f"time: {self.time_name} ({self.time.describe()})",
        ]
        for column in self.columns:
            unit = f" [{column.unit}]" if column.unit else ""
            line = f"column {column.name}{unit}: {_WORDS[column.type]}"
            if column.misfits:
                line += f"; {column.misfits} cells do not fit, the first in line {column.first_misfit_line}"
            lines.append(line)
        return [*lines, *self.notes]


def plan_csv(
    path: str | Path,
    time: str | None = None,
    tz: str | None = None,
    units: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    *,
    decimal: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    skip_lines: int | None = None,
    date_order: str | None = None,
    start: str | int | None = None,
    types: Mapping[str, str] | None = None,
) -> CsvPlan:
    """Return how a file will be read, or raise ImportRefused naming the choice that only a person can make.

    ``time`` names the time column, or a date and a clock as ``DATE+TIME``; ``tz`` is the zone of times
    that name none; ``units`` gives units by column, for a numeric time column one of s, ms, us, ns;
    ``start`` is the moment from which relative times count; ``types`` sets ``number``, ``integer``,
    ``text`` or ``bool`` by column where the file should be read differently than it looks.
    """
    path = Path(path)
    dialect = find_dialect(path, delimiter=delimiter, encoding=encoding, header=header, skip_lines=skip_lines)
    state = path.stat()
    surveys, rows = _survey(path, dialect, encoding)
    titles = dialect.titles or ("",) * dialect.width
    if not rows and titles[0] not in OWN_NAMES:
        raise ImportRefused(f"{path.name} holds a header but no rows", next_step="check the path")
    names, found_units, notes = unique_names(titles)
    keep = [i for i in range(dialect.width) if titles[i].strip() or surveys[i].present]
    dropped = dialect.width - len(keep)
    if dialect.titles is None:
        notes = [f"columns are called column_1 to column_{dialect.width}"]
    else:
        notes = [note for i, note in _numbered(notes, names) if i is None or i in keep]
    if dropped:
        notes.append(f"left out {dropped} empty column{'s' * (dropped > 1)} without a name")
    own = _is_own(dialect, surveys)
    mark = "." if own else _decimal(decimal, surveys)
    _known(units, names, "units")
    _known(types, names, "types")
    if dialect.unit_row is not None:
        found_units = [
            unit or below or None for unit, below in zip(found_units, dialect.unit_row, strict=False)
        ]
        notes.append("the line below the header gives the units")
    wish = TimeWish(time, tz, dict(units or {}), start, date_order)
    chosen = choose_time(names, found_units, surveys, mark, wish)
    columns = _columns(keep, names, found_units, surveys, mark, chosen, units or {}, types or {}, own)
    time_name = "+".join(names[i] for i in chosen.columns)
    return CsvPlan(path, dialect, mark, columns, chosen, time_name, rows, state.st_size, state.st_mtime_ns,
                   (*dialect.notes, *notes))  # fmt: skip


def data_records(path: Path, dialect: Dialect) -> Iterator[Record]:
    """Yield the records below the header; one with another number of cells than the header is a problem."""
    with open_text(path, dialect.encoding) as file:
        for _ in islice(file, dialect.lead):
            pass
        records = read_records(file, dialect.delimiter, first_line=dialect.lead + 1, width=dialect.width)
        heading = dialect.header_line + (dialect.unit_row is not None)
        title = next(records, None) if dialect.header_line else None
        if heading == 2:
            next(records, None)
        for record in records:
            cells = len(record.cells)
            if record.problem is not None or cells == dialect.width:
                if title is not None and record.problem is None and record.cells == title.cells:
                    yield record._replace(problem="repeats the header")
                else:
                    yield record
            elif cells == dialect.width - 1 and dialect.titles is not None and dialect.titles[-1] == "":
                yield record._replace(cells=[*record.cells, ""])
            else:
                few = "few" if cells < dialect.width else "many"
                yield record._replace(problem=f"too {few} cells: {cells} for {dialect.width}")


def chunks(records: Iterator[Record]) -> Iterator[list[Record]]:
    """Yield the records in lists that are bounded by number and by size; equal for equal files."""
    chunk: list[Record] = []
    room = CHUNK_CHARS
    for record in records:
        chunk.append(record)
        room -= len(record.text)
        if len(chunk) >= CHUNK_ROWS or room <= 0:
            yield chunk
            chunk, room = [], CHUNK_CHARS
    if chunk:
        yield chunk


def _is_own(dialect: Dialect, surveys: Sequence[ColumnSurvey]) -> bool:
    """Tell whether the file reads like an export of gapless: its time comes first and is never quoted."""
    return bool(dialect.titles) and (dialect.titles or ("",))[0] in OWN_NAMES and not surveys[0].quoted


def _survey(path: Path, dialect: Dialect, encoding: str | None) -> tuple[list[ColumnSurvey], int]:
    surveys = [ColumnSurvey() for _ in range(dialect.width)]
    rows = 0
    for chunk in chunks(data_records(path, dialect)):
        rows += len(chunk)
        if encoding is None:
            for record in chunk:
                check_decoded(record, dialect.encoding, path)
        good = [r for r in chunk if r.problem is None]
        lines = [r.line for r in good]
        for survey, cells in zip(surveys, zip(*(r.cells for r in good), strict=True), strict=False):
            survey.add(cells, lines, dialect.delimiter)
    return surveys, rows


def _decimal(wish: str | None, surveys: Sequence[ColumnSurvey]) -> str:
    """Return the decimal mark of the file, or raise ImportRefused when it can be either."""
    if wish is not None:
        if wish not in (".", ","):
            raise ImportRefused("the decimal mark is a point or a comma", found=wish, next_step="pass . or ,")
        return wish
    numeric = [s for s in surveys if s.present and 3 * s.numbers(",") >= 2 * s.present]
    sure = sum(s.kinds["comma"] for s in numeric)
    thousands = sum(s.kinds["thousand"] for s in numeric)
    points = sum(s.kinds["float"] for s in numeric)
    if not sure and not thousands:
        return "."
    if points or not sure:
        what = "1.5 and 1,5" if points else "1,234, which is 1.234 or 1234"
        raise ImportRefused(
            "the decimal mark is not certain",
            found=f"numbers like {what}",
            next_step="pass --decimal , or --decimal . (1,234 is then a bad cell)",
        )
    return ","


def _columns(
    keep: Sequence[int],
    names: Sequence[str],
    found_units: Sequence[str | None],
    surveys: Sequence[ColumnSurvey],
    decimal: str,
    time: TimeColumn,
    units: Mapping[str, str],
    types: Mapping[str, str],
    own: bool,
) -> tuple[CsvColumn, ...]:
    unquoted = any(s.numbers(decimal) > s.quoted for s in surveys)
    columns = []
    for index in keep:
        if index in time.columns:
            continue
        name, survey = names[index], surveys[index]
        kind = survey.type_name(decimal, unquoted, own)
        unit = units.get(name, found_units[index]) or None
        if not survey.present and not survey.quoted and unit:
            kind = "double"  # an instrument that gave nothing still measures in its unit
        if name in types:
            kind = TYPES.get(types[name].lower(), "")
            if not kind:
                raise ImportRefused(
                    "the type is not known",
                    field=name,
                    found=types[name],
                    expected="number, integer, text or bool",
                    next_step="pass one of these",
                )
        misfits, line = survey.misfits(kind, decimal)
        label = f"file_{name}" if name == "timestamp_ns" else name
        columns.append(CsvColumn(index, label, unit, kind, misfits, line))
    return tuple(columns)


def _known(given: Mapping[str, str] | None, names: Sequence[str], what: str) -> None:
    for name in given or {}:
        if name not in names:
            raise ImportRefused(
                f"{what} are given for a column that is not in the file",
                found=name,
                expected=", ".join(names),
                next_step="use the names of the file",
            )


def _numbered(notes: Sequence[str], names: Sequence[str]) -> Iterator[tuple[int | None, str]]:
    for note in notes:
        number = note.split()[1]
        yield (int(number) - 1 if number.isdigit() and int(number) <= len(names) else None), note
