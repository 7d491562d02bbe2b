"""Move a sequence to the trash, where it stays for 24 hours, and leave a tombstone that stays for ever.

Asks first; --yes does not. Where nobody can answer, --yes is required.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from gapless.cli import options, output
from gapless.errors import UsageError

if TYPE_CHECKING:
    from gapless.catalog.catalog import SequenceRow


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_reference(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    options.add_store(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Discard the sequence."""
    with options.open_store(args) as store:
        return _discard(args, store)


def _discard(args: argparse.Namespace, store: options.OpenedStore) -> int:
    row = store.row(args.ref)
    what = f"{row.name} ({row.state}, {_rows(store, row)})"
    if args.dry_run:
        output.say(f"would discard {what}")
        return 0
    if not args.yes and not _confirmed(what):
        output.note("nothing was discarded")
        return 1
    with store.client() as client:
        client.discard(row.name)
    output.say(f"discarded {what}; it stays in {store.trash} for 24 hours")
    return 0


def _rows(store: options.OpenedStore, row: SequenceRow) -> str:
    """Return how many rows would go; those of an open or pending sequence are counted in its journal."""
    if row.state == "sealed":
        return f"{output.count(row.rows)} rows"
    held = store.rows_held(row)
    return "nobody knows how many rows" if held is None else f"{output.count(held)} rows"


def _confirmed(what: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm", next_step="add --yes")
    sys.stderr.write(f"discard {what}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
