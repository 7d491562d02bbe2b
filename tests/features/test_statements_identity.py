"""What names a run: predicted and executed by one pure function, moved by what counts and by nothing else."""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.catalog.bundle_files import TopicSpec, write_bundle
from tests.features.first_look import settle, traced
from tests.features.toy_features import Centre, Double, Plus, Rank
from tests.features.tracks import record_tracks, tree, values

from gapless.errors import ArgumentRefused, IdentityRefused
from gapless.features import Dataset, FeatureStep, Knob, Pipeline, Result, TableFeature
from gapless.features import Params as AnyParams
from gapless.features.canonical import canonical_text


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give a data set of three sequences."""
    record_tracks(tmp_path / "store", 3)
    with Dataset(tmp_path / "store") as dataset:
        yield dataset


def test_s12_status_run_and_clean_agree_on_a_run_that_depends_on_its_scope(ds: Dataset) -> None:
    """Cleaning keeps it, and a new sequence makes another run of what takes all."""
    step = FeatureStep("r", Rank, run_kwargs={"sequences": ["s000", "s001"]})
    pipeline = Pipeline().add(FeatureStep("all", Rank)).add(step)
    predicted = list(pipeline.status(ds)["run_id"])
    results = pipeline.run(ds)
    assert [results["all"].run_id, results["r"].run_id] == predicted
    assert predicted[0] != predicted[1]
    status = pipeline.status(ds)
    assert list(status["cached"]) == [True, True]
    assert list(status["run_id"]) == predicted
    cleaned = pipeline.clean(ds, dry_run=False)
    assert list(cleaned["status"]) == ["current", "current"]
    assert values(ds, results["r"])["s001"][0] == 100.0 - 54.5
    record_tracks(ds.root, 1, start=3)
    now = pipeline.status(ds)
    assert now["run_id"][0] != predicted[0]
    assert now["run_id"][1] == predicted[1]
    assert list(now["cached"]) == [False, True]


SOURCE = '''
from gapless.features import TableFeature

SHIFT = {shift}

def moved(x):
    """{docstring}"""
    {comment}
    return x{change} + SHIFT

class Moved(TableFeature):
    name, version = "moved", "1.0"
    def apply(self, df):
        return df[["x"]].assign(value=moved(df["x"]))
'''
PLAIN = {"shift": "0.0", "docstring": "Move it.", "comment": "pass", "change": ""}


class Edited:
    """A module that is edited: ``moved_feature.py`` in a folder that can be imported from."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "moved_feature.py"
        self.number = 0
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def feature(self, **changes: str) -> type[TableFeature]:
        """Write the module with changes and import it anew."""
        self.number += 1
        self.path.write_text("\n" * self.number + SOURCE.format(**{**PLAIN, **changes}))
        sys.modules.pop("moved_feature", None)
        importlib.invalidate_caches()
        module: ModuleType = importlib.import_module("moved_feature")
        kind: type[TableFeature] = module.Moved
        return kind


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Edited]:
    """Give a module that can be edited."""
    (tmp_path / "code").mkdir()
    yield Edited(tmp_path / "code", monkeypatch)
    sys.modules.pop("moved_feature", None)


@pytest.mark.parametrize("change", [{"change": " * 2"}, {"shift": "5.0"}])
def test_s14_changed_code_is_served_with_a_warning_and_told_until_it_is_accepted(
    ds: Dataset, edited: Edited, change: dict[str, str]
) -> None:
    """Code of a function and a constant that the class uses counts as its own."""
    first = ds.run_feature(edited.feature()())
    changed = edited.feature(**change)
    pipeline = Pipeline().add(FeatureStep("m", changed))
    why = pipeline.status(ds)["why"][0]
    assert "source code changed since 3 entries were computed" in why
    assert "other source code" in pipeline.why(ds, "m", "s000")
    with pytest.warns(UserWarning, match="3 outputs were made by other source code"):
        served = ds.run_feature(changed())
    assert served.run_id == first.run_id
    assert served.cache_hit
    ds.run_feature(changed(), code="ignore")  # warnings are errors here
    pipeline.accept(ds, "m")
    assert pipeline.status(ds)["why"][0] == ""
    assert ds.run_feature(changed()).cache_hit


def test_s14_changed_code_is_a_run_of_its_own_when_asked_to(ds: Dataset, edited: Edited) -> None:
    """And code that was changed back is the first run again."""
    plain = ds.run_feature(edited.feature()(), code="rerun")
    changed = ds.run_feature(edited.feature(change=" * 2")(), code="rerun")
    assert changed.run_id != plain.run_id
    assert values(ds, changed)["s001"][1] == 202.0
    assert values(ds, plain)["s001"][1] == 101.0
    back = ds.run_feature(edited.feature()(), code="rerun")
    assert back.run_id == plain.run_id
    assert back.cache_hit
    with pytest.raises(ArgumentRefused):
        ds.run_feature(edited.feature()(), code="perhaps")


def test_s14_overwriting_computes_with_the_present_code(ds: Dataset, edited: Edited) -> None:
    """No warning is left."""
    ds.run_feature(edited.feature()())
    changed = edited.feature(change=" * 2")
    result = ds.run_feature(changed(), overwrite=True)
    assert values(ds, result)["s001"][1] == 202.0
    assert ds.run_feature(changed()).cache_hit


def test_s14_comments_docstrings_and_layout_are_not_code(ds: Dataset, edited: Edited) -> None:
    """They change no run."""
    plain = ds.run_feature(edited.feature()(), code="rerun")
    other = edited.feature(docstring="Something else.", comment="# a remark\n\n    pass")
    assert ds.run_feature(other(), code="rerun").run_id == plain.run_id


def test_s28_what_an_attempt_was_is_in_no_dump(ds: Dataset) -> None:
    """And moves no identity of what reads it."""
    result = ds.run_feature(Double())
    assert result.execution_id
    assert result.cache_hit is False
    assert result.model_dump() == {"feature": "double", "run_id": result.run_id}
    assert json.loads(result.model_dump_json()) == result.model_dump()
    again = ds.run_feature(Double())
    assert again.execution_id != result.execution_id
    assert again == result
    first = ds.run_feature(Plus((result,)))
    assert ds.run_feature(Plus((again,))).run_id == first.run_id
    assert ds.run_feature(Plus((Result(feature=result.feature, run_id=result.run_id),))).cache_hit


class Colour(Enum):
    """A choice."""

    RED = "red"


class Many(TableFeature):
    """Takes anything."""

    name: ClassVar[str] = "many"
    version: ClassVar[str] = "1.0"

    class Params(AnyParams):
        """Any value, and a knob."""

        value: Any = None
        threads: Annotated[int, Knob()] = 1

    def apply(self, df: Any) -> Any:
        """Return x."""
        return df[["x"]]


def run_id(ds: Dataset, value: Any, **params: Any) -> str:
    """Return the run that a value of the parameter means."""
    [predicted] = Pipeline().add(FeatureStep("m", Many, {"value": value, **params})).status(ds)["run_id"]
    return str(predicted)


SAME = [
    ({"b", "a", "c"}, {"c", "b", "a"}),
    (frozenset([3, 1, 2]), {1, 2, 3}),
    ({0, 8}, {8, 0}),  # both fall on one place of the table, so the first is listed first
    ({"x": 1, "y": 2}, {"y": 2, "x": 1}),
    ((1, 2), [1, 2]),
    (np.float64(0.25), 0.25),
    (np.int64(3), 3),
    (Colour.RED, "red"),
    (PurePosixPath("a/b"), "a/b"),
    (math.nan, float("nan")),
]
OTHER = [
    ([1, 2], [2, 1]),
    (1, 1.0),
    (1, True),
    (0, False),
    (1, "1"),
    (None, "None"),
    (math.nan, "nan"),
    (math.inf, -math.inf),
    ({1, 2}, [1, 2]),
    ({1, 2}, {1, 3}),
    (0.1, 0.1 + 2**-55),
    ({"$set": [1, 2]}, {1, 2}),
    ({"$float": "1.0"}, 1.0),
    ([[1], 2], [[1, 2]]),
    ("", None),
]


@pytest.mark.parametrize(("left", "right"), SAME, ids=lambda value: type(value).__name__)
def test_s29_equal_parameters_mean_one_run(ds: Dataset, left: Any, right: Any) -> None:
    """Whatever their order and type is, where these do not count."""
    assert canonical_text(left) == canonical_text(right)
    assert run_id(ds, left) == run_id(ds, right)


@pytest.mark.parametrize(("left", "right"), OTHER, ids=repr)
def test_s29_unequal_parameters_mean_two_runs(ds: Dataset, left: Any, right: Any) -> None:
    """However alike they look."""
    assert canonical_text(left) != canonical_text(right)
    assert run_id(ds, left) != run_id(ds, right)


class Same:
    """Looks like every other of its kind."""

    def __repr__(self) -> str:
        return "Same()"


@pytest.mark.parametrize("value", [Same(), len, b"x", np.zeros(2), {1: "a"}, [Same()], {"deep": {"a": Same}}])
def test_s29_a_value_without_a_canonical_form_is_refused(ds: Dataset, value: Any) -> None:
    """By its place, before anything is written."""
    before = tree(ds.root)
    with pytest.raises(IdentityRefused, match=r"params\.value"):
        ds.run_feature(Many(None, {"value": value}))
    assert tree(ds.root) == before


def test_s29_a_knob_changes_no_identity(ds: Dataset) -> None:
    """It only says how fast to go."""
    assert run_id(ds, 1, threads=1) == run_id(ds, 1, threads=8)


@pytest.mark.usefixtures("ds")
def test_s30_looking_changes_no_parameter_and_no_file(ds: Dataset) -> None:
    """Before the first run, it makes no folder either."""
    params = {"factor": 3.0}
    steps = [
        FeatureStep("d", Double, params),
        FeatureStep("p", Plus, {}, ["d"]),
        FeatureStep("c", Centre, {"column": "value"}, ["p"]),
    ]
    pipeline = Pipeline({"retries": 1})
    for step in steps:
        pipeline.add(step)
    kept = [(dict(step.params or {}), list(step.input_names), dict(step.run_kwargs)) for step in steps]
    before = tree(ds.root)
    for _ in range(2):
        pipeline.status(ds)
        pipeline.status(ds, deep=True)
        pipeline.plan(ds)
        pipeline.why(ds, "c", "s001")
        pipeline.load(ds)
        pipeline.clean(ds)
        pipeline.clean(ds, dry_run=False)
        pipeline.dag()
    assert tree(ds.root) == before
    assert not ds.features_root.exists()
    assert [(dict(s.params or {}), s.input_names, s.run_kwargs) for s in steps] == kept
    assert params == {"factor": 3.0}

    pipeline.run(ds)
    after = tree(ds.root)
    pipeline.status(ds, deep=True)
    pipeline.clean(ds, dry_run=False)
    assert tree(ds.root) == after


def test_s30_looking_is_one_statement_and_reads_no_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many entries and steps there are: the first look of a process as well as every later one."""
    store = tmp_path / "store"
    for number in range(1_000):
        rows = [{"timestamp_ns": number * 10**9 + row, "x": float(row)} for row in range(2)]
        topics = {"tracks": TopicSpec({"x": pa.float64()}, [rows])}
        write_bundle(store, f"s{number:03d}", topics, group=f"g{number % 2}")
    pipeline = (
        Pipeline()
        .add(FeatureStep("d", Double))
        .add(FeatureStep("p", Plus, None, ["d"]))
        .add(FeatureStep("r", Rank))
    )
    with Dataset(store) as ds:
        pipeline.run(ds)
    settle(store)
    said = traced(monkeypatch)
    opened: list[Any] = []
    for name in ("ParquetFile", "read_metadata", "read_table"):
        monkeypatch.setattr(pq, name, lambda *args, **_: opened.append(args))
    with Dataset(store) as ds:
        assert ds.registry.has_run("double", "none") is False  # opens the store
        for look in range(4):
            said.clear()
            table = pipeline.status(ds)
            [only] = said
            assert "feature_entries" in only, look
            assert (list(table["cached"]), list(table["ok"])) == ([True] * 3, [1_000] * 3)
    assert not opened
