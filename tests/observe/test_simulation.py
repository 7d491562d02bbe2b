"""Simulation files: what loads, what is refused and where, and that loading leaves Python as it was."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest

from gapless.errors import MissingExtra, NotFound, SimulationRefused
from gapless.observe.simulation import load_simulation, sources_of

GOOD = """\
from __future__ import annotations

from dataclasses import dataclass


@dataclass
class World:
    seed: int
    dt_ns: int = 1_000_000
    where: str = __file__

    def reset(self, seed):
        self.seed = seed

    def step(self):
        return False

    def sources(self):
        return {}


def make(seed):
    return World(seed)
"""


def written(folder: Path, text: str, name: str = "world.py") -> Path:
    """Write a simulation file."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_a_file_makes_its_simulation(tmp_path: Path) -> None:
    """make() gets the seed; a dataclass with postponed annotations works, as it needs its module registered."""
    simulation = load_simulation(written(tmp_path, GOOD), 7)
    assert simulation.dt_ns == 1_000_000
    assert vars(simulation)["seed"] == 7


def test_loading_hides_nothing(tmp_path: Path) -> None:
    """A file called json.py replaces no module, and neither its folder nor its name stays behind."""
    import json

    path_before = list(sys.path)
    first = load_simulation(written(tmp_path, GOOD, "json.py"))
    (tmp_path / "other").mkdir()
    second = load_simulation(written(tmp_path / "other", GOOD, "json.py"))
    assert sys.modules["json"] is json
    assert sys.path == path_before
    assert vars(first)["where"] != vars(second)["where"]
    assert type(first).__module__ != type(second).__module__


def test_a_module_beside_it_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies beside the file is found from any working directory, also when the file is named relatively."""
    written(tmp_path, "SEED = 5\n", "beside_the_world.py")
    text = GOOD.replace("from dataclasses", "import beside_the_world\nfrom dataclasses")
    written(tmp_path, text.replace("World(seed)", "World(beside_the_world.SEED)"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert vars(load_simulation("../world.py"))["seed"] == 5
    del sys.modules["beside_the_world"]


@pytest.mark.parametrize(
    ("old", "new", "line", "word"),
    [
        ("def make(seed)", "def made(seed)", 1, "make(seed)"),
        ("def make(seed)", "def make()", 22, "make"),
        ("def make(seed)", "def make(seed, *, speed)", 22, "speed"),
        ("return World(seed)", "return None", 22, "None"),
        ("return World(seed)", "raise ValueError('no world')", 23, "ValueError: no world"),
        ("return World(seed)", "return World(int('x'))", 23, "ValueError"),
        ("def reset", "def rest", 6, "reset"),
        ("def step", "def stop", 6, "step"),
        ("def sources", "def source", 6, "sources"),
        ("dt_ns: int", "dt: int", 6, "dt_ns"),
        ("1_000_000", "0.002", 6, "dt_ns"),
        ("1_000_000", "0", 6, "dt_ns"),
        ("1_000_000", "True", 6, "dt_ns"),
        ("    def step", "    tasks = 'pick'\n\n    def step", 6, "tasks"),
        ("    def step", "    close = 'no'\n\n    def step", 6, "close"),
        ("def sources(self):", "def sources(self:", 18, "SyntaxError"),
        (
            "from dataclasses",
            "import no_such_module_anywhere\nfrom dataclasses",
            3,
            "no_such_module_anywhere",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, word: str
) -> None:
    """Each refusal names the file, the line and what was found there."""
    assert old in GOOD
    file = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(SimulationRefused) as refused:
        load_simulation(file)
    assert f"{file.resolve()}:{line}:" in str(refused.value)
    assert word in str(refused.value)


def test_a_missing_module_says_what_to_install(tmp_path: Path) -> None:
    """The next step names the module, and nothing of the file stays behind."""
    known = set(sys.modules)
    with pytest.raises(SimulationRefused, match="Next: install no_such_module_anywhere"):
        load_simulation(written(tmp_path, "import no_such_module_anywhere\n"))
    assert set(sys.modules) == known


def test_typed_errors_and_stops_pass(tmp_path: Path) -> None:
    """A typed error of the file stays what it is, and so does Ctrl-C."""
    text = "from gapless.errors import MissingExtra\nraise MissingExtra('it needs EGL')\n"
    with pytest.raises(MissingExtra, match="it needs EGL"):
        load_simulation(written(tmp_path, text))
    with pytest.raises(KeyboardInterrupt):
        load_simulation(written(tmp_path, "raise KeyboardInterrupt\n"))


def test_no_file(tmp_path: Path) -> None:
    """A name without a file, and a folder, are not found; what is no Python is refused."""
    for name in ("none.py", "."):
        with pytest.raises(NotFound, match="no such file"):
            load_simulation(tmp_path / name)
    with pytest.raises(SimulationRefused, match=r"a \.py file"):
        load_simulation(written(tmp_path, GOOD, "world.txt"))


@pytest.mark.parametrize("found", ["{}", "None", "[1]", "{'robot': 5}", "{3: World(1)}"])
def test_sources_are_named(tmp_path: Path, found: str) -> None:
    """What sources() returns is a mapping of names to sources, and not empty."""
    simulation = load_simulation(written(tmp_path, GOOD.replace("return {}", f"return {found}")))
    with pytest.raises(SimulationRefused, match="source"):
        sources_of(simulation)


def test_sources_that_raise_are_placed(tmp_path: Path) -> None:
    """The line of sources() is told, of a simulation of a built-in class too."""
    file = written(tmp_path, GOOD.replace("return {}", "return 1 / 0"))
    with pytest.raises(SimulationRefused, match=r"world\.py:19: sources\(\) failed; found ZeroDivisionError"):
        sources_of(load_simulation(file))
    text = """\
        from types import SimpleNamespace
        def nothing(*_):
            raise ValueError("no sources")
        def make(seed):
            return SimpleNamespace(dt_ns=1, reset=nothing, step=nothing, sources=nothing)
    """
    with pytest.raises(
        SimulationRefused, match=r"names\.py:3: sources\(\) failed; found ValueError: no sources"
    ):
        sources_of(load_simulation(written(tmp_path, dedent(text), "names.py")))
