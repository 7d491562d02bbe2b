"""Seal what a dead recorder left behind: every whole row comes back, the outcome is `interrupted`.

Without REF, recovers every sequence whose recorder is gone, layers included. A sequence that a live process
writes is never touched. One that cannot be recovered does not stop the others; the exit code is the worst.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gapless.cli import options, output
from gapless.cli.main import EXIT_UNREACHABLE
from gapless.cli.show import ending_lines
from gapless.cli.verify import chosen
from gapless.errors import GaplessError, SequenceOwned

if TYPE_CHECKING:
    from gapless.catalog.catalog import SequenceRow


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_reference(parser, optional=True)
    parser.add_argument("--all", action="store_true", help="every sequence without a recorder (the default)")
    options.add_store(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Recover and print what came back."""
    with options.open_store(args) as store:
        return _run(args, store)


def _run(args: argparse.Namespace, store: options.OpenedStore) -> int:
    rows = chosen(args, store)
    if args.ref is None:
        rows = [row for row in rows if _ownerless(row)]
        if not rows:
            output.say("nothing to recover: no sequence is open without its recorder")
            return 0
    elif rows[0].state == "sealed" and not rows[0].unsealed_layers:
        output.say(f"{rows[0].name} is sealed already ({rows[0].outcome})")
        return 0
    elif rows[0].state == "open" and rows[0].owner_alive:
        raise SequenceOwned("a live process is recording it", sequence=rows[0].name)
    if args.dry_run:
        for row in rows:
            output.say(f"would recover {row.name} ({row.status})")
        return 0
    return max([_recover(store, row) for row in rows])


def _ownerless(row: SequenceRow) -> bool:
    if row.state == "open" and not row.owner_alive:
        return True
    return any(state == "open, owner gone" for _, state in row.unsealed_layers)


def _recover(store: options.OpenedStore, row: SequenceRow) -> int:
    """Recover one sequence; print what came back, or the error, and return its exit code."""
    try:
        with store.client() as client:
            client.recover(row.name)
        known = store.describe(row)
    except GaplessError as error:
        output.note(f"error: {row.name}: {error}")
        return error.exit_code
    except OSError as error:
        output.note(f"error: {row.name}: {error}. Next: `gapless doctor`.")
        return EXIT_UNREACHABLE
    for line in ending_lines(known):
        output.say(line)
    return 0
