"""Show the store as a tree: groups, their sequences, the topics of each and their fields with units."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gapless.cli import options, output
from gapless.cli.show import state_text
from gapless.errors import IntegrityError

if TYPE_CHECKING:
    from gapless.catalog.catalog import SequenceRow

_DRAWN = ("├── ", "└── ", "│   ", "    ")
_PLAIN = ("|-- ", "`-- ", "|   ", "    ")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_reference(parser, optional=True)
    parser.add_argument("--group", metavar="GROUP", default=None, help="only the sequences of this group")
    parser.add_argument(
        "--depth",
        metavar="N",
        type=options.whole,
        default=4,
        help="1 groups, 2 sequences, 3 topics, 4 fields (default)",
    )
    parser.add_argument("--features", action="store_true", help="list what feature runs made as topics too")
    options.add_store(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the tree."""
    groups: dict[str | None, list[dict[str, Any]]] = {}
    with options.open_store(args) as store:
        place = store.shown
        rows = store.rows(group=args.group) if args.ref is None else [store.row(args.ref)]
        for row in rows:
            groups.setdefault(row.group, []).append(_described(store, row, features=args.features))
    if args.json:
        output.say_json({"store": place, "groups": [{"group": k, "sequences": v} for k, v in groups.items()]})
        return 0
    output.say(output.styled(place, "bold"))
    marks = _DRAWN if output.is_unicode(sys.stdout) else _PLAIN
    nodes = [_group_node(group, members, args.depth) for group, members in groups.items()]
    for line in _lines(nodes, marks):
        output.say(line)
    if not rows:
        output.say("no sequence matches" if args.group else "empty; `gapless demo` records a first sequence")
    return 0


def _described(store: options.OpenedStore, row: SequenceRow, *, features: bool) -> dict[str, Any]:
    """Return what the tree shows of a sequence; one with a broken manifest says so in its place."""
    try:
        known = store.describe(row)
        if features:
            known["topics"] |= {name: store.topic_of(known, name) for name in store.feature_topics(known)}
    except IntegrityError as error:
        return {
            "name": row.name,
            "state": "damaged",
            "outcome": error.message,
            "owner_alive": False,
            "topics": {},
        }
    return {key: known[key] for key in ("name", "state", "outcome", "owner_alive", "topics")}


Node = tuple[str, list[Any]]


def _group_node(group: str | None, members: list[dict[str, Any]], depth: int) -> Node:
    label = f"{group or '(no group)'}  {len(members)} sequence{'s' if len(members) != 1 else ''}"
    return (label, [_sequence_node(known, depth) for known in members] if depth > 1 else [])


def _sequence_node(known: dict[str, Any], depth: int) -> Node:
    topics = [
        (name, topic) for name, topic in known["topics"].items() if topic["rows"] or not name.startswith("_")
    ]
    return (
        f"{known['name']}  {state_text(known)}",
        [_topic_node(name, topic, depth) for name, topic in topics] if depth > 2 else [],
    )


def _topic_node(name: str, topic: dict[str, Any], depth: int) -> Node:
    tag = topic["ontology"].get("tag")
    label = f"{name}  {tag + ', ' if tag else ''}{output.count(topic['rows'])} rows"
    hidden = name.startswith("_")  # the fields of reserved topics are the same everywhere
    fields = [] if hidden else [f for f in topic["fields"] if f["name"] != "timestamp_ns"]
    leaves: list[Node] = [
        (f"{f['name']}  {f['type']}{' [' + str(f['unit']) + ']' if f.get('unit') else ''}", [])
        for f in fields
    ]
    return (label, leaves if depth > 3 else [])


def _lines(nodes: list[Node], marks: tuple[str, str, str, str], prefix: str = "") -> Iterator[str]:
    for number, (label, children) in enumerate(nodes):
        last = number == len(nodes) - 1
        yield f"{prefix}{marks[1] if last else marks[0]}{label}"
        yield from _lines(children, marks, prefix + (marks[3] if last else marks[2]))
