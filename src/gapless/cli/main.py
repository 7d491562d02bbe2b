"""`gapless VERB …`: run one verb and end with an exit code that says what happened.

Only the module of the verb that was asked for is imported, so that `gapless --version`, `ls` and `show`
start without numpy, pyarrow, msgspec, pydantic and rich. The parser is argparse for the same reason:
typer loads pydantic as soon as a verb has one option.

Exit codes: 0 ok, 1 problems found or crashed, 2 usage, 3 not found, 4 integrity, 5 unreachable,
130 stopped by the operator.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from gapless._version import __version__
from gapless.cli import output
from gapless.errors import GaplessError

EXIT_UNREACHABLE: Final = 5
EXIT_STOPPED: Final = 130

#: Every verb in the order of the help page: verb -> (module of gapless.cli, one line of help).
VERBS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("demo", "record this machine for 20 s, seal, verify, query and plot; --kill proves recovery"),
    "record": ("record", "record a source into a new sequence until stopped"),
    "observe": ("observe", "record episodes of a simulation: one sequence for each"),
    "hub": ("hub", "approve sessions and keep the reports of their episodes"),
    "ls": ("ls", "list sequences"),
    "show": ("show", "show one sequence: state, topics, ledger, metadata; --plot draws a field"),
    "tree": ("tree", "show groups, sequences, topics and fields with their units"),
    "query": ("query", "find sequences and time spans by metadata and by content"),
    "watch": ("watch", "follow an open sequence: rates, last values, lag"),
    "label": ("label", "put a named label on a time span of a sequence"),
    "recalibrate": ("recalibrate", "put new calibration curves over a sequence, as a layer"),
    "devices": ("devices", "list adapters and ports, or try the devices of a rig"),
    "run": ("run_", "ask and steer a run that is going on: status, note, command, stop"),
    "check": ("check", "report the quality of the data: gaps, jitter, drops, dead columns"),
    "verify": ("verify", "compare the bytes on disk with the manifest; of LeRobot datasets too"),
    "recover": ("recover", "seal what a dead recorder left behind"),
    "deliver": ("deliver", "deliver what was spooled while a server was away"),
    "seal": ("seal", "seal a pending sequence"),
    "discard": ("discard", "move a sequence to the trash and leave a tombstone"),
    "reindex": ("reindex", "build the catalog again from the bundles"),
    "import": ("import_", "make sequences from CSV or Parquet files, a LeRobot dataset or Bluesky runs"),
    "export": ("export", "write a sequence as CSV or Parquet files, or groups as a LeRobot dataset"),
    "features": ("features", "compute cached features of sequences, and explain what is stale"),
    "bluesky": ("bluesky", "deliver Bluesky documents that wait in files, and runs to a Tiled server"),
    "train": ("train", "train a model on features"),
    "serve": ("serve", "serve a store over the network, to this package, the Mosaico SDK or Tiled's clients"),
    "keys": ("keys", "make, list and revoke the API keys of a served store; tell who changed what"),
    "gc": ("gc", "empty the trash of what is older than 24 hours"),
    "explain": ("explain", "explain an error or finding code"),
    "doctor": ("doctor", "examine this machine and the store"),
    "version": ("version", "print the version and those of the libraries in use"),
}


# What these do goes on, and their exit code tells how it ended, when nobody reads what they print any more.
_LASTING: Final = frozenset(
    {"demo", "record", "observe", "hub", "recalibrate", "devices", "run", "recover", "deliver", "seal", "discard",
     "reindex", "import", "features", "bluesky", "train", "serve", "gc"}
)  # fmt: skip


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keep the paragraphs of a verb's description and the width of the help independent of the terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=100)


class _Parser(argparse.ArgumentParser):
    """An argument parser that refuses what is no text and names the next step with each usage error."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse; bytes that are no UTF-8 are refused but in names of files, which may have them."""
        from gapless.cli.options import is_text  # not at the top: the front page starts without it

        known, rest = super().parse_known_args(args, namespace)
        for value in vars(known).values():
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and not is_text(text):
                    self.error(f"{text!r} is no UTF-8")
        return known, rest

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}. Next: `{self.prog} --help`. [E100]\n")


def help_text() -> str:
    """Return the help page of the whole command, made from :data:`VERBS`."""
    lines = [
        "usage: gapless [--version] [--help] VERB …",
        "",
        "Record time-ordered data and never lose any of it silently.",
        "",
        "verbs:",
        *(f"  {verb:<11} {help_line}" for verb, (_, help_line) in VERBS.items()),
        "",
        "`gapless VERB --help` explains one verb. The store is --store URL, else $GAPLESS_STORE,",
        "else ./gapless-data. A sequence is named by its name, a unique prefix, @last or @last-1.",
    ]
    return "\n".join(lines)


def parser_of(verb: str) -> argparse.ArgumentParser:
    """Return the parser of one verb; imports the verb's module."""
    module = importlib.import_module(f"gapless.cli.{VERBS[verb][0]}")
    parser = _Parser(
        prog=f"gapless {verb}",
        description=(module.__doc__ or "").strip(),
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    module.configure(parser)
    parser.set_defaults(run=module.run)
    return parser


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; a typed error is printed, not raised."""
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except GaplessError as error:
        output.print_error(error, as_json="--json" in arguments)
        return error.exit_code
    except KeyboardInterrupt:
        output.note("stopped by the operator")
        return EXIT_STOPPED
    except BrokenPipeError:
        # The reader of a pipe (head, less) has seen enough; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        output.note(f"error: {error}. Next: `gapless doctor`.")
        return EXIT_UNREACHABLE


def _dispatch(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] == "help" and len(arguments) > 1:  # `gapless help ls`
        arguments = [arguments[1], "--help"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(help_text())
        return 0 if arguments else 2
    if arguments[0] in ("--version", "-V"):
        print(f"gapless {__version__}")
        return 0
    verb = arguments[0]
    if verb not in VERBS:
        return _unknown_verb(verb)
    try:
        args = parser_of(verb).parse_args(arguments[1:])
    except SystemExit:  # after --help: a reader that is gone is met here, not while Python exits
        sys.stdout.flush()
        raise
    if verb in _LASTING:
        output.outlast_readers()
    return int(args.run(args))


def _unknown_verb(verb: str) -> int:
    import difflib

    kind = "option" if verb.startswith("-") else "verb"
    near = [] if kind == "option" else difflib.get_close_matches(verb, VERBS, n=1)
    hint = f"did you mean `gapless {near[0]}`?" if near else "`gapless --help` lists the verbs."
    output.note(f"error: there is no {kind} {verb!r}; {hint} [E100]")
    return 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line of this process; the console script ends with what this returns."""
    output.prepare_streams()
    return run(list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
