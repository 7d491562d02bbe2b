"""Put a named label on a time span of a sequence, or all labels of a file.

Labels are kept beside the sealed data, never in it: its digest stays the same. START and END are seconds
since the start of the sequence (12.5 or 12.5s), nanoseconds since the epoch (1700000000000000000), or an
ISO 8601 time with its zone. Fewer than 13 digits are read as seconds.

--import takes a CSV file with the columns name, start, end (as above) or name, start_frame, end_frame (of
--topic), and optionally sequence, confidence, author; or a .npz file with `labels`, one integer for each frame
of --topic, and `label_names`. REF is the sequence of files that name none. All of a file is imported or nothing,
and a label that is there already is not added twice. What lies outside the rows of its sequence is added and told.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gapless.catalog.label_span import outside
from gapless.cli import options, output
from gapless.errors import UsageError
from gapless.features.instant import instant_ns

if TYPE_CHECKING:
    from gapless.client.client import Client
    from gapless.features.label_import import LabelImport

__all__ = ["configure", "instant_ns", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_reference(parser, optional=True)
    parser.add_argument("start", metavar="START", nargs="?", default=None, help="first instant of the span")
    parser.add_argument("end", metavar="END", nargs="?", default=None, help="last instant of the span")
    parser.add_argument("name", metavar="NAME", nargs="?", default=None, help="the label")
    parser.add_argument("--import", metavar="FILE", dest="file", type=Path, default=None,
                        help="take the labels of a CSV or .npz file")  # fmt: skip
    parser.add_argument("--topic", metavar="TOPIC", default=None, help="whose frames a file counts")
    parser.add_argument("--kind", metavar="KIND", default="label", help="kind of annotation (default: label)")
    parser.add_argument("--author", metavar="WHO", default=None, help="who says so (default: this user)")
    parser.add_argument(
        "--confidence", metavar="P", type=options.number, default=None, help="between 0 and 1"
    )
    options.add_store(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Append the annotation, or those of a file."""
    if args.file is not None:
        return _import(args)
    for given in ("ref", "start", "end", "name"):
        if getattr(args, given) is None:
            raise UsageError(
                f"{given.upper()} is missing",
                expected="gapless label REF START END NAME, or gapless label [REF] --import FILE",
            )
    if args.topic is not None:
        raise UsageError("--topic is for --import only", next_step="leave it out")
    return _label(args)


def _label(args: argparse.Namespace) -> int:
    with options.open_store(args) as store:
        return _label_span(args, store)


def _label_span(args: argparse.Namespace, store: options.OpenedStore) -> int:
    row = store.row(args.ref)
    known = store.describe(row)
    start_ns, end_ns = (instant_ns(text, known["start_ns"]) for text in (args.start, args.end))
    if end_ns < start_ns:
        raise UsageError("the span ends before it starts", found=f"{args.start} … {args.end}")
    if args.confidence is not None and not 0 <= args.confidence <= 1:
        raise UsageError("confidence lies between 0 and 1", found=args.confidence)
    span = f"{output.rfc3339(start_ns) or start_ns} for {output.duration(end_ns - start_ns)}"
    left = outside(start_ns, end_ns, known["start_ns"], known["end_ns"], output.duration)
    if left:
        output.note(f"note: the span {left}; `gapless show {row.name}` has the times of its rows")
    if args.dry_run:
        output.say(f"would label {row.name} from {span}: {args.name}")
        return 0
    with store.client() as client:
        client.annotate(
            row.name,
            start_ns,
            end_ns,
            args.name,
            kind=args.kind,
            author=args.author or options.user_name(),
            confidence=args.confidence,
        )
    output.say(f"{row.name}: labelled {args.name} from {span}")
    return 0


def _import(args: argparse.Namespace) -> int:
    from gapless.features.label_import import plan_label_import

    for given in ("start", "end", "name", "confidence"):
        if getattr(args, given) is not None:
            raise UsageError(
                f"{given.upper()} is not for --import", found=getattr(args, given),
                expected="gapless label [REF] --import FILE --kind KIND",
            )  # fmt: skip
    root = options.existing_store(args)
    sequence = options.find_sequence(args)[1].name if args.ref is not None else None
    with options.connect(root) as client:
        plan = plan_label_import(client, args.file, args.kind, sequence=sequence, topic=args.topic)
        leaving = _labels_outside(client, plan)
        if not args.dry_run:
            plan.apply(client, args.author or options.user_name())
    verb = "would add" if args.dry_run else "added"
    known = f", {plan.known} known already" if plan.known else ""
    output.say(
        f"{verb} {len(plan.labels)} labels of kind {plan.kind} to {len(plan.sequences)} sequences{known}"
    )
    if leaving:
        more = f" (and {len(leaving) - 1} more like it)" if len(leaving) > 1 else ""
        output.note(f"note: {leaving[0]}{more}; `gapless show NAME` has the times of the rows")
    return 0


def _labels_outside(client: Client, plan: LabelImport) -> list[str]:
    """Return a line for each label that leaves the rows of its sequence."""
    handlers = {name: client.sequence_handler(name) for name in plan.sequences}
    bounds = {name: (handler.start_ns, handler.end_ns) for name, handler in handlers.items()}
    found = [
        (label, outside(label.start_ns, label.end_ns, *bounds[label.sequence], output.duration))
        for label in plan.labels
    ]
    return [f"{label.name} of {label.sequence} {how}" for label, how in found if how]
