"""Pipelines as files: what they become, and what is said of one that is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gapless.errors import ArgumentRefused, NotFound
from gapless.features import FeatureStep, ModelStep, Pipeline
from gapless.features.pipeline_file import load_pipeline
from gapless.features.training.classifier import OneVsRestClassifierModel

GOOD = """\
topic = "tracks"
where = 'sequence.name match "s*"'

[columns]
id_col = "animal"

[defaults]
parallel_workers = 2

[[steps]]
name = "chosen"
feature = "gapless.features.sampling:SampledFrames"
params = { n = 3 }
run = { filter_end_frame = 100 }

[[steps]]
name = "model"
model = "one-vs-rest"
inputs = ["chosen"]
config = { labels = "behavior" }
"""


def written(tmp_path: Path, text: str, name: str = "pipeline.toml") -> Path:
    """Return a file with the text."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_toml_file_becomes_steps(tmp_path: Path) -> None:
    """Features, models, columns, query and arguments are those of the file."""
    loaded = load_pipeline(written(tmp_path, GOOD))
    assert loaded.columns.id_col == "animal"
    assert loaded.where == 'sequence.name match "s*"'
    assert loaded.pipeline.dag() == {"chosen": [], "model": ["chosen"]}
    chosen, model = loaded.pipeline.steps.values()
    assert isinstance(chosen, FeatureStep)
    assert (chosen.params, chosen.run_kwargs) == ({"n": 3}, {"parallel_workers": 2, "filter_end_frame": 100})
    assert isinstance(model, ModelStep)
    assert model.model_cls is OneVsRestClassifierModel


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('topic = "tracks"', 'topics = "tracks"', "unknown keys"),
        ('inputs = ["chosen"]', 'inputs = ["chose"]', "a step that is not there"),
        ('name = "model"', 'name = "chosen"', "of that name exists"),
        ("filter_end_frame", "filter_last_frame", "no such argument"),
        ('model = "one-vs-rest"', 'model = "two-vs-rest"', "one-vs-rest or module:Class"),
        (
            "gapless.features.sampling:SampledFrames",
            "gapless.features.sampling:Sampled",
            "cannot be imported",
        ),
        ("gapless.features.sampling:SampledFrames", "nowhere:X", "cannot be imported"),
        ("gapless.features.sampling:SampledFrames", "gapless.features.sampling:sample_frames", "is a class"),
        ('model = "one-vs-rest"', 'model = "a:b"\nfeature = "c:d"', "either a feature or a model"),
        ('name = "chosen"\n', "", "has no name"),
        ("[[steps]]", "[[stages]]", "unknown keys"),
        ("[columns]", "[columns", "is no TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    """A file with one defect is refused in words that name it."""
    assert old in GOOD
    with pytest.raises(ArgumentRefused, match=re.escape(words)):
        load_pipeline(written(tmp_path, GOOD.replace(old, new)))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing file and one of another kind are told apart."""
    with pytest.raises(NotFound, match="no such file"):
        load_pipeline(tmp_path / "p.toml")
    with pytest.raises(ArgumentRefused, match=r"\.toml or a \.py"):
        load_pipeline(written(tmp_path, "", "pipeline.yaml"))


def test_a_python_file_makes_a_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its variable is taken, with the topic and columns it names."""
    monkeypatch.syspath_prepend(str(tmp_path))
    text = """
from gapless.features import Columns, FeatureStep, Pipeline, TableFeature

class Same(TableFeature):
    name, version = "same", "1.0"
    def apply(self, df):
        return df

pipeline = Pipeline().add(FeatureStep("same", Same))
topic = "poses"
columns = Columns(id_col="animal")
"""
    loaded = load_pipeline(written(tmp_path, text, "poses_pipeline.py"))
    assert isinstance(loaded.pipeline, Pipeline)
    assert (loaded.topic, loaded.columns.id_col) == ("poses", "animal")
    assert loaded.pipeline.steps["same"].feature_cls.__module__ == "poses_pipeline"  # type: ignore[union-attr]
    with pytest.raises(ArgumentRefused, match="makes no pipeline"):
        load_pipeline(written(tmp_path, "x = 1\n", "empty_pipeline.py"))
