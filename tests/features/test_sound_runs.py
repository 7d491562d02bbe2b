"""Results that hold whatever else is there: other entries' labels, clocks, columns, processes and pinned runs."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.features.toy_features import Double, Plus, marked
from tests.features.tracks import TRACKS, record_topics, record_tracks, statuses, times_of, values
from tests.features.training.toy_model import MeanModel

from gapless.errors import FeatureFailed, IntegrityError, NotFound
from gapless.features import (
    CallbackStep,
    Columns,
    Dataset,
    FeatureStep,
    FeatureWarning,
    GroundTruthLabelsSource,
    ModelStep,
    Pipeline,
    Result,
    TableFeature,
    TracksColumn,
    sample_frames,
)
from gapless.features import Params as AnyParams
from gapless.features.callback_stamp import CallbackStamp
from gapless.features.code_digest import code_digest
from gapless.features.executor import run_chunks
from gapless.features.identity import RunOptions
from gapless.features.labels_source import FeatureLabelsSource, LabelsSource
from gapless.features.library import RollingStatistics, Templates
from gapless.features.resolve import RunView, bind_run, survey_run
from gapless.features.run import FeatureRun, RunSettings
from gapless.features.training.plan import TrainingPlan, plan_training

SECOND = 10**9


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give a data set of three sequences."""
    record_tracks(tmp_path / "store", 3)
    with Dataset(tmp_path / "store") as dataset:
        yield dataset


def record(root: Path, name: str, schema: pa.Schema, columns: Mapping[str, Any], group: str = "g0") -> None:
    """Record a sequence whose clock begins at 0."""
    rows = len(next(iter(columns.values())))
    record_topics(root, name, {"tracks": (schema, times_of(0, rows), columns)}, group)


# -- labels and columns of the recording -------------------------------------------------------


class Codes(TableFeature):
    """The code of the label of each row."""

    name, version = "codes", "1.0"

    class Params(AnyParams):
        """Where the labels come from."""

        labels: LabelsSource[Any]

    def load_state(self, run_root: Path, artifact_paths: Any, dependency_lookups: Any) -> bool:
        """Keep where the labels lie."""
        del run_root, artifact_paths
        self.look = dependency_lookups["labels"]
        return True

    def apply(self, df: Any) -> Any:
        """Return the codes."""
        key = df["group"].iloc[0], df["sequence"].iloc[0]
        with np.load(self.look[key], allow_pickle=False) as arrays:
            return df[["timestamp_ns"]].assign(code=arrays["labels"])


LABELS = {"labels": GroundTruthLabelsSource(kind="behavior")}


def label(ds: Dataset, number: int, name: str, first_s: float = 0.0, last_s: float = 0.3) -> None:
    """Put a label on a sequence."""
    start = int(times_of(number, 1)[0])
    span = start + int(first_s * SECOND), start + int(last_s * SECOND)
    ds.client.annotate(f"s{number:03d}", *span, name, kind="behavior")


def test_a_new_name_among_labels_makes_every_entry_stale_whose_codes_it_moves(ds: Dataset) -> None:
    """A cached result and one that is computed again are the same."""
    for number in range(3):
        label(ds, number, "run")
    pipeline = Pipeline().add(FeatureStep("codes", Codes, LABELS))
    pipeline.run(ds)
    label(ds, 2, "jump", 0.5, 0.6)
    assert list(pipeline.plan(ds)["sequence"]) == ["s000", "s001", "s002"]
    served = values(ds, pipeline.run(ds)["codes"], "code")
    assert served["s000"][0] == served["s002"][0] == 2
    again = ds.run_feature(Codes(None, LABELS), overwrite=True)
    assert values(ds, again, "code") == served


def test_codes_of_a_part_of_the_data_set_are_those_of_the_whole(ds: Dataset) -> None:
    """Which entries were asked for first does not matter."""
    for number in range(3):
        label(ds, number, "run")
    label(ds, 2, "jump", 0.5, 0.6)
    first = ds.run_feature(Codes(None, LABELS), sequences=["s000"])
    result = ds.run_feature(Codes(None, LABELS))
    assert first.run_id == result.run_id
    found = values(ds, result, "code")
    assert found["s000"][0] == found["s002"][0] == 2


class Beside(TableFeature):
    """Reads a result, and a column of the recording through a parameter."""

    name, version = "beside", "1.0"

    class Params(AnyParams):
        """Which column."""

        source: TracksColumn

    def apply(self, df: Any) -> Any:
        """Return the rows."""
        return df[["timestamp_ns"]]


class Times(TableFeature):
    """Times alone: the same for any recording of these rows."""

    name, version = "times", "1.0"

    def apply(self, df: Any) -> Any:
        """Return the times."""
        return df[["timestamp_ns"]]


def test_rows_that_a_parameter_refers_to_are_part_of_the_key(ds: Dataset) -> None:
    """Also where no input reads the recording."""
    pipeline = Pipeline().add(FeatureStep("times", Times))
    pipeline.add(FeatureStep("beside", Beside, {"source": TracksColumn(column="x")}, ["times"]))
    result = pipeline.run(ds)["beside"]
    inputs = next(iter(ds.entry_records(result).values())).inputs
    assert "rows of tracks" in inputs


# -- trainings ---------------------------------------------------------------------------------


def test_names_of_columns_are_part_of_a_training(tmp_path: Path) -> None:
    """Only where they differ from the usual ones, so that other trainings keep their names."""
    root = tmp_path / "store"
    record(root, "a", TRACKS, {"x": np.arange(3.0), "y": np.zeros(3)})
    with Dataset(root) as plain, Dataset(root, Columns(id_col="animal")) as named:
        usual, other = plan_training(plain, MeanModel()), plan_training(named, MeanModel())
        assert "columns" not in usual.document
        assert usual.run_id != other.run_id
        assert TrainingPlan.of(other.document).digest == other.digest


MODEL = """
import json
import pandas as pd

class Mine:
    name, version = "mine", "1.0"
    def __init__(self, inputs=("tracks",)):
        self.inputs = inputs
    def train(self, ds, run_root, config):
        (run_root / "w.json").write_text("1")
    def load(self, run_root):
        self.w = json.loads((run_root / "w.json").read_text())
    def predict(self, df):
        return pd.DataFrame({{"p": df["x"] * self.w + {shift}}}, index=df.index)
"""


def test_changed_source_of_a_model_is_told(
    ds: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the training and by its predictions, when they are looked at and when they are served."""
    from gapless.features import PredictFeature

    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "my_changing_model.py"
    file.write_text(MODEL.format(shift=0.0))
    module = importlib.import_module("my_changing_model")
    try:
        predicting = FeatureStep("p", PredictFeature, None, ["m", "tracks"])
        pipeline = Pipeline().add(ModelStep("m", module.Mine)).add(predicting)
        pipeline.run(ds)
        assert list(pipeline.status(ds)["why"]) == ["", ""]
        file.write_text(MODEL.format(shift=1000.0))
        importlib.invalidate_caches()
        importlib.reload(module)
        changed = Pipeline().add(ModelStep("m", module.Mine)).add(predicting)
        assert all("source code changed" in why for why in changed.status(ds)["why"])
        with pytest.warns(FeatureWarning) as told:
            changed.run(ds)
        assert [str(each.message).partition(":")[0] for each in told] == ["mine", "predict-mine"]
    finally:
        del sys.modules["my_changing_model"]


# -- source code -------------------------------------------------------------------------------

SCRIPT = """
import sys
from gapless.features import Dataset, TableFeature

class Twice(TableFeature):
    name, version = "twice", "1.0"
    def apply(self, df):
        return df.assign(value=df["x"] * 2)

if __name__ == "__main__":
    with Dataset(sys.argv[1]) as ds:
        result = ds.run_feature(Twice(), parallel_workers=2, parallel_mode="process")
        print({record.code for record in ds.entry_records(result).values()})
"""


def test_processes_record_the_source_of_a_script(ds: Dataset, tmp_path: Path) -> None:
    """The class of a script has another module in the processes that it starts, and the same source."""
    (tmp_path / "twice_script.py").write_text(SCRIPT)
    script = [sys.executable, str(tmp_path / "twice_script.py"), str(ds.root)]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    assert "None" not in done.stdout
    assert "unknown" not in done.stdout


def test_an_output_that_names_no_code_counts_as_made_by_other_code(ds: Dataset) -> None:
    """It can be accepted like any other."""
    ds.run_feature(Double(), code="ignore")
    pipeline = Pipeline().add(FeatureStep("d", Double))
    assert "source code changed" in pipeline.status(ds)["why"][0]
    pipeline.accept(ds, "d")
    assert list(pipeline.status(ds)["why"]) == [""]


FILLED = """
from gapless.features import TableFeature
TABLE = {{}}
{fill}
class Filled(TableFeature):
    name, version = "filled", "1.0"
    def apply(self, df):
        return df.assign(value=TABLE["k"])
"""


@pytest.mark.parametrize(
    ("fill", "other"),
    [
        ('TABLE["k"] = 1.0', 'TABLE["k"] = 2.0'),
        ("TABLE.update(k=1.0)", "TABLE.update(k=2.0)"),
        ('for key in ("k",):\n    TABLE[key] = 1.0', 'for key in ("k", "l"):\n    TABLE[key] = 1.0'),
    ],
)
def test_statements_that_fill_a_constant_are_source_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fill: str, other: str
) -> None:
    """Whatever stands at the top of the module and changes what a feature reads."""
    monkeypatch.syspath_prepend(tmp_path)
    digests = []
    for number, text in enumerate((fill, other)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "filled_module.py").write_text(FILLED.format(fill=text))
        with monkeypatch.context() as patched:
            patched.syspath_prepend(folder)
            digests.append(code_digest(importlib.import_module("filled_module").Filled))
            del sys.modules["filled_module"]
    assert None not in digests
    assert digests[0] != digests[1]


# -- values ------------------------------------------------------------------------------------


def test_neighbours_of_one_clock_lie_on_their_side(tmp_path: Path) -> None:
    """Sequences that all begin at 0 are not mixed by a feature that orders rows by time."""
    for name, x in (("a", 0.0), ("b", 100.0), ("c", 0.0)):
        record(tmp_path / "store", name, TRACKS, {"x": np.full(6, x), "y": np.zeros(6)})
    params = {"window_rows": 3, "statistics": ("mean",), "columns": ("x",)}
    with Dataset(tmp_path / "store") as ds:
        result = ds.run_feature(RollingStatistics(None, params), overlap_frames=2)
        found = values(ds, result, "x_mean")["b"]
    assert found == pytest.approx([200 / 3, 100, 100, 100, 100, 200 / 3])


BIG = 1_700_000_000_123_456_789


@pytest.mark.parametrize("first", [BIG, 7])
def test_whole_numbers_with_nulls_pass_through_as_they_are(tmp_path: Path, first: int) -> None:
    """Values and types are the same, whether an entry has nulls or not; so it is with true and false."""
    schema = pa.schema([("n", pa.int64()), ("b", pa.bool_())])
    whole = [first + number for number in range(4)]
    gaps = [first, None, *whole[2:]]
    for name, n, b in (
        ("a", whole, [True] * 4),
        ("b", gaps, [None] * 4),
        ("c", [None] * 4, [None, True] * 2),
    ):
        record(tmp_path / "store", name, schema, {"n": pa.array(n, pa.int64()), "b": pa.array(b, pa.bool_())})
    with Dataset(tmp_path / "store") as ds:
        result = ds.run_feature(Given())
        for name, n in (("a", whole), ("b", gaps), ("c", [None] * 4)):
            table = ds.frame(name, result, frame_type="arrow")
            assert table.column("n").to_pylist() == n
            assert (table.schema.field("n").type, table.schema.field("b").type) == (pa.int64(), pa.bool_())


class Given(TableFeature):
    """What it got, and a column more."""

    name, version = "given-back", "1.0"

    def apply(self, df: Any) -> Any:
        """Return all columns."""
        return df.assign(value=1.0)


def test_columns_of_any_number_of_runs_have_names_of_their_own(ds: Dataset) -> None:
    """The third and every further run of one feature is numbered."""
    runs = [ds.run_feature(Double(None, {"factor": factor})) for factor in (1.0, 2.0, 3.0, 4.0)]
    columns = next(ds.results(ds.run_feature(Given(runs))))[1].columns
    marked_names = [name for name in columns if name.startswith("value__")]
    assert marked_names == ["value__double", "value__double-2", "value__double-3"]


class Twins(TableFeature):
    """Two columns of one name."""

    name, version, frame_type = "twins", "1.0", "arrow"

    def apply(self, df: Any) -> Any:
        """Return x twice."""
        return pa.table([df["timestamp_ns"], df["x"], df["x"]], names=["timestamp_ns", "x", "x"])


def test_an_output_with_two_columns_of_one_name_is_refused(ds: Dataset) -> None:
    """Nothing is stored that nobody can read."""
    with pytest.raises(FeatureFailed, match="two columns of one name"):
        ds.run_feature(Twins())


def test_a_column_called_group_is_no_group(tmp_path: Path) -> None:
    """Which entry it is comes from the engine."""
    schema = pa.schema([("group", pa.string()), ("x", pa.float64())])
    for name in ("a", "b"):
        record(tmp_path / "store", name, schema, {"group": ["treated"] * 5, "x": np.arange(5.0)}, "day-1")
    with Dataset(tmp_path / "store") as ds:
        assert len(sample_frames(ds, 4)) == 4
        assert len(sample_frames(ds, 4, record=False)) == 4
        assert set(statuses(ds, ds.run_feature(Templates(None, {"rows": 10}))).values()) == {"ok"}


# -- running -----------------------------------------------------------------------------------


class Greedy(TableFeature):
    """Asks for more memory than there is, in one entry."""

    name, version = "greedy", "1.0"

    def apply(self, df: Any) -> Any:
        """Return the rows of the others."""
        if df["sequence"].iloc[0] == "s001":
            raise MemoryError("7 PiB")
        return df


def test_an_entry_without_memory_stops_no_other(ds: Dataset) -> None:
    """It is recorded as any other that raised."""
    found = statuses(ds, ds.run_feature(Greedy()))
    assert found == {"s000": "ok", "s001": "failed", "s002": "ok"}


def test_what_another_process_recorded_since_the_look_is_not_computed(ds: Dataset, tmp_path: Path) -> None:
    """However long it takes between looking and computing."""
    marks = tmp_path / "marks"
    marks.mkdir()
    params = {"marks": str(marks)}
    view = RunView(ds)
    bound = bind_run(view, Double(None, params), RunOptions())
    survey_run(view, bound)  # looks, and remembers
    ds.run_feature(Double(None, params))
    FeatureRun(view, bound, RunSettings()).run()
    assert set(marked(marks).values()) == {1}


def test_no_workers_start_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for another process costs no workers."""

    def refused(*_: Any) -> Any:
        raise AssertionError("workers were started")

    monkeypatch.setattr("gapless.features.executor.ThreadWorkers", refused)
    assert list(run_chunks(str, [], mode="thread", workers=2)) == []


def draw(ds: Any, results: Any, colour: str = "red") -> None:
    """Draw nothing."""


class Drawing:
    """A callable object."""

    def __call__(self, ds: Any, results: Any) -> None:
        """Draw nothing."""


@pytest.mark.parametrize("once", [True, False])
def test_any_callable_may_be_a_callback(ds: Dataset, once: bool) -> None:
    """A partial function and an object as well."""
    pipeline = Pipeline().add(CallbackStep("p", functools.partial(draw, colour="blue"), once=once))
    pipeline.add(CallbackStep("o", Drawing(), once=once))
    pipeline.run(ds)
    assert list(pipeline.status(ds)["cached"]) == ([True, True] if once else ["-", "-"])


def test_values_that_a_callback_was_made_with_count(ds: Dataset) -> None:
    """Its given arguments and its defaults."""

    def defaulting(colour: str) -> Any:
        return lambda ds, results, colour=colour: draw(ds, results, colour)

    lock = threading.Lock()
    for first, other in (
        (functools.partial(draw, colour="red"), functools.partial(draw, colour="blue")),
        (defaulting("red"), defaulting("blue")),
        (draw, functools.partial(draw, lock)),
    ):
        digests = {
            CallbackStamp.of(ds.root, CallbackStep("c", fn, once=True), {}).digest for fn in (first, other)
        }
        assert len(digests) == 2


def test_an_input_that_is_no_run_is_not_found(ds: Dataset) -> None:
    """A run id with a slip is no empty data set."""
    ds.run_feature(Double())
    with pytest.raises(NotFound, match="no such feature run"):
        ds.run_feature(Plus([Result(feature="double", run_id="1.0-typo")]))


# -- cleaning ----------------------------------------------------------------------------------


def test_clean_keeps_a_run_that_a_step_is_pinned_to(ds: Dataset) -> None:
    """Also where the step is not computed yet."""
    old = ds.run_feature(Double(None, {"factor": 3.0}))

    class PinnedPlus(Plus):
        """Reads one run, whatever it is given."""

        name = "pinned-plus"

        def __init__(self, inputs: Any = None, params: Any = None) -> None:
            del inputs
            super().__init__([Result(feature=old.feature, run_id=old.run_id)], params)

    pipeline = Pipeline().add(FeatureStep("d", Double)).add(FeatureStep("p", PinnedPlus))
    assert "would remove" not in list(pipeline.clean(ds)["status"])


class LabelledMean(MeanModel):
    """Learns from the labels of a feature."""

    name = "labelled-mean"

    def label_sources(self, config: dict[str, Any]) -> list[LabelsSource[Any]]:
        """Return the run that the configuration names."""
        source = FeatureLabelsSource(feature="double", run_id=config["run_id"], column="value")
        return [source]

    def train(self, ds: Any, run_root: Path, config: dict[str, Any], callback: Any) -> Mapping[str, Any]:
        """Write a file."""
        del ds, config, callback
        (run_root / "mean.json").write_text("1.0")
        return {}


def test_clean_keeps_the_labels_of_a_training(ds: Dataset) -> None:
    """Before it was trained, for its step, and afterwards, for the model; a torn manifest is told."""
    old = ds.run_feature(Double(None, {"factor": 3.0}))
    double = FeatureStep("d", Double)
    step = ModelStep("m", LabelledMean, {"run_id": old.run_id}, ["tracks"])
    pipeline = Pipeline().add(double).add(step)
    assert "would remove" not in list(pipeline.clean(ds)["status"])
    pipeline.run(ds)
    alone = Pipeline().add(double)
    assert sorted(alone.clean(ds)["status"]) == ["current", "kept"]
    manifest = next(ds.models_root.glob("*/*/manifest.json"))
    manifest.write_text('{"inputs": [[')
    with pytest.raises(IntegrityError, match="nothing is removed"):
        alone.clean(ds)
