"""Build the catalog again from the bundles; the catalog is a cache, so nothing can be lost by it."""

from __future__ import annotations

import argparse
import time

from gapless.cli import options, output


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_store(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Rebuild catalog.db."""
    from gapless.catalog import Catalog

    root = options.existing_store(args)
    if args.dry_run:
        folder = root / "sequences"
        bundles = sum(1 for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else 0
        output.say(f"would read {output.count(bundles)} bundles in {root} and replace catalog.db")
        return 0
    begin = time.perf_counter()
    catalog = Catalog(root)
    catalog.reindex()
    output.say(
        f"{output.count(len(catalog.sequences()))} sequences indexed in {time.perf_counter() - begin:.2f} s"
    )
    return 0
