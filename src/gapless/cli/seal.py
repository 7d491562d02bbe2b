"""Seal a pending sequence or layer: what was kept after an error becomes immutable, its outcome stays."""

from __future__ import annotations

import argparse

from gapless.cli import options, output
from gapless.cli.show import ending_lines


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_reference(parser)
    options.add_store(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Seal and print the ledger."""
    with options.open_store(args) as store:
        return _seal(args, store)


def _seal(args: argparse.Namespace, store: options.OpenedStore) -> int:
    row = store.row(args.ref)
    if row.state == "sealed" and not row.unsealed_layers:
        output.say(f"{row.name} is sealed already ({row.outcome})")
        return 0
    if args.dry_run:
        output.say(f"would seal {row.name} ({row.status})")
        return 0
    with store.client() as client:
        client.seal(row.name)
    for line in ending_lines(store.describe(row)):
        output.say(line)
    return 0
