"""Joining the buckets of a topic's parts into its pyramid file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gapless.store import parquet
from gapless.store.declaration import TopicDeclaration
from gapless.store.layout import Bundle
from gapless.store.platform import Platform
from gapless.store.pyramid import LEVELS, group_buckets, numeric_fields, pyramid_schema


def write_pyramid(
    bundle: Bundle, declaration: TopicDeclaration, parts: list[dict[str, Any]], platform: Platform
) -> dict[str, Any] | None:
    """Write and sync the topic's pyramid and return its manifest entry; None where there is nothing to show.

    A part whose buckets are not in the journal any more (a crash, damage) is read again.
    """
    if not numeric_fields(declaration.schema) or not any(p["rows"] for p in parts):
        return None
    path = bundle.pyramid(declaration.name)
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    schema = pyramid_schema(declaration.schema)
    writer = parquet.open_writer(partial, schema)
    for level in LEVELS:
        for number, part in enumerate(parts):
            batches = list(_buckets(bundle, declaration, number, part, level))
            if batches:
                table = pa.Table.from_batches(batches, schema=schema)
                writer.write_table(table, row_group_size=table.num_rows)
    writer.close()
    platform.sync_file(partial)
    digests = parquet.file_digests(partial)
    platform.replace(partial, path)
    platform.sync_directory(path.parent)  # the bundle's own folder is synced with the manifest
    return {
        "path": path.relative_to(bundle.path).as_posix(),
        "bytes": digests["bytes"],
        "sha256": digests["sha256"],
    }


def _buckets(
    bundle: Bundle, declaration: TopicDeclaration, number: int, part: dict[str, Any], level: int
) -> Iterator[pa.RecordBatch]:
    kept = bundle.journal_pyramid(declaration.name, number)
    if not _usable(kept, part["rows"]):
        _rebuild(bundle.path / part["path"], declaration, number, kept)
    with pa.OSFile(str(kept), "rb") as source:
        reader = pa.ipc.open_file(source)
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            if batch.num_rows and batch.column("level")[0].as_py() == level:
                yield batch


def _usable(path: Path, rows: int) -> bool:
    """Tell whether the kept buckets can be read and cover all rows of the part."""
    try:
        with pa.OSFile(str(path), "rb") as source:
            table = pa.ipc.open_file(source).read_all()
            covered = pc.sum(table.filter(pc.equal(table["level"], LEVELS[0]))["rows"]).as_py() or 0
    except (FileNotFoundError, pa.ArrowInvalid, OSError):
        return False
    return bool(covered == rows)


def _rebuild(part: Path, declaration: TopicDeclaration, number: int, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    source = pq.ParquetFile(part, page_checksum_verification=True)
    with pa.OSFile(str(kept), "wb") as sink, pa.ipc.new_file(sink, pyramid_schema(declaration.schema)) as out:
        row_start = 0
        for group in range(source.num_row_groups):
            table = source.read_row_group(group)
            for batch in group_buckets(table, declaration.schema, number, row_start):
                out.write_batch(batch)
            row_start += table.num_rows
    source.close()
