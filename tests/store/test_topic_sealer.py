"""From frames to parts: cuts by the rows alone, rows in time order, encodings, pyramids that equal plain NumPy."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gapless.store.declaration import TopicDeclaration, check_schema
from gapless.store.frame import HEADER_BYTES, Kind, encode_header
from gapless.store.layout import Bundle, Cuts
from gapless.store.packing import Layout
from gapless.store.parquet import leaf_encodings
from gapless.store.platform import PLATFORM
from gapless.store.pyramid import LEVELS, group_buckets
from gapless.store.sealer import Sealer
from gapless.testing.sample import IMAGES, MOTION, SampleTopic

CUTS = Cuts(group_rows=50, group_bytes=8000, part_groups=3, part_bytes=20_000)
HEADER: dict[str, Any] = {"name": "s", "nonce": 7}


def declare(schema: pa.Schema) -> TopicDeclaration:
    """Return topic number 16."""
    return TopicDeclaration(16, "t", check_schema(schema, "t"), {})


def write_segment(
    path: Path, declaration: TopicDeclaration, batches: list[pa.RecordBatch], first: int
) -> None:
    """Write frames of rows as the writer does."""
    parts = []
    for batch in batches:
        payload = batch.serialize().to_pybytes()
        layout = Layout.of(declaration)
        size = batch.num_rows * layout.value_bytes if layout else batch.nbytes
        parts.append(encode_header(Kind.ARROW, 7, 1, 16, first, batch.num_rows, payload, size) + payload)
        first += batch.num_rows
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(parts))


def seal_rows(folder: Path, table: pa.Table, dice: random.Random) -> list[pa.Table]:
    """Cut the rows into frames and segments as the dice say, seal them, and return the parts."""
    folder.mkdir()
    bundle = Bundle(folder)
    declaration = declare(table.schema)
    sealer = Sealer(bundle, HEADER, PLATFORM, CUTS)
    sealer.declare(declaration)
    start = number = 0
    while start < table.num_rows:
        frames = []
        first = start
        for _ in range(dice.randint(1, 6)):
            count = min(dice.randint(1, 40), table.num_rows - start)
            if count:
                frames.append(table.slice(start, count).combine_chunks().to_batches()[0])
            start += count
        number += 1
        path = bundle.journal / f"{number:08d}.seg"
        write_segment(path, declaration, frames, first)
        sealer.add_segment(path)
        if dice.random() < 0.7:
            sealer.advance()
            sealer.forget_segments()
    sealer.topics[16].finish()
    assert sealer.topics[16].ledger().written == table.num_rows
    return [pq.ParquetFile(bundle.path / part["path"]).read() for part in sealer.topics[16].done.parts]


def groups(folder: Path) -> list[list[int]]:
    """Return the rows of each row group of each part."""
    found = []
    for path in sorted(folder.rglob("*.parquet")):
        layout = pq.read_metadata(path)
        found.append([layout.row_group(i).num_rows for i in range(layout.num_row_groups)])
    return found


@pytest.mark.parametrize("topic", [MOTION, IMAGES], ids=["fixed width", "wide"])
def test_parts_depend_on_the_rows_and_not_on_frames_and_segments(tmp_path: Path, topic: SampleTopic) -> None:
    """Ten ways to frame the same rows, with carried segments in between, give the same bytes."""
    table = topic.table(0, 400)
    files = []
    for seed in range(10):
        seal_rows(tmp_path / str(seed), table, random.Random(seed))
        files.append([p.read_bytes() for p in sorted((tmp_path / str(seed) / "topics").rglob("*.parquet"))])
        assert files[-1] == files[0], f"seed {seed}"
    assert len(files[0]) > 2


def test_a_row_group_ends_with_the_row_that_reaches_its_bound(tmp_path: Path) -> None:
    """Rows or bytes, whichever is first; a part after its row groups or bytes."""
    small = pa.table({"timestamp_ns": pa.array(range(120)), "n": pa.array(range(120))})
    seal_rows(tmp_path / "rows", small, random.Random(1))
    assert groups(tmp_path / "rows") == [[50, 50, 20]]
    blobs = [b"x" * 3000] * 2 + [b"y" * 9000] + [b"z"] * 60
    wide = pa.table({"timestamp_ns": pa.array(range(63)), "b": pa.array(blobs)})
    seal_rows(tmp_path / "bytes", wide, random.Random(1))
    assert groups(tmp_path / "bytes") == [[3, 50, 10]]


@pytest.mark.parametrize("seed", range(5))
def test_late_rows_are_sorted_within_their_part_and_nothing_is_lost(tmp_path: Path, seed: int) -> None:
    """Rows in any order, duplicates of time included: each part is sorted by time, then arrival."""
    dice = random.Random(seed)
    times = [dice.choice([k, k, k, k - 90, dice.randint(0, 700)]) for k in range(700)]
    table = pa.table({"timestamp_ns": pa.array(times), "n": pa.array(range(700))})
    parts = seal_rows(tmp_path / "b", table, dice)
    assert len(parts) > 3
    start = 0
    for part in parts:
        rows = list(zip(part["timestamp_ns"].to_pylist(), part["_seq"].to_pylist(), strict=True))
        assert rows == sorted((times[n], n) for n in range(start, start + len(rows)))
        assert part["n"].to_pylist() == [seq for _, seq in rows]
        start += len(rows)
    assert start == 700


def test_encodings_are_what_the_format_says_for_each_leaf(tmp_path: Path) -> None:
    """Read from the footer: floats split, wide ints delta, text and narrow ints dictionary, bool and binary plain."""
    schema = pa.schema(
        [
            ("f", pa.float64()),
            ("h", pa.float32()),
            ("i", pa.int64()),
            ("j", pa.int32()),
            ("s", pa.string()),
            ("n", pa.int8()),
            ("b", pa.bool_()),
            ("y", pa.large_binary()),
            ("l", pa.list_(pa.float64())),
            ("d", pa.struct([("k", pa.int64()), ("x.y", pa.float32())])),
            ("x.y", pa.float64()),
        ]
    )
    rows = [
        {"f": k / 3, "h": k / 2, "i": k, "j": k, "s": f"s{k % 3}", "n": k % 5, "b": k % 2 == 0, "y": b"ab",
         "l": [k / 7], "d": {"k": k, "x.y": 0.5}, "x.y": float(k)}
        for k in range(60)
    ]  # fmt: skip
    table = pa.Table.from_pylist(
        [{"timestamp_ns": k, **row} for k, row in enumerate(rows)], declare(schema).schema
    )
    (part,) = seal_rows(tmp_path / "b", table, random.Random(0))
    assert part.drop_columns(["_seq"]).equals(table)
    (path,) = (tmp_path / "b").rglob("*.parquet")
    layout = pq.read_metadata(path)
    found = {
        layout.row_group(0).column(i).path_in_schema: set(layout.row_group(0).column(i).encodings)
        for i in range(layout.num_columns)
    }
    split, delta, plain, dictionary = "BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED", "PLAIN", "RLE_DICTIONARY"
    expected = {
        "timestamp_ns": delta, "f": split, "h": split, "i": delta, "j": delta, "s": dictionary, "n": dictionary,
        "b": plain, "y": plain, "l.list.element": split, "d.k": delta, "d.x.y": split, "x.y": split, "_seq": delta,
    }  # fmt: skip
    assert set(found) == set(expected)
    for leaf, encoding in expected.items():
        assert encoding in found[leaf], leaf
        assert (dictionary in found[leaf]) == (encoding == dictionary), leaf
    assert all(layout.row_group(0).column(i).compression == "ZSTD" for i in range(layout.num_columns))
    assert leaf_encodings(table.schema)[0] == ("s", "n")


def test_the_pyramid_equals_plain_numpy() -> None:
    """Minimum, maximum and mean of every bucket of every level, with nulls, NaN, infinities and whole-null buckets."""
    rng = np.random.default_rng(5)
    rows = 9000
    x = rng.normal(size=rows)
    x[::97] = np.nan
    x[512:768] = np.nan
    x[4000] = np.inf
    nulls = rng.random(rows) < 0.1
    nulls[1024:1280] = True
    counts = rng.integers(-(2**62), 2**62, rows)
    flags = rng.random(rows) < 0.5
    unsigned = rng.integers(0, 2**64, rows, dtype=np.uint64)
    table = pa.table(
        {
            "timestamp_ns": pa.array(np.arange(rows)),
            "x": pa.array(x),
            "n": pa.array(counts, mask=nulls),
            "u": pa.array(unsigned),
            "b": pa.array(flags),
        }
    )
    for batch, level in zip(group_buckets(table, declare(table.schema).schema, 3, 100), LEVELS, strict=True):
        rows_of = batch.to_pylist()
        assert [r["row_start"] for r in rows_of] == list(range(100, 100 + rows, level))
        for k, row in enumerate(rows_of):
            part = slice(k * level, (k + 1) * level)
            assert (row["level"], row["part"], row["start_ns"]) == (level, 3, k * level)
            check(row, "x", x[part][~np.isnan(x[part])])
            check(row, "n", counts[part][~nulls[part]])
            check(row, "u", unsigned[part])
            check(row, "b", flags[part].astype(np.int64))


def check(row: dict[str, Any], name: str, valid: np.ndarray[Any, Any]) -> None:
    """Compare one field of one bucket with NumPy."""
    if not len(valid):
        assert row[f"{name}:min"] is row[f"{name}:max"] is row[f"{name}:mean"] is None
        return
    assert (row[f"{name}:min"], row[f"{name}:max"]) == (valid.min(), valid.max())
    np.testing.assert_allclose(row[f"{name}:mean"], valid.astype(np.float64).mean(), rtol=1e-9)


def test_a_header_is_64_bytes() -> None:
    """What docs/format.md says of a frame."""
    assert HEADER_BYTES == 64
