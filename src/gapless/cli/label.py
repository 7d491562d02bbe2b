"""Put a named label on a time span of a sequence.

Labels are kept beside the sealed data, never in it: its digest stays the same. START and END are seconds
since the start of the sequence (12.5 or 12.5s), nanoseconds since the epoch (1700000000000000000), or an
ISO 8601 time with its zone. Fewer than 13 digits are read as seconds.
"""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gapless.cli import description, options, output
from gapless.errors import UsageError

_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_reference(parser)
    parser.add_argument("start", metavar="START", help="first instant of the span")
    parser.add_argument("end", metavar="END", help="last instant of the span")
    parser.add_argument("name", metavar="NAME", help="the label")
    parser.add_argument("--kind", metavar="KIND", default="label", help="kind of annotation (default: label)")
    parser.add_argument("--author", metavar="WHO", default=None, help="who says so (default: this user)")
    parser.add_argument("--confidence", metavar="P", type=float, default=None, help="between 0 and 1")
    options.add_store(parser)
    options.add_dry_run(parser)


def instant_ns(text: str, start_ns: int | None) -> int:
    """Return the instant a person means, in exact integer arithmetic; raises UsageError."""
    try:
        found = _instant_ns(text, start_ns)
    except (ArithmeticError, ValueError):  # no number, not finite, or no day of the calendar
        found = None
    if found is None or not -(2**63) <= found < 2**63:
        raise UsageError(
            "this is no instant",
            found=text,
            next_step="write seconds since the start, epoch nanoseconds, or ISO 8601 with zone",
        )
    return found


def _instant_ns(text: str, start_ns: int | None) -> int:
    iso = _ISO.fullmatch(text)
    if iso is not None:
        zone = "+00:00" if iso[3] == "Z" else iso[3]
        moment = datetime.fromisoformat(iso[1] + zone)
        return (moment - _EPOCH) // timedelta(seconds=1) * _NS + int((iso[2] or "").ljust(9, "0"))
    if re.fullmatch(r"-?\d{13,}", text):
        return int(text)
    value = Decimal(text.removesuffix("s"))
    if start_ns is None:
        raise UsageError("the sequence has no rows, so seconds since its start mean nothing", found=text)
    if not abs(value) < 2**63:  # also true of NaN: int() of a huge exponent would fill the memory
        raise ValueError(text)
    return start_ns + int(value * _NS)


def run(args: argparse.Namespace) -> int:
    """Append the annotation."""
    root, row = options.find_sequence(args)
    known = description.describe(row.path)
    start_ns, end_ns = (instant_ns(text, known["start_ns"]) for text in (args.start, args.end))
    if end_ns < start_ns:
        raise UsageError("the span ends before it starts", found=f"{args.start} … {args.end}")
    if args.confidence is not None and not 0 <= args.confidence <= 1:
        raise UsageError("confidence lies between 0 and 1", found=args.confidence)
    span = f"{output.rfc3339(start_ns) or start_ns} for {output.duration(end_ns - start_ns)}"
    if known["start_ns"] is not None and (end_ns < known["start_ns"] or start_ns > known["end_ns"]):
        output.note(
            f"note: the span is outside the rows of {row.name}; `gapless show {row.name}` has their times"
        )
    if args.dry_run:
        output.say(f"would label {row.name} from {span}: {args.name}")
        return 0
    with options.connect(root) as client:
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
