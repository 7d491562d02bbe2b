"""Write a sequence's channels under new calibration curves, as a layer; the base never changes.

NEW is a TOML or JSON file with a table [channels.NAME] for each channel: calibration = {…} and, if they
change too, uncertainty = {…} and valid_range = […]. Only channels that kept their raw values, or were
recorded without a curve, can be recalibrated. The layer names the base's digest and the old and new curves.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gapless.cli import options, output

if TYPE_CHECKING:
    from gapless.acquire.recalibrate import Recalibration


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_reference(parser)
    parser.add_argument("new", metavar="NEW", type=Path, help="the new calibration, TOML or JSON")
    parser.add_argument("--name", metavar="LAYER", default=None, help="name of the layer")
    parser.add_argument("--author", metavar="WHO", default=None, help="who says so (default: this user)")
    options.add_store(parser)
    options.add_json(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Plan, write the layer, report."""
    from gapless.acquire.recalibrate import plan_recalibration, write_recalibration

    root, row = options.find_sequence(args)
    with options.connect(root) as client:
        plan = plan_recalibration(client, row.name, args.new)
        layer = None
        if not args.dry_run:
            author = args.author or options.user_name() or "unknown"
            layer = write_recalibration(client, plan, layer_name=args.name, author=author)
    if args.json:
        output.say_json({"sequence": row.name, "layer": layer, "dry_run": args.dry_run, **plan.to_json()})
    else:
        _print(plan, layer)
    return 0


def _print(plan: Recalibration, layer: str | None) -> None:
    done = "would recalibrate" if layer is None else "recalibrated"
    for topic in plan.topics:
        names = ", ".join(channel.spec.name for channel in topic.channels)
        output.say(
            f"{plan.sequence}: {done} {names}: {topic.rows:,} rows of {topic.source} to {topic.target}"
        )
    if layer is not None:
        output.say(f"{plan.sequence}: wrote layer {layer}")
    if plan.outdated:
        output.note(f"note: derived from old values and not made again: {', '.join(plan.outdated)}")
