"""Find sequences and time spans by metadata and by what is in them.

TEXT is an expression such as

    metadata.vehicle.id == "x" and IMU.acceleration.x > 9.8 and not topic.name match "cam*"

The operators are described in docs/query.md. Each answer names the sequence, its topics and the spans in
which the content holds. Ends with exit code 0 also when nothing is found.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from gapless.cli import options, output

if TYPE_CHECKING:
    from gapless.catalog.answer import AnswerItem

_SPANS_SHOWN = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("text", metavar="TEXT", help="the expression, quoted for the shell")
    parser.add_argument("--limit", metavar="N", type=options.whole, default=None, help="at most N sequences")
    parser.add_argument(
        "--join",
        metavar="TIME",
        type=options.seconds,
        default=None,
        help="join spans closer than this (50ms, 2s)",
    )
    options.add_store(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the matching sequences, topics and spans."""
    from gapless.model.query_text import parse

    expression = parse(args.text)
    join_ns = None if args.join is None else round(args.join * 1e9)
    with options.open_store(args) as store:
        answer = store.query(expression, limit=args.limit)
        items = [item_fields(item, join_ns) for item in answer]
    warnings = [str(warning) for warning in answer.warnings]
    if args.json:
        output.say_json({"count": len(items), "sequences": items, "warnings": warnings})
        return 0
    for line in answer_lines(items):
        output.say(line)
    for warning in warnings:
        output.note(f"note: {warning}")
    plural = "" if len(items) == 1 else "s"
    output.say(f"{len(items)} sequence{plural}")
    return 0


def item_fields(item: AnswerItem, join_ns: int | None = None) -> dict[str, Any]:
    """Return one answer as the values that JSON shows, spans closer than ``join_ns`` joined."""
    return {
        "sequence": item.name,
        "topics": [
            {
                "name": topic.name,
                "ontology_tag": topic.ontology_tag,
                "spans": [
                    {"start_ns": start_ns, "end_ns": end_ns}
                    for start_ns, end_ns in (topic.spans if join_ns is None else topic.clusterize(join_ns))
                ],
            }
            for topic in item.topics
        ],
    }


def answer_lines(items: list[dict[str, Any]], shown: int = _SPANS_SHOWN) -> list[str]:
    """Return answers as text: sequence, topic, then its spans with their lengths."""
    lines: list[str] = []
    for item in items:
        lines.append(output.styled(item["sequence"], "bold"))
        for topic in item["topics"]:
            tag = f"  {topic['ontology_tag']}" if topic["ontology_tag"] else ""
            lines.append(f"  {topic['name']}{tag}")
            spans = topic["spans"]
            for span in spans[:shown]:
                length = output.duration(span["end_ns"] - span["start_ns"])
                lines.append(f"    {output.rfc3339(span['start_ns']) or span['start_ns']}  {length:>9}")
            if len(spans) > shown:
                lines.append(f"    … {len(spans) - shown} more spans (--json shows all)")
    return lines
