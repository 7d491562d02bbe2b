"""A simulation as a file: Python with ``make(seed)``, which returns what can be reset, stepped and read.

The file runs as the user's own code. While it loads, modules that lie beside it can be imported; the file
itself is known to Python under a name of its own and never hides another module.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from gapless.errors import GaplessError, NotFound, SimulationRefused
from gapless.observe.recorder import Source


class Simulation(Protocol):
    """A world that is advanced by one step at a time.

    A simulation may also have: ``success`` (bool, or None for unknown) of the episode that is over, ``tasks``
    (list of text; the first one is set at the begin of each episode), ``robot_type`` (text), and ``close()``.
    """

    dt_ns: int

    def reset(self, seed: int) -> None:
        """Put the world into the first state of an episode; the same seed makes the same episode."""
        ...

    def step(self) -> bool:
        """Advance by ``dt_ns``. False: the episode was over before, and nothing was advanced."""
        ...

    def sources(self) -> Mapping[str, Source]:
        """Return what can be recorded, by the names of its recorders; the same objects each time."""
        ...


def load_simulation(path: str | os.PathLike[str], seed: int = 0) -> Simulation:
    """Return what ``make(seed)`` of a file returns; SimulationRefused names the line that is in the way."""
    file = Path(path).resolve()
    if not file.is_file():
        raise NotFound("there is no such file", found=str(file), next_step="name a SIMULATION.py")
    with _folder_importable(file.parent):
        make = _maker(_run(file), file)
        with _refusing(file, "make() failed"):
            simulation = make(seed)
    return _checked(simulation, make, file)


def sources_of(simulation: Simulation) -> dict[str, Source]:
    """Return a simulation's sources by name; SimulationRefused if there are none, or something else."""
    with _refusing(file_of(simulation), "sources() failed"):
        sources = simulation.sources()
    if not isinstance(sources, Mapping) or not sources:
        raise SimulationRefused(
            "sources() names nothing to record", found=repr(sources), expected="a mapping of name to source"
        )
    for name, source in sources.items():
        if not isinstance(name, str) or not isinstance(getattr(source, "recorder", None), str):
            raise SimulationRefused(
                f"{name!r} is no source", found=type(source).__name__,
                expected="a source such as RobotSource or CameraSource",
            )  # fmt: skip
    return dict(sources)


@contextmanager
def _folder_importable(folder: Path) -> Iterator[None]:
    """Let modules that lie in a folder be imported, as they can be by a script that lies there."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _run(file: Path) -> ModuleType:
    name = f"gapless_simulation_{hashlib.sha256(bytes(file)).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise SimulationRefused("a simulation is a .py file", found=str(file))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their classes up there
    try:
        with _refusing(file, "the file cannot be run"):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def _refusing(file: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Turn an error of the user's code into a refusal with its place; typed errors and Ctrl-C stay."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, GaplessError) or not isinstance(error, Exception):
            raise
        advice = f"install {error.name}" if isinstance(error, ModuleNotFoundError) else None
        raise SimulationRefused(
            f"{place_of(error, file)}: {what}", found=f"{type(error).__name__}: {error}", next_step=advice
        ) from error


def file_of(simulation: Simulation) -> str:
    """Return the file that a simulation's class stands in; a built-in class stands in none."""
    try:
        return inspect.getfile(type(simulation))
    except (OSError, TypeError):
        return "the simulation"


def place_of(error: BaseException, file: str | os.PathLike[str]) -> str:
    """Return ``file:line`` of the innermost line of a file that an error came through, else of the innermost."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f"{file}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    found = [frame for frame in frames if frame.filename == str(file)] or frames
    return f"{found[-1].filename}:{found[-1].lineno}" if found else str(file)


def _maker(module: ModuleType, file: Path) -> Callable[[int], Any]:
    make = getattr(module, "make", None)
    if not callable(make):
        raise SimulationRefused(f"{file}:1: there is no function make(seed)", found=_kind(make))
    try:
        inspect.signature(make).bind(0)
    except TypeError as error:
        raise SimulationRefused(
            f"{_place(make, file)}: make takes the seed and nothing else",
            found=f"make{inspect.signature(make)}", expected="make(seed)",
        ) from error  # fmt: skip
    checked: Callable[[int], Any] = make
    return checked


def _place(thing: Any, file: Path) -> str:
    """Return ``file:line`` of a function or class where Python knows it."""
    try:
        return f"{file}:{inspect.getsourcelines(thing)[1]}"
    except (OSError, TypeError):
        return str(file)


def _checked(simulation: Any, make: Callable[[int], Any], file: Path) -> Simulation:
    if simulation is None:
        raise SimulationRefused(f"{_place(make, file)}: make returned None", expected="a simulation")
    place = _place(type(simulation), file)
    for method in ("reset", "step", "sources"):
        found = getattr(simulation, method, None)
        if not callable(found):
            raise SimulationRefused(f"{place}: the simulation has no method {method}()", found=_kind(found))
    if not callable(getattr(simulation, "close", int)):
        raise SimulationRefused(f"{place}: close is no method", found=repr(simulation.close))
    dt_ns = getattr(simulation, "dt_ns", None)
    if type(dt_ns) is not int or dt_ns <= 0:
        raise SimulationRefused(
            f"{place}: dt_ns is the length of a step in nanoseconds", found=repr(dt_ns), expected="2_000_000"
        )
    tasks = getattr(simulation, "tasks", ())
    if isinstance(tasks, str) or not all(isinstance(task, str) for task in tasks):
        raise SimulationRefused(f"{place}: tasks is a list of text", found=repr(tasks))
    checked: Simulation = simulation
    return checked


def _kind(thing: Any) -> str:
    return "nothing" if thing is None else type(thing).__name__
