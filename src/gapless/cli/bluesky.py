"""Deliver documents of Bluesky runs: those that wait in files to a store, and runs of the store to a Tiled server.

deliver SPOOL records each run exactly once: one that the store does not have becomes a sequence, of one that it
has the missing documents become a layer. SPOOL is a store, a folder of .jsonl files or one such file. A file of
which every document was delivered moves to the folder `delivered` beside it; delivering again changes nothing.
With --to URL the runs are then handed on to the Tiled server there, and with them those that a store recorded for
that server and that it never confirmed; a run that the server has whole leaves the store.

With --to grpc://HOST:6726, a gapless server, the runs go into that server's store: first those that were spooled
while it was away, which `gapless deliver` delivers as well, then the documents in files. The key is in GAPLESS_API_KEY.

deliver RUN... --to URL sends sealed runs of the store, however they were recorded, and leaves them in it; --all
sends every one. RUN is a name, a beginning of one, @last, or at least 6 characters of the run's uid. What the server
has is found by reading it back, so sending again changes nothing.

Exit codes: 0 everything was delivered, 1 findings, 5 the server could not be reached.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.cli import options, output
from gapless.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gapless.bluesky.delivery_report import Delivery
    from gapless.client.client import Client

_FINDINGS_SHOWN = 20
_PATIENCE_S = 3600.0  # for all runs together, with a server that answers


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("action", choices=("deliver",), help="what to do")
    what = parser.add_argument(
        "what",
        metavar="WHAT",
        nargs="+",  # with "*" it would take nothing where an option comes first
        help="a store, a folder of .jsonl files, or one; with --to also runs, by name or uid",
    )
    what.required = False  # --all names them too
    parser.add_argument("--to", metavar="URL", default=None, help="the Tiled or gapless server")
    parser.add_argument("--all", action="store_true", help="with --to: every sealed run of the store")
    options.add_store(parser)
    options.add_json(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Deliver and print what became of each run."""
    words: list[str] = args.what or []
    paths = [Path(word) for word in words if Path(word).exists()]
    names = [word for word in words if not Path(word).exists()]
    if args.all or (names and args.to is not None):
        report = _send(args, paths, names)
    elif len(words) == 1 and args.to is not None and options.is_server(args.to):
        report = _deliver_to_server(args, Path(words[0]))
    elif len(words) == 1:
        report = _deliver(args, Path(words[0]))
    else:
        raise UsageError(
            "what to deliver is one store, folder or file, or runs and a server",
            found=", ".join(words) or "nothing",
            next_step="gapless bluesky deliver SPOOL, or gapless bluesky deliver RUN --to URL",
        )
    print_delivery(report, as_json=args.json)
    return report.exit_code


def _deliver(args: argparse.Namespace, spool: Path) -> Delivery:
    """Deliver a spool to its store, and hand on to the server if there is one."""
    from gapless.bluesky.backup_files import backup_files
    from gapless.bluesky.delivery import deliver

    backup_files(spool)  # NotFound, before a store is made for nothing
    if args.to is not None and args.store is not None:
        options.store_root(args)  # refuses a server: what goes on to Tiled is recorded in a folder first
    with ExitStack() as stack:
        send = _sender(args.to, stack) if args.to is not None and not args.dry_run else None
        client = stack.enter_context(_store_of(args, spool))
        report = deliver(spool, client, send=send, dry_run=args.dry_run)
        if args.to is not None:
            _hand_on(client, args.to, report)
            _note_others(client, report)
    return report


def _send(args: argparse.Namespace, paths: list[Path], names: list[str]) -> Delivery:
    """Send runs of the store to the server: those that are named, or all."""
    from gapless.bluesky.delivery_report import Delivery
    from gapless.bluesky.run_reference import referred_run
    from gapless.bluesky.tiled_sink.run_sender import sealed_runs, send_runs
    from gapless.bluesky.tiled_sink.server import check_installed

    root = _store_to_send_from(args, paths, names)
    check_installed()
    report = Delivery(dry_run=args.dry_run)
    with options.connect(root) as client:
        sequences = sealed_runs(client) if args.all else [referred_run(client, name) for name in names]
        send_runs(client, args.to, dict.fromkeys(sequences), report)
    return report


def _store_to_send_from(args: argparse.Namespace, paths: list[Path], names: list[str]) -> Path:
    if args.to is None:
        raise UsageError("where shall the runs go", field="--to", next_step="add --to URL of a Tiled server")
    if options.is_server(args.to):
        raise UsageError(
            "sealed runs of a store are not copied to a gapless server",
            found=args.to,
            next_step="record with Writer(URL), or serve the store itself: gapless serve FOLDER",
        )
    if args.all and names:
        raise UsageError("all runs, or some", found=f"--all {' '.join(names)}")
    stores = [*paths, *([Path(args.store)] if args.store is not None else [])]
    if len(stores) > 1:
        raise UsageError("runs are sent from one store", found=", ".join(map(str, stores)))
    if paths:
        args.store = str(paths[0])
    return options.existing_store(args)


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


def _note_others(client: Client, report: Delivery) -> None:
    """Say how the runs of the store that were recorded for no server get to one."""
    from gapless.bluesky.tiled_sink.run_sender import sealed_runs

    others = len(set(sealed_runs(client)) - {run.sequence for run in report.runs})
    if others:
        output.note(f"note: {output.counted(others, 'more run')} in the store; --all sends those too")


def _deliver_to_server(args: argparse.Namespace, spool: Path) -> Delivery:
    """Deliver what was spooled for a gapless server, then the documents in files, into its store."""
    from gapless.bluesky.backup_files import backup_files
    from gapless.bluesky.delivery import deliver
    from gapless.bluesky.delivery_report import Delivery
    from gapless.bluesky.spooled_runs import deliver_spooled
    from gapless.client.client import connect
    from gapless.client.remote.remote_client import RemoteClient

    if args.store is not None:
        raise UsageError("a gapless server has a store of its own", found=f"--store {args.store}",
                         next_step="leave out --store or --to")  # fmt: skip
    backup_files(spool)  # NotFound, before the server is asked
    with connect(args.to) as client:
        assert isinstance(client, RemoteClient)
        spooled = Delivery(dry_run=args.dry_run)
        awaited = deliver_spooled(spool, client, spooled)
        report = deliver(spool, client, dry_run=args.dry_run, awaited=awaited)
    report.runs[:0] = spooled.runs
    report.findings[:0] = spooled.findings
    return report


def _store_of(args: argparse.Namespace, spool: Path) -> Client:
    """Return a client of the store that is named, or of the one whose spool is delivered."""
    for folder in (spool, spool.parent, spool.parent.parent):
        if args.store is None and (folder / "gapless.json").exists():
            return options.connect(folder)
    return target_store(args) if args.to is None else options.connect(options.store_root(args))


def target_store(args: argparse.Namespace) -> Client:
    """Return a client of the store that the command line names: a folder, or a server's."""
    from gapless.client.client import connect

    url = options.store_url(args)
    return connect(url) if options.is_server(url) else options.connect(options.store_root(args))


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
        sent = run.result in ("sent", "there", "discarded")
        new = "" if sent else f"; {output.counted(run.documents, 'document')} new{repeated}"
        output.say(f"{run.sequence}: {would}{run.result}{layer}{new}; stop: {run.stop}")
        for text in run.only_here:
            output.say(f"  only in the store: {text}")
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
