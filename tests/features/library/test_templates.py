"""Templates: a seeded sample of rows of all entries."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.features.library.recordings import frame_of
from tests.features.tracks import files, record_tracks

from gapless.errors import ArgumentRefused
from gapless.features.dataset import Dataset
from gapless.features.entry import EntryKey
from gapless.features.feature import InputStream
from gapless.features.library.row_sample import RowSample
from gapless.features.library.templates import Templates, TemplatesArtifact

Sample = dict[EntryKey, list[int]]


def drawn(entries: Iterable[tuple[str, int]], rows: int, seed: int = 0) -> Sample:
    """Return the places that a sample takes of entries with so many rows."""
    sample = RowSample(rows, seed)
    for name, count in entries:
        sample.add(("g", name), np.arange(count, dtype=np.float64)[:, None])
    return {key: place.tolist() for key, (place, _) in sample.taken().items()}


@settings(max_examples=60, deadline=None)
@given(
    counts=st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 50), max_size=8),
    rows=st.integers(1, 60),
    seed=st.integers(0, 100),
)
def test_the_order_of_entries_does_not_matter(counts: dict[str, int], rows: int, seed: int) -> None:
    """As many rows as wanted, or all; the same ones whichever entry comes first."""
    forward = drawn(counts.items(), rows, seed)
    backward = drawn(reversed(counts.items()), rows, seed)
    assert list(forward.items()) == list(backward.items())
    assert sum(map(len, forward.values())) == min(rows, sum(counts.values()))


def test_a_new_entry_replaces_few_rows() -> None:
    """Rows that stay are those that were there: no entry is drawn anew for another's sake."""
    entries = [(f"s{number}", 100) for number in range(10)]
    before, after = drawn(entries, 200), drawn([*entries, ("new", 100)], 200)
    kept = sum(len(set(places) & set(before[key])) for key, places in after.items() if key in before)
    assert kept == 200 - len(after["g", "new"])


def test_every_row_has_the_same_chance() -> None:
    """Of entries of 900 and 100 rows nine tenths come from the first; another seed draws others."""
    sample = drawn([("long", 9000), ("short", 1000)], 2000)
    assert len(sample["g", "short"]) == pytest.approx(200, abs=60)
    assert np.mean(sample["g", "long"]) == pytest.approx(4500, abs=300)
    assert drawn([("long", 9000)], 100, 1) != drawn([("long", 9000)], 100, 2)


def test_rows_that_are_not_whole_are_not_drawn() -> None:
    """Neither missing nor infinite values become templates; values belong to their places."""
    values = np.arange(20.0).reshape(10, 2)
    values[3, 0], values[7, 1] = np.nan, np.inf
    sample = RowSample(100, 0)
    sample.add(("g", "s"), values)
    place, taken = sample.taken()["g", "s"]
    assert place.tolist() == [0, 1, 2, 4, 5, 6, 8, 9]
    np.testing.assert_array_equal(taken, values[place])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Give a store of four sequences of 25 rows, with x from 0 to 24, 100 to 124, and so on."""
    record_tracks(tmp_path / "store", 4, rows=25)
    return tmp_path / "store"


def test_templates_are_an_artifact_and_the_output(store: Path) -> None:
    """The table holds only the columns; each entry's output is its templates, with times."""
    with Dataset(store) as ds:
        run = ds.run_feature(Templates(params={"rows": 30, "columns": ["x"], "seed": 5}))
        artifact = TemplatesArtifact.from_result(run)
        table = artifact.from_path(ds.artifact_path(artifact))
        assert list(table.columns) == ["x"]
        assert len(table) == 30
        outputs = [df for _, df in ds.results(run)]
        assert pd.concat(outputs)["x"].tolist() == table["x"].tolist()
        for df in outputs:
            assert (df["timestamp_ns"].diff().dropna() > 0).all()
            np.testing.assert_allclose(df["x"] % 100, df["time"] * 10)


def test_all_rows_are_taken_where_there_are_no_more(store: Path) -> None:
    """Of all numeric columns, in order of entries and rows."""
    with Dataset(store) as ds:
        run = ds.run_feature(Templates())
        table = pq.read_table(ds.state_root(run) / "templates.parquet").to_pandas()
        assert list(table.columns) == ["x", "y"]
        assert table["x"].tolist() == [100.0 * number + row for number in range(4) for row in range(25)]


def test_the_same_bytes_on_every_way(store: Path) -> None:
    """State and outputs do not depend on when, by whom and in how many processes they were made."""
    feature = Templates(params={"rows": 30})
    with Dataset(store) as ds:
        run = ds.run_feature(feature)
        state = {path.name: path.read_bytes() for path in ds.state_root(run).iterdir()}
        outputs = files(ds, run)
        again = ds.run_feature(feature, overwrite=True, parallel_workers=2, parallel_mode="process")
        assert {path.name: path.read_bytes() for path in ds.state_root(again).iterdir()} == state
        assert files(ds, again) == outputs


def fit(feature: Templates, *frames: pd.DataFrame) -> None:
    """Learn from frames without a store."""
    stream: list[tuple[EntryKey, Any]] = [(("g", f"s{n}"), df) for n, df in enumerate(frames)]
    feature.fit(InputStream(lambda: iter(stream), len(stream)))


def test_nothing_to_draw_is_refused() -> None:
    """Entries without a whole row, and no entries at all."""
    with pytest.raises(ArgumentRefused, match="no row without missing values"):
        fit(Templates(), frame_of([0.0], x=[np.nan]))
    with pytest.raises(ArgumentRefused, match="no row without missing values"):
        fit(Templates())


def test_every_entry_has_the_columns_of_the_first() -> None:
    """A column that one entry lacks is refused, not left out."""
    with pytest.raises(ArgumentRefused, match="y"):
        fit(Templates(), frame_of([0.0], x=1.0, y=1.0), frame_of([0.0], x=1.0))
