"""Seal what a dead recorder left behind: every whole row comes back, the outcome is `interrupted`.

Without REF, recovers every sequence whose recorder is gone, layers included. A sequence that a live process
writes is never touched, and one whose client on another machine may come back is named and left as it is, an
hour long or, where the client has a spool, a week: with REF it is sealed at once. What the client's spool
delivers later becomes a layer of it, `spooled`; rows that are in no spool are not taken any more. One that
cannot be recovered does not stop the others; the exit code is the worst.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from gapless.catalog.bundle_facts import CLIENT_AWAY, OWNER_GONE
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
        found = [row for row in rows if _ownerless(row)]
        rows = [row for row in found if not _left_for_its_client(store, row)]
        if not found:
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
    return max([_recover(store, row) for row in rows], default=0)


def _ownerless(row: SequenceRow) -> bool:
    if row.state == "open" and not row.owner_alive:
        return True
    return any(state in (OWNER_GONE, CLIENT_AWAY) for _, state in row.unsealed_layers)


def _left_for_its_client(store: options.OpenedStore, row: SequenceRow) -> bool:
    """Tell, also the user, whether a client elsewhere may come back to a sequence or to a layer of it."""
    if row.state != "open":
        until = "" if any(state == CLIENT_AWAY for _, state in row.unsealed_layers) else None
    else:
        awaited_ns = _awaited_until_ns(store, row)
        until = None if awaited_ns is None else f" until {output.local_time(awaited_ns)}"
    if until is None:
        return False
    output.say(
        f"{row.name}: left open, its client is away and may come back{until}; "
        f"`gapless recover {row.name}` seals it without that"
    )
    return True


def _awaited_until_ns(store: options.OpenedStore, row: SequenceRow) -> int | None:
    try:
        return store.awaited_until_ns(row)
    except GaplessError as error:  # nobody can go on with it; the recovery tells the rest
        output.note(f"note: {row.name}: {error}")
        return None


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
