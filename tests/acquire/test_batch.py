"""Batches: one checked method for each run, with its own values and its place in the batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapless.acquire.procedure.method import iter_batch, load_method
from gapless.acquire.procedure.timeline import timeline
from gapless.errors import RigRefused

from .stage import SmallRig
from .test_method import TEXT, written

RUNS = """
[batch]
fail_fast = false
cooldown_s = 30

[[runs]]
metadata = {sample = "a"}

[[runs]]
parameters = {target = "600 degC"}
metadata = {sample = "b"}
"""


def test_each_run_has_its_values(tmp_path: Path) -> None:
    """A run's parameters replace the defaults in its steps and stand in its metadata."""
    runs = list(iter_batch(load_method(written(tmp_path, TEXT + RUNS), SmallRig()), batch_id="b1"))
    assert [timeline(run.method, SmallRig())[1][1].length_s for run in runs] == [3360.0, 3480.0]
    assert [run.metadata["parameters"]["target"] for run in runs] == ["580 degC", "600 degC"]
    assert [run.metadata["sample"] for run in runs] == ["a", "b"]
    assert [(run.metadata["batch_index"], run.metadata["batch_of"]) for run in runs] == [(1, 2), (2, 2)]
    assert {run.metadata["batch_id"] for run in runs} == {"b1"}
    assert {(run.fail_fast, run.cooldown_s) for run in runs} == {(False, 30.0)}


def test_one_reading_of_a_batch_has_one_id(tmp_path: Path) -> None:
    """The runs share an id that no other batch has."""
    method = load_method(written(tmp_path, TEXT + RUNS), SmallRig())
    first, second = ({run.metadata["batch_id"] for run in iter_batch(method)} for _ in range(2))
    assert len(first) == len(second) == 1
    assert first != second


def test_metadata_cannot_lie_about_the_batch(tmp_path: Path) -> None:
    """A run's own metadata does not replace what the batch says of it."""
    text = TEXT + '\n[[runs]]\nmetadata = {batch_index = 7, method = "other"}\n'
    [run] = iter_batch(load_method(written(tmp_path, text), SmallRig()))
    assert (run.metadata["batch_index"], run.metadata["method"]) == (1, "ramp and hold")


def test_a_batch_file_names_its_method(tmp_path: Path) -> None:
    """A file of runs uses the steps of another file, found beside it."""
    written(tmp_path, TEXT)
    path = written(tmp_path, f'method = "m.toml"\n{RUNS}', "batch.toml")
    assert len(list(iter_batch(load_method(path, SmallRig())))) == 2


@pytest.mark.parametrize(
    ("base", "batch"),
    [(TEXT + RUNS, RUNS), (TEXT, ""), (TEXT, RUNS + "\n[[steps]]\nkind='hold'\nduration_s=1\n")],
)
def test_a_batch_file_adds_runs_and_nothing_else(tmp_path: Path, base: str, batch: str) -> None:
    """Runs in both files, in none, or steps in the batch file are refused."""
    written(tmp_path, base)
    with pytest.raises(RigRefused, match="a batch file has"):
        load_method(written(tmp_path, f'method = "m.toml"\n{batch}', "batch.toml"), SmallRig())
