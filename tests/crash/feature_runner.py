"""A process that runs a small pipeline and leaves a file for each call of ``apply``.

``python -m tests.crash.feature_runner STORE MARKERS [MODE [WORKERS [SCHEDULER]]]``
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from gapless.features import Dataset, FeatureStep, FittedFeature, Pipeline, TableFeature
from gapless.features.params import Params as AnyParams

APPLY_S = 0.02  # long enough that a kill hits work that is going on


def mark(folder: str, what: str, sequence: str) -> None:
    """Leave a file that says that something was computed."""
    (Path(folder) / f"{what}.{sequence}.{os.getpid()}.{uuid.uuid4().hex}").touch()


class Slow(TableFeature):
    """Twice the position, slowly."""

    name: ClassVar[str] = "slow"
    version: ClassVar[str] = "1.0"

    class Params(AnyParams):
        """``markers``: where calls are counted."""

        markers: str = ""

    def apply(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the doubled position."""
        mark(self.params.markers, self.name, str(df["sequence"].iloc[0]))
        time.sleep(APPLY_S)
        return df.assign(value=2 * df["x"])


class Mean(FittedFeature):
    """The distance from the mean over all sequences."""

    name: ClassVar[str] = "mean"
    version: ClassVar[str] = "1.0"

    class Params(Slow.Params):
        """As of :class:`Slow`."""

    def load_state(self, run_root: Path, artifact_paths: Any, dependency_lookups: Any) -> bool:
        """Load the mean."""
        del artifact_paths, dependency_lookups
        file = run_root / "mean.txt"
        if not file.exists():
            return False
        self.mean = float(file.read_text())
        return True

    def fit(self, inputs: Any) -> None:
        """Learn the mean."""
        mark(self.params.markers, "fit", "all")
        self.mean = float(np.concatenate([df["value"].to_numpy() for _, df in inputs()]).mean())

    def save_state(self, run_root: Path) -> None:
        """Keep the mean."""
        (run_root / "mean.txt").write_text(repr(self.mean))

    def apply(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the distance."""
        mark(self.params.markers, self.name, str(df["sequence"].iloc[0]))
        time.sleep(APPLY_S)
        return df[["timestamp_ns", "frame"]].assign(distance=df["value"] - self.mean)


def pipeline(markers: str, **run_kwargs: Any) -> Pipeline:
    """Return the two steps."""
    given = {"markers": markers}
    return (
        Pipeline(run_kwargs)
        .add(FeatureStep("slow", Slow, given))
        .add(FeatureStep("mean", Mean, given, ["slow"]))
    )


def meet(folder: Path, count: int) -> None:
    """Wait until so many processes have come here."""
    folder.mkdir(exist_ok=True)
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + 60
    while sum(1 for _ in folder.iterdir()) < count and time.monotonic() < end:
        time.sleep(0.002)


def main(arguments: list[str]) -> int:
    """Run the pipeline once; TOGETHER in the environment says how many processes begin at one time."""
    store, markers, *rest = arguments
    kwargs: dict[str, Any] = {"parallel_mode": rest[0], "parallel_workers": int(rest[1])} if rest else {}
    if len(rest) > 2:
        kwargs["scheduler"] = rest[2]
    with Dataset(store) as ds:
        meet(Path(f"{markers}.begun"), int(os.environ.get("TOGETHER", "1")))
        results = pipeline(markers, **kwargs).run(ds, progress=False)
    return 0 if not any(result.failed_entries for result in results.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
