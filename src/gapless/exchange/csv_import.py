"""CSV files become a sequence: every row is stored, or reported with its line and the reason.

Nothing is stored when a file is refused. Rows stream through in chunks, so memory does not grow with
the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.errors import ImportRefused
from gapless.exchange.cells import Bad, to_column, to_times
from gapless.exchange.csv_plan import CsvPlan, chunks, data_records, plan_csv
from gapless.exchange.csv_records import Quoted, Record
from gapless.exchange.intake import Intake, default_name, folder_files, store, topic_of_file
from gapless.exchange.report import BadRow, ImportReport

if TYPE_CHECKING:
    import pyarrow as pa

    from gapless.exchange.ports import SequenceMaker


def read_batches(plan: CsvPlan, on_bad: Callable[[BadRow], None]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a planned file as record batches in the order of the file.

    Each row that cannot be stored whole is given to ``on_bad`` with its line, the reason and its text,
    and is in no batch. Raises ImportRefused when the file is no longer the one that was planned.
    """
    schema = plan.schema()
    _unchanged(plan)
    for chunk in chunks(data_records(plan.path, plan.dialect)):
        yield from _batch(plan, schema, chunk, on_bad)
    _unchanged(plan)


def import_csv(
    client: SequenceMaker,
    path: str | Path,
    name: str | None = None,
    topic: str | None = None,
    group: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    plan: CsvPlan | None = None,
    **options: Any,
) -> ImportReport:
    """Store a CSV file, or each ``*.csv`` of a folder as one topic, as a new sequence.

    ``options`` are those of :func:`gapless.exchange.csv_plan.plan_csv`. Bad rows are in the report and
    become events of the sequence; the report's ``exit_code`` is 1 when there are any.
    """
    path = Path(path)
    intakes = [_intake(plan, topic or "data")] if plan is not None else plan_import(path, topic, **options)
    return store(
        client, name or default_name(path), intakes, group=group, metadata=metadata, source=path, form="csv"
    )


def plan_import(path: str | Path, topic: str | None = None, **options: Any) -> list[Intake]:
    """Return what an import of this file or folder would store, without storing it."""
    path = Path(path)
    if not path.is_dir():
        return [_intake(plan_csv(path, **options), topic or "data")]
    return [
        _intake(plan_csv(f, **options), topic_of_file(f))
        for f in folder_files(path, (".csv", ".tsv", ".txt"))
    ]


def _intake(plan: CsvPlan, topic: str) -> Intake:
    return Intake(
        topic, plan.path, plan.schema(), tuple(plan.describe()), lambda on_bad: read_batches(plan, on_bad)
    )


def _batch(
    plan: CsvPlan, schema: pa.Schema, chunk: list[Record], on_bad: Callable[[BadRow], None]
) -> Iterator[pa.RecordBatch]:
    import numpy as np
    import pyarrow as pa

    good = [record for record in chunk if record.problem is None]
    reasons: dict[int, str] = {}
    arrays: list[pa.Array] = []
    if good:
        cells = list(zip(*(record.cells for record in good), strict=True))
        times, bad = to_times(_time_cells(plan, cells), plan.time.ns, plan.time.column_ns)
        _note(reasons, bad, plan.time_name)
        arrays.append(times)
        for column in plan.columns:
            array, bad = to_column(cells[column.index], column.type, plan.decimal)
            _note(reasons, bad, column.name)
            arrays.append(array)
    refused = [BadRow(r.line, r.problem, _shown(r.text)) for r in chunk if r.problem is not None]
    refused += [BadRow(good[row].line, reason, _shown(good[row].text)) for row, reason in reasons.items()]
    for row in sorted(refused):
        on_bad(row)
    if len(good) > len(reasons):
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        if reasons:
            keep = np.ones(len(good), dtype=bool)
            keep[list(reasons)] = False
            batch = batch.filter(pa.array(keep))
        yield batch


def _time_cells(plan: CsvPlan, cells: list[tuple[str, ...]]) -> list[str]:
    columns = plan.time.columns
    if len(columns) == 2:
        return [f"{date} {clock}" for date, clock in zip(cells[columns[0]], cells[columns[1]], strict=True)]
    return [str(cell) if type(cell) is Quoted else cell for cell in cells[columns[0]]]


def _note(reasons: dict[int, str], bad: Bad, column: str) -> None:
    for row, reason in bad.items():
        reasons[row] = f"{reasons[row]}; {column}: {reason}" if row in reasons else f"{column}: {reason}"


def _shown(text: str) -> str:
    """Return the text of a line so that it can be stored as UTF-8; undecodable bytes show as ``\\xNN``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _unchanged(plan: CsvPlan) -> None:
    state = plan.path.stat()
    if (state.st_size, state.st_mtime_ns) != (plan.size_bytes, plan.modified_ns):
        raise ImportRefused(
            f"{plan.path.name} changed while it was being imported",
            next_step="wait until nothing writes to it, and import it again",
        )
