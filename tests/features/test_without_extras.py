"""Every public call that needs a library of an extra says which, where it is not installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gapless
from gapless.errors import MissingExtra
from gapless.features import Dataset, sample_frames
from gapless.features.apply import as_frame
from gapless.features.cleaning import clean_runs
from gapless.features.load_spec import ParquetLoadSpec
from gapless.features.loading import load_from_spec
from gapless.features.pipeline_status import plan_table, status_table

TABLE = pa.table({"x": [1.0]})


def _loaded(ds: Dataset) -> Any:
    pq.write_table(TABLE, ds.root / "table.parquet")
    return load_from_spec(ds.root / "table.parquet", ParquetLoadSpec())


CALLS: list[tuple[str, str, Callable[[Dataset], Any]]] = [
    ("pandas", "features", lambda ds: as_frame(TABLE, "pandas")),
    ("polars", "polars", lambda ds: as_frame(TABLE, "polars")),
    ("pandas", "features", _loaded),
    ("pandas", "features", lambda ds: ds.registry.list_runs("speed")),
    ("pandas", "features", lambda ds: ds.registry.list_entries("speed")),
    ("pandas", "features", lambda ds: status_table(ds, [])),
    ("pandas", "features", lambda ds: plan_table([])),
    ("pandas", "features", lambda ds: clean_runs(ds, [], dry_run=True)),
    ("pandas", "features", lambda ds: sample_frames(ds, 3)),
    ("sklearn", "features", lambda ds: sample_frames(ds, 3, "kmeans", by=[])),
]


@pytest.mark.parametrize(("module", "extra", "call"), CALLS)
def test_the_error_names_the_extra(
    module: str,
    extra: str,
    call: Callable[[Dataset], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is typed and says what to install."""
    gapless.connect(tmp_path / "store").close()
    with Dataset(tmp_path / "store") as ds:
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtra, match=rf"needs {module}.*pip install 'gapless\[{extra}\]'"):
            call(ds)
