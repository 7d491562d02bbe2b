"""One entry's Parquet file: encoded, synced and renamed into place, with statistics in its footer."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from gapless.features.entry import EntryKey
from gapless.model.names import to_component
from gapless.store import parquet
from gapless.store.declaration import TIME
from gapless.store.layout import ROW_GROUP_ROWS
from gapless.store.platform import PLATFORM
from gapless.store.pyramid import reductions
from gapless.store.statistics import STATS_KEY, PartStatistics, encode


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
    path = folder / entry_file(key)
    partial = folder / f".{path.name}.{uuid.uuid4().hex}.partial"
    try:
        stats = _write(partial, table)
        digests = parquet.file_digests(partial)
        PLATFORM.sync_file(partial)
        mtime_ns = os.stat(partial).st_mtime_ns
        PLATFORM.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    times = table.column(TIME) if TIME in table.column_names and table.num_rows else None
    return WrittenTable(
        path.name,
        table.num_rows,
        digests["bytes"],
        digests["sha256"],
        digests["footer_sha256"],
        None if times is None else times[0].as_py(),
        None if times is None else times[-1].as_py(),
        mtime_ns,
        {field.name: str(field.type) for field in table.schema},
        stats,
    )


def _write(path: Path, table: pa.Table) -> dict[str, Any]:
    statistics = PartStatistics(table.schema)
    writer = parquet.open_writer(path, table.schema)
    try:
        for start in range(0, table.num_rows, ROW_GROUP_ROWS):
            group = table.slice(start, ROW_GROUP_ROWS)
            statistics.add(group, reductions(group, table.schema))
            writer.write_table(group, row_group_size=group.num_rows)
        stats = statistics.to_json()
        writer.add_key_value_metadata({STATS_KEY.decode(): encode(stats)})
    finally:
        writer.close()
    return stats
