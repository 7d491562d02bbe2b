"""Where keys stand in a TOML text: compared with where their values were written."""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.acquire.toml_lines import key_lines, line_of

ROOT = Path(__file__).resolve().parents[2]
Place = tuple[str | int, ...]

#: Keys that need quotes, look like numbers, hold dots, brackets, hashes and quotes, or are long.
KEYS = ["a", "b-c", "d_1", "12", "x.y", "has space", "[t]", "# no comment", "it's", 'say "hi"', "ä", ""]
#: What stands around the marks, so that brackets, hashes and quotes inside values are met.
NOISE = ["", " # [x] = {", "]", "}", ", b = 1", "'", '"', "\\", '"""', "'''"]


class Writer:
    """Writes a document with every way to write keys, tables and values, and remembers where its marks are.

    Every scalar is text that begins with a mark of its own, so that a line of the text tells which scalar
    begins on it.
    """

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._marks = 0
        self.marks: dict[Place, str] = {}

    def document(self) -> str:
        """Return a document: keys first, then tables and arrays of tables, nested."""
        return self._table((), (), depth=0)

    def _some(self, most: int) -> range:
        return range(self._dice.randint(0, most))

    def _keys(self, count: int) -> list[str]:
        return self._dice.sample(KEYS, count)

    def _between(self) -> str:
        """Return what may stand between two lines."""
        return self._dice.choice(["", "\n", "# a comment with = and [brackets]\n", "\t\n", "   # {\n"])

    def _table(self, header: tuple[str, ...], path: Place, *, depth: int) -> str:
        names = self._keys(self._dice.randint(0, 6))
        text = ""
        for name in names[:3]:
            text += self._between() + self._pair((*path,), name, depth=2) + self._end()
        for name in names[3:] if depth < 3 else ():
            inner = (*header, name)
            if self._dice.random() < 0.5:
                text += f"{self._between()}[{self._dotted(inner)}]{self._end()}"
                text += self._table(inner, (*path, name), depth=depth + 1)
                continue
            for n in range(self._dice.randint(1, 3)):
                text += f"{self._between()}[[ {self._dotted(inner)} ]]{self._end()}"
                text += self._table(inner, (*path, name, n), depth=depth + 1)
        return text

    def _end(self) -> str:
        return self._dice.choice(["\n", "  # why = [1]\n", " \n"])

    def _dotted(self, parts: tuple[str, ...]) -> str:
        return self._dice.choice([".", " . "]).join(self._key(part) for part in parts)

    def _key(self, name: str) -> str:
        if name and name.replace("-", "").replace("_", "").isalnum() and name.isascii():
            return self._dice.choice([name, f'"{name}"', f"'{name}'"])
        if "'" not in name and self._dice.random() < 0.5:
            return f"'{name}'"
        return json.dumps(name, ensure_ascii=self._dice.random() < 0.5)

    def _pair(self, path: Place, name: str, *, depth: int) -> str:
        keys = (name, *self._keys(self._dice.randint(1, 2))) if self._dice.random() < 0.2 else (name,)
        place: Place = (*path, *keys)
        return f"{self._dotted(keys)}{self._dice.choice(['=', ' = '])}{self._value(place, depth=depth)}"

    def _value(self, place: Place, *, depth: int) -> str:
        kind = self._dice.choice(["text", "text", "array", "inline"]) if depth else "text"
        if kind == "array":
            return self._array(place, depth=depth - 1)
        if kind == "inline":
            pairs = [
                self._pair(place, name, depth=depth - 1) for name in self._keys(self._dice.randint(0, 3))
            ]
            return "{ " + ", ".join(pairs) + " }"
        return self._text(place)

    def _array(self, place: Place, *, depth: int) -> str:
        text = "["
        for n in self._some(4):
            text += self._dice.choice(["", "\n  ", " # ] not the end\n", "\n\n"])
            text += self._value((*place, n), depth=depth) + self._dice.choice([",", " ,", "\n,"])
        return text + self._dice.choice(["]", "\n]", " # ,\n]"])

    def _text(self, place: Place) -> str:
        mark = f"mark{self._marks}."
        self._marks += 1
        self.marks[place] = mark
        noise = self._dice.choice(NOISE)
        tail = self._dice.choice(["", "\nmore = 1\n[no.table]\n"])
        ways = [json.dumps(mark + noise)]
        if "'" not in noise:
            ways += [f"'{mark}{noise}'", f"'''{mark}{noise}{tail}'''", f"'''{mark}''{tail}'''"]
        if '"' not in noise and "\\" not in noise:
            ways += [f'"""{mark}{noise}{tail}"""', f'"""{mark}\\"""{tail}"""', f'"""{mark}x"" ""{tail}x"""""']
        return self._dice.choice(ways)


def places_of(value: Any, path: Place = ()) -> Iterator[Place]:
    """Yield the path of everything in a document."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places_of(inner, (*path, key))


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32))
def test_every_place_has_the_line_it_was_written_on(seed: int) -> None:
    """What tomllib finds in a text is exactly what has a line, and each scalar's line holds its mark."""
    writer = Writer(seed)
    text = writer.document()
    lines = key_lines(text)
    assert set(lines) == set(places_of(tomllib.loads(text)))
    rows = text.split("\n")
    for place, mark in writer.marks.items():
        assert mark in rows[lines[place] - 1], (place, lines[place])


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.toml")), ids=lambda path: path.name)
def test_the_examples_are_placed(path: Path) -> None:
    """Every place of every example has a line, and the line of a key begins with its name."""
    text = path.read_text(encoding="utf-8")
    lines = key_lines(text)
    assert set(lines) == set(places_of(tomllib.loads(text)))
    rows = text.split("\n")
    for place, line in lines.items():
        if isinstance(place[-1], str):
            assert place[-1] in rows[line - 1]


TEXT = """\
name = "bench"          # 1
devices.a.port = 5      # 2

[devices.b]             # 4
points = [              # 5
    { name = "pv", register = 0 },
    { name = "sp" },
    # no more
]
note = '''
[channels]
'''
[[channels]]            # 13
name = "one"
[channels.alarm]        # 15
high = 5
[[channels]]            # 17
name = "two"
"""


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("name",), 1),
        (("devices", "a"), 2),
        (("devices", "b"), 4),
        (("devices", "b", "points", 0, "register"), 6),
        (("devices", "b", "points", 1), 7),
        (("devices", "b", "points", 1, "register"), 7),  # is not there: the nearest around it
        (("devices", "b", "points", 5), 5),
        (("channels", 0), 13),
        (("channels", 0, "alarm", "high"), 16),
        (("channels", 1, "name"), 18),
        (("channels", 1, "unit"), 17),
        (("run", "clock"), None),
    ],
)
def test_a_line_is_the_value_s_or_the_nearest_around_it(place: Place, line: int | None) -> None:
    """A key that is missing is looked for on the line of its table."""
    lines = key_lines(TEXT)
    assert set(lines) == set(places_of(tomllib.loads(TEXT)))
    assert line_of(lines, place) == line
