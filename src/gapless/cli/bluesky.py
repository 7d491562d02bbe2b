"""Deliver documents of Bluesky runs that wait in files: the spool of a store, or backups of the public writers.

deliver SPOOL records each run exactly once: one that the store does not have becomes a sequence, of one that it
has the missing documents become a layer. SPOOL is a store, a folder of .jsonl files or one such file. A file of
which every document was delivered moves to the folder `delivered` beside it; delivering again changes nothing.
With --to URL the runs are then handed on to the Tiled server there, and with them those that a store recorded for
that server and that it never confirmed; a run that the server has whole leaves the store.

Exit codes: 0 everything was delivered, 1 findings, 5 the server could not be reached.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.cli import options, output

if TYPE_CHECKING:
    from collections.abc import Callable

    from gapless.bluesky.delivery_report import Delivery
    from gapless.client.client import Client

_FINDINGS_SHOWN = 20
_PATIENCE_S = 3600.0  # for all runs together, with a server that answers


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("action", choices=("deliver",), help="what to do")
    parser.add_argument("spool", metavar="SPOOL", type=Path, help="a store, a folder of .jsonl files, or one")
    parser.add_argument(
        "--to", metavar="URL", default=None, help="hand the runs on to the Tiled server there"
    )
    options.add_store(parser)
    options.add_json(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Deliver and print what became of each run."""
    from gapless.bluesky.delivery import deliver

    with ExitStack() as stack:
        send = _sender(args.to, stack) if args.to is not None and not args.dry_run else None
        client = stack.enter_context(options.connect(_store_of(args)))
        report = deliver(args.spool, client, send=send, dry_run=args.dry_run)
        if args.to is not None:
            _hand_on(client, args.to, report)
    print_delivery(report, as_json=args.json)
    return report.exit_code


def _hand_on(client: Client, url: str, report: Delivery) -> None:
    """Bring the runs that the store recorded for the server to it; of a dry run, tell which wait."""
    from gapless.bluesky.delivery_report import DeliveredRun
    from gapless.bluesky.tiled_sink import open_sink
    from gapless.bluesky.tiled_sink.waiting import waiting_runs

    waiting = waiting_runs(client, url)
    if not waiting:
        return
    if report.dry_run:
        report.runs += [DeliveredRun(uid, name, "sent") for uid, name in waiting.items()]
        return
    sink = open_sink(url, client)
    sink.close(_PATIENCE_S)
    for uid, name in waiting.items():
        done = sink.delivered.get(uid)
        if done is not None:
            stop = "delivered" if done.has_stop else "missing"
            report.runs.append(DeliveredRun(uid, name, "sent", stop=stop))
    for error in sink.undelivered:
        report.find("B106", None, str(error))


def _store_of(args: argparse.Namespace) -> Path:
    """Return the store that is named, or the one whose spool is delivered."""
    spool: Path = args.spool
    for folder in (spool, spool.parent, spool.parent.parent):
        if args.store is None and (folder / "gapless.json").exists():
            return folder
    return options.store_root(args)


def _sender(url: str, stack: ExitStack) -> Callable[[Any], object]:
    from gapless.bluesky.tiled_sink.deliver_run import deliver_run
    from gapless.bluesky.tiled_sink.server import Server, check_installed
    from gapless.bluesky.tiled_sink.server_runs import check_reachable

    check_installed()
    check_reachable(url)
    server = Server.of_url(url)
    stack.callback(server.close)
    return lambda handler: deliver_run(handler, server)


def print_delivery(report: Delivery, *, as_json: bool) -> None:
    """Print what became of each run, and the findings with their lines."""
    if as_json:
        output.say_json(report.to_json())
        return
    would = "would be " if report.dry_run else ""
    for run in report.runs:
        layer = f" as layer {run.layer}" if run.layer else ""
        repeated = f", {run.repeated:,} were there" if run.repeated else ""
        new = "" if run.result == "sent" else f"; {output.counted(run.documents, 'document')} new{repeated}"
        output.say(f"{run.sequence}: {would}{run.result}{layer}{new}; stop: {run.stop}")
    for finding in report.findings[:_FINDINGS_SHOWN]:
        place = (
            f"{finding.file}:{finding.line}: "
            if finding.line
            else f"{finding.file}: "
            if finding.file
            else ""
        )
        output.say(f"{finding.code} {place}{finding.message}")
    if len(report.findings) > _FINDINGS_SHOWN:
        output.say(f"… {len(report.findings) - _FINDINGS_SHOWN:,} more findings (--json lists them)")
    for path in report.moved:
        output.say(f"kept: {path}")
    if not report.runs and not report.findings:
        output.say("nothing to deliver")
