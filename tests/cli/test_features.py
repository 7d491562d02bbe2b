"""`gapless features` and `gapless train` on a small store, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import gapless
from gapless.client.client import Client

from .conftest import Cli

PIPELINE = """
from gapless.features import FeatureStep, ModelStep, OneVsRestClassifierModel, Pipeline, TableFeature


class Double(TableFeature):
    name, version = "double", "1.0"

    def apply(self, df):
        if (df["x"] > 1e6).any():
            raise RuntimeError("too far away")
        return df.assign(value=2 * df["x"])


class Last(TableFeature):
    name, version = "last", "1.0"

    def apply(self, df):
        return df.tail(1)[["timestamp_ns", "value"]]


pipeline = (
    Pipeline()
    .add(FeatureStep("double", Double))
    .add(FeatureStep("last", Last, None, ["double"]))
    .add(ModelStep("model", OneVsRestClassifierModel, {"labels": "behavior"}, ["double"]))
)
"""
STEPS = """
from labelled import Double, Last
from gapless.features import FeatureStep, Pipeline

pipeline = Pipeline().add(FeatureStep("double", Double)).add(FeatureStep("last", Last, None, ["double"]))
"""


def record(client: Client, name: str, first: float, *, label: bool = True) -> None:
    """Record a walk that is labelled in its second half."""
    with client.sequence_create(name, group="g") as writer:
        topic = writer.topic_create("tracks", schema=pa.schema([("x", pa.float64())]))
        times = np.arange(40, dtype=np.int64) * 100_000_000
        topic.push_columns(times, {"x": np.where(times >= 2_000_000_000, first + 5, first) + times / 1e11})
    if label:
        client.annotate(name, 2_000_000_000, 3_900_000_000, "far", kind="behavior")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a store of eight walks and two pipeline files."""
    with gapless.connect(tmp_path / "gapless-data") as client:
        for number in range(8):
            record(client, f"walk-{number}", float(number))
    (tmp_path / "labelled.py").write_text(PIPELINE, encoding="utf-8")
    (tmp_path / "steps.py").write_text(STEPS, encoding="utf-8")
    return tmp_path


def test_run_status_and_again(cli: Cli, folder: Path) -> None:
    """The first run computes, the second nothing, and status says so in text and JSON."""
    before = cli("features", "plan", "steps.py", "--json", cwd=folder)
    assert len(json.loads(before.stdout)["rows"]) == 16, before.stderr
    first = cli("features", "run", "steps.py", cwd=folder)
    assert first.returncode == 0, first.stderr
    assert "double: computed 8 of 8 entries  double 1.0-" in first.stdout
    again = json.loads(cli("features", "run", "steps.py", "--json", cwd=folder).stdout)
    assert [step["cached"] for step in again["results"].values()] == [True, True]
    assert again["failed"] == {}
    rows = json.loads(cli("features", "status", "steps.py", "--deep", "--json", cwd=folder).stdout)["rows"]
    assert [(row["step"], row["cached"], row["ok"], row["why"]) for row in rows] == [
        ("double", True, 8, ""),
        ("last", True, 8, ""),
    ]
    shown = cli("features", "status", "steps.py", cwd=folder).stdout
    assert "STEP" in shown
    assert "last__from__double" in shown
    assert cli("features", "plan", "steps.py", cwd=folder).stderr == "nothing to compute\n"
    listed = json.loads(cli("features", "list", "--json", cwd=folder).stdout)["rows"]
    assert [(row["feature"], row["entries"]) for row in listed] == [("double", 8), ("last__from__double", 8)]


def test_why_a_new_sequence_and_force(cli: Cli, folder: Path) -> None:
    """`why` explains one entry, --force-from computes again, --dry-run does nothing."""
    assert cli("features", "run", "steps.py", cwd=folder).returncode == 0
    with gapless.connect(folder / "gapless-data") as client:
        record(client, "walk-8", 8.0, label=False)
    assert (
        cli("features", "why", "steps.py", "double", "walk-8", cwd=folder).stdout
        == "pending: not computed yet\n"
    )
    told = json.loads(cli("features", "why", "steps.py", "last", "walk-0", "--json", cwd=folder).stdout)
    assert told["why"] == "up to date: ok, 1 rows"
    dry = cli("features", "run", "steps.py", "--dry-run", cwd=folder)
    assert "walk-8" in dry.stdout
    assert cli("features", "why", "steps.py", "double", "walk-8", cwd=folder).stdout.startswith("pending")
    forced = json.loads(
        cli("features", "run", "steps.py", "--force-from", "last", "--json", cwd=folder).stdout
    )
    assert [step["cached"] for step in forced["results"].values()] == [False, False]
    assert cli("features", "why", "steps.py", "double", "walk-8", cwd=folder).stdout.startswith("up to date")


def test_failed_entries_are_told_by_the_exit_code(cli: Cli, folder: Path) -> None:
    """One entry fails: exit 1, its error in `why`, all others kept."""
    with gapless.connect(folder / "gapless-data") as client:
        record(client, "lost", 1e9, label=False)
    done = cli("features", "run", "steps.py", cwd=folder)
    assert done.returncode == 1
    assert "double: 1 entry failed: lost; `gapless features why steps.py double lost` tells" in done.stderr
    why = cli("features", "why", "steps.py", "double", "lost", cwd=folder).stdout
    assert why.startswith("failed: RuntimeError: too far away (traceback in ")
    assert Path(folder, why.rpartition(" ")[2].strip(")\n")).is_file()
    assert "waits for double" in cli("features", "why", "steps.py", "last", "lost", cwd=folder).stdout


def test_clean_only_lists_without_yes(cli: Cli, folder: Path) -> None:
    """Runs of an older version are listed, and removed with --yes."""
    assert cli("features", "run", "steps.py", cwd=folder).returncode == 0
    text = (folder / "labelled.py").read_text(encoding="utf-8")
    (folder / "labelled.py").write_text(text.replace('"double", "1.0"', '"double", "1.1"'), encoding="utf-8")
    assert cli("features", "run", "steps.py", cwd=folder).returncode == 0

    def statuses(*arguments: str) -> list[str]:
        done = cli("features", "clean", "steps.py", "--json", *arguments, cwd=folder)
        return sorted(row["status"] for row in json.loads(done.stdout)["rows"])

    assert statuses() == ["current", "current", "would remove", "would remove"]
    assert statuses("--yes", "--dry-run") == ["current", "current", "would remove", "would remove"]
    assert statuses("--yes") == ["current", "current", "removed", "removed"]
    assert statuses() == ["current", "current"]


def test_changed_code_is_told_and_accepted(cli: Cli, folder: Path) -> None:
    """Another formula under the same version is named by status until it is accepted."""
    assert cli("features", "run", "steps.py", cwd=folder).returncode == 0
    text = (folder / "labelled.py").read_text(encoding="utf-8")
    (folder / "labelled.py").write_text(text.replace("2 * df", "2.0 * df"), encoding="utf-8")
    rows = json.loads(cli("features", "status", "steps.py", "--json", cwd=folder).stdout)["rows"]
    assert rows[0]["cached"] is True
    assert "source code changed" in rows[0]["why"]
    assert cli("features", "accept", "steps.py", "double", cwd=folder).returncode == 0
    rows = json.loads(cli("features", "status", "steps.py", "--json", cwd=folder).stdout)["rows"]
    assert rows[0]["why"] == ""


def test_lineage_leads_to_the_sequences(cli: Cli, folder: Path) -> None:
    """The tree names runs and recordings; --openlineage prints an event."""
    assert cli("features", "run", "steps.py", cwd=folder).returncode == 0
    shown = cli("features", "lineage", "last", cwd=folder).stdout
    assert shown.splitlines()[0].startswith("last__from__double 1.0-")
    assert "double 1.0-" in shown
    assert "walk-7" in shown
    event = json.loads(cli("features", "lineage", "last", "--openlineage", cwd=folder).stdout)
    assert event["eventType"] == "COMPLETE"


def test_sample_prints_frames(cli: Cli, folder: Path) -> None:
    """So many frames as asked for, of all sequences, the same ones each time."""
    first = cli("features", "sample", "steps.py", "-n", "16", "--json", cwd=folder)
    rows = json.loads(first.stdout)["rows"]
    assert len(rows) == 16
    assert {row["sequence"] for row in rows} == {f"walk-{n}" for n in range(8)}
    assert cli("features", "sample", "steps.py", "-n", "16", "--json", cwd=folder).stdout == first.stdout
    by = cli(
        "features",
        "sample",
        "steps.py",
        "-n",
        "4",
        "--method",
        "kmeans",
        "--by",
        "double",
        "--json",
        cwd=folder,
    )
    assert len(json.loads(by.stdout)["rows"]) == 4


def test_train_a_step_and_a_model(cli: Cli, folder: Path) -> None:
    """A pipeline's model is trained once; the same model on named inputs is another run."""
    early = cli("train", "labelled.py", cwd=folder)
    assert early.returncode == 2
    assert "is not computed" in early.stderr
    assert cli("features", "run", "steps.py", cwd=folder).returncode == 0
    done = cli("train", "labelled.py", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    [model] = json.loads(done.stdout)["models"]
    assert (model["model"], model["status"]) == ("one-vs-rest", "finished")
    dry = json.loads(cli("train", "labelled.py", "--dry-run", "--json", cwd=folder).stdout)["models"]
    assert dry[0]["run_id"] == model["run_id"]
    (folder / "config.json").write_text('{"labels": "behavior"}', encoding="utf-8")
    other = cli("train", "one-vs-rest", "--input", "double", "--config", "config.json", "--json", cwd=folder)
    assert json.loads(other.stdout)["models"][0]["run_id"] == model["run_id"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("features", "run"), 2, "needs PIPELINE"),
        (("features", "run", "nowhere.toml"), 3, "no such file"),
        (("features", "why", "steps.py", "double"), 2, "needs PIPELINE STEP SEQUENCE"),
        (("features", "why", "steps.py", "nostep", "walk-0"), 2, "there is no such step"),
        (("features", "why", "steps.py", "double", "nowhere"), 3, "there is no such sequence"),
        (("features", "run", "steps.py", "--force-from", "nostep"), 2, "there is no such step"),
        (("features", "lineage", "nothing"), 3, "no run yet"),
        (("features", "status", "steps.py", "more"), 2, "too many names"),
        (("features", "sample", "steps.py", "--images", "cam"), 2, "go together"),
        (("train", "steps.py"), 2, "no such training step"),
        (("train", "no-model"), 2, "no model of that name"),
        (("features", "status", "steps.py", "--store", "elsewhere"), 3, "no store"),
    ],
)
def test_what_is_wrong_is_said(
    cli: Cli, folder: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """Wrong arguments end with their exit code and name what is wrong."""
    done = cli(*arguments, cwd=folder)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
