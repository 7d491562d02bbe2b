"""Changes that could go unnoticed: of what is read, of what was learned, and of the code that made it."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tests.features.toy_features import Double, Rank, Toy, ToyParams, given
from tests.features.tracks import TRACKS, record_topics, record_tracks, times_of, values

import gapless
from gapless.errors import IntegrityError
from gapless.features import (
    CallbackStep,
    Dataset,
    EntryKey,
    FeatureStep,
    FittedFeature,
    InputStream,
    Knob,
    NpzArtifact,
    NpzLoadSpec,
    Params,
    ParquetArtifact,
    Pipeline,
    Result,
    ResultColumn,
    TableFeature,
)
from gapless.features import Inputs as AnyInputs


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


class Scaled(Toy):
    """x times a factor, and times a knob that stands for whatever else changes a value."""

    name: ClassVar[str] = "scaled"
    version: ClassVar[str] = "1.0"

    class Params(ToyParams):
        """The knob is in no identity."""

        gain: Annotated[float, Knob()] = 1.0

    params: Params

    def apply(self, df: Any) -> Any:
        """Return time and value."""
        return df[["timestamp_ns"]].assign(value=self.params.factor * self.params.gain * df["x"])


def test_two_runs_of_one_feature_as_inputs_both_count(ds: Dataset) -> None:
    """Another content of either makes what read them out of date."""
    runs = [ds.run_feature(Scaled(None, {"factor": factor})) for factor in (2.0, 3.0)]
    first, second = runs
    reader = given(lambda df: df.drop(columns=["group", "sequence"]), (first, second))
    result = ds.run_feature(reader)
    record = next(iter(ds.entry_records(result).values()))
    assert len(record.inputs) == 2
    for factor in (2.0, 3.0):
        ds.run_feature(Scaled(None, {"factor": factor, "gain": 10.0}), overwrite=True)
        assert not ds.run_feature(reader).cache_hit
        assert ds.run_feature(reader).cache_hit


_LOOKUPS: list[dict[str, set[Path]]] = []


class Listing(TableFeature):
    """Notes where the columns lie that its parameters list."""

    name: ClassVar[str] = "listing"
    version: ClassVar[str] = "1.0"

    class Params(Params):
        """Any number of columns."""

        sources: list[ResultColumn] = []

    def load_state(
        self,
        run_root: Path,  # noqa: ARG002
        artifact_paths: dict[str, Path],  # noqa: ARG002
        dependency_lookups: dict[str, dict[EntryKey, Path]],
    ) -> bool:
        """Note the folders."""
        _LOOKUPS.append({k: {path.parent for path in v.values()} for k, v in dependency_lookups.items()})
        return True

    def apply(self, df: Any) -> Any:
        """Return the time."""
        return df[["timestamp_ns"]]


def test_every_column_of_a_list_of_parameters_counts(ds: Dataset) -> None:
    """None takes the place of another."""
    _LOOKUPS.clear()
    runs = [ds.run_feature(Double()), ds.run_feature(Scaled())]
    columns = [ResultColumn(feature=r.feature, run_id=r.run_id, column="value") for r in runs]
    result = ds.run_feature(Listing(None, {"sources": columns}))
    expected = {f"sources[{n}]": {ds.run_root(run)} for n, run in enumerate(runs)}
    assert _LOOKUPS[-1] == expected
    for record in ds.entry_records(result).values():
        assert set(record.inputs) == {"tracks", "column sources[0]", "column sources[1]"}
    ds.run_feature(Double(None, {"marks": ""}), overwrite=True)
    assert ds.run_feature(Listing(None, {"sources": columns})).cache_hit  # the same bytes again
    ds.run_feature(Scaled(None, {"gain": 7.0}), overwrite=True)
    assert not ds.run_feature(Listing(None, {"sources": columns})).cache_hit


def test_a_sequence_recorded_again_in_another_group_has_one_output(ds: Dataset) -> None:
    """That of the later recording; all that serves outputs agrees."""
    pipeline = Pipeline().add(FeatureStep("d", Double)).add(FeatureStep("r", Scaled, None, ["tracks", "d"]))
    pipeline.run(ds)
    record_again(ds, "s000", 5.0, group="zzz")
    assert [cached for cached, _ in told(pipeline, ds)] == ["partial", "partial"]
    results = pipeline.run(ds)
    assert not results["r"].failed_entries
    assert told(pipeline, ds) == [(True, ""), (True, "")]
    served = {key: df["value"].tolist()[:2] for key, df in ds.results(results["d"])}
    assert served == {("zzz", "s000"): [10.0, 10.0], ("g0", "s001"): [200.0, 202.0]}
    column = ResultColumn(feature="double", column="value")
    loaded = gapless.features.load_values(ds, [column])  # type: ignore[attr-defined]
    assert loaded.groupby("group")["value"].size().to_dict() == {"g0": 10, "zzz": 3}


def edit(path: Path, value: float) -> bytes:
    """Return the bytes of a file with one bit of a value's first occurrence flipped."""
    data = bytearray(path.read_bytes())
    data[data.index(np.float64(value).tobytes()) + 6] ^= 1
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
        part.write_bytes(edit(part, 1.5))
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
    new.write_bytes(edit(part, 7.0))
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


# -- what was learned --------------------------------------------------------------------------


def test_a_state_learned_without_an_entry_that_failed_is_learned_again(ds: Dataset, tmp_path: Path) -> None:
    """As soon as that entry is there."""
    failing = tmp_path / "failing"
    failing.write_text("s001")
    pipeline = Pipeline().add(FeatureStep("d", Double, {"failing": str(failing)}))
    pipeline.add(FeatureStep("r", Rank, {"column": "value"}, ["d"]))
    assert pipeline.run(ds)["r"].failed_entries == (("g0", "s001"),)
    failing.write_text("")
    result = pipeline.run(ds)["r"]
    assert told(pipeline, ds) == [(True, ""), (True, "")]
    assert {name: found[0] for name, found in values(ds, result).items()} == {"s000": -109.0, "s001": 91.0}


def test_a_state_learned_from_a_sequence_with_a_slash_in_its_name_is_stale_with_it(tmp_path: Path) -> None:
    """Its folder is called otherwise."""
    for number in range(2):
        columns = {"x": np.arange(3.0), "y": np.zeros(3)}
        topics = {"tracks": (TRACKS, times_of(number, 3), columns)}
        record_topics(tmp_path / "store", f"day/{number}", topics)
    pipeline = Pipeline().add(FeatureStep("r", Rank))
    with Dataset(tmp_path / "store") as ds:
        pipeline.run(ds)
        record_again(ds, "day/0", 101.0)
        (found,) = told(pipeline, ds)
        assert found[0] == "stale"
        assert "the state was learned from other content of g0/day/0" in found[1]
        result = pipeline.run(ds)["r"]
        assert told(pipeline, ds) == [(True, "")]
        assert values(ds, result) == {"day/0": [50.0] * 3, "day/1": [-51.0, -50.0, -49.0]}


class Template(FittedFeature):
    """Learns the number one; gives x."""

    name: ClassVar[str] = "template"
    version: ClassVar[str] = "1.0"

    def load_state(
        self,
        run_root: Path,
        artifact_paths: dict[str, Path],  # noqa: ARG002
        dependency_lookups: dict[str, dict[EntryKey, Path]],  # noqa: ARG002
    ) -> bool:
        """Tell whether it was learned."""
        return (run_root / "one.npz").exists()

    def fit(self, inputs: InputStream) -> None:
        """Learn nothing more."""

    def save_state(self, run_root: Path) -> None:
        """Write the number."""
        np.savez(run_root / "one.npz", one=np.ones((1, 1)))

    def apply(self, df: Any) -> Any:
        """Return time and x."""
        return df[["timestamp_ns", "x"]]


class TemplateUser(TableFeature):
    """x times the number of a template."""

    name: ClassVar[str] = "template-user"
    version: ClassVar[str] = "1.0"

    class Params(Params):
        """The template."""

        template: NpzArtifact = NpzArtifact(feature="template", load=NpzLoadSpec(key="one"))

    params: Params

    def load_state(
        self,
        run_root: Path,  # noqa: ARG002
        artifact_paths: dict[str, Path],
        dependency_lookups: dict[str, dict[EntryKey, Path]],  # noqa: ARG002
    ) -> bool:
        """Load the number."""
        self.one = float(np.asarray(self.params.template.from_path(artifact_paths["template"]))[0, 0])
        return True

    def apply(self, df: Any) -> Any:
        """Return time and value."""
        return df[["timestamp_ns"]].assign(value=df["x"] * self.one)
