"""A sequence becomes Parquet files that any Arrow tool reads: one per topic, units in the field metadata."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.exchange.outlet import check_columns, chosen_schema, replacing, targets
from gapless.exchange.report import ExportedFile, ExportReport

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from gapless.exchange.ports import ReadableSequence

GROUP_ROWS = 65_536
GROUP_BYTES = 16 << 20


def export_parquet(
    sequence: ReadableSequence,
    path: str | Path,
    topics: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    start_ns: int | None = None,
    end_ns: int | None = None,
    *,
    compression: str = "zstd",
    overwrite: bool = False,
) -> ExportReport:
    """Write each topic to one Parquet file with its schema as it is; a file is complete or not there.

    ``path`` is a ``.parquet`` file for one topic, else a folder. The window is half-open. Memory is
    bounded by one row group.
    """
    files = targets(sequence, Path(path), topics, (".parquet", ".pq"), overwrite=overwrite)
    check_columns(sequence, [topic for topic, _ in files], columns)
    report = ExportReport(sequence.name)
    for name, file in files:
        topic = sequence.topic(name)
        schema = chosen_schema(topic.schema, columns)
        rows = 0
        scan = topic.scan(columns=schema.names[1:], start_ns=start_ns, end_ns=end_ns)
        with replacing(file) as partial, parquet_writer(partial, schema, compression) as writer:
            for table in row_groups(scan, schema):
                writer.write_table(table, row_group_size=GROUP_ROWS)
                rows += table.num_rows
        report.files.append(ExportedFile(name, file, rows))
    return report


def parquet_writer(sink: Any, schema: pa.Schema, compression: str = "zstd") -> pq.ParquetWriter:
    """Return the writer of one exported file, into a path or anything that takes bytes."""
    import pyarrow.parquet as pq

    return pq.ParquetWriter(
        sink,
        schema,
        compression=compression,
        write_page_checksum=True,
        use_compliant_nested_type=False,  # the other way renames the items of lists
    )


def row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield tables of about one row group, so that a scan in small batches gives no tiny row groups."""
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        held.append(pa.RecordBatch.from_arrays([batch.column(name) for name in schema.names], schema=schema))
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            yield pa.Table.from_batches(held, schema)
            held, rows, size = [], 0, 0
    if rows:
        yield pa.Table.from_batches(held, schema)
