"""On which line of a TOML text each table, key and array item stands, so that a problem can point there."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY_PART = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
_TEXT = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:""?(?!"))?'  # up to two quotes may stand before the closing three
    r"|'''.*?'''(?:''?(?!'))?"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_WORD = re.compile(r"[^,\]}#\n]*")


def key_lines(text: str) -> dict[Path, int]:
    """Return the line (from 1) of everything that a path leads to; ``text`` is TOML that tomllib has read."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


def line_of(lines: Mapping[Path, int], path: Path) -> int | None:
    """Return the line of a value, or of the nearest table around it."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


class _Scanner:
    """Walks over valid TOML once; what values are is of no interest, only where they begin."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self._last: dict[Path, int] = {}  # of each array of tables: the index of its last one

    def document(self) -> None:
        """Note every table and key."""
        table: Path = ()
        while self._skip(_BLANK) < len(self._text):
            if self._peek() == "[":
                table = self._header()
            else:
                self._pair(table)

    # -- the text ------------------------------------------------------------------------------

    def _skip(self, pattern: re.Pattern[str]) -> int:
        """Go behind a pattern that may match nothing; return where that is."""
        found = pattern.match(self._text, self._at)
        self._at = self._at if found is None else found.end()
        return self._at

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _takes(self, mark: str) -> bool:
        """Go behind a mark if it stands here."""
        found = self._text.startswith(mark, self._at)
        self._at += len(mark) if found else 0
        return found

    def _note(self, path: Path, line: int) -> None:
        """Note a path, and the tables around it that have no line of their own yet."""
        for length in range(1, len(path)):
            self.lines.setdefault(path[:length], line)
        self.lines[path] = line

    def _line(self) -> int:
        return bisect_right(self._starts, self._at)

    # -- what it is made of --------------------------------------------------------------------

    def _header(self) -> Path:
        line, is_array = self._line(), self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        parts = self._key()
        self._skip(_SPACE)
        self._at += 2 if is_array else 1
        path: Path = ()
        for part in parts[:-1]:
            path = self._into((*path, part))
        path = (*path, parts[-1])
        if is_array:
            self._last[path] = self._last.get(path, -1) + 1
            self.lines.setdefault(path, line)
            path = self._into(path)
        self._note(path, line)
        return path

    def _into(self, path: Path) -> Path:
        """Return the path of the last table where ``path`` is an array of tables."""
        return (*path, self._last[path]) if path in self._last else path

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            found = _KEY_PART.match(self._text, self._at)
            assert found is not None, "the text is TOML"
            self._at = found.end()
            word = found[0]
            parts.append(tomllib.loads(f"x = {word}")["x"] if word[0] in "\"'" else word)
            self._skip(_SPACE)
            if not self._takes("."):
                return parts

    def _pair(self, table: Path) -> None:
        line = self._line()
        path = (*table, *self._key())
        self._note(path, line)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: Path) -> None:
        if self._takes("["):
            self._array(path)
        elif self._takes("{"):
            self._inline_table(path)
        else:
            self._skip(_TEXT if self._peek() in "\"'" else _WORD)

    def _array(self, path: Path) -> None:
        index = 0
        self._skip(_BLANK)
        while not self._takes("]"):
            self._note((*path, index), self._line())
            self._value((*path, index))
            index += 1
            self._skip(_BLANK)
            self._takes(",")
            self._skip(_BLANK)

    def _inline_table(self, path: Path) -> None:
        self._skip(_BLANK)
        while not self._takes("}"):
            self._pair(path)
            self._skip(_BLANK)
            self._takes(",")
            self._skip(_BLANK)
