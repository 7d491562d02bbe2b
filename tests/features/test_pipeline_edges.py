"""Edges of pipelines: narrowed and vanished sequences, damaged files, looking without touching, and cleaning."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tests.features.test_statements_processes import DEADLINE_S, PLACE, ended, started, until
from tests.features.toy_features import Centre, Double, Rank, Slow, Toy, marked
from tests.features.tracks import TRACKS, record_topics, record_tracks, statuses, times_of, tree, values

import gapless
from gapless import Sequence
from gapless.errors import ArgumentRefused, IntegrityError
from gapless.features import (
    CallbackStep,
    Dataset,
    FeatureStep,
    FittedFeature,
    Pipeline,
    Result,
    ResultColumn,
    TableFeature,
)


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give a data set of four sequences in two groups."""
    record_tracks(tmp_path / "store", 4, groups=2)
    with Dataset(tmp_path / "store") as dataset:
        yield dataset


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """Give a folder for marks."""
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


def record_again(ds: Dataset, name: str, x: float) -> None:
    """Replace a sequence by another of that name: three rows of one value."""
    shutil.rmtree(ds.root / "sequences" / name.replace("/", "%2F"))
    columns = {"x": np.full(3, x), "y": np.zeros(3)}
    record_topics(ds.root, name, {"tracks": (TRACKS, times_of(0, 3), columns)})


def told(pipeline: Pipeline, ds: Dataset) -> list[tuple[Any, str]]:
    """Return what the status says of every step: whether it is cached, and why not."""
    table = pipeline.status(ds)
    return list(zip(table["cached"], table["why"], strict=True))


def ranked(**run_kwargs: Any) -> Pipeline:
    """Return a feature and one that depends on which sequences it has outputs of."""
    pipeline = Pipeline().add(FeatureStep("d", Double, None, [], run_kwargs))
    return pipeline.add(FeatureStep("r", Rank, {"column": "value"}, ["d"]))


# -- which sequences ---------------------------------------------------------------------------


def test_a_step_that_reads_a_narrowed_step_is_named_as_it_was_run(ds: Dataset) -> None:
    """So its outputs are found, and cleaning keeps them."""
    pipeline = ranked(groups=["g0"])
    predicted = list(pipeline.status(ds)["run_id"])
    results = pipeline.run(ds)
    table = pipeline.status(ds)
    assert [results["d"].run_id, results["r"].run_id] == predicted == list(table["run_id"])
    assert list(table["cached"]) == [True, True]
    assert list(table["n_seq"]) == [2, 2]
    assert list(pipeline.clean(ds, dry_run=False)["status"]) == ["current", "current"]
    assert values(ds, results["r"])["s000"][0] == -209.0


def test_a_discarded_sequence_is_gone_from_what_is_predicted_and_from_what_is_run(ds: Dataset) -> None:
    """Though its old output still lies in the run that is read."""
    old = ranked().run(ds)
    with gapless.connect(ds.root) as client:
        client.discard("s003")
    pipeline = ranked()
    predicted = list(pipeline.status(ds)["run_id"])
    results = pipeline.run(ds)
    table = pipeline.status(ds)
    assert [results["d"].run_id, results["r"].run_id] == predicted == list(table["run_id"])
    assert results["r"].run_id != old["r"].run_id
    assert list(table["cached"]) == [True, True]
    assert list(table["n_seq"]) == [3, 3]
    assert "s003" not in statuses(ds, results["r"])
    assert dict(zip(*(pipeline.clean(ds)[name] for name in ("run_id", "status")), strict=True)) == {
        results["d"].run_id: "current",
        results["r"].run_id: "current",
        old["r"].run_id: "would remove",
    }


class Counting(TableFeature):
    """How many sequences the data set has that it was given."""

    name: ClassVar[str] = "counting"
    version: ClassVar[str] = "1.0"

    def bind_dataset(self, ds: Any) -> None:
        """Count them."""
        super().bind_dataset(ds)
        self.count = len(ds.entries())

    def apply(self, df: Any) -> Any:
        """Return the count with every row."""
        return df[["timestamp_ns"]].assign(value=float(self.count))


def test_a_feature_is_bound_to_the_data_set_that_the_query_narrows(ds: Dataset) -> None:
    """Not to the whole store."""
    with Dataset(ds.root, where=Sequence.Q.name.eq("s002")) as narrow:
        assert values(narrow, narrow.run_feature(Counting())) == {"s002": [1.0] * 10}


def test_a_step_in_two_pipelines_takes_no_defaults_from_one_to_the_other(ds: Dataset) -> None:
    """Nor is it changed itself."""
    step = FeatureStep("d", Double, run_kwargs={"retries": 1})
    first = Pipeline({"overlap_frames": 2}).add(step)
    second = Pipeline().add(step)
    assert step.run_kwargs == {"retries": 1}
    assert first.steps["d"].run_kwargs == {"overlap_frames": 2, "retries": 1}  # type: ignore[union-attr]
    assert second.steps["d"].run_kwargs == {"retries": 1}  # type: ignore[union-attr]
    assert first.run(ds)["d"].run_id != second.run(ds)["d"].run_id


class Referring(Toy):
    """Reads a column through its parameters alone."""

    name: ClassVar[str] = "referring"
    version: ClassVar[str] = "1.0"

    class Params(Toy.Params):
        """Which column."""

        column: ResultColumn = ResultColumn(feature="double", column="value")

    params: Params

    def apply(self, df: Any) -> Any:
        """Return the time."""
        self._begin(df)
        return df[["timestamp_ns"]]


def test_a_step_that_reads_another_through_a_parameter_is_forced_with_it(ds: Dataset, marks: Path) -> None:
    """The graph of the steps tells it."""
    params = {"marks": str(marks)}
    pipeline = Pipeline().add(FeatureStep("d", Double)).add(FeatureStep("r", Referring, params))
    pipeline.run(ds)
    assert pipeline.dag() == {"d": [], "r": ["d"]}
    assert sum(marked(marks).values()) == 4
    pipeline.run(ds, force_from="d")
    assert marked(marks) == {f"apply s00{n}": 2 for n in range(4)}
    pipeline.run(ds)
    assert sum(marked(marks).values()) == 8


def test_a_reference_to_what_two_steps_make_names_the_step(ds: Dataset) -> None:
    """Without a run it is refused, in a look and in a run; by the step's name it is that step's output."""
    pipeline = Pipeline().add(FeatureStep("few", Double)).add(FeatureStep("many", Double, {"factor": 3.0}))
    unclear = FeatureStep("unclear", Referring)
    pipeline.add(unclear)
    pipeline.add(FeatureStep("clear", Referring, {"column": {"step": "few", "column": "value"}}))
    assert told(pipeline, ds)[2][1].startswith("cannot be named: several steps before this one make outputs")
    with pytest.raises(ArgumentRefused, match="several steps before this one"):
        pipeline.run(ds)
    few, clear = pipeline.results["few"], pipeline.results["clear"]
    assert ds.registry.get_dependencies(clear.feature, str(clear.run_id)) == [("double", few.run_id)]
    assert pipeline.dag()["clear"] == ["few"]
    assert told(pipeline, ds)[3] == (True, "")


def test_a_run_of_a_step_is_the_run_of_its_feature(ds: Dataset) -> None:
    """Named by step or by feature, it is one identity: nothing is computed twice."""
    by_feature = Pipeline().add(FeatureStep("d", Double)).add(FeatureStep("r", Referring)).run(ds)["r"]
    named = {"column": {"step": "d", "column": "value"}}
    by_step = Pipeline().add(FeatureStep("d", Double)).add(FeatureStep("r", Referring, named)).run(ds)["r"]
    assert by_step == by_feature
    assert by_step.cache_hit


# -- what was learned --------------------------------------------------------------------------


class Plain(FittedFeature):
    """x without its mean; says nothing of its scope."""

    name: ClassVar[str] = "plain"
    version: ClassVar[str] = "1.0"
    load_state = Centre.load_state
    fit = Centre.fit
    save_state = Centre.save_state
    apply = Centre.apply

    class Params(Centre.Params):
        """Those of the toy."""


def test_what_a_feature_learned_of_fewer_sequences_is_another_run_unless_it_says_otherwise(
    ds: Dataset,
) -> None:
    """No value depends on which run came first."""
    few = ds.run_feature(Plain(), sequences=["s000"])
    every = ds.run_feature(Plain())
    assert few.run_id != every.run_id
    assert values(ds, few)["s000"][0] == -4.5
    assert values(ds, every)["s000"][0] == -154.5


def test_a_state_learned_without_an_entry_that_failed_is_learned_again(ds: Dataset, tmp_path: Path) -> None:
    """As soon as that entry is there."""
    failing = tmp_path / "failing"
    failing.write_text("s003")
    pipeline = Pipeline().add(FeatureStep("d", Double, {"failing": str(failing)}))
    pipeline.add(FeatureStep("r", Rank, {"column": "value"}, ["d"]))
    pipeline.run(ds)
    assert [cached for cached, _ in told(pipeline, ds)] == ["partial", "partial"]
    failing.write_text("")
    result = pipeline.run(ds)["r"]
    assert told(pipeline, ds) == [(True, ""), (True, "")]
    assert {name: found[0] for name, found in values(ds, result).items()} == {
        "s000": -309.0,
        "s001": -109.0,
        "s002": 91.0,
        "s003": 291.0,
    }


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
        ((cached, why),) = told(pipeline, ds)
        assert cached == "stale"
        assert "the state was learned from other content of g0/day/0" in why
        result = pipeline.run(ds)["r"]
        assert told(pipeline, ds) == [(True, "")]
        assert values(ds, result) == {"day/0": [50.0] * 3, "day/1": [-51.0, -50.0, -49.0]}


# -- what lies on disk -------------------------------------------------------------------------


def nothing(_ds: Dataset, _results: dict[str, Result[str]]) -> None:
    """Be a callback."""


def stamped() -> Pipeline:
    """Return a pipeline of which something is kept in the store's own database."""
    return ranked().add(CallbackStep("cb", nothing, ["d"], once=True))


_LOOK = """
import json, sys
from gapless.features import Dataset
from tests.features.test_pipeline_edges import stamped
with Dataset(sys.argv[1]) as ds:
    pipeline = stamped()
    found = [cached is True for cached in pipeline.status(ds, deep=True)["cached"]]
    found += [len(pipeline.plan(ds)), len(pipeline.load(ds)), len(pipeline.clean(ds))]
    found += [result.cache_hit for result in pipeline.run(ds).values()]
print(json.dumps(found))
"""


def looked(pipeline: Pipeline, ds: Dataset) -> None:
    """Ask everything that only looks."""
    pipeline.status(ds)
    pipeline.status(ds, deep=True)
    pipeline.plan(ds)
    pipeline.why(ds, "d", "s000")
    pipeline.load(ds)
    pipeline.clean(ds)


def test_looking_changes_no_file(ds: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither before a run nor after it, the store's own database among them."""
    pipeline = stamped()
    ds.entries()
    before = tree(ds.root)
    looked(pipeline, ds)
    assert tree(ds.root) == before
    assert "not computed yet" in capsys.readouterr().err
    pipeline.run(ds)
    before = {path: found for path, found in tree(ds.root).items() if not path.endswith("-shm")}
    looked(pipeline, ds)
    assert {path: found for path, found in tree(ds.root).items() if not path.endswith("-shm")} == before
    assert any(path == "state.db" for path in before)


def test_a_store_that_cannot_be_written_can_be_looked_at(ds: Dataset) -> None:
    """And its complete results can be used."""
    stamped().run(ds)
    ds.close()
    assert (ds.root / "state.db").exists()
    command = [sys.executable, "-c", _LOOK, str(ds.root)]
    if os.geteuid() == 0:  # root may write everywhere, unless it gives that up
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
        if shutil.which("setpriv") is None:
            pytest.skip("root cannot be kept from writing without setpriv")
    below = [ds.root, *ds.root.rglob("*")]
    modes = {path: path.stat().st_mode for path in below}
    before = tree(ds.root)
    try:
        for path in below:
            path.chmod(modes[path] & ~0o222)
        found = subprocess.run(command, env=surroundings(), capture_output=True, text=True, check=False)
    finally:
        for path in below:
            path.chmod(modes[path])
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == [True, True, True, 0, 2, 2, True, True]
    assert tree(ds.root) == before


def surroundings() -> dict[str, str]:
    """Return the environment of a process that imports these tests."""
    paths = [str(PLACE), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


_SLOW = """
import sys
from gapless.features import Dataset
from tests.features.toy_features import Slow
with Dataset(sys.argv[1]) as ds:
    ds.run_feature(Slow(None, {"marks": sys.argv[2], "factor": 3.0}))
"""


def test_a_run_that_another_process_computes_is_not_cleaned_away(ds: Dataset, marks: Path) -> None:
    """Once it is done it may be."""
    pipeline = Pipeline().add(FeatureStep("s", Slow))
    process = started(_SLOW, str(ds.root), str(marks))
    with ended(process):
        until(lambda: any(marks.iterdir()))  # it is inside apply, and waits there
        assert list(pipeline.clean(ds, dry_run=False)["status"]) == ["kept"]
        (marks.parent / "go").touch()
        assert process.wait(DEADLINE_S) == 0
    assert len(statuses(ds, Result(feature="slow"))) == 4
    assert list(pipeline.clean(ds, dry_run=False)["status"]) == ["removed"]


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_identity_is_an_error_of_cleaning_and_of_running(ds: Dataset, text: str) -> None:
    """What a run reads cannot be told, so nothing is removed."""
    results = ranked().run(ds)
    ds.run_feature(Double(None, {"factor": 9.0}))
    file = ds.run_root(results["d"]) / "identity.json"
    file.write_text(text)
    before = tree(ds.root)
    ranked().status(ds)
    with pytest.raises(IntegrityError, match="nothing is removed"):
        ranked().clean(ds, dry_run=False)
    assert tree(ds.root).keys() == before.keys()
    with pytest.raises(IntegrityError, match="cannot be read"):
        ranked().run(ds)


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"digest": 5}'])
def test_a_damaged_record_of_a_state_makes_it_stale(ds: Dataset, text: str) -> None:
    """It is learned again."""
    results = ranked().run(ds)
    good = values(ds, results["r"])
    (ds.run_root(results["r"]) / "state.json").write_text(text)
    assert [cached for cached, _ in told(ranked(), ds)] == [True, "stale"]
    assert values(ds, ranked().run(ds)["r"]) == good
    assert told(ranked(), ds) == [(True, ""), (True, "")]
