"""Recording a rig from the command line: one sequence, or one for each run of a batch."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.cli import description, options, output
from gapless.cli.host_recorder import free_name
from gapless.cli.run_screen import LiveScreen
from gapless.cli.show import ending_lines
from gapless.cli.stopping import StopSignals
from gapless.errors import GaplessError, UsageError
from gapless.model.names import check_sequence_name

if TYPE_CHECKING:
    from gapless.acquire.ending import RunResult
    from gapless.acquire.pool import WorkerPool
    from gapless.acquire.procedure.method import MethodRun
    from gapless.acquire.rig import Rig
    from gapless.client.client import Client

_LOOK_S = 0.1
EXIT_STOPPED = 130


def run_rig(args: argparse.Namespace) -> int:
    """Record the rig; returns the exit code of the run, or of the worst run of a batch."""
    from gapless.acquire.rig import load_rig

    if args.rate is not None:
        raise UsageError("--rate belongs to host; a rig sets the rate of each device", found=args.source)
    rig = load_rig(Path(args.source))
    for warning in rig.warnings:
        output.note(str(warning))
    runs = _runs(args, rig)
    root = options.store_root(args)
    if args.dry_run:
        return _dry_run(args, rig, runs, root)
    return _record(args, rig, runs, root)


def _runs(args: argparse.Namespace, rig: Rig) -> list[MethodRun | None]:
    if args.method is None:
        return [None]
    from gapless.acquire.procedure.method import iter_batch, load_method

    return list(iter_batch(load_method(Path(args.method), rig)))


def _record(args: argparse.Namespace, rig: Rig, runs: list[MethodRun | None], root: Path) -> int:
    from gapless.acquire.pool import WorkerPool
    from gapless.acquire.rig_store import open_store

    settings = rig.run
    worst = 0
    with (
        StopSignals() as stop,
        open_store(root, settings) as client,
        closing(WorkerPool(rig.make_adapters())) as pool,
    ):
        pool.open()
        for number, part in enumerate(runs):
            if stop.stopped:
                return _worse(worst, EXIT_STOPPED)
            name = _name(args, rig, root, number if len(runs) > 1 else None)
            result = _one(args, rig, part, client, pool, name, stop)
            worst = _worse(worst, result.exit_code)
            _tell(args, root, result)
            if stop.stopped or (result.exit_code and part is not None and part.fail_fast):
                break
            if part is not None and part.cooldown_s and number + 1 < len(runs):
                stop.wait(part.cooldown_s)  # the next turn looks whether it was cut short
    return worst


def _one(
    args: argparse.Namespace,
    rig: Rig,
    part: MethodRun | None,
    client: Client,
    pool: WorkerPool,
    name: str,
    stop: StopSignals,
) -> RunResult:
    from gapless.acquire.run import Run

    metadata = dict(_pair(text) for text in args.meta)
    if part is not None:
        metadata |= part.metadata
    run = Run(
        rig,
        client,
        name=name,
        pool=pool,
        method=None if part is None else part.method,
        length_s=args.length,
        group=args.group,
        metadata=metadata,
    )
    if not args.json:
        output.note(f"recording {name} in {client.path}; Ctrl-C stops, makes safe and seals")
    try:
        run.start(stopped=lambda: stop.stopped)
    except GaplessError as error:
        if run.result is None or not run.result.unsafe_devices:
            raise
        output.print_error(
            error, as_json=args.json
        )  # a device that may be unsafe is told before everything else
        return run.result
    with LiveScreen(run, active=not args.json) as screen:
        while (result := run.wait(_LOOK_S)) is None:
            screen.refresh()
            if stop.stopped:
                run.stop("stopped from the terminal", by=options.user_name() or "operator")
    return result


def _tell(args: argparse.Namespace, root: Path, result: RunResult) -> None:
    known = description.describe(options.bundle_path(root, result.sequence))
    if args.json:
        shown = {key: known[key] for key in ("name", "state", "outcome", "ledger", "path")}
        shown |= {
            "cause": result.cause,
            "exit_code": result.exit_code,
            "content_digest": result.content_digest,
        }
        output.say_json({**shown, "unsafe_devices": result.unsafe_devices, "safe_state": result.safe_report})
        return
    if result.unsafe_devices:  # before everything else
        output.note(
            f"error: NOT SAFE: {', '.join(result.unsafe_devices)}. Next: go there and make it safe by hand. [E706]"
        )
    for line in ending_lines(known):
        output.say(line)
    if result.cause:
        output.say(f"  {result.cause}")
    for event in result.unwritten_events:
        output.note(
            f"warning: the event {event['kind']} is not recorded: {event['why']}. It was: {event['message']}"
        )
    if not result.sealed:
        output.note(f"error: not sealed. Next: `gapless recover {result.sequence}`.")


def _name(args: argparse.Namespace, rig: Rig, root: Path, number: int | None) -> str:
    if args.name is None:
        return free_name(root, rig.name)
    return check_sequence_name(args.name if number is None else f"{args.name}-{number + 1:03d}")


def _pair(text: str) -> tuple[str, str]:
    key, found, value = text.partition("=")
    if not found or not key:
        raise UsageError("metadata is given as KEY=VALUE", found=text)
    return key, value


def _worse(first: int, second: int) -> int:
    """Return the exit code that a batch ends with: an unsafe device before a crash before a stop."""
    order = (0, 130, 5, 1, 6, 7)
    return max(first, second, key=lambda code: order.index(code) if code in order else len(order))


def _dry_run(args: argparse.Namespace, rig: Rig, runs: list[MethodRun | None], root: Path) -> int:
    plan: dict[str, Any] = {
        "dry_run": True,
        "name": args.name or f"{rig.name}-DATE-TIME",
        "store": str(root),
        "length_s": args.length if args.length is not None else rig.run.length_s,
        "devices": {name: entry.config.adapter for name, entry in rig.devices.items()},
        "channels": {spec.name: spec.unit for spec in rig.channels},
        "runs": [_timeline(part, rig) for part in runs if part is not None],
    }
    if args.json:
        output.say_json(plan)
        return 0
    output.say(f"would record {plan['name']} in {root}")
    for name, adapter in plan["devices"].items():
        mine = ", ".join(f"{s.name} [{s.unit}]" for s in rig.channels if s.device == name)
        output.say(f"  {name} ({adapter})  {mine}")
    for number, steps in enumerate(plan["runs"]):
        output.say(f"run {number + 1} of {len(plan['runs'])}" if len(plan["runs"]) > 1 else "steps")
        for step in steps:
            start = "      ?" if step["start_s"] is None else f"{step['start_s']:7.1f}"
            output.say(f"  {start} s  {step['text']}")
    return 0


def _timeline(part: MethodRun, rig: Rig) -> list[dict[str, Any]]:
    from gapless.acquire.procedure.timeline import timeline

    return [{"start_s": start_s, "text": text} for start_s, _, text in timeline(part.method, rig)]
