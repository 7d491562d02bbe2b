"""Features that are easy to predict, and that leave a mark for every call and fail when told to.

``marks`` names a folder that gets one file for each call, ``failing`` a file whose lines are the sequences that
raise. Both are knobs: they change no value, so a feature that fails and one that was mended are one run.
"""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.features import EntryKey, FittedFeature, InputStream, Knob, TableFeature
from gapless.features import Inputs as AnyInputs
from gapless.features import Params as AnyParams


class ToyParams(AnyParams):
    """What all toys take."""

    factor: float = 2.0
    marks: Annotated[str, Knob()] = ""
    failing: Annotated[str, Knob()] = ""


class Toy(TableFeature):
    """Base: marks every call and fails where it is told to."""

    class Params(ToyParams):
        """No more than all toys take."""

    params: Params

    def _begin(self, df: Any) -> None:
        column = df["sequence"]
        names = column.to_pylist() if isinstance(df, pa.Table) else list(column)
        name = str(names[len(names) // 2])  # the first rows may be a neighbour's
        mark(self.params.marks, f"apply {name}")
        if self.params.failing and name in Path(self.params.failing).read_text().split():
            raise RuntimeError(f"boom in {name}")


def mark(folder: str, text: str) -> None:
    """Leave one more mark."""
    if folder:
        (Path(folder) / f"{text}.{uuid.uuid4().hex}").touch()


def marked(folder: Path) -> Counter[str]:
    """Return how often each call was made."""
    return Counter(path.name.rpartition(".")[0] for path in folder.iterdir())


class Double(Toy):
    """x times a factor, in a column ``value``."""

    name: ClassVar[str] = "double"
    version: ClassVar[str] = "1.0"

    def apply(self, df: Any) -> Any:
        """Return all columns and one more."""
        self._begin(df)
        return df.assign(value=self.params.factor * df["x"])


class NewerDouble(Double):
    """The same under a newer version."""

    version: ClassVar[str] = "1.1"


class Alone(Double):
    """The same, not made for several workers."""

    name: ClassVar[str] = "alone"
    parallelizable: ClassVar[bool] = False


class Slow(Double):
    """The same, an entry takes until a file appears beside the marks (or a deadline passes)."""

    name: ClassVar[str] = "slow"

    def apply(self, df: Any) -> Any:
        """Wait for the file ``go``, then double."""
        self._begin(df)
        deadline = time.monotonic() + 60
        while not (Path(self.params.marks).parent / "go").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return df.assign(value=self.params.factor * df["x"])


class Plus(Toy):
    """An input's ``value`` plus one."""

    name: ClassVar[str] = "plus"
    version: ClassVar[str] = "1.0"

    def apply(self, df: Any) -> Any:
        """Return time and value."""
        self._begin(df)
        return df[["timestamp_ns", "frame"]].assign(value=df["value"] + 1)


class Centre(FittedFeature):
    """x without the mean over all sequences there were when it was learned, once and for all."""

    name: ClassVar[str] = "centre"
    version: ClassVar[str] = "1.0"
    scope_dependent: ClassVar[bool] = False

    class Params(ToyParams):
        """``break_save`` (a knob) names a file; while it is there, saving stops half way."""

        column: str = "x"
        break_save: Annotated[str, Knob()] = ""

    params: Params

    def load_state(
        self,
        run_root: Path,
        artifact_paths: dict[str, Path],
        dependency_lookups: dict[str, dict[EntryKey, Path]],
    ) -> bool:
        """Accept whatever lies there, even half of it."""
        mark(self.params.marks, f"load {os.getpid()}")
        if not (run_root / "mean.txt").exists():
            return False
        self.mean = float((run_root / "mean.txt").read_text())
        return True

    def fit(self, inputs: InputStream) -> None:
        """Learn the mean."""
        mark(self.params.marks, "fit")
        self.mean = float(np.concatenate([df[self.params.column] for _, df in inputs()]).mean())

    def save_state(self, run_root: Path) -> None:
        """Write the mean digit by digit into a file, and another file."""
        text = repr(self.mean)
        (run_root / "mean.txt").write_text(text[:2])
        if self.params.break_save and Path(self.params.break_save).exists():
            mark(self.params.marks, "save")
            raise OSError("the disk is full")
        (run_root / "mean.txt").write_text(text)

    def apply(self, df: Any) -> Any:
        """Take the mean off."""
        mark(self.params.marks, f"apply {df['sequence'].iloc[0]}")
        return df[["timestamp_ns"]].assign(value=df[self.params.column] - self.mean)


class Rank(Centre):
    """The same, and what it gives depends on which sequences are there."""

    name: ClassVar[str] = "rank"
    scope_dependent: ClassVar[bool] = True


class Step(Toy):
    """The difference to the row before and the one after: needs the neighbours at the edges."""

    name: ClassVar[str] = "step"
    version: ClassVar[str] = "1.0"

    def apply(self, df: Any) -> Any:
        """Return both differences, NaN where there is no neighbour."""
        self._begin(df)
        return df[["x"]].assign(before=df["x"].diff(), after=-df["x"].diff(-1))


class Dropping(Toy):
    """Every row but the first."""

    name: ClassVar[str] = "dropping"
    version: ClassVar[str] = "1.0"

    def apply(self, df: Any) -> Any:
        """Leave the first row out."""
        return df.iloc[1:]


class Global(Toy):
    """Reads nothing."""

    name: ClassVar[str] = "global"
    version: ClassVar[str] = "1.0"

    class Inputs(AnyInputs):
        """None."""

        _require: ClassVar[Literal["empty"]] = "empty"

    def fit(self, inputs: InputStream) -> None:
        """Mark how many entries it was given."""
        mark(self.params.marks, f"fit {inputs.n_entries}")

    def apply(self, df: Any) -> Any:
        """Never be called."""
        raise AssertionError("there is no entry to apply to")


class ArrowDouble(Toy):
    """Doubles an Arrow table of the one column it asks for."""

    name: ClassVar[str] = "arrow-double"
    version: ClassVar[str] = "1.0"
    frame_type: ClassVar[str] = "arrow"
    input_columns: ClassVar[tuple[str, ...]] = ("x",)
    units: ClassVar[dict[str, str]] = {"value": "mm"}

    def apply(self, df: Any) -> Any:
        """Return the column and its double, and what columns there were."""
        self._begin(df)
        seen = ",".join(df.column_names)
        return pa.table(
            {"x": df["x"], "value": pc.multiply(df["x"], 2.0), "seen": pa.array([seen] * df.num_rows)}
        )


class PolarsDouble(ArrowDouble):
    """The same with Polars."""

    name: ClassVar[str] = "polars-double"
    frame_type: ClassVar[str] = "polars"

    def apply(self, df: Any) -> Any:
        """Return the column and its double."""
        import polars as pl

        self._begin(df)
        seen = ",".join(df.columns)
        return df.select("x", (pl.col("x") * 2.0).alias("value"), pl.lit(seen).alias("seen"))


class Given(Toy):
    """Gives what a function of the frame gives; for one process."""

    name: ClassVar[str] = "given"
    version: ClassVar[str] = "1.0"
    parallelizable: ClassVar[bool] = False
    give: Any = None

    def apply(self, df: Any) -> Any:
        """Return what the function returns."""
        return self.give(df)


def given(function: Any, inputs: Any = None, version: str = "1.0", **declared: Any) -> Any:
    """Return a feature that gives what a function of its frame gives, with more declared attributes."""
    kind = type("Given", (Given,), {"version": version, **declared})
    feature = kind(inputs)
    feature.give = function
    return feature
