"""Sources of labels as parameters."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from gapless.errors import ArgumentRefused
from gapless.features.labels_source import FeatureLabelsSource, GroundTruthLabelsSource, LabelsSource


def test_labels_of_people_have_a_kind() -> None:
    """Behaviour by default, any other by name."""
    assert GroundTruthLabelsSource().kind == "behavior"
    assert GroundTruthLabelsSource(kind="sleep").model_dump() == {"kind": "sleep"}


def test_labels_of_a_feature_name_its_column() -> None:
    """The latest run and the column ``label`` unless told otherwise."""
    source = FeatureLabelsSource(feature="kmeans")
    assert (source.run_id, source.column) == (None, "label")
    with pytest.raises(ArgumentRefused, match="kind"):
        FeatureLabelsSource(feature="kmeans", kind="behavior")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "source",
    [GroundTruthLabelsSource(kind="sleep"), FeatureLabelsSource(feature="a", run_id="1", column="c")],
)
def test_sources_survive_a_file(source: LabelsSource[Any]) -> None:
    """A field that takes either is read back as what it was."""
    either: TypeAdapter[Any] = TypeAdapter(FeatureLabelsSource | GroundTruthLabelsSource)
    assert either.validate_json(source.model_dump_json()) == source
