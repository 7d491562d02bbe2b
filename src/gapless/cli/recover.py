"""Seal what a dead recorder left behind: every whole row comes back, the outcome is `interrupted`.

Without REF, recovers every sequence whose recorder is gone. A sequence that a live process writes is never
touched.
"""

from __future__ import annotations

import argparse

from gapless.cli import description, options, output
from gapless.cli.show import ending_lines
from gapless.cli.verify import chosen
from gapless.errors import SequenceOwned


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_reference(parser, optional=True)
    parser.add_argument("--all", action="store_true", help="every sequence without a recorder (the default)")
    options.add_store(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Recover and print what came back."""
    root, rows = chosen(args)
    if args.ref is None:
        rows = [row for row in rows if row.state == "open" and not row.owner_alive]
        if not rows:
            output.say("nothing to recover: no sequence is open without its recorder")
            return 0
    elif rows[0].state == "sealed":
        output.say(f"{rows[0].name} is sealed already ({rows[0].outcome})")
        return 0
    elif rows[0].state == "open" and rows[0].owner_alive:
        raise SequenceOwned("a live process is recording it", sequence=rows[0].name)
    for row in rows:
        if args.dry_run:
            output.say(f"would recover {row.name} ({row.state})")
            continue
        with options.connect(root) as client:
            client.recover(row.name)
        known = description.describe(row.path)
        for line in ending_lines(known):
            output.say(line)
    return 0
