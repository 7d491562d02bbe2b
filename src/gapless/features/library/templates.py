"""A sample of rows that stands for the whole data set, as a table that models are fitted on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from gapless.errors import ArgumentRefused
from gapless.features import params as feature_params
from gapless.features.arrays import read_arrays, write_arrays
from gapless.features.artifact import ParquetArtifact
from gapless.features.entry import EntryKey
from gapless.features.feature import InputStream
from gapless.features.kit import FittedFeature
from gapless.features.library.row_sample import RowSample
from gapless.features.library.track import ColumnNames, data_columns, meta_columns, numbers

if TYPE_CHECKING:
    import pandas as pd

_TABLE = "templates.parquet"
_PLACES = "places.npz"


class TemplatesArtifact(ParquetArtifact):
    """The table of templates of a run: one row each, only the sampled columns, float64."""

    feature: str = "templates"
    pattern: str = _TABLE


class Templates(FittedFeature):
    """Draws ``rows`` rows from all entries at random, each with the same chance, seeded.

    Rows with a missing or infinite value in one of the columns are not drawn; if there are no more than ``rows``,
    all are taken. The order of entries does not matter, and a new entry replaces few templates.

    State: ``templates.parquet``, in order of entries and rows. Output of an entry: its rows that are templates.
    """

    name: ClassVar[str] = "templates"
    version: ClassVar[str] = "1.0"
    scope_dependent: ClassVar[bool] = True

    class Params(feature_params.Params):
        """``columns`` None: all numeric ones of the first entry."""

        rows: int = Field(default=10_000, ge=1)
        columns: ColumnNames | None = None
        seed: int = Field(default=0, ge=0)

    params: Params
    _names: list[str]
    _taken: dict[EntryKey, tuple[NDArray[np.intp], NDArray[np.float64]]]
    _places: dict[EntryKey, NDArray[np.intp]]

    @property
    def input_columns(self) -> tuple[str, ...] | None:
        """The data columns to read, None all."""
        return self.params.columns

    def load_state(
        self,
        run_root: Path,
        artifact_paths: dict[str, Path],  # noqa: ARG002
        dependency_lookups: dict[str, dict[EntryKey, Path]],  # noqa: ARG002
    ) -> bool:
        """Load which rows were drawn."""
        file = run_root / _PLACES
        if not file.exists():
            return False
        arrays = read_arrays(file)
        keys = [(str(group), str(sequence)) for group, sequence in arrays["keys"].reshape(-1, 2)]
        self._names = arrays["columns"].tolist()
        self._places = dict(zip(keys, np.split(arrays["rows"], arrays["cuts"]), strict=False))
        return True

    def fit(self, inputs: InputStream) -> None:
        """Draw the rows; memory is that of twice the templates and one entry."""
        sample = RowSample(self.params.rows, self.params.seed)
        names: list[str] | None = list(self.params.columns) if self.params.columns else None
        for key, df in inputs():
            names = data_columns(df, self.columns, names)
            sample.add(key, numbers(df, names))
        self._taken = sample.taken()
        if not self._taken:
            raise ArgumentRefused(
                "there is no row without missing values to draw", found=f"{inputs.n_entries} entries",
                expected=f"values in {', '.join(names)}" if names else "entries with rows",
            )  # fmt: skip
        self._names = names or []

    def save_state(self, run_root: Path) -> None:
        """Write the templates, and which rows of which entry they are."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        values = np.concatenate([values for _, values in self._taken.values()])
        table = pa.table({name: values[:, place] for place, name in enumerate(self._names)})
        pq.write_table(table, run_root / _TABLE, compression="zstd")
        rows = [place for place, _ in self._taken.values()]
        arrays = {
            "keys": np.array(list(self._taken), dtype=np.str_).reshape(-1, 2),
            "rows": np.concatenate(rows),
            "cuts": np.cumsum([len(place) for place in rows])[:-1],
            "columns": np.array(self._names, dtype=np.str_),
        }
        write_arrays(run_root / _PLACES, arrays)

    def apply(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the entry's templates with their meta columns."""
        key = self.entry_key or (_only(df, self.columns.group_col), _only(df, self.columns.seq_col))
        place = self._places.get(key, np.empty(0, np.intp))
        return df.iloc[place][[*meta_columns(df, self.columns), *self._names]].reset_index(drop=True)


def _only(df: pd.DataFrame, name: str) -> str:
    return str(df[name].iloc[0]) if len(df) else ""
