"""What a model must have so that gapless trains it, keeps it and predicts with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pandas as pd

    from gapless.features.dataset import Dataset
    from gapless.features.training.progress import TrainingProgressCallback


@runtime_checkable
class Model(Protocol):
    """Learns from features and predicts from frames of the same inputs.

    ``inputs`` are what it reads: ``"tracks"``, topics or results of features. A class is called with its
    inputs, or with nothing if it takes none. Two optional attributes say more of a training:
    ``label_sources(config)`` returns the labels it learns from, ``split`` is the :class:`SplitSpec` that holds
    where the configuration has no ``"split"``.
    """

    name: str
    version: str

    @property
    def inputs(self) -> Any:
        """What the model reads."""
        ...

    def train(
        self, ds: Dataset, run_root: Path, config: dict[str, Any], callback: TrainingProgressCallback
    ) -> Mapping[str, Any]:
        """Learn, write the weights into ``run_root`` and return metrics that JSON can hold.

        ``read_plan(run_root)`` has the pinned inputs, the entries of each side of the split and the seed;
        ``TrainingData`` reads their rows. The callback may also be called ``progress_callback``.
        """
        ...

    def load(self, run_root: Path) -> None:
        """Make the weights in ``run_root`` those that :meth:`predict` uses."""
        ...

    def predict(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return a row of predictions for each row of a frame."""
        ...
