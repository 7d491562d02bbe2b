"""Rows as bytes on their way: Arrow, Parquet, CSV or JSON, made piece by piece while somebody takes them.

What is held at one time is one row group at most, however many rows there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from gapless.exchange.csv_export import CsvText
from gapless.exchange.parquet_export import GROUP_ROWS, parquet_writer, row_groups
from gapless.serve.http.data_page import json_text
from gapless.serve.http.outbox import Outbox
from gapless.serve.native.reading_streams import pieces

_CSV_ROWS: Final = 8_192  # texts of so many rows are a few MB
Batches = Iterable[pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class DataFormat:
    """One way to send rows. ``encode`` gets their schema and the rows, which are in order of time."""

    media_type: str
    suffix: str
    encode: Callable[[pa.Schema, Batches], Iterator[bytes]]


def arrow_stream(schema: pa.Schema, batches: Batches) -> Iterator[bytes]:
    """Yield an Arrow IPC stream, whose schema carries the units."""
    sink = Outbox()
    with pa.ipc.new_stream(sink, schema) as writer:
        yield sink.take()
        for batch in pieces(iter(batches)):
            writer.write_batch(batch)
            del batch
            yield sink.take()
    yield sink.take()


def parquet_file(schema: pa.Schema, batches: Batches) -> Iterator[bytes]:
    """Yield a Parquet file of row groups as an export writes them, units in the fields' metadata."""
    sink = Outbox()
    with parquet_writer(sink, schema) as writer:
        for table in row_groups(batches, schema):
            writer.write_table(table, row_group_size=GROUP_ROWS)
            del table  # nobody knows how long the chunk waits for its reader
            yield sink.take()
    yield sink.take()


def csv_text(schema: pa.Schema, batches: Batches) -> Iterator[bytes]:
    """Yield CSV with the cells that an export writes: UTC times, units in the headers."""
    text = CsvText(schema)
    yield text.header()
    for batch in batches:
        for start in range(0, batch.num_rows, _CSV_ROWS):
            yield text.lines(batch.slice(start, _CSV_ROWS))


FORMATS: Final = {
    "arrow": DataFormat("application/vnd.apache.arrow.stream", ".arrows", arrow_stream),
    "parquet": DataFormat("application/vnd.apache.parquet", ".parquet", parquet_file),
    "csv": DataFormat("text/csv; charset=utf-8", ".csv", csv_text),
    "json-all": DataFormat("application/json", ".json", json_text),
}
