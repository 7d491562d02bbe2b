"""Runs what the pages show: Python blocks and command lines, in page order, in a folder of their own.

A page is a small program. ```` ```python ```` blocks share one namespace; ```` ```console ```` lines that
begin with ``$`` are run and must exit 0, or N where the line ends in ``# exit N``. A block that cannot run
says so and why: ```` ```python no-run: needs a second machine ````. Code that a page needs and a reader does
not stands in ``<!-- setup`` comments or, for pages that show fragments, in ``setups/<page>.py``. Such a file may
give ``variables`` to the environment of the commands, and an ``ending``, an ExitStack that is closed after the page.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SETUPS = Path(__file__).with_name("setups")
SHOWN_ONLY = {"text", "json", "toml", "sql", "csv", "make"}
RUN = {"python", "console"}
LOOKED_INTO = {  # examples that a test of their own runs, and looks at what they recorded
    "05_episodes.py": ROOT / "tests/observe/test_arm_example.py",
    "06_bluesky.py": ROOT / "tests/bluesky/test_example.py",
}
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>```+)(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)(?P=ticks) *$", re.M | re.S
)
SETUP = re.compile(r"^<!-- setup\n(?P<body>.*?)^-->$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    reason: str  # why it is not run; empty when it is
    line: int
    body: str


def blocks_of(text: str) -> list[Block]:
    """Return the fenced blocks and hidden setups of a page in order."""
    found: list[Block] = []
    for match in FENCE.finditer(text):
        language, _, rest = match["info"].strip().partition(" ")
        body = re.sub(rf"^{match['indent']}", "", match["body"], flags=re.M)
        reason = rest.removeprefix("no-run:").strip() if rest.startswith("no-run:") else ""
        found.append(Block(language, reason, text.count("\n", 0, match.start()) + 1, body))
    found.extend(
        Block("python", "", text.count("\n", 0, match.start()) + 1, match["body"])
        for match in SETUP.finditer(text)
    )
    return sorted(found, key=lambda block: block.line)


def commands_of(body: str) -> Iterator[tuple[str, int]]:
    """Yield each command line of a console block with the exit code it should have."""
    for line in re.sub(r"\\\n\s*>?", " ", body).splitlines():
        if line.startswith("$ "):
            command, _, code = line.removeprefix("$ ").partition("# exit ")
            yield command.split("  # ")[0].strip(), int(code or 0)


def run_command(command: str, expected: int, folder: Path) -> str:
    """Run a command line as a reader would type it; `gapless` is this source tree."""
    environment = {k: v for k, v in os.environ.items() if k != "GAPLESS_STORE"}
    environment |= {"PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1", "COLUMNS": "80"}
    this = f"{shlex.quote(sys.executable)} -m gapless.cli.main"
    line = re.sub(r"(^|[|;&]\s*)gapless\b", lambda m: f"{m[1]}{this}", command)
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == expected, f"$ {command}\nexit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def page_id(page: Path) -> str:
    """Return the page's path in the repository, for the test's name."""
    return page.relative_to(ROOT).as_posix()


def has_runnable(page: Path) -> bool:
    """Tell whether a page holds a block that is run."""
    return any(b.language in RUN and not b.reason for b in blocks_of(page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", [p for p in PAGES if has_runnable(p)], ids=page_id)
def test_page_does_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python block and command line of the page runs, in order."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GAPLESS_STORE", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))  # a relative one would not hold in this folder
    namespace: dict[str, Any] = {"__name__": "__page__"}
    setup = SETUPS / f"{page.stem}.py"
    if setup.exists():
        exec(compile(setup.read_text(encoding="utf-8"), str(setup), "exec"), namespace)
    for name, value in namespace.pop("variables", {}).items():
        monkeypatch.setenv(name, value)
    with namespace.pop("ending", ExitStack()):
        run_blocks(page, namespace, tmp_path)


def run_blocks(page: Path, namespace: dict[str, Any], folder: Path) -> None:
    """Run the blocks of a page in their order."""
    for block in blocks_of(page.read_text(encoding="utf-8")):
        if block.reason or block.language not in RUN:
            continue
        if block.language == "python":
            # Blank lines in front, so that a traceback names the page and the line in it.
            exec(compile("\n" * block.line + block.body, str(page), "exec"), namespace)
        for command, code in commands_of(block.body) if block.language == "console" else ():
            run_command(command, code, folder)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_block_declares_itself(page: Path) -> None:
    """A block names a language, and one that could run but does not says why."""
    faults = []
    for block in blocks_of(page.read_text(encoding="utf-8")):
        known = block.language in RUN | SHOWN_ONLY or (block.language == "bash" and block.reason)
        if not known:
            faults.append(f"{page_id(page)}:{block.line}: {block.language or 'no language'}")
    assert faults == []


def test_example_scripts_are_numbered() -> None:
    """Examples are read in an order, so their names begin with it."""
    names = [path.name for path in EXAMPLES]
    assert [name for name in names if not re.match(r"\d\d_[a-z0-9_]+\.py$", name)] == []


def test_examples_without_a_run_here_are_run_elsewhere() -> None:
    """The test that runs such an example names it."""
    assert set(LOOKED_INTO) <= {path.name for path in EXAMPLES}
    assert [name for name, path in LOOKED_INTO.items() if f'/ "{name}"' not in path.read_text("utf-8")] == []


@pytest.mark.parametrize(
    "script", [path for path in EXAMPLES if path.name not in LOOKED_INTO], ids=lambda path: path.name
)
def test_example_script_runs(script: Path, tmp_path: Path) -> None:
    """Each example runs to its end in an empty folder given as its argument."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), str(tmp_path / "store")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_reader_of_pages_finds_blocks_in_order() -> None:
    """Setups and blocks come in page order with language, reason, line and text without indentation."""
    page = (
        "<!-- setup\na = 1\n-->\n\n- item\n  ```python\n  b = 2\n  ```\n\n```console no-run: slow\n$ x\n```\n"
    )
    assert blocks_of(page) == [
        Block("python", "", 1, "a = 1\n"),
        Block("python", "", 6, "b = 2\n"),
        Block("console", "slow", 10, "$ x\n"),
    ]


def test_the_reader_of_pages_finds_commands() -> None:
    """Only lines after a prompt are commands; a trailing comment may give the exit code."""
    body = "$ gapless ls\nname  state\n$ gapless verify x  # exit 4\n$ gapless a \\\n    --b\n"
    assert list(commands_of(body)) == [("gapless ls", 0), ("gapless verify x", 4), ("gapless a  --b", 0)]
