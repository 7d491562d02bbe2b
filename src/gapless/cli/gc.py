"""Empty the trash of what was discarded more than 24 hours ago; tombstones stay for ever.

What has a damaged tombstone is named and stays; all else is done. Ends with exit code 4 then.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gapless.cli import options, output

EXIT_INTEGRITY = 4


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_store(parser)
    options.add_dry_run(parser)


def _bytes(entry: Path) -> int:
    return sum(path.stat().st_size for path in entry.rglob("*") if path.is_file())


def run(args: argparse.Namespace) -> int:
    """Delete what is expired and print how much space that gave; tell of tombstones that cannot be read."""
    from gapless.store.folder import FolderStore

    store = FolderStore(options.existing_store(args), create=False)
    entries = [*store.expired(), *store.abandoned()]
    freed = 0
    for entry in entries:
        size = _bytes(entry)
        freed += size
        output.say(f"{'would delete' if args.dry_run else 'deleted'} {entry.name} ({output.size(size)})")
        if not args.dry_run:
            store.purge(entry)
    damaged = store.damaged_tombstones()
    verb = "would free" if args.dry_run else "freed"
    nothing = "nothing in the trash is older than 24 hours"
    if any((store.trash / kept_as).exists() for kept_as in damaged):
        nothing += ", but for what has a damaged tombstone and stays"
    output.say(f"{verb} {output.size(freed)}" if entries else nothing)
    for error in damaged.values():
        output.note(f"error: {error}")
    return EXIT_INTEGRITY if damaged else 0
