"""A sequence becomes CSV files that, imported again, give equal rows.

Times are UTC with nine digits or integers of nanoseconds, floats are written with as many digits as
they have, texts always stand in quotation marks so that an empty text is no missing value. Binary
values become base64 and lists JSON; those two stay text when imported.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gapless.errors import UsageError
from gapless.exchange.header import join_unit
from gapless.exchange.outlet import check_columns, chosen_schema, replacing, targets
from gapless.exchange.report import ExportedFile, ExportReport

if TYPE_CHECKING:
    import pyarrow as pa

    from gapless.exchange.ports import ReadableSequence, ReadableTopic


def export_csv(
    sequence: ReadableSequence,
    path: str | Path,
    topics: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    start_ns: int | None = None,
    end_ns: int | None = None,
    *,
    time_format: Literal["iso", "ns"] = "iso",
    overwrite: bool = False,
) -> ExportReport:
    """Write each topic to one CSV file; a file is complete or not there.

    ``path`` is a ``.csv`` file for one topic, else a folder. The window is half-open. The first column
    is ``timestamp_utc`` (``iso``) or ``timestamp_ns`` (``ns``).
    """
    if time_format not in ("iso", "ns"):
        raise UsageError("the time format is not known", found=time_format, expected="iso or ns")
    files = targets(sequence, Path(path), topics, (".csv",), overwrite=overwrite)
    check_columns(sequence, [topic for topic, _ in files], columns)
    report = ExportReport(sequence.name)
    for topic, file in files:
        with replacing(file) as partial:
            rows = _write(sequence.topic(topic), partial, columns, start_ns, end_ns, time_format)
        report.files.append(ExportedFile(topic, file, rows))
    return report


def _write(
    topic: ReadableTopic,
    path: Path,
    columns: Sequence[str] | None,
    start_ns: int | None,
    end_ns: int | None,
    time_format: str,
) -> int:
    schema = chosen_schema(topic.schema, columns)
    text = CsvText(schema, time_format)
    rows = 0
    with path.open("wb") as file:
        file.write(text.header())
        for batch in topic.scan(columns=schema.names[1:], start_ns=start_ns, end_ns=end_ns):
            if batch.num_rows:
                file.write(text.lines(batch))
                rows += batch.num_rows
    return rows


class CsvText:
    """Writes batches of one schema, ``timestamp_ns`` first, as the lines of one CSV file.

    ``time_format`` as for :func:`export_csv`; a column of its own called ``timestamp_utc`` leaves it ``ns``.
    """

    def __init__(self, schema: pa.Schema, time_format: str = "iso") -> None:
        self._schema = schema
        self._names = schema.names[1:]
        self._is_iso = time_format == "iso" and "timestamp_utc" not in self._names

    def header(self) -> bytes:
        """Return the first line: the names with their units."""
        names = (join_unit(name, _unit(self._schema.field(name))) for name in self._names)
        headers = ["timestamp_utc" if self._is_iso else "timestamp_ns", *names]
        return (",".join(map(_header_cell, headers)) + "\n").encode()

    def lines(self, batch: pa.RecordBatch) -> bytes:
        """Return a line for each row of a batch that has any."""
        import pyarrow.compute as pc

        times = batch.column("timestamp_ns")
        cells = [_iso(times) if self._is_iso else _plain(times)]
        cells += [_cells(batch.column(name)) for name in self._names]
        lines = pc.binary_join_element_wise(*cells, ",") if len(cells) > 1 else cells[0]
        return ("\n".join(lines.to_pylist()) + "\n").encode()


def _unit(field: pa.Field) -> str | None:
    unit = (field.metadata or {}).get(b"unit")
    return unit.decode() if unit else None


def _header_cell(text: str) -> str:
    if any(c in text for c in '",\r\n') or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


def _iso(times: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = times.cast(pa.timestamp("ns", "UTC")).cast(pa.string())
    return pc.replace_substring(texts, " ", "T", max_replacements=1)


def _cells(column: pa.Array) -> pa.Array:
    """Return the cells of one column as text; null is nothing at all."""
    import pyarrow as pa
    import pyarrow.types as t

    kind = column.type
    if t.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if t.is_floating(kind):
        values = column.cast(pa.float64()).to_pylist()  # repr of the float64 is exact for narrower floats too
        return pa.array(["" if v is None else repr(v) for v in values], pa.string())
    if t.is_integer(kind) or t.is_boolean(kind) or t.is_decimal(kind):
        return _plain(column)
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind):
        values = [None if v is None else base64.b64encode(v).decode() for v in column.to_pylist()]
        return _quoted(pa.array(values, pa.string()))
    if t.is_nested(kind):
        values = [
            None if v is None else json.dumps(v, ensure_ascii=False, default=str) for v in column.to_pylist()
        ]
        return _quoted(pa.array(values, pa.string()))
    return _quoted(column.cast(pa.string()))


def _plain(column: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.fill_null(column.cast(pa.string()), "")


def _quoted(texts: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    mark = pa.scalar('"')
    inner = pc.replace_substring(texts, '"', '""')
    return pc.fill_null(pc.binary_join_element_wise(mark, inner, mark, ""), "")
