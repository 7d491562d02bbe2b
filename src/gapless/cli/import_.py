"""Make a sequence from CSV or Parquet: one file, or a folder with one file per topic.

The folder of a LeRobot dataset (v3.0) becomes a session: a sequence for each episode, in the group NAME.
`gapless import bluesky SOURCE` makes sequences of Bluesky runs: SOURCE is a .jsonl file of documents, a folder of
them, or tiled://HOST/… for the runs of a Tiled server; --name is then a pattern such as {date}-{scan_id}-{uid8}.

Finds delimiter, header, time column and units and prints what it assumed; what is ambiguous is refused
and names the option that decides it. Bad rows are reported by line, and the exit code is then 1. With
--dry-run nothing is stored.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from gapless.cli import options, output
from gapless.errors import NotFound, UsageError

_CSV_OPTIONS = ("time", "tz", "delimiter", "decimal", "encoding", "skip_lines", "date_order", "start")
_ANY_TABLE = ("time", "tz", "units", "start")  # what other formats of tables have too
_BAD_SHOWN = 20


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "source", metavar="PATH", nargs="+", help="a file, or a folder of files; or: bluesky SOURCE"
    )
    parser.add_argument("--name", metavar="NAME", default=None, help="name of the sequence (else the file's)")
    parser.add_argument("--topic", metavar="TOPIC", default=None, help="name of the topic of a single file")
    parser.add_argument("--group", metavar="GROUP", default=None, help="group of the sequence")
    parser.add_argument(
        "--metadata", metavar="JSON", default=None, help="metadata of the sequence, a JSON object"
    )
    parser.add_argument(
        "--format", metavar="NAME", default=None, help="csv, parquet or lerobot (else by the suffix)"
    )
    parser.add_argument(
        "--pictures",
        choices=("png", "mp4"),
        default=None,
        help="what videos become whose packets cannot be stored as they are: png (exact, the default) or mp4 (LeRobot)",
    )
    parser.add_argument("--time", metavar="COLUMN", default=None, help="the time column, or DATE+TIME")
    parser.add_argument(
        "--tz", metavar="ZONE", default=None, help="zone of times that name none, such as Europe/Berlin"
    )
    parser.add_argument(
        "--units",
        metavar="COLUMN=UNIT",
        action="append",
        default=[],
        help="unit of a column; for a time s, ms, us, ns",
    )
    parser.add_argument(
        "--start", metavar="TIME", default=None, help="moment from which relative times count"
    )
    parser.add_argument("--delimiter", metavar="CHAR", default=None, help="what separates columns (CSV)")
    parser.add_argument(
        "--decimal", metavar="CHAR", choices=(".", ","), default=None, help="decimal mark (CSV)"
    )
    parser.add_argument("--encoding", metavar="NAME", default=None, help="text encoding (CSV)")
    parser.add_argument(
        "--skip-lines", metavar="N", type=options.whole, default=None, help="lines above the table (CSV)"
    )
    parser.add_argument(
        "--date-order", choices=("dmy", "mdy", "ymd"), default=None, help="order in dates (CSV)"
    )
    parser.add_argument(
        "--type",
        metavar="COLUMN=TYPE",
        action="append",
        default=[],
        help="number, integer, text or bool (CSV)",
    )
    header = parser.add_mutually_exclusive_group()
    header.add_argument(
        "--header", action="store_true", default=None, help="the first line holds names (CSV)"
    )
    header.add_argument(
        "--no-header", action="store_false", dest="header", help="the first line is data (CSV)"
    )
    options.add_store(parser)
    options.add_json(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Plan, print the assumptions, store, report."""
    if len(args.source) == 2 and args.source[0] == "bluesky":
        from gapless.cli import import_bluesky

        return import_bluesky.run(args, args.source[1])
    if len(args.source) > 1:
        raise UsageError("one file or folder is imported at a time", found=" ".join(args.source))
    args.path = Path(args.source[0])
    if not args.path.exists():
        raise NotFound("there is no such file", found=str(args.path), next_step="check the path")
    from gapless.exchange.formats import importer_for

    metadata = _metadata(args.metadata)
    importer = importer_for(args.path, args.format)
    known = reading_options(args)
    _refuse_others(importer.format, known)
    if args.dry_run:
        plan = importer.plan(args.path, args.topic, **known)
        if args.json:
            topics = [{"topic": i.topic, "path": str(i.path), "assumed": list(i.assumed)} for i in plan]
            output.say_json({"dry_run": True, "topics": topics})
            return 0
        for intake in plan:
            output.say(f"would import {intake.path.name} as topic {intake.topic}")
            for line in intake.assumed:
                output.say(f"  {line}")
        return 0
    with options.connect(options.store_root(args)) as client:
        report = importer.run(client, args.path, args.name, args.topic, args.group, metadata, **known)
    if args.json:
        output.say_json(_fields(report))
    else:
        _print(report)
    return int(report.exit_code)


def _metadata(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError("--metadata is no JSON", found=text, expected=str(error)) from error
    if not isinstance(value, dict):
        raise UsageError("--metadata is no JSON object", found=text)
    return value


def reading_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given, as the importers take them."""
    known = {key: getattr(args, key) for key in _CSV_OPTIONS if getattr(args, key) is not None}
    if args.header is not None:
        known["header"] = args.header
    if args.pictures is not None:
        known["pictures"] = args.pictures
    if args.units:
        known["units"] = _pairs(args.units, "--units")
    if args.type:
        known["types"] = _pairs(args.type, "--type")
    return known


def _refuse_others(form: str, known: dict[str, Any]) -> None:
    """Raise UsageError for an option that the format does not have."""
    for key in sorted(known):
        if form == "lerobot":
            fits, whose = key == "pictures", "is not for LeRobot datasets"
        elif key == "pictures":
            fits, whose = False, "is for LeRobot datasets only"
        else:
            fits, whose = form == "csv" or key in _ANY_TABLE, "is for CSV only"
        if not fits:
            option = "--type" if key == "types" else f"--{key.replace('_', '-')}"
            raise UsageError(f"{option} {whose}", next_step="leave it out")


def _pairs(texts: list[str], option: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in ",".join(texts).split(","):
        name, mark, value = text.rpartition("=")
        if not mark or not name:
            raise UsageError(f"{option} takes COLUMN=VALUE", found=text)
        pairs[name] = value
    return pairs


def _fields(report: Any) -> dict[str, Any]:
    episodes = {key: getattr(report, key) for key in ("sequences", "kept") if hasattr(report, key)}
    return episodes | {
        "name": report.sequence,
        "rows": report.rows,
        "bad_rows": report.bad_rows,
        "bad": [row._asdict() for row in report.bad],
        "assumed": report.assumed,
    }


def _print(report: Any) -> None:
    for line in report.assumed:
        output.say(line)
    for row in report.bad[:_BAD_SHOWN]:
        output.say(f"{row.file}:{row.line}: not imported: {row.reason}")
    if report.bad_rows > _BAD_SHOWN:
        output.say(f"… {report.bad_rows - _BAD_SHOWN:,} more rows not imported (--json lists them)")
    if hasattr(report, "sequences"):
        kept = f", {len(report.kept)} were there" if report.kept else ""
        output.say(f"{len(report.sequences)} episodes imported{kept}")
    rows = ", ".join(f"{topic} {count:,}" for topic, count in report.rows.items())
    output.say(f"{report.sequence}: {rows} rows; {report.bad_rows:,} rows refused")
