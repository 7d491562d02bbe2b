"""One entry's Parquet file: encoded, synced and renamed into place, with statistics in its footer."""

from __future__ import annotations

import hashlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from gapless.features.entry import EntryKey
from gapless.features.entry_statistics import table_statistics
from gapless.model.names import to_component
from gapless.store import parquet
from gapless.store.declaration import TIME
from gapless.store.layout import ROW_GROUP_ROWS
from gapless.store.platform import PLATFORM
from gapless.store.statistics import STATS_KEY, encode


@dataclass(frozen=True, slots=True)
class WrittenTable:
    """What the ledger keeps of a file."""

    file: str
    n_rows: int
    bytes: int
    sha256: str
    footer_sha256: str
    start_ns: int | None
    end_ns: int | None
    mtime_ns: int
    fields: dict[str, str]
    stats: dict[str, Any]


def entry_file(key: EntryKey) -> str:
    """Return the file name of an entry."""
    return f"{to_component(key[1])}.parquet"


def write_table(folder: Path, key: EntryKey, table: pa.Table) -> WrittenTable:
    """Write a sorted table; its bytes are durable under their final name, whose directory is not synced.

    A reader sees the file before or the file after, never a part of it.
    """
    name = entry_file(key)
    partial = f"{folder}/.{name}.{uuid.uuid4().hex}.partial"
    data, stats = _encoded(table)
    try:
        mtime_ns = _write(partial, data)
        PLATFORM.replace(Path(partial), folder / name)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    times = table.column(TIME) if TIME in table.column_names and table.num_rows else None
    return WrittenTable(
        name,
        table.num_rows,
        len(data),
        hashlib.sha256(data).hexdigest(),
        _footer_digest(data),
        None if times is None else times[0].as_py(),
        None if times is None else times[-1].as_py(),
        mtime_ns,
        {field.name: str(field.type) for field in table.schema},
        stats,
    )


def _encoded(table: pa.Table) -> tuple[memoryview, dict[str, Any]]:
    """Return the bytes of the file and the statistics in its footer; smaller than the table, which is in memory."""
    stats = table_statistics(table)
    sink = pa.BufferOutputStream()
    with parquet.open_writer(sink, table.schema) as writer:
        for start in range(0, table.num_rows, ROW_GROUP_ROWS):
            group = table.slice(start, ROW_GROUP_ROWS)
            writer.write_table(group, row_group_size=group.num_rows)
        writer.add_key_value_metadata({STATS_KEY.decode(): encode(stats)})
    return memoryview(sink.getvalue()).cast("B"), stats


def _write(path: str, data: memoryview) -> int:
    """Write and sync a new file; return the time that it then has."""
    fd = PLATFORM.create(Path(path))
    try:
        PLATFORM.write(fd, [data])
        PLATFORM.data_sync(fd)
        return os.fstat(fd).st_mtime_ns
    finally:
        PLATFORM.close(fd)


def _footer_digest(data: memoryview) -> str:
    length = int.from_bytes(data[-8:-4], "little") + 8
    return hashlib.sha256(data[-length:]).hexdigest()
