"""Writes docs/cli.md from the program itself; a test compares the two, so the page cannot go stale."""

from __future__ import annotations

import argparse
from pathlib import Path

from gapless.cli import main as cli

PAGE = Path(__file__).with_name("cli.md")
HEAD = """\
# Command line

Written by `make docs` from `gapless --help` and `gapless VERB --help`; do not edit.

```text
{help}
```

Exit codes: 0 ok, 1 problems found or failed, 2 usage, 3 not found, 4 integrity, 5 the system refused (a
folder out of reach), 130 stopped by the operator.
"""


def cli_page() -> str:
    """Return the text of docs/cli.md as the program of this tree would have it."""
    sections = [HEAD.format(help=cli.help_text()), *(verb_section(verb) for verb in cli.VERBS)]
    return "\n".join(sections)


def verb_section(verb: str) -> str:
    """Return the section of one verb: what it does, then its arguments.

    The arguments are read from the parser, not from its help text, whose layout differs between
    versions of Python.
    """
    parser = cli.parser_of(verb)
    lines = [f"## gapless {verb}", "", (parser.description or "").strip(), ""]
    lines += argument_rows(parser)
    return "\n".join(lines)


def argument_rows(parser: argparse.ArgumentParser, prefix: str = "") -> list[str]:
    """Return the table of a parser's arguments, then those of its sub-commands."""
    shown: list[argparse.Action] = []
    commands: list[tuple[str, argparse.ArgumentParser]] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            commands += [(f"{prefix}{name}", sub) for name, sub in action.choices.items()]
        elif not isinstance(action, argparse._HelpAction) and action.help is not argparse.SUPPRESS:
            shown.append(action)
    lines: list[str] = []
    if shown:
        lines += ["| argument | meaning |", "|---|---|"]
        lines += [f"| `{argument(action)}` | {cell(action.help or '')} |" for action in shown]
        lines.append("")
    for name, sub in commands:
        lines += [f"### {sub.prog}", "", (sub.description or "").strip(), "", *argument_rows(sub, f"{name} ")]
    return lines


def argument(action: argparse.Action) -> str:
    """Return how an argument is typed: `REF`, `[REF]`, `FILE…`, `--for DURATION`."""
    value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if action.choices and action.option_strings:
        value = "|".join(map(str, action.choices))
    if action.option_strings:
        option = ", ".join(action.option_strings)
        return cell(option if action.nargs == 0 else f"{option} {value}")
    marks = {"?": f"[{value}]", "*": f"[{value}…]", "+": f"{value}…"}
    return cell(marks.get(str(action.nargs), value))


def cell(text: str) -> str:
    """Return text that fits a table cell."""
    return " ".join(text.replace("%%", "%").replace("|", "\\|").split())


if __name__ == "__main__":
    PAGE.write_text(cli_page(), encoding="utf-8")
    print(f"wrote {PAGE}")
