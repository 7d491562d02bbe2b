"""What a model reads while it is trained is what its plan names, or an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.features.training.doubling import Double
from tests.features.training.track_store import START_NS, STEP_NS, labelled

from gapless.errors import FeatureFailed
from gapless.features.dataset import Dataset
from gapless.features.inputs import TopicInput
from gapless.features.labels_source import FeatureLabelsSource, GroundTruthLabelsSource, LabelsSource
from gapless.features.result import Result
from gapless.features.training.plan import TrainingPlan, plan_training
from gapless.features.training.training_data import TrainingData


class Rounded(Double):
    """The same run by its name, with other values."""

    def apply(self, df: Any) -> Any:
        """Return whole numbers."""
        return super().apply(df).round({"X": 0})


class Reader:
    """A model that is never trained."""

    name = "reader"
    version = "1"

    def __init__(self, inputs: Any, *sources: LabelsSource[Any]) -> None:
        self.inputs = inputs
        self.sources = sources

    def label_sources(self, config: Any) -> tuple[LabelsSource[Any], ...]:
        """Return the sources given."""
        return self.sources


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give four labelled sequences."""
    with labelled(tmp_path / "store", 4) as found:
        yield found


def test_inputs_are_joined_and_labels_told_for_each_row(ds: Dataset) -> None:
    """Frames have the columns of all inputs; labels of people and of a feature stand side by side."""
    ds.run_feature(Double())
    sources = (GroundTruthLabelsSource(), FeatureLabelsSource(feature="double"))
    model = Reader((TopicInput("tracks", columns=["Y"]), Result(feature="double")), *sources)
    data = TrainingData(ds, plan_training(ds, model))
    assert data.names == ("high", "run")
    [(key, frame, member)] = list(data.frames([("day-0", "mouse-00")], ["run", "high", "absent"]))
    assert key == ("day-0", "mouse-00")
    assert {"X", "Y"} <= set(frame.columns)
    assert member[:, 0].tolist() == ((np.arange(60) // 10) % 2 == 1).tolist()
    assert member[:, 1].tolist() == frame["label"].eq("high").tolist()
    assert not member[:, 2].any()


def test_a_plan_survives_its_document(ds: Dataset) -> None:
    """Read again from its document, a plan is equal, inputs and sources included."""
    ds.run_feature(Double())
    inputs = ("tracks", TopicInput("tracks", align="hold", tolerance_ns=5), Result(feature="double"))
    model = Reader(inputs, GroundTruthLabelsSource(), FeatureLabelsSource(feature="double"))
    plan = plan_training(ds, model, {"split": {"test_fraction": 0.5}})
    again = TrainingPlan.of(plan.document)
    assert again == plan
    assert again.digest == plan.digest
    assert [type(source) for source in again.sources()][1] is FeatureLabelsSource


def test_labels_that_change_meanwhile_are_seen(ds: Dataset) -> None:
    """A label put on after the plan was made is not learned silently."""
    plan = plan_training(ds, Reader(("tracks",), GroundTruthLabelsSource()))
    TrainingData(ds, plan)
    ds.client.annotate("mouse-00", START_NS, START_NS + STEP_NS, "groom", kind="behavior")
    with pytest.raises(FeatureFailed, match="labels changed"):
        TrainingData(ds, plan)


def test_rows_that_change_meanwhile_are_seen(ds: Dataset) -> None:
    """Rows written anew after the plan was made are not learned silently; other entries still are read."""
    result = ds.run_feature(Double())
    plan = plan_training(ds, Reader((result,)))
    ds.run_feature(Rounded(), sequences=["mouse-00"], overwrite=True)
    data = TrainingData(ds, plan)
    assert len(data.frame(("day-1", "mouse-01"))) == 60
    with pytest.raises(FeatureFailed, match="rows changed"):
        data.frame(("day-0", "mouse-00"))
    with pytest.raises(FeatureFailed, match="does not belong"):
        data.frame(("", "absent"))
