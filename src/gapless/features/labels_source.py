"""Where the labels of a data set come from, as a parameter of features and models."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

from gapless.features.strict_model import StrictModel

K = TypeVar("K", bound=str)


class LabelsSource(StrictModel, Generic[K]):
    """Base of the sources of labels; ``kind`` says which labels."""

    kind: K


class GroundTruthLabelsSource(LabelsSource[str]):
    """The labels that people put on the sequences, of one kind."""

    kind: str = "behavior"


class FeatureLabelsSource(LabelsSource[Literal["feature"]]):
    """A column of a feature's output taken as labels; ``run_id`` None means the latest finished run."""

    kind: Literal["feature"] = "feature"
    feature: str
    run_id: str | None = None
    column: str = "label"
