"""Write a sequence as CSV or Parquet, one file per topic, or groups as one LeRobot dataset (--to lerobot).

PATH is a folder, or a file when one topic is exported. CSV headers carry the units as `name [unit]`,
Parquet keeps them in the field metadata. START and END are as in `gapless label`; END is not included.

For a LeRobot dataset (v3.0) REF is a group, a sequence, or what several sequences begin with. Observed episodes
need nothing else; of other sequences --fps, --state, --action and --camera choose what is aligned. Repeating
the command adds the episodes that are new.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from gapless.cli import options, output
from gapless.cli.label import instant_ns
from gapless.errors import UsageError

_OF_FILES = ("topic", "column", "start", "end", "overwrite")
_OF_DATASETS = (
    "merged", "fps", "state", "action", "camera", "layout", "include_interrupted", "success", "only", "skip",
    "relabel",
)  # fmt: skip
_NUMBERS = re.compile(r"(\d+)(?:-(\d+))?")
_EPISODE_DIGITS = 6  # of the numbers of a dataset's episodes; each one of a range is held
_SHOWN = 60


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_reference(parser)
    parser.add_argument("path", metavar="PATH", type=Path, help="folder or file to write")
    parser.add_argument(
        "--format",
        "--to",
        metavar="NAME",
        default=None,
        help="csv, parquet or lerobot (else by the suffix of PATH)",
    )
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
    _configure_dataset(parser.add_argument_group("LeRobot datasets"))
    options.add_store(parser)
    options.add_json(parser)
    options.add_dry_run(parser)


def _configure_dataset(group: Any) -> None:
    several = {"action": "append", "default": None}
    group.add_argument(
        "--with", dest="merged", metavar="GROUP", help="merge with this group; repeatable", **several
    )
    group.add_argument("--fps", metavar="N", default=None, help="rows per second (else as recorded)")
    group.add_argument(
        "--state", metavar="TOPIC.FIELD", help="part of the state, or what several begin with; repeatable", **several
    )  # fmt: skip
    group.add_argument(
        "--action", metavar="TOPIC.FIELD", help="part of the action, in the same way; repeatable", **several
    )
    group.add_argument("--camera", metavar="TOPIC", help="a topic of pictures; repeatable", **several)
    group.add_argument(
        "--layout",
        choices=("episodes", "compact"),
        default=None,
        help="files for each episode (the default), or large files of many episodes",
    )
    group.add_argument(
        "--include-interrupted", action="store_true", help="episodes too whose recorder was killed"
    )
    group.add_argument("--success", choices=("yes", "no"), default=None, help="episodes that were judged so")
    group.add_argument("--only", metavar="LIST", help="these episodes: 0-4,7 or names; repeatable", **several)
    group.add_argument("--skip", metavar="LIST", help="all but these episodes; repeatable", **several)
    group.add_argument("--relabel", metavar="OLD=NEW", help="other words for a task; repeatable", **several)


def run(args: argparse.Namespace) -> int:
    """Export and list the files."""
    from gapless.exchange.formats import exporter_for

    form = args.format or ("parquet" if args.path.suffix.lower() in (".parquet", ".pq") else "csv")
    exporter = exporter_for(form)
    for name in _OF_FILES if exporter.joins else _OF_DATASETS:
        if getattr(args, name):
            option = "--with" if name == "merged" else f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} is not for the format {form}", next_step="leave it out")
    return _export_dataset(args, exporter.run) if exporter.joins else _export_files(args, form, exporter.run)


# -- one sequence, a file for each topic -------------------------------------------------------------


def _export_files(args: argparse.Namespace, form: str, export: Any) -> int:
    with options.open_store(args) as store:
        return _export_topics(args, form, export, store)


def _export_topics(args: argparse.Namespace, form: str, export: Any, store: options.OpenedStore) -> int:
    row = store.row(args.ref)
    known = store.describe(row)
    topics = args.topic or [name for name in known["topics"] if not name.startswith("_")]
    facts = {name: store.topic_of(known, name) for name in topics}
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
    with store.client() as client:
        handler = client.sequence_handler(row.name)
        report = export(
            handler, args.path, topics=topics, columns=args.column, overwrite=args.overwrite, **window
        )
    files = [{"topic": f.topic, "path": str(f.path), "rows": f.rows} for f in report.files]
    if args.json:
        output.say_json({"name": row.name, "format": form, "files": files})
        return 0
    for file in files:
        output.say(f"{file['path']}  {file['topic']}, {file['rows']:,} rows")
    return 0


# -- many sequences, one dataset ---------------------------------------------------------------------


def _export_dataset(args: argparse.Namespace, export: Any) -> int:
    root = options.existing_store(args)
    known = dataset_options(args)
    with options.connect(root) as client:
        if args.dry_run:
            return _plan_dataset(args, client, known)
        report = export(client, [args.ref, *(args.merged or [])], args.path, **known)
    if args.json:
        left_out = [entry._asdict() for entry in report.left_out]
        output.say_json({**vars(report), "path": str(report.path), "left_out": left_out})
        return 0
    for entry in report.left_out:
        output.say(f"left out: {entry.sequence} ({entry.reason})")
    counts = {
        "rows repeat the one before": report.backfilled_rows,
        "rows have a picture that was shown before": report.repeated_image_rows,
        "values are NaN or infinite": report.unusable_values,
    }
    for words, count in counts.items():
        if count:
            output.say(f"{count:,} {words}")
    output.say(
        f"{report.path}  {report.episodes:,} episodes, {report.rows:,} rows;"
        f" {len(report.added):,} added, {len(report.kept):,} were there"
    )
    return 0


def _plan_dataset(args: argparse.Namespace, client: Any, known: dict[str, Any]) -> int:
    from gapless.exchange.lerobot.export_dataset import plan_export

    names, left_out = plan_export(client, [args.ref, *(args.merged or [])], **known)
    if args.json:
        told = [entry._asdict() for entry in left_out]
        output.say_json(
            {"dry_run": True, "path": str(args.path), "sequences": names, "left_out": told},
        )
        return 0
    for entry in left_out:
        output.say(f"would leave out {entry.sequence} ({entry.reason})")
    output.say(f"would write {len(names):,} episodes to {args.path}: {', '.join(names)}")
    return 0


def dataset_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return what was chosen, as the export takes it."""
    return {
        "fps": args.fps,
        "state": args.state or (),
        "action": args.action or (),
        "cameras": args.camera or (),
        "layout": args.layout or "episodes",
        "include_interrupted": args.include_interrupted,
        "success": None if args.success is None else args.success == "yes",
        "only": None if args.only is None else _episodes(args.only),
        "skip": _episodes(args.skip or []),
        "relabel": dict(_relabelled(text) for text in args.relabel or []),
    }


def _episodes(texts: list[str]) -> list[int | str]:
    """Return the numbers and names of lists such as ``0-4,7,pick/episode-000009``."""
    found: list[int | str] = []
    for text in ",".join(texts).split(","):
        numbers = _NUMBERS.fullmatch(text.strip())
        if numbers is None:
            found.append(text.strip())
        else:
            first, last = numbers[1], numbers[2] or numbers[1]
            if max(len(first), len(last)) > _EPISODE_DIGITS:
                raise UsageError(
                    "there is no such episode", found=text[:_SHOWN], expected="numbers below a million"
                )
            found += range(int(first), int(last) + 1)
    return [one for one in found if one != ""]


def _relabelled(text: str) -> tuple[str, str]:
    old, mark, new = text.partition("=")
    if not mark:
        raise UsageError("--relabel takes OLD=NEW", found=text)
    return old, new
