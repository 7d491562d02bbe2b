"""Make, list and revoke the API keys of a served store, and tell who changed what.

A key may read, or also write, or also delete, or also manage; --group limits it to sequences of these groups.
It is printed once: the store keeps its hash only. A store that ever had a key lets nobody in without one, also
from this machine, and a server that runs follows within a second. Clients give a key as GAPLESS_API_KEY.
Each action works on the folder that --store names.
"""

from __future__ import annotations

import argparse
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from gapless.cli import options, output

if TYPE_CHECKING:
    from gapless.catalog.state_database import StateDatabase
    from gapless.serve.keys import ApiKey

_AUDIT_ROWS = 100


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    make = _declare(actions, "make", "Make a key and print it; it cannot be shown again.", json=True)
    make.add_argument(
        "--right",
        metavar="RIGHT",
        required=True,
        choices=("read", "write", "delete", "manage"),
        help="what it allows: read, write, delete or manage; each includes those before it",
    )
    make.add_argument(
        "--group",
        metavar="GROUP",
        action="append",
        default=[],
        help="only sequences of this group; may be given more than once (without: all sequences)",
    )
    make.add_argument("--label", metavar="TEXT", default="", help="who will use it, or for what")
    make.add_argument(
        "--expires", metavar="DAYS", type=options.days, default=None, help="it ends after so many days"
    )
    _declare(actions, "ls", "List the keys that were ever made.", json=True)
    revoke = _declare(actions, "revoke", "Let a key count no longer, for ever.", json=False)
    revoke.add_argument("id", metavar="ID", help="its id, as `gapless keys ls` prints it")
    audit = _declare(
        actions, "audit", "List who changed what through a server, or its keys, oldest first.", json=True
    )
    audit.add_argument(
        "--limit",
        metavar="N",
        type=options.whole,
        default=_AUDIT_ROWS,
        help=f"the latest N rows ({_AUDIT_ROWS})",
    )


def _declare(actions: Any, name: str, text: str, *, json: bool) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, description=text, help=text, allow_abbrev=False
    )
    options.add_store(parser)
    if json:
        options.add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Do the one thing."""
    {"make": _make, "ls": _list, "revoke": _revoke, "audit": _audit}[args.action](args)
    return 0


def _database(args: argparse.Namespace, *, create: bool) -> StateDatabase:
    from gapless.catalog.state_database import StateDatabase
    from gapless.store.folder import FolderStore

    if create and not options.is_store(root := options.store_root(args)):
        FolderStore(root)
        output.note(f"there was no store in {root}: made an empty one")
    return StateDatabase(options.existing_store(args))


def _make(args: argparse.Namespace) -> None:
    from gapless.serve.keys import make_key
    from gapless.serve.rights import Right

    with closing(_database(args, create=True)) as database:
        key, token = make_key(
            database,
            Right.named(args.right),
            groups=args.group,
            label=args.label,
            expires_days=args.expires,
        )
        _note(database, f"make key {key.key_id}: {key.right.word}")
    if args.json:
        output.say_json({"key": token, **_told(key)})
    else:
        output.say(token)
    output.note(f"keep it: only its hash is stored. `gapless keys revoke {key.key_id}` ends it")


def _note(database: StateDatabase, what: str) -> None:
    """Keep who made or revoked a key, among the rows about what callers changed."""
    from gapless.serve.audit import Audit

    Audit(database).add(None, f"user:{options.user_name() or '?'}", "manage", what)


def _list(args: argparse.Namespace) -> None:
    from gapless.serve.keys import list_keys

    keys = list_keys(options.existing_store(args))
    if args.json:
        output.say_json({"keys": [_told(key) for key in keys]})
        return
    if not keys:
        output.note("there is no key yet: `gapless keys make --right write` makes one")
        return
    rows = [
        (
            key.key_id,
            key.right.word,
            "all" if key.groups is None else ", ".join(sorted(key.groups)),
            _state(key),
            output.local_time(key.made_ns),
            "never" if key.used_ns is None else output.local_time(key.used_ns),
            key.label,
        )
        for key in keys
    ]
    headers = ("ID", "MAY", "GROUPS", "STATE", "MADE", "LAST USED", "LABEL")
    for line in output.table(headers, rows, right=frozenset(), spare=(4, 5)):
        output.say(line)


def _state(key: ApiKey) -> str:
    if key.revoked_ns is not None:
        return "revoked"
    if key.expires_ns is None:
        return "counts"
    return f"{'ends' if key.counts(time.time_ns()) else 'ended'} {output.local_time(key.expires_ns)}"


def _told(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.key_id,
        "right": key.right.word,
        "groups": None if key.groups is None else sorted(key.groups),
        "label": key.label,
        "counts": key.counts(time.time_ns()),
        "made_ns": key.made_ns,
        "expires_ns": key.expires_ns,
        "revoked_ns": key.revoked_ns,
        "used_ns": key.used_ns,
    }


def _revoke(args: argparse.Namespace) -> None:
    from gapless.serve.keys import revoke_key

    with closing(_database(args, create=False)) as database:
        revoke_key(database, args.id)
        _note(database, f"revoke key {args.id}")
    output.note(f"the key {args.id} counts no longer")


def _audit(args: argparse.Namespace) -> None:
    from dataclasses import asdict

    from gapless.serve.audit import audit_rows

    rows = audit_rows(options.existing_store(args), limit=args.limit)
    if args.json:
        output.say_json({"audit": [asdict(row) for row in rows]})
        return
    if not rows:
        output.note("nothing was changed yet")
        return
    headers = ("TIME", "KEY", "FROM", "RIGHT", "WHAT", "OUTCOME")
    cells = [
        (output.local_time(row.time_ns), row.key_id or "-", row.peer, row.verb, row.what, row.outcome)
        for row in rows
    ]
    for line in output.table(headers, cells, right=frozenset(), cut=4):
        output.say(line)
