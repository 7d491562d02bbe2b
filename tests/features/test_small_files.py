"""Small files are read in one piece: the same rows, and whatever is wrong with one is found as before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.features.toy_features import Double
from tests.features.tracks import record_tracks

from gapless.errors import IntegrityError
from gapless.features import Dataset
from gapless.features import table_source as module
from gapless.features.table_source import TableSource


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give a data set of one sequence of 50 rows."""
    record_tracks(tmp_path / "store", 1, rows=50)
    with Dataset(tmp_path / "store") as dataset:
        yield dataset


def sources(ds: Dataset) -> list[TableSource]:
    """Return a recorded topic, and an output of a feature."""
    [key] = ds.entries()
    return [ds.source(key), ds.source(key, ds.run_feature(Double()))]


def test_a_small_file_has_the_rows_types_and_units_of_any_other(
    ds: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same order, without the sequence number."""
    both = sources(ds)
    small = [source.read() for source in both]
    assert all(source.files[0].read_small() is not None for source in both)
    monkeypatch.setattr(module, "_SMALL_BYTES", 0)
    for source, table in zip(both, small, strict=True):
        assert source.files[0].read_small() is None
        assert table.num_rows == 50
        assert table.equals(source.read(), check_metadata=True)
    assert small[0].schema.field("x").metadata == {b"unit": b"m"}


def test_damage_anywhere_in_a_small_file_is_found(ds: Dataset) -> None:
    """One bit in the middle of each twentieth of it, a byte more, a byte less, and none at all."""
    for source in sources(ds):
        path = Path(source.files[0].folder, source.files[0].path)
        whole = path.read_bytes()
        step = len(whole) // 20
        spoilt = [
            whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :]
            for at in range(step // 2, len(whole), step)
        ]
        found = 0
        for data in [*spoilt, whole[:-1], whole + b"x", b""]:
            path.write_bytes(data)
            try:
                rows = source.read()
            except IntegrityError:
                found += 1
            else:  # a bit that no page and no footer holds
                path.write_bytes(whole)
                assert rows.equals(source.read())
        assert found >= 15
        path.unlink()
        with pytest.raises(IntegrityError):
            source.read()
        path.write_bytes(whole)
