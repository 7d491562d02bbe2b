"""Write a sequence as CSV or Parquet, one file per topic.

PATH is a folder, or a file when one topic is exported. CSV headers carry the units as `name [unit]`,
Parquet keeps them in the field metadata. START and END are as in `gapless label`; END is not included.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gapless.cli import description, options, output
from gapless.cli.label import instant_ns


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_reference(parser)
    parser.add_argument("path", metavar="PATH", type=Path, help="folder or file to write")
    parser.add_argument("--format", metavar="NAME", default=None, help="csv or parquet (else by the suffix)")
    parser.add_argument(
        "--topic",
        metavar="TOPIC",
        action="append",
        default=None,
        help="only this topic, one of a feature run too; repeatable",
    )
    parser.add_argument(
        "--column", metavar="FIELD", action="append", default=None, help="only this field; repeatable"
    )
    parser.add_argument("--start", metavar="START", default=None, help="leave out rows before this instant")
    parser.add_argument("--end", metavar="END", default=None, help="leave out rows from this instant on")
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    options.add_store(parser)
    options.add_json(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Export and list the files."""
    from gapless.exchange.formats import exporter_for

    root, row = options.find_sequence(args)
    known = description.describe(row.path)
    topics = args.topic or [name for name in known["topics"] if not name.startswith("_")]
    facts = {name: description.topic_of(known, name) for name in topics}
    form = args.format or ("parquet" if args.path.suffix.lower() in (".parquet", ".pq") else "csv")
    window = {
        f"{end}_ns": None if text is None else instant_ns(text, known["start_ns"])
        for end, text in (("start", args.start), ("end", args.end))
    }
    if args.dry_run:
        rows = sum(topic["rows"] for topic in facts.values())
        if args.json:
            plan = {"dry_run": True, "name": row.name, "format": form, "path": str(args.path)}
            output.say_json({**plan, "topics": topics, "rows_before_window": rows})
            return 0
        output.say(
            f"would write {', '.join(topics)} ({rows:,} rows before any window) as {form} to {args.path}"
        )
        return 0
    with options.connect(root) as client:
        handler = client.sequence_handler(row.name)
        report = exporter_for(form).run(
            handler, args.path, topics=topics, columns=args.column, overwrite=args.overwrite, **window
        )
    files = [{"topic": f.topic, "path": str(f.path), "rows": f.rows} for f in report.files]
    if args.json:
        output.say_json({"name": row.name, "format": form, "files": files})
        return 0
    for file in files:
        output.say(f"{file['path']}  {file['topic']}, {file['rows']:,} rows")
    return 0
