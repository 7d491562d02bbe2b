"""What somebody meets who uses features for the first time: files of their own, wrong ones, and what is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import gapless

from .conftest import Cli

FEATURES = """\
from gapless.features import TableFeature


class Jolt(TableFeature):
    name, version = "jolt", "1.0"
    units = {"jolt": "m/s^2"}

    def apply(self, df):
        return df.assign(jolt=df["z"].diff().abs())
"""
PIPELINE = """\
topic = "sensors/imu"

[[steps]]
name = "jolts"
feature = "my_features:Jolt"

[[steps]]
name = "spread"
feature = "rolling-statistics"
inputs = ["jolts"]
params = { window_s = 1.0, statistics = ["mean"], columns = ["jolt"] }

[[steps]]
name = "model"
model = "one-vs-rest"
inputs = ["sensors/imu", "jolts"]
config = { labels = "behavior", split = { test_fraction = 0.5, seed = 1 } }
"""
SECOND_NS = 1_000_000_000


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """Return a folder with a store of four sequences of 4 s, and a pipeline with its module in a folder below."""
    with gapless.connect(tmp_path / "gapless-data") as client:
        for number in range(4):
            name = f"bench-{number}"
            times = np.arange(40, dtype=np.int64) * 100_000_000
            with client.sequence_create(name) as writer:
                z = pa.field("z", pa.float64(), metadata={"unit": "m/s^2"})
                topic = writer.topic_create("sensors/imu", schema=pa.schema([z]))
                topic.push_columns(times, {"z": np.where(times >= 2 * SECOND_NS, 5.0, 0.0) + number / 10})
            client.annotate(name, 2 * SECOND_NS, 3 * SECOND_NS, "shake", kind="behavior")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_features.py").write_text(FEATURES, encoding="utf-8")
    (tmp_path / "mine" / "jolts.toml").write_text(PIPELINE, encoding="utf-8")
    return tmp_path


def edited(folder: Path, name: str, old: str, new: str) -> None:
    """Replace text in one of the files in ``mine``."""
    file = folder / "mine" / name
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def store_files(folder: Path) -> list[str]:
    """Return the files of features and models in the store."""
    root = folder / "gapless-data"
    return sorted(str(path) for kind in ("features", "models") for path in (root / kind).rglob("*.*"))


# -- running -----------------------------------------------------------------------------------


def test_modules_lie_beside_the_pipeline_and_entries_are_counted(cli: Cli, bench: Path) -> None:
    """Run from elsewhere, a pipeline finds its module; each step says what was computed, the model among them."""
    first = cli("features", "run", "mine/jolts.toml", cwd=bench)
    assert first.returncode == 0, first.stderr
    said = [line.rsplit(" ", 2)[0].rstrip() for line in first.stdout.splitlines()]
    assert said == ["jolts: computed 4 of 4 entries", "spread: computed 4 of 4 entries", "model: trained"]
    again = cli("features", "run", "mine/jolts.toml", cwd=bench).stdout
    said = [line.rsplit(" ", 2)[0].rstrip() for line in again.splitlines()]
    assert said == ["jolts: cached, 4 entries", "spread: cached, 4 entries", "model: trained before"]
    told = json.loads(cli("features", "run", "mine/jolts.toml", "--json", cwd=bench).stdout)
    assert (told["results"]["jolts"]["entries"], told["results"]["jolts"]["computed"]) == (4, 0)
    assert told["models"]["model"]["feature"] == "one-vs-rest"


def test_a_module_beside_the_pipeline_comes_before_one_in_the_working_folder(cli: Cli, bench: Path) -> None:
    """Two modules of one name: the one beside the file is meant; without it the other one is."""
    (bench / "my_features.py").write_text(FEATURES.replace('"1.0"', '"9.0"'), encoding="utf-8")
    rows = json.loads(cli("features", "status", "mine/jolts.toml", "--json", cwd=bench).stdout)["rows"]
    assert rows[0]["run_id"].startswith("1.0-")
    (bench / "mine" / "my_features.py").unlink()
    rows = json.loads(cli("features", "status", "mine/jolts.toml", "--json", cwd=bench).stdout)["rows"]
    assert rows[0]["run_id"].startswith("9.0-")


def test_a_python_pipeline_names_topic_and_sequences(cli: Cli, bench: Path) -> None:
    """The variables topic, where and columns of a .py file describe the data set."""
    (bench / "mine" / "jolts.py").write_text(
        "from gapless.features import Columns, FeatureStep, Pipeline\n"
        "from my_features import Jolt\n"
        'topic = "sensors/imu"\n'
        "where = 'sequence.name match \"bench-[12]\"'\n"
        'columns = Columns(time_col="seconds")\n'
        'pipeline = Pipeline().add(FeatureStep("jolts", Jolt))\n',
        encoding="utf-8",
    )
    done = cli("features", "run", "mine/jolts.py", cwd=bench)
    assert done.stdout.startswith("jolts: computed 2 of 2 entries"), done.stderr


def test_a_dry_run_of_force_from_lists_what_would_be_computed(cli: Cli, bench: Path) -> None:
    """Everything is cached: the step that is forced and those that read it are listed, and stay as they are."""
    assert cli("features", "run", "mine/jolts.toml", cwd=bench).returncode == 0
    before = store_files(bench)
    dry = cli("features", "run", "mine/jolts.toml", "--force-from", "jolts", "--dry-run", "--json", cwd=bench)
    rows = json.loads(dry.stdout)["rows"]
    assert [row["step"] for row in rows] == ["jolts"] * 4 + ["spread"] * 4 + ["model"]
    assert store_files(bench) == before
    one = cli("features", "plan", "mine/jolts.toml", "--force-from", "spread", "--json", cwd=bench)
    assert {row["step"] for row in json.loads(one.stdout)["rows"]} == {"spread"}
    assert cli("features", "plan", "mine/jolts.toml", cwd=bench).stderr == "nothing to compute\n"


def test_the_outcome_of_other_steps_is_told_beside_a_failure(cli: Cli, bench: Path) -> None:
    """A step of which every entry fails: exit 1, and what was computed before it is told."""
    edited(bench, "my_features.py", "class Jolt", "class Bad(TableFeature):\n"
           '    name, version = "bad", "1.0"\n\n    def apply(self, df):\n        raise ValueError("no")\n\n\n'
           "class Jolt")  # fmt: skip
    edited(bench, "jolts.toml", '[[steps]]\nname = "spread"',
           '[[steps]]\nname = "bad"\nfeature = "my_features:Bad"\n\n[[steps]]\nname = "spread"')  # fmt: skip
    done = cli("features", "run", "mine/jolts.toml", cwd=bench)
    assert done.returncode == 1
    assert "jolts: computed 4 of 4 entries" in done.stdout
    assert "all 4 entries of bad failed" in done.stderr


def test_frames_are_chosen_without_writing(cli: Cli, bench: Path) -> None:
    """A dry run of sample prints the frames that would be chosen and leaves the store as it was."""
    assert cli("features", "run", "mine/jolts.toml", cwd=bench).returncode == 0
    before = store_files(bench)
    dry = cli("features", "sample", "mine/jolts.toml", "-n", "3", "--dry-run", "--json", cwd=bench)
    by = ("--method", "kmeans", "--by", "jolts")
    assert (
        cli("features", "sample", "mine/jolts.toml", "-n", "3", *by, "--dry-run", cwd=bench).returncode == 0
    )
    assert store_files(bench) == before
    real = cli("features", "sample", "mine/jolts.toml", "-n", "3", "--json", cwd=bench)
    assert json.loads(real.stdout) == json.loads(dry.stdout)
    assert store_files(bench) != before


# -- looking -----------------------------------------------------------------------------------


def test_status_tells_of_a_model_what_a_model_has(cli: Cli, bench: Path) -> None:
    """A trained model has sequences, a run and a time, and no counts of entries."""
    assert cli("features", "run", "mine/jolts.toml", cwd=bench).returncode == 0
    row = json.loads(cli("features", "status", "mine/jolts.toml", "--json", cwd=bench).stdout)["rows"][2]
    assert (row["step"], row["n_seq"], row["runs"], row["cached"], row["ok"]) == ("model", 4, 1, True, None)
    assert row["modified"].startswith("20")


def test_a_sequence_is_named_as_everywhere(cli: Cli, bench: Path) -> None:
    """`why` takes a unique beginning of a name and @last."""
    assert cli("features", "run", "mine/jolts.toml", cwd=bench).returncode == 0
    for reference, name in (("@last", "bench-3"), ("bench-2", "bench-2")):
        done = cli("features", "why", "mine/jolts.toml", "jolts", reference, "--json", cwd=bench)
        assert json.loads(done.stdout)["sequence"] == name
    assert cli("features", "why", "mine/jolts.toml", "jolts", "bench", cwd=bench).returncode == 2


def test_lineage_names_steps_runs_and_models(cli: Cli, bench: Path) -> None:
    """A step with its pipeline, a feature, the beginning of a run and a model are found; others are refused."""
    early = cli("features", "lineage", "mine/jolts.toml", "spread", cwd=bench)
    assert (early.returncode, "`gapless features run mine/jolts.toml`" in early.stderr) == (3, True)
    assert cli("features", "run", "mine/jolts.toml", cwd=bench).returncode == 0
    by_step = cli("features", "lineage", "mine/jolts.toml", "spread", cwd=bench).stdout
    assert by_step.startswith("rolling-statistics__from__jolt 1.0-")
    assert cli("features", "lineage", "rolling-statistics", "1.0-", cwd=bench).stdout == by_step
    run_id = by_step.splitlines()[0].rpartition(" ")[2]
    assert cli("features", "lineage", f"rolling-statistics@{run_id}", cwd=bench).stdout == by_step
    model = cli("features", "lineage", "mine/jolts.toml", "model", cwd=bench).stdout
    assert model.startswith("model one-vs-rest@1.0-")
    assert "labels of kind behavior" in model
    assert cli("features", "lineage", "one-vs-rest", cwd=bench).stdout == model
    for option in ((), ("--openlineage",), ("--json",)):
        wrong = cli("features", "lineage", "jolt", "9.9", *option, cwd=bench)
        assert (wrong.returncode, wrong.stdout, "no such run" in wrong.stderr) == (3, "", True)
    step = cli("features", "lineage", "spread", cwd=bench)
    assert (step.returncode, "lineage PIPELINE STEP" in step.stderr) == (3, True)
    listed = json.loads(cli("features", "list", "--json", cwd=bench).stdout)["rows"]
    assert [row["feature"] for row in listed][-1] == "(model) one-vs-rest"
    assert len(json.loads(cli("features", "list", "one-vs-rest", "--json", cwd=bench).stdout)["rows"]) == 1
    assert cli("features", "list", "nothing", cwd=bench).returncode == 3


def test_accept_says_what_it_accepts(cli: Cli, bench: Path) -> None:
    """Nothing changed, a dry run, and an acceptance are told apart."""
    command = ("features", "accept", "mine/jolts.toml", "jolts")
    assert cli("features", "run", "mine/jolts.toml", cwd=bench).returncode == 0
    assert "nothing to accept" in cli(*command, cwd=bench).stdout
    edited(bench, "my_features.py", ".abs()", ".abs() * 1.0")
    for _ in range(2):
        assert cli(*command, "--dry-run", cwd=bench).stdout.startswith("jolts: would accept 4 entries")
    warned = cli("features", "run", "mine/jolts.toml", cwd=bench).stderr
    assert warned.startswith("warning: ")
    assert ".py:" not in warned
    assert cli(*command, cwd=bench).stdout.startswith("jolts: accepted 4 entries")
    assert "nothing to accept" in cli(*command, cwd=bench).stdout


def test_clean_tells_who_needs_a_run_and_how_to_remove_the_rest(cli: Cli, bench: Path) -> None:
    """A run that an older model read is kept and says so; one that nobody needs names --yes."""
    assert cli("features", "run", "mine/jolts.toml", cwd=bench).returncode == 0
    edited(bench, "my_features.py", '"1.0"', '"1.1"')
    assert cli("features", "run", "mine/jolts.toml", cwd=bench).returncode == 0
    done = cli("features", "clean", "mine/jolts.toml", cwd=bench)
    assert "needed by nobody; --yes removes" in done.stderr
    rows = json.loads(cli("features", "clean", "mine/jolts.toml", "--json", cwd=bench).stdout)["rows"]
    old = {row["feature"]: row for row in rows if row["status"] != "current"}
    assert old["jolt"]["status"] == "kept"
    assert "model one-vs-rest@1.0-" in old["jolt"]["needed_by"]
    assert old["rolling-statistics__from__jolt"]["status"] == "would remove"


# -- training ----------------------------------------------------------------------------------


def test_a_model_learns_from_any_topic(cli: Cli, bench: Path) -> None:
    """--topic and --input name a recorded topic; both are the same training."""
    config = bench / "config.json"
    config.write_text('{"labels": "behavior", "split": {"test_fraction": 0.5, "seed": 1}}', encoding="utf-8")
    by_topic = cli("train", "one-vs-rest", "--topic", "sensors/imu", "--config", "config.json", cwd=bench)
    assert by_topic.returncode == 0, by_topic.stderr
    by_input = cli("train", "one-vs-rest", "--input", "sensors/imu", "--config", "config.json", cwd=bench)
    assert by_input.stdout == by_topic.stdout
    for wrong in ((), ("--input", "tracks"), ("--topic", "sensors/imuu"), ("--input", "jolt")):
        done = cli("train", "one-vs-rest", *wrong, "--config", "config.json", cwd=bench)
        assert (done.returncode, "a topic: sensors/imu" in done.stderr) == (3, True), done.stderr


def test_metrics_are_a_table(cli: Cli, bench: Path) -> None:
    """One line for each class, four digits, and nothing that reads like an error."""
    assert cli("features", "run", "mine/jolts.toml", cwd=bench).returncode == 0
    done = cli("train", "mine/jolts.toml", cwd=bench)
    assert "not loaded" not in done.stderr
    assert "{" not in done.stdout
    [head] = [line for line in done.stdout.splitlines() if "precision" in line]
    [shake] = [line for line in done.stdout.splitlines() if line.strip().startswith("test classes shake")]
    assert {"average_precision", "f1", "recall", "support"} <= set(head.split())
    assert all(len(number.replace(".", "")) <= 5 for number in shake.split()[3:])


# -- what is wrong -----------------------------------------------------------------------------

BROKEN = {
    "raises": ("x = 1\nraise ValueError('the code of the user')\n", 2, "ValueError: the code of the user"),
    "syntax": ("x = 1\ny = (\n", 2, "SyntaxError"),
    "import": ("x = 1\n\nimport no_such_module\n", 3, "No module named 'no_such_module'"),
    "refused": (
        'from gapless.features import FeatureStep\nFeatureStep("a", int, None, [], {"speed": 1})\n',
        2,
        "no such argument",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("through", ["mine/broken.py", "mine/broken.toml"])
def test_an_error_in_the_users_code_is_one_line(cli: Cli, bench: Path, kind: str, through: str) -> None:
    """File and line of what the user wrote, exit 2 and no traceback, for pipelines and modules alike."""
    code, line, words = BROKEN[kind]
    (bench / "mine" / "broken.py").write_text(code, encoding="utf-8")
    (bench / "mine" / "broken.toml").write_text(
        '[[steps]]\nname = "a"\nfeature = "broken:Feature"\n', encoding="utf-8"
    )
    done = cli("features", "status", through, cwd=bench)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: mine/broken.py:{line}: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


WRONG = [
    ("jolts.toml", "[[steps]]", "[[steps]", "correct the line"),
    ("jolts.toml", "my_features:Jolt", "my_features:Jol", "mine/jolts.toml"),
    ("jolts.toml", "my_features:Jolt", "jolt", "module:Class"),
    ("jolts.toml", "my_features:Jolt", "nowhere:Jolt", "install what is missing"),
    ("jolts.toml", 'inputs = ["jolts"]', 'inputs = ["jolt"]', "docs/features.md"),
    ("jolts.toml", "window_s = 1.0", 'window_s = "one"', "mine/jolts.toml"),
    ("jolts.toml", 'topic = "sensors/imu"', "topic = 1", "docs/features.md"),
    ("jolts.toml", "params = {", "config = {", "docs/features.md"),
]


@pytest.mark.parametrize(("name", "old", "new", "words"), WRONG)
def test_the_next_step_helps(cli: Cli, bench: Path, name: str, old: str, new: str, words: str) -> None:
    """What is wrong in a file names the file or the thing to do, never only the documentation of an argument."""
    edited(bench, name, old, new)
    done = cli("features", "run", "mine/jolts.toml", cwd=bench)
    assert done.returncode == 2, (done.stdout, done.stderr)
    said = done.stderr.splitlines()[-1]
    assert "that its documentation names" not in said
    assert words in said.partition("Next: ")[2], said


def test_a_wrong_step_or_configuration_names_the_next_step(cli: Cli, bench: Path) -> None:
    """A missing step says where steps are listed, a configuration what is wrong with it."""
    for action in (("why", "mine/jolts.toml", "nostep", "@last"), ("accept", "mine/jolts.toml", "nostep")):
        done = cli("features", *action, cwd=bench)
        assert (done.returncode, "`gapless features status mine/jolts.toml`" in done.stderr) == (2, True)
    (bench / "config.json").write_text("{", encoding="utf-8")
    done = cli("train", "one-vs-rest", "--topic", "sensors/imu", "--config", "config.json", cwd=bench)
    assert (done.returncode, "config.json is no JSON" in done.stderr) == (2, True)
    done = cli("train", "one-vs-rest", "--topic", "sensors/imu", "--config", "nowhere.json", cwd=bench)
    assert (done.returncode, "--config" in done.stderr) == (3, True)


def test_the_advice_for_a_damaged_output_mends_it(cli: Cli, bench: Path) -> None:
    """Damage in a feature's file: what is advised finds it and computes it again."""
    assert cli("features", "run", "mine/jolts.toml", cwd=bench).returncode == 0
    [file] = (bench / "gapless-data" / "features" / "jolt").glob("*/bench-0.parquet")
    content, stamp = bytearray(file.read_bytes()), file.stat()
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    topic = f"features/jolt@{file.parent.name}"
    export = ("export", "bench-0", "out", "--topic", topic)
    damaged = cli(*export, cwd=bench)
    assert damaged.returncode == 4, damaged.stderr
    assert "`gapless features status PIPELINE --deep`" in damaged.stderr
    rows = json.loads(cli("features", "status", "mine/jolts.toml", "--deep", "--json", cwd=bench).stdout)
    assert rows["rows"][0]["stale"] == 1
    assert cli("features", "run", "mine/jolts.toml", "--force-from", "jolts", cwd=bench).returncode == 0
    assert cli(*export, cwd=bench).returncode == 0


def test_labels_outside_the_rows_are_told(cli: Cli, bench: Path) -> None:
    """A span that begins before or ends after the rows is added with a note, by hand and from a file."""
    inside = cli("label", "bench-0", "1", "2", "a", cwd=bench)
    assert (inside.returncode, inside.stderr) == (0, "")
    for span, words in ((("3", "900"), "after the last row"), (("-5", "2"), "before the first row")):
        done = cli("label", "bench-0", *span, "a", cwd=bench)
        assert (done.returncode, words in done.stderr) == (0, True), done.stderr
    (bench / "labels.csv").write_text(
        "sequence,name,start,end\nbench-0,b,1,2\nbench-1,b,3,900\nbench-2,b,-5,2\n", encoding="utf-8"
    )
    done = cli("label", "--import", "labels.csv", cwd=bench)
    assert done.stdout == "added 3 labels of kind label to 3 sequences\n"
    assert "b of bench-1 ends 14m 56s after the last row (and 1 more like it)" in done.stderr
