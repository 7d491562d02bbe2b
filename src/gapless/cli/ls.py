"""List sequences: name, state, outcome, start, duration, topics, rows, size.

The newest is last, so that it stays in sight. Topics, rows and size are known once a sequence is sealed;
`gapless show` counts those of an open one. --where takes the text language of `gapless query`. A terminal
that is too narrow cuts long names and does without some columns; a pipe and --json have them all.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from gapless.cli import options, output

if TYPE_CHECKING:
    from gapless.catalog.catalog import SequenceRow


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--group", metavar="GROUP", default=None, help="only this group")
    parser.add_argument(
        "--outcome", metavar="OUTCOME", default=None, help="only this outcome, such as completed"
    )
    parser.add_argument(
        "--state",
        metavar="STATE",
        choices=("open", "pending", "sealed"),
        default=None,
        help="only this state",
    )
    parser.add_argument("--where", metavar="TEXT", default=None, help="only what this query expression finds")
    parser.add_argument("--last", metavar="N", type=options.whole, default=None, help="only the newest N")
    parser.add_argument("--discarded", action="store_true", help="list the tombstones of what was discarded")
    options.add_store(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Print the list."""
    with options.open_store(args, may_be_missing=True) as store:
        if not store.exists:
            return _empty(store.shown, as_json=args.json)
        if args.discarded:
            return _discarded(store.discarded(), store.shown, as_json=args.json)
        rows = _chosen(store, args)
    if args.json:
        output.say_json({"store": store.shown, "sequences": [row_fields(row) for row in rows]})
        return 0
    if not rows:
        narrowed = args.group or args.outcome or args.state or args.where
        output.say("no sequence matches" if narrowed else empty_text(store.shown))
        return 0
    headers = ["NAME", "STATE", "OUTCOME", "STARTED", "DURATION", "TOPICS", "ROWS", "SIZE"]
    for line in output.table(
        headers, (_cells(row) for row in rows), right=frozenset({4, 5, 6, 7}), spare=(5, 7, 4), cut=0
    ):
        output.say(line)
    return 0


def empty_text(store: str) -> str:
    """Return what to do with a store that holds nothing."""
    way = "`gapless demo` or `gapless record host --for 10s`"
    if options.is_server(store):
        way = f'a program with gapless.connect("{store}")'
    return f"no sequences in {store}; {way} records one"


def _empty(store: str, *, as_json: bool) -> int:
    if as_json:
        output.say_json({"store": store, "sequences": []})
    else:
        output.say(empty_text(store))
    return 0


def _chosen(store: options.OpenedStore, args: argparse.Namespace) -> list[SequenceRow]:
    """Return the rows asked for, the newest last."""
    limit = args.last if args.where is None else None
    rows = store.rows(
        state=args.state, group=args.group, outcome=args.outcome, limit=limit, order="-created"
    )[::-1]
    if args.where is None:
        return rows
    from gapless.model.query_text import parse

    answer = store.query(parse(args.where))
    for warning in answer.warnings:
        output.note(f"note: {warning}")
    names = set(answer.names)
    found = [row for row in rows if row.name in names]
    return found if args.last is None else found[-args.last :]


def row_fields(row: SequenceRow) -> dict[str, Any]:
    """Return a line of the list as the values that JSON shows."""
    return {
        "name": row.name,
        "state": row.state,
        "outcome": row.outcome,
        "owner_alive": row.owner_alive,
        "awaited_until_ns": row.awaited_until_ns,
        "group": row.group,
        "started": output.rfc3339(_started_ns(row)),
        "start_ns": row.start_ns,
        "end_ns": row.end_ns,
        "duration_s": None if row.duration_ns is None else row.duration_ns / 1e9,
        "topics": row.topics if row.state == "sealed" else None,
        "rows": row.rows if row.state == "sealed" else None,
        "bytes": row.size_bytes if row.state == "sealed" else None,
        "content_digest": row.content_digest,
        "problem": row.problem,
    }


def _started_ns(row: SequenceRow) -> int | None:
    """Return the first row's time, else that of the creation; None where the manifest could not tell."""
    return row.start_ns if row.start_ns is not None else row.created_ns or None


def _cells(row: SequenceRow) -> list[str]:
    known = row.state == "sealed"  # the catalog does not count what still changes
    return [
        row.name,
        "damaged" if row.problem else row.status,
        row.outcome or "-",
        output.local_time(_started_ns(row)),
        output.duration(row.duration_ns),
        output.count(row.topics if known else None),
        output.count(row.rows if known else None),
        output.size(row.size_bytes if known else None),
    ]


def _discarded(tombstones: list[dict[str, Any]], store: str, *, as_json: bool) -> int:
    if as_json:
        output.say_json({"store": store, "discarded": tombstones})
        return 0
    if not tombstones:
        output.say(f"nothing was discarded in {store}")
        return 0
    cells = [
        [t["name"], t.get("outcome") or "-", output.local_time(t.get("discarded_ns")),
         output.count(sum((t.get("rows") or {}).values())), (t.get("error") or "")[:60]]
        for t in tombstones
    ]  # fmt: skip
    for line in output.table(["NAME", "OUTCOME", "DISCARDED", "ROWS", "ERROR"], cells, right=frozenset({3})):
        output.say(line)
    for stone in tombstones:
        if "unreadable" in stone:
            output.note(f"note: {stone['unreadable']}")
    return 0
