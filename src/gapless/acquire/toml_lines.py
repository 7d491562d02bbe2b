"""On which line of a TOML text a key stands, so that a problem can point there."""

from __future__ import annotations

import re
from collections.abc import Mapping

Path = tuple[str | int, ...]

_TABLE = re.compile(r"^\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(
    r"""^\s*((?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART = re.compile(r"""[A-Za-z0-9_-]+|"((?:[^"\\]|\\.)*)"|'([^']*)'""")
_FENCES = ('"""', "'''")


def key_lines(text: str) -> dict[Path, int]:
    """Return the line (from 1) of every table and key; keys of inline tables have their table's line."""
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    fence = ""
    depth = 0
    for number, line in enumerate(text.splitlines(), 1):
        if fence:
            fence = "" if fence in line else fence
            continue
        if depth == 0 and (found := _TABLE.match(line)):
            table = _table_path(found[2], array=found[1] == "[[", counts=counts)
            lines.setdefault(table, number)
            continue
        value = line
        if depth == 0 and (key := _KEY.match(line)):
            lines[(*table, *_parts(key[1]))] = number
            value = line[key.end() :]
        fence = next((f for f in _FENCES if value.count(f) % 2), "")
        if not fence:
            depth = max(0, depth + _opened(value))
    return lines


def line_of(lines: Mapping[Path, int], path: Path) -> int | None:
    """Return the line of a value, or of the nearest table around it."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _parts(key: str) -> Path:
    return tuple(found[1] or found[2] or found[0] for found in _PART.finditer(key))


def _table_path(key: str, *, array: bool, counts: dict[Path, int]) -> Path:
    """Return the path of a table header, with the index of the last element of each array of tables."""
    path: Path = ()
    parts = _parts(key)
    for n, part in enumerate(parts):
        path = (*path, part)
        if array and n == len(parts) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _opened(value: str) -> int:
    """Return how many brackets a line leaves open, strings and comments left out."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'', "", value).split("#", 1)[0]
    return sum(bare.count(c) for c in "[{") - sum(bare.count(c) for c in "]}")
