"""Record a source into a new sequence until the time is over or somebody stops it.

The source is a rig file (RIG.toml: devices, channels, safe states), or `host`: this machine's processor,
memory, disk, network and processes. Ctrl-C, SIGTERM or SIGHUP once stops: devices go to their safe state,
what is queued is written, the sequence is sealed as aborted. Twice ends at once and leaves data that
`gapless recover` seals. A rig ends with 0 completed, 1 crashed, 5 a device did not answer, 6 sealed although
the disk fell behind, 7 a device may be unsafe, 130 stopped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from gapless.cli import description, options, output
from gapless.cli.show import ending_lines
from gapless.cli.stopping import StopSignals
from gapless.errors import UsageError
from gapless.model.names import check_sequence_name

EXIT_STOPPED = 130
_STATUS_PERIOD_S = 0.5


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("source", metavar="SOURCE", help="what to record: RIG.toml, or host")
    parser.add_argument(
        "--name", metavar="NAME", default=None, help="name of the sequence (else host-DATE-TIME)"
    )
    parser.add_argument(
        "--for",
        metavar="TIME",
        dest="length",
        type=options.positive_seconds,
        default=None,
        help="stop after 500ms, 30s, 5m, 2h (else on Ctrl-C)",
    )
    parser.add_argument(
        "--rate", metavar="HZ", type=options.positive, default=None, help="host: rows per second (default 10)"
    )
    parser.add_argument(
        "--method", metavar="METHOD.toml", default=None, help="rig: the steps of the run, or a batch of runs"
    )
    parser.add_argument(
        "--meta",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="rig: metadata of the sequence; may be repeated",
    )
    parser.add_argument("--group", metavar="GROUP", default=None, help="group of the sequence")
    options.add_store(parser)
    options.add_json(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Record, then print the name and the ledger."""
    if args.source != "host":
        from gapless.cli.record_rig import run_rig

        return run_rig(args)
    from gapless.cli.host_recorder import free_name

    if args.method is not None or args.meta:
        raise UsageError("--method and --meta belong to a rig", found="host", expected="RIG.toml")
    args.rate = args.rate or 10.0
    root = options.store_root(args)
    name = free_name(root, "host") if args.name is None else check_sequence_name(args.name)
    if args.dry_run:
        return _dry_run(args, root, name)
    stopped = False
    try:
        record_host(root, name, args)
    except KeyboardInterrupt:
        stopped = True
    known = description.describe(options.bundle_path(root, name))
    if args.json:
        output.say_json({key: known[key] for key in ("name", "state", "outcome", "ledger", "path")})
    else:
        for line in ending_lines(known):
            output.say(line)
    return EXIT_STOPPED if stopped else 0


def record_host(root: Path, name: str, args: argparse.Namespace) -> None:
    """Record this machine; raises KeyboardInterrupt after sealing when somebody stopped it."""
    from gapless.cli.host_recorder import HostRecorder, host_metadata
    from gapless.model.outcome import OnErrorPolicy

    status = output.StatusLine()
    metadata: dict[str, Any] = {**host_metadata(), "rate_hz": args.rate}
    with (
        StopSignals() as stop,
        options.connect(root) as client,
        client.sequence_create(
            name, metadata=metadata, group=args.group, on_error=OnErrorPolicy.Report
        ) as seq,
    ):
        if not args.json:
            output.note(f"recording {name} in {root}; Ctrl-C seals it")
        recorder = HostRecorder(seq, root)
        begin_s, shown_s = time.monotonic(), 0.0
        for due_s in paced(begin_s, 1.0 / args.rate, args.length):
            if stop.wait(due_s - time.monotonic()):
                break
            recorder.push()
            if status.active and time.monotonic() - shown_s >= _STATUS_PERIOD_S:
                shown_s = time.monotonic()
                status.show(_status(recorder, shown_s - begin_s))
        status.clear()
        stop.check()


def paced(begin_s: float, period_s: float, length_s: float | None) -> Any:
    """Yield the instants of a steady pace; those that are over already are left out, never caught up."""
    tick = 0
    while length_s is None or tick * period_s < length_s:
        yield begin_s + tick * period_s
        tick = max(tick + 1, int((time.monotonic() - begin_s) / period_s))


def _status(recorder: Any, elapsed_s: float) -> str:
    rows = sum(recorder.rows.values())
    durable = recorder.durable_rows()
    return f"{elapsed_s:6.1f} s  {rows:,} rows, {durable:,} durable  {recorder.headline()}"


def _dry_run(args: argparse.Namespace, root: Path, name: str) -> int:
    from gapless.acquire.devices.host_figures import HostSource

    length = f"for {args.length:g} s" if args.length is not None else "until stopped"
    folder = root.absolute()
    while not folder.exists():
        folder = folder.parent
    topics = HostSource(folder).fields()
    if args.json:
        shown = {
            topic: [{"name": field, "unit": unit} for field, _, unit, _ in fields]
            for topic, fields in topics.items()
        }
        known = {"dry_run": True, "name": name, "store": str(root), "rate_hz": args.rate}
        output.say_json({**known, "length_s": args.length, "topics": shown})
        return 0
    output.say(f"would record {name} in {root} at {args.rate:g} rows/s {length}, topics:")
    for topic, fields in topics.items():
        names = ", ".join(f"{field} [{unit}]" if unit else field for field, _, unit, _ in fields)
        for line in output.definition_lines([(topic, names)], indent=2):
            output.say(line)
    return 0
