"""Trainings: one run for one cause, reused, repeated, failed, killed, and never half."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli.conftest import environment
from tests.features.training.doubling import Double
from tests.features.training.toy_model import MeanModel
from tests.features.training.track_store import START_NS, STEP_NS, label_runs, labelled, record

from gapless.errors import (
    ArgumentRefused,
    ArtifactMissing,
    FeatureFailed,
    IdentityRefused,
    IntegrityError,
    LabelsMissing,
    ModelFailed,
    NotFound,
    RunCancelled,
    StateError,
)
from gapless.features.dataset import Dataset
from gapless.features.labels_source import GroundTruthLabelsSource
from gapless.features.result import Result
from gapless.features.training.model_run import ModelRun
from gapless.features.training.plan import plan_training, read_plan
from gapless.features.training.progress import NullProgressCallback
from gapless.features.training.progress_file import SQLiteProgressCallback
from gapless.features.training.split import SplitSpec
from gapless.features.training.train import model_identity, model_status, train_model
from gapless.features.training.trained import load_model

ROOT = Path(__file__).parents[3]


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[Dataset]:
    """Give four labelled sequences."""
    with labelled(tmp_path / "store", 4) as found:
        yield found


def run_of(ds: Dataset, run_id: str) -> ModelRun:
    """Return the folder of a run of the toy model."""
    return ModelRun.of(ds.models_root, "mean", run_id)


class LabelledMean(MeanModel):
    """The toy model with labels."""

    name = "labelled-mean"

    def label_sources(self, config: Mapping[str, Any]) -> list[GroundTruthLabelsSource]:
        """Return the kind that the configuration names."""
        return [GroundTruthLabelsSource(kind=config.get("labels", "behavior"))]


def test_a_model_of_the_recording_is_touched_by_its_sequences(ds: Dataset) -> None:
    """A change of a sequence that a model learned from names the model, one of another does not."""
    run_id = train_model(ds, MeanModel())
    name = ds.entries()[0][1]
    touched = [item for item in ds.registry.impact(name) if item["kind"] == "model"]
    assert [(item["run_id"], item["why"]) for item in touched] == [(run_id, f"trained on {name}")]
    assert not [item for item in ds.registry.impact("another") if item["kind"] == "model"]


def test_a_run_is_predicted_made_and_reused(ds: Dataset) -> None:
    """The identity is known before; the same call again trains nothing; overwrite trains."""
    model = MeanModel()
    predicted, digest, _ = model_identity(ds, model, {"rate": 0.1})
    assert model_status(ds, model, predicted) == "pending"
    assert not ds.models_root.exists()
    run_id = train_model(ds, model, {"rate": 0.1})
    assert run_id == predicted == f"0.1-{digest[:12]}"
    assert train_model(ds, model, {"rate": 0.1}) == run_id
    assert model.trained == 1
    assert train_model(ds, model, {"rate": 0.1}, overwrite=True) == run_id
    assert model.trained == 2
    assert model_status(ds, "mean", run_id) == "finished"


def test_the_folder_says_everything(ds: Dataset) -> None:
    """config, metrics (null for what is no number), plan and manifest with inputs, labels, split and files."""
    model = LabelledMean()
    run_id = train_model(ds, model, {"rate": 0.1, "seed": 2, "split": {"test_fraction": 0.5}})
    run = ModelRun.of(ds.models_root, model.name, run_id)
    assert json.loads((run.path / "config.json").read_bytes())["rate"] == 0.1
    metrics = json.loads((run.path / "metrics.json").read_bytes())
    assert metrics["nothing"] is None
    known = run.manifest()
    assert (known["status"], known["notes"], known["seed"]) == ("finished", "", 2)
    assert set(known["files"]) == {"config.json", "mean.json", "metrics.json", "plan.json"}
    assert known["split"]["seed"] == 2
    assert sorted(known["split"]["train"] + known["split"]["test"]) == [list(key) for key in ds.entries()]
    assert known["labels"][0][0] == {"kind": "behavior"}
    assert known["inputs"] == []
    assert known["topics"][0][0] == "tracks"
    plan = read_plan(run.path)
    assert plan == plan_training(ds, model, {"rate": 0.1, "seed": 2, "split": {"test_fraction": 0.5}})
    assert plan.run_id == run_id


def test_what_changes_the_identity(ds: Dataset) -> None:
    """Configuration, seed, split, a label and a new sequence each give another run; the same gives the same."""
    model = LabelledMean()
    ids = [model_identity(ds, model, config)[0] for config in ({}, {"rate": 1}, {"rate": 1.0}, {"seed": 1})]
    ids.append(model_identity(ds, model, {"split": {"test_fraction": 0.5}})[0])
    ids.append(model_identity(ds, model, {"split": SplitSpec(test_fraction=0.5, seed=4)})[0])
    assert model_identity(ds, LabelledMean(), {})[0] == ids[0]
    ds.client.annotate("mouse-00", START_NS, START_NS + STEP_NS, "groom", kind="behavior")
    ids.append(model_identity(ds, model, {})[0])
    record(ds.client, "mouse-99")
    assert model_identity(ds, model, {})[0] == ids[-1]  # without labels it is not learned from
    label_runs(ds.client, "mouse-99")
    ids.append(model_identity(ds, model, {})[0])
    assert len(set(ids)) == len(ids)


def test_who_is_left_out_is_told(ds: Dataset) -> None:
    """A sequence without labels or without an input stands in the manifest with the reason."""
    ds.run_feature(Double(), sequences=["mouse-00", "mouse-01", "mouse-02"])
    record(ds.client, "unlabelled")
    ds.run_feature(Double(), sequences=["unlabelled"])
    model = LabelledMean(["tracks", Result(feature="double")])
    run = ModelRun.of(ds.models_root, model.name, train_model(ds, model))
    assert run.manifest()["left_out"] == [
        ["", "unlabelled", "no labels"],
        ["day-1", "mouse-03", "no rows of double"],
    ]


def test_the_run_of_a_feature_is_pinned(ds: Dataset) -> None:
    """A model that reads a feature names the run it read, and another run of it gives another model."""
    first = ds.run_feature(Double())
    model = MeanModel([Result(feature="double")])
    run_id = train_model(ds, model)
    assert run_of(ds, run_id).manifest()["inputs"][0][:2] == ["double", first.run_id]
    ds.run_feature(Double(params={"factor": 3.0}))
    assert train_model(ds, model) != run_id
    assert model.trained == 2


def test_a_configuration_may_be_a_file(ds: Dataset, tmp_path: Path) -> None:
    """A JSON file is the mapping in it; one that is none is refused."""
    path = tmp_path / "config.json"
    path.write_text('{"rate": 0.1, "layers": [1, 2]}')
    expected = model_identity(ds, MeanModel(), {"rate": 0.1, "layers": (1, np.int64(2))})[0]
    assert (
        model_identity(ds, MeanModel(), path)[0] == model_identity(ds, MeanModel(), str(path))[0] == expected
    )
    path.write_text("[1]")
    with pytest.raises(ArgumentRefused, match="mapping"):
        train_model(ds, MeanModel(), path)
    path.write_text("{")
    with pytest.raises(ArgumentRefused, match="no JSON"):
        train_model(ds, MeanModel(), path)
    with pytest.raises(ArgumentRefused, match="cannot be read"):
        train_model(ds, MeanModel(), tmp_path / "absent.json")


@pytest.mark.parametrize("value", [object(), float("nan"), {1: 2}, lambda: None])
def test_a_configuration_without_canonical_form_is_refused(ds: Dataset, value: object) -> None:
    """What no later process could write again names no run."""
    with pytest.raises(IdentityRefused):
        train_model(ds, MeanModel(), {"value": value})
    assert not ds.models_root.exists()


def test_the_callback_may_have_either_name(ds: Dataset, tmp_path: Path) -> None:
    """``callback``, ``progress_callback`` and no callback at all are called as they are written."""
    seen: list[str] = []

    class Second(MeanModel):
        name = "second"

        def train(self, ds: Any, run_root: Path, config: Any, progress_callback: Any) -> Any:
            progress_callback.on_phase("fit", "")
            seen.append("progress_callback")

    class Third(MeanModel):
        name = "third"

        def train(self, ds: Any, run_root: Path, config: Any) -> Any:  # type: ignore[override]
            seen.append("none")

    events = SQLiteProgressCallback(tmp_path / "p.db", "job")
    for model in (MeanModel(), Second(), Third()):
        train_model(ds, model, progress_callback=events)
    assert seen == ["progress_callback", "none"]
    assert [event["step_type"] for event in events.get_progress()] == ["phase", "epoch", "epoch", "phase"]


def test_a_model_may_read_nothing_of_ours(ds: Dataset) -> None:
    """A model without inputs, for which the configuration is everything, is trained and kept as well."""

    class Alone:
        name = "alone"
        version = "1"

        def train(self, ds: Any, run_root: Path, config: Any) -> dict[str, Any]:
            return {"rate": config["rate"], "scores": np.array([1.0, np.inf])}

    run_id = train_model(ds, Alone(), {"rate": 0.5})
    run = ModelRun.of(ds.models_root, "alone", run_id)
    assert json.loads((run.path / "metrics.json").read_bytes()) == {"rate": 0.5, "scores": [1.0, None]}
    assert run.manifest()["entries"] == []


def test_a_failing_callback_is_noted_and_ends_nothing(ds: Dataset) -> None:
    """The training finishes, and the manifest says that nobody could be told."""

    class Broken(NullProgressCallback):
        def on_phase(self, phase: str, message: str) -> None:
            raise OSError("no disk")

    run_id = train_model(ds, MeanModel(), progress_callback=Broken())
    known = run_of(ds, run_id).manifest()
    assert (known["status"], known["notes"]) == ("finished", "Broken: OSError: no disk")


def test_a_failure_is_kept_and_raised(ds: Dataset) -> None:
    """The run is failed with the traceback as its notes; the error comes from the original one."""
    with pytest.raises(ModelFailed, match="ZeroDivisionError: asked to fail") as caught:
        train_model(ds, MeanModel(), {"fail": True})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    run_id = model_identity(ds, MeanModel(), {"fail": True})[0]
    run = run_of(ds, run_id)
    assert model_status(ds, "mean", run_id) == "failed"
    assert "asked to fail" in run.manifest()["notes"]
    assert "Traceback" in run.manifest()["notes"]
    assert not run.work.exists()
    with pytest.raises(ArtifactMissing, match="not trained"):
        load_model(ds.models_root, f"mean@{run_id}")


def test_a_failed_repetition_keeps_what_was_trained(ds: Dataset) -> None:
    """Training again into a failure leaves the finished weights, and says in the notes what happened."""

    class Moody(MeanModel):
        def train(self, *arguments: Any, **named: Any) -> Any:
            if self.trained:
                raise ZeroDivisionError("moody")
            return super().train(*arguments, **named)

    model = Moody()
    run_id = train_model(ds, model)
    with pytest.raises(ModelFailed):
        train_model(ds, model, overwrite=True)
    assert model_status(ds, "mean", run_id) == "finished"
    assert "moody" in run_of(ds, run_id).manifest()["notes"]
    loaded = load_model(ds.models_root, f"mean@{run_id}", MeanModel())
    assert loaded.mean == pytest.approx(json.loads((run_of(ds, run_id).path / "mean.json").read_bytes()))


@pytest.mark.parametrize("metrics", [[1, 2], {"x": object()}, "text"])
def test_metrics_that_json_cannot_hold_fail_the_run(ds: Dataset, metrics: Any) -> None:
    """A model that returns no metrics in JSON's sense has failed."""

    class Odd(MeanModel):
        def train(self, *arguments: Any, **named: Any) -> Any:
            return metrics

    with pytest.raises(ModelFailed):
        train_model(ds, Odd())
    assert model_status(ds, "mean", model_identity(ds, Odd())[0]) == "failed"


def test_ctrl_c_is_kept_and_passed_on(ds: Dataset) -> None:
    """KeyboardInterrupt leaves a failed run and stays KeyboardInterrupt."""

    class Stopped(MeanModel):
        def train(self, *arguments: Any, **named: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_model(ds, Stopped())
    assert model_status(ds, "mean", model_identity(ds, Stopped())[0]) == "failed"


def test_cancel_ends_at_the_next_call_of_the_callback(ds: Dataset) -> None:
    """A cancelled training is failed, and trained by the next call."""
    cancel = threading.Event()

    class Cancelling(NullProgressCallback):
        def on_epoch_end(self, epoch: int, total_epochs: int, metrics: Mapping[str, float]) -> None:
            cancel.set()

    with pytest.raises(RunCancelled):
        train_model(ds, MeanModel(), progress_callback=Cancelling(), cancel=cancel)
    run_id = model_identity(ds, MeanModel())[0]
    assert model_status(ds, "mean", run_id) == "failed"
    assert train_model(ds, MeanModel()) == run_id
    assert model_status(ds, "mean", run_id) == "finished"


def test_damage_is_found_and_healed(ds: Dataset) -> None:
    """A shorter file is found by its size and trained anew; a changed one is refused when it is loaded."""
    model = MeanModel()
    run_id = train_model(ds, model)
    weights = run_of(ds, run_id).path / "mean.json"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1])
    assert model_status(ds, model, run_id) == "damaged"
    train_model(ds, model)
    assert (model.trained, weights.read_bytes()) == (2, good)
    weights.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    with pytest.raises(IntegrityError, match=r"mean\.json"):
        load_model(ds.models_root, f"mean@{run_id}")


TRAIN = """
import sys
from gapless.features.dataset import Dataset
from gapless.features.training.train import train_model
from tests.features.training.doubling import Double
from tests.features.training.toy_model import MeanModel
with Dataset(sys.argv[1]) as ds:
    print(train_model(ds, MeanModel(), {"die": True}))
"""


def test_kill_9_leaves_a_run_that_the_next_call_trains(ds: Dataset) -> None:
    """Killed in the middle, the run is interrupted, holds nothing half, and is trained by the next call."""
    path = f"{environment()['PYTHONPATH']}:{ROOT}"
    killed = subprocess.run(
        [sys.executable, "-c", TRAIN, str(ds.root)],
        env=environment(PYTHONPATH=path), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run_id = model_identity(ds, MeanModel(), {"die": True})[0]
    run = run_of(ds, run_id)
    assert run.manifest()["status"] == "running"
    assert (run.work / "half.json").exists()
    assert model_status(ds, "mean", run_id) == "interrupted"

    class Healthy(MeanModel):
        def train(self, ds: Any, run_root: Path, config: Any, callback: Any) -> Any:
            return super().train(ds, run_root, {}, callback)

    assert train_model(ds, Healthy(), {"die": True}) == run_id
    assert model_status(ds, "mean", run_id) == "finished"
    assert "half.json" not in run.manifest()["files"]
    assert not run.work.exists()


def test_two_trainings_of_one_run_exclude_each_other(ds: Dataset) -> None:
    """While one trains, a second is refused, or waits and then reuses what the first made."""
    begun, go = threading.Event(), threading.Event()

    class Slow(MeanModel):
        def train(self, *arguments: Any, **named: Any) -> Any:
            begun.set()
            assert go.wait(100)
            return super().train(*arguments, **named)

    first, found = Slow(), []
    worker = threading.Thread(target=lambda: found.append(train_model(ds, first)))
    worker.start()
    try:
        assert begun.wait(100)
        run_id = model_identity(ds, first)[0]
        assert model_status(ds, first, run_id) == "running"
        with pytest.raises(StateError, match="another process trains this model"):
            train_model(ds, MeanModel())
        cancel = threading.Event()
        cancel.set()
        with pytest.raises(RunCancelled):
            train_model(ds, MeanModel(), cancel=cancel, wait_s=100)
        second = MeanModel()
        waiting = threading.Thread(target=lambda: found.append(train_model(ds, second, wait_s=100)))
        waiting.start()
    finally:
        go.set()
        worker.join(100)
    waiting.join(100)
    assert found == [run_id, run_id]
    assert (first.trained, second.trained) == (1, 0)


def test_a_crash_between_the_two_renames_is_healed(ds: Dataset) -> None:
    """Whether the new files were complete or not, afterwards the run is there whole."""
    model = MeanModel()
    run_id = train_model(ds, model)
    run = run_of(ds, run_id)
    old = run.work.with_suffix(".old")
    run.path.rename(old)  # the crash came after the old run was set aside
    assert model_status(ds, model, run_id) == "pending"
    train_model(ds, model)
    assert (model.trained, model_status(ds, model, run_id), old.exists()) == (1, "finished", False)
    run.path.rename(run.work)  # and now before the new one got its name
    train_model(ds, model)
    assert (model.trained, model_status(ds, model, run_id), run.work.exists()) == (1, "finished", False)


def test_a_clash_of_short_ids_lengthens_the_id(ds: Dataset) -> None:
    """Another run of the same twelve digits is never taken for this one."""
    model = MeanModel()
    run_id = train_model(ds, model)
    manifest = run_of(ds, run_id).path / "manifest.json"
    document = json.loads(manifest.read_bytes())
    manifest.write_text(json.dumps({**document, "digest": "0" * 64}))
    longer = train_model(ds, model)
    assert longer.startswith(run_id)
    assert len(longer) == len(run_id) + 4


def test_what_cannot_be_trained_is_told_before_anything_is_written(ds: Dataset) -> None:
    """No labels, no entries, a side without entries, a model without a name, another thing than a data set."""
    with pytest.raises(LabelsMissing, match=r"gapless label .* --kind absent"):
        train_model(ds, LabelledMean(), {"labels": "absent"})
    with pytest.raises(NotFound):
        train_model(ds, MeanModel([Result(feature="absent")]))
    with pytest.raises(FeatureFailed, match="no entry"):
        train_model(ds, MeanModel([Result(feature="absent", run_id="1.0-0")]))
    with pytest.raises(ArgumentRefused, match="side of the split is empty"):
        train_model(ds, MeanModel(), {"split": {"test_fraction": 1e-9}})
    with pytest.raises(ArgumentRefused, match="seed"):
        train_model(ds, MeanModel(), {"seed": "x"})
    nameless = MeanModel()
    nameless.name = ""
    with pytest.raises(ArgumentRefused, match="name"):
        train_model(ds, nameless)
    with pytest.raises(ArgumentRefused, match="data set"):
        train_model(ds.client, MeanModel())  # type: ignore[arg-type]
    with pytest.raises(ArgumentRefused, match="an input is"):
        train_model(ds, MeanModel(["video"]))
    assert not ds.models_root.exists()


def test_the_identity_of_what_is_not_computed_yet_is_no_error(ds: Dataset) -> None:
    """A pipeline can name a training whose inputs are still to come; nothing is written by asking."""
    before = sorted(ds.root.rglob("*"))
    run_id, digest, document = model_identity(ds, MeanModel([Result(feature="later", run_id="1.0-0")]))
    assert run_id == f"0.1-{digest[:12]}"
    assert document["entries"] == []
    assert [path for path in sorted(ds.root.rglob("*")) if "catalog.db" not in path.name] == [
        path for path in before if "catalog.db" not in path.name
    ]
