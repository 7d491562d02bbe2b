"""The benchmarks run and print their rows; what they measure is nobody's test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "benchmarks").glob("bench_*.py"))
VERDICTS = {"ok", "MISSED", "-", "skipped"}


def _run(command: list[str]) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "GAPLESS_STORE": "/nowhere"}
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_budgeted_job_has_a_script() -> None:
    """There is a script for every row of the budgets that the core answers for."""
    names = {script.stem.removeprefix("bench_") for script in SCRIPTS}
    assert names == {
        "push", "columns", "sync_stalls", "seal", "memory", "content_query", "metadata_query", "merge", "plot",
        "startup", "many", "acquire", "acquire_load", "bridge", "features", "episodes", "bluesky", "tiled_search",
        "remote", "page",
    }  # fmt: skip


@pytest.mark.timeout(600)  # some draw, and some start peers: minutes on a busy machine
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem.removeprefix("bench_"))
def test_benchmark_runs_and_prints_its_rows(script: Path, tmp_path: Path) -> None:
    """With --quick a benchmark ends well, prints every row and writes the same rows with the machine's facts."""
    answer = tmp_path / "rows.json"
    printed = _run([str(script), "--quick", "--json", str(answer), "--work", str(tmp_path)])
    document = json.loads(answer.read_text(encoding="utf-8"))
    assert document["quick"] is True
    assert document["machine"]["python"] == sys.version.split()[0]
    assert document["rows"]
    for row in document["rows"]:
        assert row["what"] in printed
        assert row["verdict"] in VERDICTS
        assert row["ours"] is not None or row["note"], "a row without a figure says why"
        assert "DIFFER" not in row["note"], "ours and the peer's answer are the same"


def test_docs_page_has_the_place_for_the_figures() -> None:
    """The page holds the marks between which the figures are written."""
    text = (ROOT / "benchmarks" / "run.py").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    marks = next(line.split('"')[1::2] for line in text.splitlines() if line.startswith("_BEGIN, _END"))
    assert all(page.count(mark) == 1 for mark in marks)
