"""What cannot be an argument is a usage error in every verb: bytes that are no text, numbers that are too large."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import gapless
from gapless.cli.main import VERBS, parser_of, run

from .conftest import Cli

NO_TEXT = os.fsdecode(b"\xff\xfe")
NUMBERS = ("1" + "0" * 30, "1e400", "nan", "-1", "-inf", "9223372036854775808", "9" * 5000)
Leaf = tuple[list[str], argparse.ArgumentParser]


def leaves(words: list[str], parser: argparse.ArgumentParser) -> Iterator[Leaf]:
    """Yield the words and the parser of each thing that a verb can do."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not below:
        yield words, parser
    for name, child in below[0].choices.items() if below else ():
        yield from leaves([*words, name], child)


def line(words: list[str], parser: argparse.ArgumentParser, tried: argparse.Action, value: str) -> list[str]:
    """Return the arguments of a command line on which one argument has the value and the needed ones a good one."""
    said = list(words[1:])
    for action in parser._actions:
        word = value if action is tried else str(next(iter(action.choices))) if action.choices else "x"
        if action.option_strings:
            said += [f"{action.option_strings[0]}={word}"] if action is tried or action.required else []
        elif action is tried or action.nargs not in ("?", "*"):
            said.append(word)
    return said


def actions_of(verb: str) -> list[tuple[list[str], argparse.ArgumentParser, argparse.Action]]:
    """Return every argument of a verb that takes a value of its own."""
    return [
        (words, parser, action)
        for words, parser in leaves([verb], parser_of(verb))
        for action in parser._actions
        if action.nargs != 0 and not action.choices
    ]


@pytest.mark.parametrize("verb", list(VERBS))
def test_bytes_that_are_no_text_are_refused(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They are named as Python shows them; files may have such names."""
    for words, parser, action in actions_of(verb):
        if action.type not in (None, Path):
            continue
        said = line(words, parser, action, NO_TEXT)
        if action.type is Path:
            assert NO_TEXT in map(str, vars(parser_of(verb).parse_args(said)).values())
            continue
        with pytest.raises(SystemExit) as ended:
            parser_of(verb).parse_args(said)
        assert ended.value.code == 2, said
        assert r"'\udcff\udcfe' is no UTF-8" in capsys.readouterr().err, said


@pytest.mark.parametrize("verb", list(VERBS))
def test_a_number_is_finite_and_fits_or_is_refused(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What passes is finite, and a whole number has at most 64 bits; the message stays short."""
    for words, parser, action in actions_of(verb):
        for text in NUMBERS if action.type not in (None, Path) else ():
            with suppress(SystemExit):
                known = parser_of(verb).parse_args(line(words, parser, action, text))
                value = vars(known)[action.dest]
                assert math.isfinite(value), (words, action.dest, text)
                assert isinstance(value, float) or -(2**63) <= value < 2**63, (words, action.dest, text)
            assert len(capsys.readouterr().err) < 400, (words, action.dest)


@pytest.mark.parametrize(
    ("said", "word"),
    [
        (["record", "host", "--for", "9999999999h"], "too long"),
        (["run", "command", "r", "d", "c", "--timeout", "2000h"], "too long"),
        (["hub", "token", "add", "me", "--days", "1e30"], "less than 100000 days"),
        (["ls", "--last", "1" + "0" * 30], "64 bits"),
    ],
)
def test_what_lasts_longer_than_it_can_is_refused(
    said: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says what the most is."""
    with pytest.raises(SystemExit):
        parser_of(said[0]).parse_args(said[1:])
    assert word in capsys.readouterr().err


def test_a_host_that_no_lookup_takes_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A part of a host's name has at most 63 characters."""
    assert run(["devices", "discover", "--tcp", "a" * 70]) == 2
    assert "an address is HOST or HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0-99999999999", "9" * 5000])
def test_episodes_beyond_any_dataset_are_refused(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A range is not counted out before it is looked at."""
    gapless.connect(tmp_path).close()
    said = ["export", "x", str(tmp_path / "out"), "--to", "lerobot", "--only", text, "--store", str(tmp_path)]
    assert run(said) == 2
    assert "expected numbers below a million" in capsys.readouterr().err


def test_a_process_gets_them_as_bytes(cli: Cli) -> None:
    """On the command line and in the environment they end with exit code 2 and no traceback."""
    for done in (cli("show", NO_TEXT), cli("ls", GAPLESS_STORE=NO_TEXT)):
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert "UTF-8" in done.stderr
        assert "Traceback" not in done.stderr
