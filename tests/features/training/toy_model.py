"""A model without any library: it learns the mean of X."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.features.training.plan import read_plan
from gapless.features.training.training_data import TrainingData

if TYPE_CHECKING:
    import pandas as pd

    from gapless.features.dataset import Dataset
    from gapless.features.training.progress import TrainingProgressCallback


class MeanModel:
    """Predicts the mean of X over the entries it learned from."""

    name = "mean"
    version = "0.1"

    def __init__(self, inputs: Any = ("tracks",)) -> None:
        self.inputs = inputs
        self.trained = 0
        self.mean = float("nan")

    def train(
        self, ds: Dataset, run_root: Path, config: dict[str, Any], callback: TrainingProgressCallback
    ) -> Mapping[str, Any]:
        """Write the mean; end badly where the configuration asks for it."""
        self.trained += 1
        plan = read_plan(run_root)
        data = TrainingData(ds, plan)
        frames = [data.frame(key) for key in plan.train]
        callback.on_phase("fit", f"{len(frames)} entries")
        if config.get("fail"):
            raise ZeroDivisionError("asked to fail")
        if config.get("die"):
            (run_root / "half.json").write_text("{", encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)
        mean = sum(float(frame["X"].sum()) for frame in frames) / sum(len(frame) for frame in frames)
        (run_root / "mean.json").write_text(json.dumps(mean), encoding="utf-8")
        for epoch in range(2):
            callback.on_epoch_end(epoch, 2, {"mean": mean})
        return {"mean": mean, "nothing": float("nan")}

    def load(self, run_root: Path) -> None:
        """Read the mean."""
        self.mean = json.loads((run_root / "mean.json").read_text(encoding="utf-8"))

    def predict(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return the mean for each row."""
        import pandas as pd

        return pd.DataFrame({"mean": [self.mean] * len(df)}, index=df.index)


class SevenModel(MeanModel):
    """The same run as the mean by all it is made from, and other weights."""

    def train(
        self, ds: Dataset, run_root: Path, config: dict[str, Any], callback: TrainingProgressCallback
    ) -> Mapping[str, Any]:
        """Write 7."""
        (run_root / "mean.json").write_text("7.0", encoding="utf-8")
        return {}
