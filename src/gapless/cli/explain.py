"""Explain a code that an error or a finding ended with.

Without a code, lists all of them. Codes beginning with E are errors, the others are findings of
`gapless verify`, `check` and `doctor`.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from gapless import errors
from gapless.cli import options, output
from gapless.errors import GaplessError, NotFound

_RIG = "gapless devices check RIG.toml"

#: Modules whose FINDINGS tables are explained, and the verb that reports them.
FINDING_MODULES = (
    ("gapless.store.verify", "gapless verify"),
    ("gapless.store.quality", "gapless check"),
    ("gapless.cli.findings", "gapless doctor"),
    ("gapless.acquire.problem", _RIG),
    ("gapless.exchange.lerobot.findings", "gapless verify"),
    ("gapless.bluesky.external.check", "gapless verify"),
    ("gapless.bluesky.delivery_report", "gapless bluesky deliver"),
)


@dataclass(frozen=True)
class Explanation:
    """What one code means: where it comes from, what it promises and what to do next."""

    code: str
    name: str
    kind: str
    meaning: str
    next: str
    exit_code: int


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("code", metavar="CODE", nargs="?", default=None, help="a code such as E401")
    options.add_json(parser)


def explanations() -> dict[str, Explanation]:
    """Return what there is to say about every error class and every finding, by code."""
    known: dict[str, Explanation] = {}
    for kind in _error_classes(GaplessError):
        meaning = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
        known[kind.code] = Explanation(
            kind.code, kind.__name__, "error", meaning, kind.next_step, kind.exit_code
        )
    for module_name, verb in FINDING_MODULES:
        findings: dict[str, str] = importlib.import_module(module_name).FINDINGS
        exit_code = {"gapless verify": 4, _RIG: 2}.get(verb, 1)
        for code, meaning in findings.items():
            known[code] = Explanation(code, verb, "finding", meaning, _next_step(verb), exit_code)
    return known


def _error_classes(kind: type[GaplessError]) -> Iterator[type[GaplessError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__.startswith(f"{errors.__name__}."):
            yield from _error_classes(child)


def _next_step(verb: str) -> str:
    if verb == "gapless verify":
        return "the finding names the file and the rows; what it does not name can still be read"
    if verb == "gapless check":
        return "`gapless show REF --plot` and the `_gaps` and `_events` topics show where"
    if verb == "gapless bluesky deliver":
        return "the finding names the file and the line; what could not be delivered stays where it is"
    if verb == _RIG:
        return "the problem names the file and the line; docs/rig.md tells every key"
    return "`gapless doctor` says what it measured"


def run(args: argparse.Namespace) -> int:
    """Print one explanation, or the list of codes."""
    known = explanations()
    if args.code is None:
        return _list(known, as_json=args.json)
    code = args.code.upper()
    by_name = {e.name.lower(): e for e in known.values() if e.kind == "error"}
    found = known.get(code) or known.get(args.code) or by_name.get(args.code.lower())
    if found is None:
        near = difflib.get_close_matches(code, known, n=3)
        raise NotFound(
            f"there is no code {args.code!r}",
            next_step=f"near: {', '.join(near)}" if near else "`gapless explain` lists all codes",
        )
    if args.json:
        output.say_json(asdict(found))
        return 0
    output.say(f"{output.styled(found.code, 'bold')}  {found.name} ({found.kind})")
    rows = [("meaning", found.meaning), ("next", found.next), ("exit code", str(found.exit_code))]
    for line in output.definition_lines(rows, indent=2):
        output.say(line)
    return 0


def _list(known: dict[str, Explanation], *, as_json: bool) -> int:
    if as_json:
        output.say_json([asdict(known[code]) for code in sorted(known)])
        return 0
    for line in output.definition_lines((code, known[code].meaning) for code in sorted(known)):
        output.say(line)
    return 0
