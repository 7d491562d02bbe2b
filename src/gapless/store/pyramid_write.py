"""Joining the buckets of a topic's parts into its pyramid file.

One level after the other, in row groups of the same number of buckets over the ends of parts: a window of a
long topic is read in few row groups, and of each only the field that is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gapless.store import parquet
from gapless.store.bucket_file import BucketWriter, is_whole, open_buckets
from gapless.store.declaration import TopicDeclaration
from gapless.store.layout import Bundle
from gapless.store.platform import Platform
from gapless.store.pyramid import LEVELS, group_buckets, numeric_fields, pyramid_schema

MOST_BUCKETS = 16_384  # of a row group: ten million rows have three groups of 256 rows a bucket
_FEWEST_BUCKETS = 1_024
_GROUP_BYTES = 32 << 20  # in memory at one time; less than 72 fields reach MOST_BUCKETS first
_BUCKET_BYTES, _FIELD_BYTES = 36, 28
_MOST_HELD = (
    64  # a coarse level has batches of a single bucket, smaller than what Arrow needs to describe them
)


def write_pyramid(
    bundle: Bundle, declaration: TopicDeclaration, parts: list[dict[str, Any]], platform: Platform
) -> dict[str, Any] | None:
    """Write and sync the topic's pyramid and return its manifest entry; None where there is nothing to show.

    A part whose buckets are not in the journal any more (a crash, damage) is read again. The same rows give
    the same bytes.
    """
    if not numeric_fields(declaration.schema) or not any(p["rows"] for p in parts):
        return None
    path = bundle.pyramid(declaration.name)
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    kept = [_kept(bundle, declaration, number, part) for number, part in enumerate(parts)]
    writer = parquet.open_writer(partial, pyramid_schema(declaration.schema))
    for level in LEVELS:
        for table in row_groups(_buckets(kept, level), group_size(declaration.schema)):
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


def group_size(schema: pa.Schema) -> int:
    """Return how many buckets a row group of a topic's pyramid has: fewer where there are many fields."""
    bucket_bytes = _BUCKET_BYTES + _FIELD_BYTES * len(numeric_fields(schema))
    return max(_FEWEST_BUCKETS, min(MOST_BUCKETS, _GROUP_BYTES // bucket_bytes))


def row_groups(batches: Iterator[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Yield the rows of the batches as tables of ``size`` rows, the last one shorter."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        while rows + batch.num_rows >= size:
            head = batch.slice(0, size - rows)
            yield pa.Table.from_batches([*held, head]).combine_chunks()
            batch = batch.slice(len(head))  # noqa: PLW2901 - what is left of it
            held, rows = [], 0
        if batch.num_rows:
            held.append(batch)
            rows += batch.num_rows
        if len(held) > _MOST_HELD:
            held = pa.Table.from_batches(held).combine_chunks().to_batches()
    if held:
        yield pa.Table.from_batches(held).combine_chunks()


def _kept(bundle: Bundle, declaration: TopicDeclaration, number: int, part: dict[str, Any]) -> Path:
    """Return the journal's file with the buckets of a part, made again if it is not whole."""
    kept = bundle.journal_pyramid(declaration.name, number)
    if not _usable(kept, part["rows"], pyramid_schema(declaration.schema)):
        _rebuild(bundle.path / part["path"], declaration, number, kept)
    return kept


def _buckets(kept: list[Path], level: int) -> Iterator[pa.RecordBatch]:
    for path in kept:
        with open_buckets(path) as reader:
            for i in range(reader.num_record_batches):
                batch = reader.get_batch(i)
                if batch.num_rows and batch.column("level")[0].as_py() == level:
                    yield batch


def _usable(path: Path, rows: int, schema: pa.Schema) -> bool:
    """Tell whether the kept buckets are as they were written, have all columns and cover all rows of the part."""
    try:
        if not is_whole(path):
            return False
        with open_buckets(path) as reader:
            table = reader.read_all()
            if not table.schema.equals(schema):  # kept by an earlier release
                return False
            covered = pc.sum(table.filter(pc.equal(table["level"], LEVELS[0]))["rows"]).as_py() or 0
    except (FileNotFoundError, pa.ArrowInvalid, OSError):
        return False
    return bool(covered == rows)


def _rebuild(part: Path, declaration: TopicDeclaration, number: int, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    out = BucketWriter(kept, pyramid_schema(declaration.schema))
    with pq.ParquetFile(part, page_checksum_verification=True) as source:
        row_start = 0
        for group in range(source.num_row_groups):
            table = source.read_row_group(group)
            out.add(group_buckets(table, declaration.schema, number, row_start))
            row_start += table.num_rows
    out.close()
