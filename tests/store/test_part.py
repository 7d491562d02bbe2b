"""A part while it is being written: its pyramid goes to the journal row group by row group."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gapless.store.bucket_file import is_whole, open_buckets
from gapless.store.declaration import TopicDeclaration, check_schema
from gapless.store.layout import Bundle
from gapless.store.part import PartWriter
from gapless.store.platform import PLATFORM
from gapless.store.pyramid import group_buckets

ROWS = 1_000
VALUES = pa.field("value", pa.float64(), nullable=False)
DECLARED = TopicDeclaration(
    16, "t", check_schema(pa.schema([pa.field("timestamp_ns", pa.int64(), nullable=False), VALUES]), "t"), {}
)


def bundle_at(folder: Path) -> Bundle:
    """Return an empty bundle with a journal."""
    bundle = Bundle(folder)
    bundle.journal.mkdir(parents=True)
    return bundle


def row_group(number: int) -> pa.Table:
    """Return the rows of one row group; those of higher numbers are later."""
    seq = np.arange(ROWS, dtype=np.int64) + number * ROWS
    return pa.table([seq * 10, np.sin(seq), seq], schema=DECLARED.stored_schema)


def kept(bundle: Bundle) -> list[pa.RecordBatch]:
    """Return the batches that the journal keeps of the first part's pyramid."""
    with open_buckets(bundle.journal_pyramid("t", 0)) as reader:
        return [reader.get_batch(i) for i in range(reader.num_record_batches)]


def made_again(bundle: Bundle) -> list[pa.RecordBatch]:
    """Return the pyramid as made from the finished part."""
    batches = []
    with pq.ParquetFile(bundle.topic("t") / "part-00000.parquet") as source:
        for number in range(source.num_row_groups):
            group = source.read_row_group(number)
            batches += group_buckets(group, DECLARED.schema, 0, number * ROWS)
    return batches


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 2, 1, 3], [3, 2, 1, 0]])
def test_the_kept_pyramid_is_that_of_the_rows_in_their_final_order(tmp_path: Path, order: list[int]) -> None:
    """In order as they come; with late rows made again when the part is sorted."""
    bundle = bundle_at(tmp_path / "s")
    part = PartWriter(bundle, DECLARED, 0, PLATFORM)
    for number in order:
        part.add(row_group(number), ROWS * 16)
    entry = part.finish()
    assert entry["rows"] == 4 * ROWS
    assert kept(bundle) == made_again(bundle)


def test_a_part_in_progress_holds_no_more_memory_with_every_row_group(tmp_path: Path) -> None:
    """Neither rows nor buckets stay in Arrow's memory: a part may have sixteen row groups, a recording many topics."""
    gc.collect()
    part = PartWriter(bundle_at(tmp_path / "s"), DECLARED, 0, PLATFORM)
    held = []
    for number in range(12):
        part.add(row_group(number), ROWS * 16)
        held.append(pa.total_allocated_bytes())
    part.abandon()
    assert max(held[2:]) <= held[1], held  # the first one makes the writer's own buffers


def test_an_unfinished_pyramid_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    """What a kill leaves has no end, so that the seal makes it again from the part."""
    bundle = bundle_at(tmp_path / "s")
    part = PartWriter(bundle, DECLARED, 0, PLATFORM)
    part.add(row_group(0), ROWS * 16)
    with pytest.raises(pa.ArrowInvalid):
        kept(bundle)
    part.abandon()


def test_what_an_owner_before_writes_on_does_not_reach_the_part(tmp_path: Path) -> None:
    """A part that was given up may still have its files open when another takes its place."""
    bundle = bundle_at(tmp_path / "s")
    before = PartWriter(bundle, DECLARED, 0, PLATFORM)
    before.add(row_group(5), ROWS * 16)
    part = PartWriter(bundle, DECLARED, 0, PLATFORM)
    before.add(row_group(6), ROWS * 16)
    part.add(row_group(0), ROWS * 16)
    before._buckets.close()  # as the interpreter does when nothing refers to it any more
    before._writer.close()
    part.finish()
    assert kept(bundle) == made_again(bundle)
    assert pq.read_table(bundle.topic("t") / "part-00000.parquet").num_rows == ROWS


def test_no_flipped_bit_of_the_kept_pyramid_goes_unseen(tmp_path: Path) -> None:
    """Values, their bookkeeping and the checksum itself: the file does not count as whole any more."""
    bundle = bundle_at(tmp_path / "s")
    part = PartWriter(bundle, DECLARED, 0, PLATFORM)
    part.add(row_group(0), 8 * ROWS)
    part.finish()
    file = bundle.journal_pyramid("t", 0)
    written = file.read_bytes()
    assert is_whole(file)
    for at in range(0, len(written), 7):
        file.write_bytes(written[:at] + bytes([written[at] ^ 4]) + written[at + 1 :])
        assert not is_whole(file), f"byte {at}"
    for end in (0, 5, len(written) - 1):
        file.write_bytes(written[:end])
        assert not is_whole(file), f"cut at {end}"
