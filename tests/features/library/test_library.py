"""What holds for every feature of the library."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gapless.features import library
from gapless.features.artifact import ArtifactSpec
from gapless.features.feature import Feature
from gapless.features.kit import TableFeature
from gapless.features.library import KMeansModel, PCAModel, TemplatesArtifact, WardModel

PAGE = Path(__file__).resolve().parents[3] / "docs" / "feature-library.md"
NEEDED: dict[str, dict[str, Any]] = {
    "resample": {"rate_hz": 10},
    "rolling-statistics": {"window_s": 1.0},
    "band-power": {"bands": {"low": (0.0, 1.0)}},
    "kmeans": {"templates": TemplatesArtifact()},
    "ward": {"templates": TemplatesArtifact()},
    "pca": {"templates": TemplatesArtifact()},
}
CLASSES: list[Any] = [getattr(library, name) for name in library.__all__]
FEATURES = [cls for cls in CLASSES if issubclass(cls, TableFeature)]


def test_every_name_is_a_feature_or_an_artifact() -> None:
    """The package gives what it lists, and nothing else."""
    assert all(issubclass(cls, TableFeature | ArtifactSpec) for cls in CLASSES)
    assert set(library.__all__) <= set(dir(library))
    with pytest.raises(AttributeError):
        _ = library.Nonsense


@pytest.mark.parametrize("cls", FEATURES, ids=lambda cls: cls.name)
def test_every_feature_is_one_for_the_engine(cls: Any) -> None:
    """With a name, a version, its own parameters, what it gives in words, and a row in the documentation."""
    made = cls(params=NEEDED.get(cls.name))
    assert isinstance(made, Feature)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", cls.name)
    assert re.fullmatch(r"\d+\.\d+", cls.version)
    assert "Output" in cls.__doc__
    assert cls.Params.__doc__ != TableFeature.Params.__doc__
    assert f"| `{cls.name}` | `{cls.__name__}` |" in PAGE.read_text(encoding="utf-8")


def test_names_are_taken_once() -> None:
    """Runs are stored by name."""
    assert len({cls.name for cls in FEATURES}) == len(FEATURES)


def test_artifacts_belong_to_their_features() -> None:
    """Their default feature is one of the library."""
    names = {cls.name for cls in FEATURES}
    assert {cls().feature for cls in (KMeansModel, PCAModel, TemplatesArtifact, WardModel)} <= names


def test_naming_the_features_loads_nothing_heavy() -> None:
    """Classes and parameters are there without pandas, SciPy and scikit-learn."""
    script = (
        "import sys\n"
        "from gapless.features import library\n"
        "from gapless.features.decorator import feature\n"
        "from gapless.features.sklearn_feature import sklearn_feature\n"
        "classes = [getattr(library, name) for name in library.__all__]\n"
        "print(*sorted({'pandas', 'scipy', 'sklearn', 'skops', 'polars', 'dask'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True,
        text=True, timeout=100, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == ""
