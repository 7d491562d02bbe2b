"""Recorders are found by the kind that a source names, those of other packages too, and are imported when used."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import gapless
from gapless.errors import GaplessError, NameRefused, NotFound, UsageError
from gapless.observe.recorder import Recorder
from gapless.observe.recorder_registry import recorder_for, recorder_names
from gapless.observe.sources import DataSource, Field

ROOT = Path(__file__).parents[2]
PLUGIN = """
import gapless.observe.recorders.data


class Lidar(gapless.observe.recorders.data.DataRecorder):
    pass


class Nothing:
    def __init__(self, name, source):
        pass
"""


class Scanner(DataSource):
    """A source of a kind that the package does not know."""

    recorder = "lidar"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that installs a package with entry points, as pip does, for this test."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "gapless_lidar", raising=False)
    (tmp_path / "gapless_lidar.py").write_text(PLUGIN, encoding="utf-8")

    def put(package: str, *points: str) -> None:
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("\n".join(["[gapless.recorders]", *points]) + "\n")

    return put


def scanner() -> Scanner:
    """Return such a source."""
    return Scanner({"range": Field("m")}, lambda: [1.0])


def test_those_of_the_package() -> None:
    """They are what the project declares, and each can be loaded."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(recorder_names()) >= set(project["entry-points"]["gapless.recorders"])


def test_another_package_may_bring_one(install: Any) -> None:
    """It is asked with name and source; names are those of topics."""
    install("gapless-lidar", "lidar = gapless_lidar:Lidar")
    recorder = recorder_for("front/lidar", scanner())
    assert type(recorder).__module__ == "gapless_lidar"
    assert isinstance(recorder, Recorder)
    assert (recorder.name, recorder.tables[0].spec.topic) == ("front/lidar", "front/lidar")
    with pytest.raises(NameRefused):
        recorder_for("_lidar", scanner())


def test_one_that_is_not_installed() -> None:
    """The error names those that are."""
    with pytest.raises(NotFound) as caught:
        recorder_for("lidar", scanner())
    assert caught.value.found == "lidar"
    assert caught.value.expected == ", ".join(recorder_names())


def test_what_is_no_source() -> None:
    """Anything without a kind."""
    for thing in (None, 3, object(), lambda: 1.0):
        with pytest.raises(UsageError, match="'x' is no source"):
            recorder_for("x", thing)  # type: ignore[arg-type] # what a user may give


@pytest.mark.parametrize(
    ("points", "word"),
    [
        (["lidar = gapless_lidar:Absent"], "breaks when it is imported"),
        (["lidar = gapless_absent:Lidar"], "breaks when it is imported"),
        (["lidar = gapless_lidar:Nothing"], "makes no recorder"),
    ],
)
def test_one_that_is_broken(install: Any, points: list[str], word: str) -> None:
    """The error names where it comes from."""
    install("gapless-lidar", *points)
    with pytest.raises(UsageError, match=word) as caught:
        recorder_for("x", scanner())
    assert points[0].partition(" = ")[2] in str(caught.value)


def test_two_of_one_kind(install: Any) -> None:
    """Which one is meant is not guessed."""
    install("gapless-lidar", "lidar = gapless_lidar:Lidar")
    install("other-lidar", "lidar = gapless_lidar:Nothing")
    with pytest.raises(GaplessError, match="two packages"):
        recorder_for("x", scanner())


def test_nothing_is_imported_before_it_is_used() -> None:
    """Sources and registry import no simulator and no recorder."""
    code = (
        "import sys; from gapless.observe.recorder_registry import recorder_names, recorder_for;"
        "from gapless.observe.sources import RobotSource, MujocoSource; assert recorder_names();"
        "recorder_for('r', RobotSource(['a'], lambda: [1]));"
        "print(*sorted(m for m in sys.modules if m in ('mujoco', 'pandas', 'pydantic', 'av') or '.recorders.' in m))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(gapless.__path__[0]).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        "gapless.observe.recorders.number_table",
        "gapless.observe.recorders.robot",
    ]
