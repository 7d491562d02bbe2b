"""Changes that could go unnoticed: of what is read, of what was learned, and of the code that made it."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tests.features.toy_features import Double, Plus
from tests.features.tracks import TRACKS, record_topics, record_tracks, times_of, values

import gapless
from gapless.errors import IntegrityError
from gapless.features import (
    CallbackStep,
    Dataset,
    EntryKey,
    FeatureStep,
    NpzArtifact,
    NpzLoadSpec,
    ParquetArtifact,
    Pipeline,
    ResultColumn,
    TableFeature,
    load_values,
)
from gapless.features import Params as AnyParams
from gapless.features.code_digest import UNKNOWN, code_digest


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give a data set of two sequences."""
    record_tracks(tmp_path / "store", 2)
    with Dataset(tmp_path / "store") as dataset:
        yield dataset


def record_again(ds: Dataset, name: str, x: float, group: str = "g0") -> None:
    """Replace a sequence by another of that name: three rows of one value."""
    shutil.rmtree(ds.root / "sequences" / name.replace("/", "%2F"))
    columns = {"x": np.full(3, x), "y": np.zeros(3)}
    record_topics(ds.root, name, {"tracks": (TRACKS, times_of(0, 3), columns)}, group)


def told(pipeline: Pipeline, ds: Dataset, **how: bool) -> list[tuple[Any, str]]:
    """Return what the status says of every step: whether it is cached, and why not."""
    table = pipeline.status(ds, **how)
    return list(zip(table["cached"], table["why"], strict=True))


# -- what is read ------------------------------------------------------------------------------


def test_a_sequence_recorded_again_in_another_group_has_one_output(ds: Dataset) -> None:
    """That of the later recording; all that serves outputs agrees."""
    pipeline = Pipeline().add(FeatureStep("d", Double)).add(FeatureStep("p", Plus, None, ["d"]))
    pipeline.run(ds)
    record_again(ds, "s000", 5.0, group="zzz")
    assert [cached for cached, _ in told(pipeline, ds)] == ["partial", "partial"]
    results = pipeline.run(ds)
    assert not results["p"].failed_entries
    assert told(pipeline, ds) == [(True, ""), (True, "")]
    served = {key: df["value"].tolist()[:2] for key, df in ds.results(results["d"])}
    assert served == {("zzz", "s000"): [10.0, 10.0], ("g0", "s001"): [200.0, 202.0]}
    column = ResultColumn(feature="double", column="value")
    loaded = load_values(ds, [column])
    assert loaded.groupby("group")["value"].size().to_dict() == {"g0": 10, "zzz": 3}


def edited(path: Path) -> bytes:
    """Return the bytes of a file with one bit flipped."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    return bytes(data)


def test_an_edited_layer_stays_edited_when_another_layer_is_added(ds: Dataset) -> None:
    """What was sealed later does not vouch for what was sealed before."""
    schema = pa.schema([pa.field("z", pa.float64())])

    def layer(name: str, topic: str) -> None:
        with gapless.connect(ds.root) as client, client.sequence_update("s000", layer=name) as writer:
            writer.topic_create(topic, schema=schema).push_columns(times_of(0, 4), {"z": np.full(4, 1.5)})

    layer("one", "zt")
    pipeline = Pipeline().add(FeatureStep("z", Copied))
    with Dataset(ds.root, topic="zt") as other:
        pipeline.run(other)
        assert told(pipeline, other) == [(True, "")]
        (part,) = (ds.root / "sequences" / "s000" / "layers").glob("*/topics/zt/part-*.parquet")
        part.write_bytes(edited(part))
        assert told(pipeline, other) == [("stale", "changed since: zt")]
    layer("two", "unrelated")
    with Dataset(ds.root, topic="zt") as other:
        assert told(pipeline, other) == [("stale", "changed since: zt")]


class Copied(TableFeature):
    """All it reads."""

    name: ClassVar[str] = "copied"
    version: ClassVar[str] = "1.0"

    def apply(self, df: Any) -> Any:
        """Return the frame."""
        return df


def test_a_recorded_file_replaced_by_an_older_one_is_noticed(ds: Dataset) -> None:
    """Of the same size, and last written before the recording."""
    pipeline = Pipeline().add(FeatureStep("d", Double))
    pipeline.run(ds)
    (part,) = (ds.root / "sequences" / "s000" / "topics" / "tracks").glob("part-*.parquet")
    known = part.stat()
    new = part.with_suffix(".new")
    new.write_bytes(edited(part))
    os.utime(new, ns=(known.st_atime_ns, known.st_mtime_ns - 86400 * 10**9))
    new.replace(part)
    assert part.stat().st_size == known.st_size
    with Dataset(ds.root) as other:
        assert told(pipeline, other) == [("stale", "changed since: tracks")]
        assert told(pipeline, other, deep=True) == [("stale", "changed since: tracks")]


def test_a_callback_that_changes_what_a_later_step_reads_is_noticed(ds: Dataset) -> None:
    """Within the same run of the pipeline."""
    made: list[float] = []

    def record_anew(ds: Dataset, _: object) -> None:
        made.append(1000.0 * (len(made) + 1))
        record_again(ds, "s000", made[-1])

    pipeline = Pipeline().add(CallbackStep("again", record_anew)).add(FeatureStep("d", Double))
    pipeline.run(ds)
    result = pipeline.run(ds)["d"]
    assert made == [1000.0, 2000.0]
    assert not result.cache_hit
    assert values(ds, result)["s000"] == [4000.0] * 3


# -- artifacts ---------------------------------------------------------------------------------


class Template(TableFeature):
    """Learns the number one; gives time and x."""

    name: ClassVar[str] = "template"
    version: ClassVar[str] = "1.0"

    def load_state(
        self,
        run_root: Path,
        artifact_paths: dict[str, Path],
        dependency_lookups: dict[str, dict[EntryKey, Path]],
    ) -> bool:
        """Tell whether it was learned."""
        return (run_root / "one.npz").exists()

    def save_state(self, run_root: Path) -> None:
        """Write the number."""
        np.savez(run_root / "one.npz", one=np.ones((1, 1)))

    def apply(self, df: Any) -> Any:
        """Return time and x."""
        return df[["timestamp_ns", "x"]]


class OfState(TableFeature):
    """x times the number that a template learned."""

    name: ClassVar[str] = "of-state"
    version: ClassVar[str] = "1.0"

    class Params(AnyParams):
        """The template."""

        source: NpzArtifact = NpzArtifact(feature="template", load=NpzLoadSpec(key="one"))

    params: Params

    def load_state(
        self,
        run_root: Path,
        artifact_paths: dict[str, Path],
        dependency_lookups: dict[str, dict[EntryKey, Path]],
    ) -> bool:
        """Load the number."""
        self.factor = float(self.params.source.from_path(artifact_paths["source"])[0, 0])
        return True

    def apply(self, df: Any) -> Any:
        """Return time and value."""
        return df[["timestamp_ns"]].assign(value=df["x"] * self.factor)


class OfOutput(TableFeature):
    """The greatest x of one of a template's outputs."""

    name: ClassVar[str] = "of-output"
    version: ClassVar[str] = "1.0"

    class Params(AnyParams):
        """The output of the first sequence."""

        source: ParquetArtifact = ParquetArtifact(feature="template", pattern="s000.parquet")

    def load_state(
        self,
        run_root: Path,
        artifact_paths: dict[str, Path],
        dependency_lookups: dict[str, dict[EntryKey, Path]],
    ) -> bool:
        """Load the output."""
        self.top = float(pd.read_parquet(artifact_paths["source"])["x"].max())
        return True

    def apply(self, df: Any) -> Any:
        """Return time and value."""
        return df[["timestamp_ns"]].assign(value=self.top)


def test_an_artifact_that_is_not_what_was_saved_is_not_used(ds: Dataset) -> None:
    """It is an error until the state is what it was, or is learned again."""
    made = ds.run_feature(Template())
    path = ds.artifact_path(NpzArtifact(feature="template", load=NpzLoadSpec(key="one")))
    good = path.read_bytes()
    np.savez(path, one=np.full((1, 1), 1000.0))
    with pytest.raises(IntegrityError, match="not what was saved"):
        ds.run_feature(OfState())
    path.write_bytes(good)
    result = ds.run_feature(OfState())
    assert values(ds, result) == values(ds, made, "x")


def test_an_artifact_that_is_an_output_counts_with_its_content(ds: Dataset) -> None:
    """Though no state has changed."""
    pipeline = Pipeline().add(FeatureStep("t", Template)).add(FeatureStep("o", OfOutput))
    assert values(ds, pipeline.run(ds)["o"])["s001"] == [9.0] * 10
    record_again(ds, "s000", 777.0)
    assert values(ds, pipeline.run(ds)["o"])["s001"] == [777.0] * 10
    assert told(pipeline, ds) == [(True, ""), (True, "")]


# -- the code ----------------------------------------------------------------------------------

CHANGED = "source code changed since 2 entries were computed: accept it, or force the step"
APPLIED = """
from gapless.features import TableFeature

class Edited(TableFeature):
    name, version = "edited", "1.0"
    def apply(self, df):
        return df[["timestamp_ns"]].assign(value=df["x"] * {factor})
"""
LEARNED = """
from gapless.features import FittedFeature

class Edited(FittedFeature):
    name, version = "edited", "1.0"
    def load_state(self, run_root, artifact_paths, dependency_lookups):
        if not (run_root / "top.txt").exists():
            return False
        self.top = float((run_root / "top.txt").read_text())
        return True
    def fit(self, inputs):
        self.top = {factor} * max(df["x"].max() for _, df in inputs())
    def save_state(self, run_root):
        (run_root / "top.txt").write_text(str(self.top))
    def apply(self, df):
        return df[["timestamp_ns"]].assign(value=df["x"] + self.top)
"""
MADE = """
from gapless.features import TableFeature

def made(factor):
    class Made(TableFeature):
        name, version = "made", "1.0"
        def apply(self, df):
            return df[["timestamp_ns"]].assign(value=df["x"] * factor)
    return Made
"""


class Editor:
    """A module that is edited and loaded again, or not."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "unnoticed_edits.py"

    def write(self, text: str, factor: str) -> None:
        """Write the module."""
        self.path.write_text(text.format(factor=factor))

    def module(self, text: str, factor: str) -> Any:
        """Write the module and load it anew."""
        self.write(text, factor)
        sys.modules.pop("unnoticed_edits", None)
        importlib.invalidate_caches()
        return importlib.import_module("unnoticed_edits")

    def loaded(self, text: str, factor: str) -> type[TableFeature]:
        """Write the module, load it anew and return its feature."""
        kind: type[TableFeature] = self.module(text, factor).Edited
        return kind


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Editor]:
    """Give a module that can be edited."""
    (tmp_path / "code").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    yield Editor(tmp_path / "code")
    sys.modules.pop("unnoticed_edits", None)


def test_accepting_one_edit_accepts_no_later_one(ds: Dataset, editor: Editor) -> None:
    """What was accepted is a pair of codes."""
    Pipeline().add(FeatureStep("e", editor.loaded(APPLIED, "1"))).run(ds)
    pipeline = Pipeline().add(FeatureStep("e", editor.loaded(APPLIED, "(0 + 1)")))
    assert told(pipeline, ds) == [(True, CHANGED)]
    pipeline.accept(ds, "e")
    assert told(pipeline, ds) == [(True, "")]
    pipeline = Pipeline().add(FeatureStep("e", editor.loaded(APPLIED, "1000")))
    assert told(pipeline, ds) == [(True, CHANGED)]
    assert "made by other source code" in pipeline.why(ds, "e", "s000")


def test_new_outputs_of_an_old_state_still_tell_that_the_code_changed(ds: Dataset, editor: Editor) -> None:
    """The old fit is in them."""
    Pipeline().add(FeatureStep("e", editor.loaded(LEARNED, "1"))).run(ds)
    kind = editor.loaded(LEARNED, "1000")
    pipeline = Pipeline().add(FeatureStep("e", kind))
    assert told(pipeline, ds) == [(True, CHANGED)]
    result = ds.run_feature(kind(), overwrite="outputs")
    assert values(ds, result)["s000"][0] == 109.0
    assert told(pipeline, ds) == [(True, CHANGED)]
    result = ds.run_feature(kind(), overwrite="all")
    assert values(ds, result)["s000"][0] == 109_000.0
    assert told(pipeline, ds) == [(True, "")]


def test_outputs_of_workers_that_loaded_other_code_are_not_taken_for_the_callers(
    ds: Dataset, editor: Editor
) -> None:
    """A file that was edited while the caller ran, and put back."""
    kind = editor.loaded(APPLIED, "1")
    assert code_digest(kind) not in (None, UNKNOWN)
    editor.write(APPLIED, "1000")
    how = {"parallel_mode": "process", "parallel_workers": 2}
    result = Pipeline().add(FeatureStep("e", kind, None, [], how)).run(ds)["e"]
    assert values(ds, result)["s000"][1] == 1000.0
    pipeline = Pipeline().add(FeatureStep("e", editor.loaded(APPLIED, "1")))
    assert told(pipeline, ds) == [(True, CHANGED)]


def test_a_value_that_a_feature_took_from_the_function_that_made_it_is_code(
    ds: Dataset, editor: Editor
) -> None:
    """It is served with a warning, or computed again."""
    made = editor.module(MADE, "").made
    first = ds.run_feature(made(1.0)())
    assert ds.run_feature(made(1.0)()).cache_hit
    assert told(Pipeline().add(FeatureStep("m", made(7.0))), ds) == [(True, CHANGED)]
    with pytest.warns(UserWarning, match="made by other source code"):
        assert values(ds, ds.run_feature(made(7.0)())) == values(ds, first)
    result = ds.run_feature(made(7.0)(), code="rerun")
    assert not result.cache_hit
    assert values(ds, result)["s000"][1] == 7.0


def test_a_callback_that_runs_once_runs_again_when_it_is_another(ds: Dataset) -> None:
    """Even one on the same line of the same name."""
    calls: list[str] = []

    def pipeline(callback: Callable[[Dataset, object], None]) -> Pipeline:
        return Pipeline().add(FeatureStep("d", Double)).add(CallbackStep("cb", callback, ["d"], once=True))

    first = pipeline(lambda _ds, _results: calls.append("first"))
    first.run(ds)
    first.run(ds)
    assert calls == ["first"]
    second = pipeline(lambda _ds, _results: calls.append("second"))
    assert told(second, ds)[1] == ("-", "what it depends on changed")
    second.run(ds)
    assert calls == ["first", "second"]
