"""A pyramid file: verified once, read in parts, and never believed when it is damaged."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gapless.errors import IntegrityError
from gapless.store import parquet, pyramid_file
from gapless.store.pyramid import pyramid_schema
from gapless.store.pyramid_file import PyramidFile

FIELDS = pa.schema([("timestamp_ns", pa.int64()), ("x", pa.float64())])
SCHEMA = pyramid_schema(FIELDS)
LEVELS = {256: 3000, 4096: 200, 65_536: 12}  # buckets of each
GROUP = 1000


def write(path: Path) -> dict[str, Any]:
    """Write the buckets of x = row number, one row in each ns, in row groups of 1,000; return the entry."""
    writer = parquet.open_writer(path, SCHEMA)
    for level, count in LEVELS.items():
        for first in range(0, count, GROUP):
            writer.write_table(_buckets(level, first, min(count, first + GROUP)))
    writer.close()
    return entry_of(path)


def entry_of(path: Path) -> dict[str, Any]:
    """Return a manifest's entry for a file."""
    return {"path": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _buckets(level: int, first: int, last: int) -> pa.Table:
    number = np.arange(first, last, dtype=np.int64)
    start, end = number * level, (number + 1) * level - 1
    rows = np.full(len(number), level)
    columns = [rows, np.zeros(len(number)), start, rows, start, end, start, end, (start + end) / 2, rows]
    return pa.table([pa.array(c).cast(f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


@pytest.fixture
def entry(tmp_path: Path) -> dict[str, Any]:
    """A pyramid file in the folder, and its entry."""
    return write(tmp_path / "x.parquet")


def test_a_window_reads_the_row_groups_that_it_needs(tmp_path: Path, entry: dict[str, Any]) -> None:
    """Buckets are those that reach into the window; row groups that cannot hold any are not read."""
    with PyramidFile(tmp_path, entry, "t") as file:
        table = file.buckets(256, "x", 999 * 256 + 255, 1000 * 256)
        assert table["start_ns"].to_pylist() == [999 * 256, 1000 * 256]
        assert table["x:max"].to_pylist() == [1000 * 256 - 1.0, 1001 * 256 - 1.0]
        assert file.row_groups_read == 2
        assert file.buckets(256, "x", 1001 * 256, 1001 * 256).num_rows == 1
        assert file.row_groups_read == 2  # read before, for the same question
        assert file.most(256, 0, 0) == GROUP
        assert file.most(4096, 0, 2**62) == 200
        assert file.most(4096, -5, -1) == 0
        assert file.buckets(4096, "x", -5, -1).num_rows == 0


def test_a_field_without_buckets_is_told(tmp_path: Path, entry: dict[str, Any]) -> None:
    """The footer says which fields there are."""
    with PyramidFile(tmp_path, entry, "t") as file:
        assert file.has("x")
        assert not file.has("y")


def test_levels_may_share_a_row_group_without_statistics(tmp_path: Path) -> None:
    """What other writers make of it is read as well: each bucket says its level itself."""
    whole = pa.concat_tables([_buckets(level, 0, count) for level, count in LEVELS.items()])
    pq.write_table(whole, tmp_path / "x.parquet", write_page_checksum=True, write_statistics=False)
    with PyramidFile(tmp_path, entry_of(tmp_path / "x.parquet"), "t") as file:
        for level, count in LEVELS.items():
            assert file.buckets(level, "x", 0, 2**62)["start_ns"].to_pylist() == [
                level * k for k in range(count)
            ]
        assert file.row_groups_read == 1


def test_a_file_is_hashed_once(
    tmp_path: Path, entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second question about the same file believes the first; a file that was written again is hashed again."""
    hashed = []

    def sha256() -> Any:
        hashed.append(1)
        return hashlib.sha256()

    monkeypatch.setattr(pyramid_file, "hashlib", type("Counted", (), {"sha256": staticmethod(sha256)}))
    for _ in range(3):
        with PyramidFile(tmp_path, entry, "t") as file:
            assert file.buckets(65_536, "x", 0, 0).num_rows == 1
    assert len(hashed) == 1
    write(tmp_path / "x.parquet")
    with PyramidFile(tmp_path, entry, "t") as file:
        assert file.has("x")
    assert len(hashed) == 2


def test_a_bit_that_flips_before_the_first_look_is_found(tmp_path: Path, entry: dict[str, Any]) -> None:
    """Wherever it is: the digest is over the whole file."""
    flip(tmp_path / "x.parquet", (tmp_path / "x.parquet").stat().st_size - 20)
    with pytest.raises(IntegrityError, match="not what was sealed"), PyramidFile(tmp_path, entry, "t"):
        raise AssertionError("it was believed")


def test_a_bit_that_flips_later_is_found(tmp_path: Path, entry: dict[str, Any]) -> None:
    """Also with the file's time put back; and below that, while it is open, by the checksum of the page."""
    path = tmp_path / "x.parquet"
    with PyramidFile(tmp_path, entry, "t") as file:
        column = pq.read_metadata(path).row_group(0).column(SCHEMA.get_field_index("x:max"))
        before = path.stat()
        flip(path, column.data_page_offset + column.total_compressed_size - 5)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(IntegrityError, match=r"cannot be read.*(CRC|checksum|corrupt)"):
            file.buckets(256, "x", 0, 0)
        assert file.buckets(65_536, "x", 0, 0).num_rows == 1  # another row group, which is whole
    with pytest.raises(IntegrityError, match="not what was sealed"), PyramidFile(tmp_path, entry, "t"):
        raise AssertionError("it was believed")


def test_no_flipped_bit_gives_another_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that rots without a word, in a file that was verified: an error, or what was written."""
    monkeypatch.setitem(LEVELS, 256, 300)
    path = tmp_path / "x.parquet"
    entry, data = write(path), path.read_bytes()

    def values() -> list[list[Any]]:
        with PyramidFile(tmp_path, entry, "t") as file:
            return [file.buckets(level, "x", 0, 2**62)["x:max"].to_pylist() for level in LEVELS]

    with PyramidFile(tmp_path, entry, "t") as file:
        verified = file._layout
    expected, refused = values(), 0
    monkeypatch.setattr(PyramidFile, "_verified", lambda *_: verified)
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for place in range(4, footer, 3):
        flip(path, place, place % 8)
        try:
            assert values() == expected
        except IntegrityError:
            refused += 1
        flip(path, place, place % 8)
    assert refused > 500


def test_a_file_that_is_not_there_is_damage(tmp_path: Path, entry: dict[str, Any]) -> None:
    """The manifest promises it."""
    (tmp_path / "x.parquet").unlink()
    with pytest.raises(IntegrityError, match="cannot be read"), PyramidFile(tmp_path, entry, "t"):
        raise AssertionError("it was found")


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.parquet"])
def test_no_file_outside_its_bundle_is_opened(tmp_path: Path, entry: dict[str, Any], path: str) -> None:
    """Whatever a manifest says."""
    with pytest.raises(IntegrityError, match="outside its bundle"):
        PyramidFile(tmp_path / "bundle", {**entry, "path": path}, "t")


def flip(path: Path, place: int, bit: int = 0) -> None:
    """Turn one bit of a file over, in place."""
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1 << bit]))
