"""`gapless --version`, `ls` and `show` against an empty typer program, each a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from harness import Bench, main

from gapless import connect

_GAPLESS = "import sys\nfrom gapless.cli.main import main\nsys.exit(main())\n"
_TYPER = "import typer\napp = typer.Typer()\n\n@app.command()\ndef main() -> None:\n    pass\n\napp()\n"


def run(bench: Bench) -> None:
    folder = bench.folder("startup")
    store = folder / "data"
    _record(store)
    (folder / "program.py").write_text(_GAPLESS, encoding="utf-8")
    (folder / "typer_program.py").write_text(_TYPER, encoding="utf-8")
    (folder / "nothing.py").write_text("", encoding="utf-8")
    program = [str(folder / "program.py")]
    verbs = {
        "gapless --version": [*program, "--version"],
        "gapless ls": [*program, "ls", "--store", str(store)],
        "gapless show": [*program, "show", "run-1", "--store", str(store)],
    }
    try:
        import typer  # noqa: F401
    except ModuleNotFoundError:
        for what in verbs:
            bench.skip(what, "empty typer program", "typer is not installed: pip install typer")
        return
    everyone = {**verbs, "typer": [str(folder / "typer_program.py")], "python": [str(folder / "nothing.py")]}
    found = bench.interleave(
        {name: (lambda argv=argv: spent_by(argv)) for name, argv in everyone.items()},
        rounds=bench.size(4 * bench.rounds, 1),
    )
    python = np.median([cpu for cpu, _ in found["python"]])
    for what in verbs:
        for figure, which in (("CPU ms", 0), ("wall ms", 1)):
            bench.compare(
                what, figure, [pair[which] for pair in found[what]],
                "empty typer program", [pair[which] for pair in found["typer"]],
                at_most=1.15, note="" if which else f"python alone: {python:.0f} ms",
            )  # fmt: skip


def spent_by(argv: list[str]) -> tuple[float, float]:
    """Return CPU and wall milliseconds of a Python process, its start included."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *argv], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{argv} ended with {process.returncode}")
    return (usage.ru_utime + usage.ru_stime) * 1e3, wall * 1e3


def _record(store: Path) -> None:
    with connect(store) as client:
        for number in range(3):
            with client.sequence_create(f"run-{number}", metadata={"vehicle": {"id": "veh_1"}}) as sequence:
                topic = sequence.topic_create("value", schema=pa.schema([("value", pa.float64())]))
                topic.push_columns(np.arange(100), {"value": np.zeros(100)})


if __name__ == "__main__":
    raise SystemExit(main(run))
