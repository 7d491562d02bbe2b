"""Holds the reference pages against the program: command line, glossary, promises, links, README."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import stat
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from gapless._version import __version__
from gapless.model.names import RESERVED_TOPICS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"(?<!`)\[[^\]\n]+\]\((?P<target>[^)\s]+)\)")
TEST_NAME = re.compile(r"`(?P<file>tests/[\w/]+\.py)::(?:\w+::)?(?P<test>\w+)`")


def read(path: Path) -> str:
    """Return a text file of the repository."""
    return path.read_text(encoding="utf-8")


def rows_of(page: Path) -> list[list[str]]:
    """Return the cells of every table row of a page, without headers and rules."""
    rows = []
    lines = read(page).splitlines()
    for number, line in enumerate(lines):
        is_header = number + 1 < len(lines) and lines[number + 1].startswith("|--")
        if line.startswith("| ") and not is_header:
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def generator() -> ModuleType:
    """Return docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_command_reference_is_current() -> None:
    """docs/cli.md is exactly what `make docs` writes from the program."""
    assert read(DOCS / "cli.md") == generator().cli_page()


def test_ci_runs_the_command_of_the_readme() -> None:
    """CI types what a contributor copies: one line, the same in both files."""
    script = ROOT / ".ci" / "run"
    command = read(script).rstrip("\n").splitlines()[-1]
    lines = read(ROOT / "README.md").splitlines()
    assert command.startswith("python3 -m venv ")
    assert command in lines
    assert os.stat(script).st_mode & stat.S_IXUSR
    assert "set -euo pipefail" in read(script)


def test_readme_starts_with_one_line_commands() -> None:
    """The first screen has two commands that each make their own environment with nothing but python3."""
    commands = [
        line for line in read(ROOT / "README.md").splitlines()[:40] if line.startswith("python3 -m venv ")
    ]
    assert len(commands) == 2
    for command in commands:
        folder = command.split()[3]
        assert f"&& {folder}/bin/pip install " in command
        assert f"&& {folder}/bin/" in command.split("pip install", 1)[1]


def test_readme_example_is_short() -> None:
    """The README's first Python example has at most six lines and ends as a pandas frame."""
    block = re.search(r"^```python\n(.*?)^```", read(ROOT / "README.md"), re.M | re.S)
    assert block is not None
    lines = [line for line in block[1].splitlines() if line.strip()]
    assert len(lines) <= 6
    assert lines[-1].endswith(".to_pandas()")


def test_changelog_knows_the_version() -> None:
    """The version of the package is in the changelog, or the changes are marked as unreleased."""
    text = read(ROOT / "CHANGELOG.md")
    assert f"## {__version__}" in text or "## Unreleased" in text


def test_licence_is_the_declared_one() -> None:
    """LICENSE is the Apache licence 2.0 that pyproject.toml declares."""
    declared = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]["license"]
    assert declared == "Apache-2.0"
    text = read(ROOT / "LICENSE")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link of a page leads to a file, and its fragment to a heading there."""
    broken = []
    for match in LINK.finditer(re.sub(r"^```.*?^```", "", read(page), flags=re.M | re.S)):
        target, _, fragment = match["target"].partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / target) if target else page
        if not file.exists() or (fragment and fragment not in anchors(file)):
            broken.append(match["target"])
    assert broken == []


def anchors(page: Path) -> set[str]:
    """Return the fragments that a page's headings can be reached by, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", read(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index() -> None:
    """A page that docs/index.md does not lead to is a page that nobody finds."""
    index = read(DOCS / "index.md")
    missing = [
        name
        for page in DOCS.rglob("*.md")
        if (name := page.relative_to(DOCS).as_posix()) not in ("index.md", "decisions/0000-template.md")
        and f"({name})" not in index
    ]
    assert missing == []


def test_every_promise_names_tests_that_exist() -> None:
    """Each row of promises.md that is kept points to test functions that are in the tree."""
    rows = [row for row in rows_of(DOCS / "promises.md") if re.fullmatch(r"P\d+", row[0])]
    assert rows
    rules = rows_of(DOCS / "explanation" / "recording-integrity.md")
    rows += [row for row in rules if row[0] != "rule"]
    assert len(rows) > 20
    faults = []
    for row in rows:
        named = list(TEST_NAME.finditer(row[-1]))
        faults += [f"{row[0]}: names no test"] * (not named)
        for match in named:
            file = ROOT / match["file"]
            if not file.exists() or match["test"] not in functions_of(file):
                faults.append(f"{row[0]}: {match.group()}")
    assert faults == []


def functions_of(file: Path) -> set[str]:
    """Return the names of the functions and classes of a test module."""
    nodes = ast.walk(ast.parse(read(file)))
    return {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}


def test_glossary_has_one_row_per_word() -> None:
    """Words of the glossary are unique and each has a meaning."""
    rows = rows_of(DOCS / "glossary.md")
    words = [row[0] for row in rows]
    assert len(words) == len(set(words)) > 25
    assert all(row[1] for row in rows)


def test_glossary_names_the_reserved_topics() -> None:
    """Each topic that gapless writes by itself is explained in the glossary or the format page."""
    text = read(DOCS / "glossary.md") + read(DOCS / "format.md")
    assert [name for name in RESERVED_TOPICS if f"`{name}`" not in text] == []


def test_architecture_page_shows_the_folders_that_exist() -> None:
    """The tree in architecture.md has exactly the parts of the package that hold code."""
    parts = {path.parent.name for path in (ROOT / "src" / "gapless").glob("*/*.py")}
    drawn = set(re.findall(r"^ *(\w+)/ ", read(DOCS / "architecture.md"), re.M))
    assert parts == drawn


def test_make_help_lists_every_target() -> None:
    """Each target of the Makefile carries the comment that `make help` prints."""
    text = read(ROOT / "Makefile")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.M)
    assert phony is not None
    documented = set(re.findall(r"^([a-z]+):.*## \S", text, re.M))
    assert set(phony[1].split()) == documented
    assert {"help", "check", "test", "crash", "bench", "docs", "clean"} <= documented
