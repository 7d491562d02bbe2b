"""`gapless import bluesky SOURCE`: runs from files of documents, or from a Tiled server."""

from __future__ import annotations

import argparse
from pathlib import Path

from gapless.cli.bluesky import print_delivery, target_store
from gapless.errors import UsageError

_OTHERS = (
    "topic", "group", "metadata", "format", "pictures", "time", "tz", "units", "start", "delimiter", "decimal",
    "encoding", "skip_lines", "date_order", "type", "header",
)  # fmt: skip # they describe a table
_SERVER = ("tiled://", "tiled+http://", "tiled+https://", "http://", "https://")


def run(args: argparse.Namespace, source: str) -> int:
    """Import every run of the source that the store does not have."""
    from gapless.bluesky.delivery import deliver, deliver_documents

    unused = [name for name in _OTHERS if getattr(args, name) not in (None, [])]
    if unused:
        raise UsageError(
            "runs of Bluesky tell this themselves",
            found=", ".join(f"--{name.replace('_', '-')}" for name in unused),
            expected="--name PATTERN, --store, --dry-run, --json",
        )
    pattern = args.name or "{uid}"
    with target_store(args) as client:
        if source.startswith(_SERVER):
            from gapless.bluesky.tiled_sink.server_runs import server_documents

            if args.dry_run:
                raise UsageError(
                    "a server's runs are not listed without being read", next_step="leave out --dry-run"
                )
            report = deliver_documents(server_documents(source), client, name=pattern)
        else:
            report = deliver(Path(source), client, name=pattern, dry_run=args.dry_run, move=False)
    print_delivery(report, as_json=args.json)
    return report.exit_code
