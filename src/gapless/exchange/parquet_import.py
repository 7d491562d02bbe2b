"""Parquet files become a sequence: types and units as they are, times exactly in nanoseconds.

A folder becomes one sequence: each file a topic, and each folder inside it that holds Parquet files a
topic of several parts. Nothing is stored when a file is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.errors import ImportRefused, NotFound
from gapless.exchange.arrow_time import ArrowTime, find_time
from gapless.exchange.intake import Intake, default_name, store, topic_of_file
from gapless.exchange.report import BadRow, ImportReport

if TYPE_CHECKING:
    import pyarrow as pa

    from gapless.exchange.ports import SequenceMaker

BATCH_ROWS = 65_536
_SUFFIXES = (".parquet", ".pq")
_PART = re.compile(r"part-\d+\.")  # as the parts of one topic are called in a bundle and by other writers
_FOREIGN_METADATA = (b"pandas", b"gapless.stats", b"ARROW:schema")  # says things that the import makes untrue


@dataclass(frozen=True)
class ParquetPlan:
    """How Parquet files of one schema become one topic; ``describe()`` says what was assumed."""

    files: tuple[Path, ...]
    time: ArrowTime
    columns: tuple[tuple[str, str], ...]  # the name in the (flattened) file, the name in the topic
    fields: pa.Schema
    rows: int
    notes: tuple[str, ...] = ()

    def schema(self) -> pa.Schema:
        """Return the Arrow schema of the topic."""
        return self.fields

    def describe(self) -> list[str]:
        """Return, line by line, what the plan assumes."""
        what = (
            self.files[0].name
            if len(self.files) == 1
            else f"{self.files[0].parent.name}: {len(self.files)} files"
        )
        lines = [f"{what}: {self.rows} rows, Parquet", f"time: {self.time.name} ({self.time.describe()})"]
        for field in list(self.fields)[1:]:
            unit = (field.metadata or {}).get(b"unit")
            lines.append(f"column {field.name}{f' [{unit.decode()}]' if unit else ''}: {field.type}")
        return [*lines, *self.notes]


def plan_parquet(
    path: str | Path,
    time: str | None = None,
    tz: str | None = None,
    units: Mapping[str, str] | None = None,
    *,
    start: str | int | None = None,
) -> ParquetPlan:
    """Return how a Parquet file, or a folder of files of one schema, will be read.

    Raises ImportRefused for an ambiguous time, files of several schemas, or what is not Parquet.
    """
    import pyarrow as pa

    path = Path(path)
    files = tuple(_parts(path)) if path.is_dir() else (path,)
    source, rows, own = _schema_of(files)
    flat = _flat_schema(source)
    for name in units or {}:
        if name not in flat.names:
            raise ImportRefused(
                "units are given for a column that is not in the file",
                found=name,
                expected=", ".join(flat.names),
                next_step="use the names of the file",
            )
    found = find_time(flat, files, time, tz, dict(units or {}), start)
    columns: list[tuple[str, str]] = []
    fields = [pa.field("timestamp_ns", pa.int64(), nullable=False)]
    notes: list[str] = []
    for field in flat:
        if field.name == found.name or (own and field.name == "_seq"):
            continue
        name = {"_seq": "seq", "timestamp_ns": "file_timestamp_ns"}.get(field.name, field.name)
        if name != field.name:
            notes.append(f"column {field.name!r} is called {name!r}")
        columns.append((field.name, name))
        fields.append(_topic_field(field, name, (units or {}).get(field.name)))
    if len({name for _, name in columns}) < len(columns):
        raise ImportRefused(
            "two columns of the file have one name",
            found=", ".join(n for _, n in columns),
            next_step="rename one of them",
        )
    kept = {k: v for k, v in (source.metadata or {}).items() if k not in _FOREIGN_METADATA}
    return ParquetPlan(
        files, found, tuple(columns), pa.schema(fields, metadata=kept or None), rows, tuple(notes)
    )


def read_batches(plan: ParquetPlan, on_bad: Callable[[BadRow], None]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of planned files in order; a row without a time goes to ``on_bad`` with its row number.

    Memory is bounded by one row group. A time beyond int64 nanoseconds raises ImportRefused.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = plan.schema()
    for path in plan.files:
        row = 0
        for raw in _batches(path):
            batch = _flatten(raw)
            times = plan.time.ns(batch.column(plan.time.name), path)
            arrays = [times]
            for (source, _), field in zip(plan.columns, list(schema)[1:], strict=True):
                column = batch.column(source)
                arrays.append(column if column.type == field.type else column.cast(field.type))
            if times.null_count:
                for at in pc.indices_nonzero(times.is_null()).to_pylist():
                    on_bad(
                        BadRow(row + at + 1, f"{plan.time.name}: no time", str(_row(batch, at)), path.name)
                    )
                keep = times.is_valid()
                arrays = [array.filter(keep) for array in arrays]
            row += batch.num_rows
            if len(arrays[0]):
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def import_parquet(
    client: SequenceMaker,
    path: str | Path,
    name: str | None = None,
    topic: str | None = None,
    group: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    plan: ParquetPlan | None = None,
    **options: Any,
) -> ImportReport:
    """Store a Parquet file, a folder of parts, or a folder of files and of such folders, as a new sequence.

    ``options`` are those of :func:`plan_parquet`. Rows without a time are in the report.
    """
    path = Path(path)
    intakes = [_intake(plan, topic or "data")] if plan is not None else plan_import(path, topic, **options)
    return store(
        client,
        name or default_name(path),
        intakes,
        group=group,
        metadata=metadata,
        source=path,
        form="parquet",
    )


def plan_import(path: str | Path, topic: str | None = None, **options: Any) -> list[Intake]:
    """Return what an import of this file or folder would store, without storing it."""
    path = Path(path)
    if not path.is_dir():
        return [_intake(plan_parquet(path, **options), topic or "data")]
    found = sorted(
        p for p in path.iterdir() if not p.name.startswith(".") and (_is_parquet(p) or _holds_parts(p))
    )
    if not found:
        raise NotFound("the folder holds no Parquet file", found=str(path), next_step="check the path")
    if all(_PART.match(p.name) for p in found):
        return [_intake(plan_parquet(path, **options), topic or topic_of_file(path))]
    topics = [topic_of_file(p) for p in found]
    if len({t.casefold() for t in topics}) < len(topics):
        raise ImportRefused(
            "two files of the folder would become one topic",
            found=", ".join(topics),
            next_step="rename one of them",
        )
    return [_intake(plan_parquet(p, **options), t) for p, t in zip(found, topics, strict=True)]


def _intake(plan: ParquetPlan, topic: str) -> Intake:
    path = plan.files[0] if len(plan.files) == 1 else plan.files[0].parent
    return Intake(
        topic, path, plan.schema(), tuple(plan.describe()), lambda on_bad: read_batches(plan, on_bad)
    )


def _is_parquet(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in _SUFFIXES


def _holds_parts(path: Path) -> bool:
    return path.is_dir() and any(_is_parquet(p) for p in path.iterdir())


def _parts(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if _is_parquet(p) and not p.name.startswith("."))
    if not files:
        raise NotFound("the folder holds no Parquet file", found=str(folder), next_step="check the path")
    return files


def _schema_of(files: tuple[Path, ...]) -> tuple[pa.Schema, int, bool]:
    """Return the schema of the files, their rows, and whether gapless wrote them as parts of a bundle."""
    schema: pa.Schema | None = None
    rows, own = 0, True
    for path in files:
        with _opened(path) as file:
            if schema is not None and not file.schema_arrow.equals(schema):
                raise ImportRefused(
                    f"{path.name} has another schema than {files[0].name}",
                    next_step="import files of different schemas as topics of their own",
                )
            schema = schema or file.schema_arrow
            rows += file.metadata.num_rows
            own = own and b"gapless.stats" in (file.metadata.metadata or {})
    assert schema is not None  # there is at least one file
    return schema, rows, own


def _opened(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise NotFound("there is no such file", found=str(path), next_step="check the path") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise ImportRefused(
            f"{path.name} cannot be read as Parquet: {error}", next_step="check the file"
        ) from error


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    with _opened(path) as file:
        try:
            yield from file.iter_batches(BATCH_ROWS)
        except (pa.ArrowInvalid, OSError) as error:
            raise ImportRefused(
                f"{path.name} cannot be read as Parquet: {error}", next_step="check the file"
            ) from error


def _flatten(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch with the members of structs as columns of their own: ``pose`` gives ``pose.x``."""
    import pyarrow as pa

    while any(pa.types.is_struct(field.type) for field in batch.schema):
        batch = (
            pa.Table.from_batches([batch]).flatten().combine_chunks().to_batches()[0]
            if batch.num_rows
            else (pa.RecordBatch.from_pylist([], schema=_flat_schema(batch.schema)))
        )
    return batch


def _flat_schema(schema: pa.Schema) -> pa.Schema:
    import pyarrow as pa

    while any(pa.types.is_struct(field.type) for field in schema):
        schema = schema.empty_table().flatten().schema
    return schema


def _topic_field(field: pa.Field, name: str, unit: str | None) -> pa.Field:
    import pyarrow as pa

    kind = field.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind):
        kind = pa.string()
    metadata = {k: v for k, v in (field.metadata or {}).items() if not k.startswith(b"PARQUET:")}
    if unit is not None:
        metadata[b"unit"] = unit.encode()
    return pa.field(name, kind, field.nullable, metadata or None)


def _row(batch: pa.RecordBatch, at: int) -> dict[str, object]:
    row: dict[str, object] = batch.slice(at, 1).to_pylist()[0]
    return {k: (str(v) if isinstance(v, Decimal) else v) for k, v in row.items()}
