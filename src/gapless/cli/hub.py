"""Run a small hub that approves sessions and keeps the reports of their episodes, never their data.

`serve` listens until Ctrl-C or SIGTERM. Nobody may speak to it without a token, which `token add NAME` makes and
shows once. `tasks`, `approve` and `reject` work on the hub's file (--db, else ./gapless-hub.db), also while it
is served. `outbox` is for the other side: it lists, and with --send sends, the reports that wait in a store.
"""

from __future__ import annotations

import argparse
import ssl
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.cli import options, output
from gapless.errors import NotFound, UsageError

if TYPE_CHECKING:
    from gapless.observe.hub.ledger import HubLedger
    from gapless.observe.outbox import Report

_PORT = 8377
_DATABASE = "gapless-hub.db"
EXIT_LEFT = 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _declare_serve(_declare(actions, "serve", "Listen until Ctrl-C or SIGTERM."))
    _declare_token(
        _declare(actions, "token", "Make, list and remove the tokens of those who may speak to it.")
    )
    options.add_json(_declare(actions, "tasks", "List the tasks, or the episodes of one."))
    actions.choices["tasks"].add_argument(
        "task", metavar="ID", nargs="?", default=None, help="print this task with its episodes"
    )
    for name, text in (("approve", "Approve a pending task."), ("reject", "Reject a pending task.")):
        verdict = _declare(actions, name, text)
        verdict.add_argument("task", metavar="ID", help="the task")
        verdict.add_argument("--reason", metavar="TEXT", default=None, help="why; the one who asked reads it")
    outbox = _declare(
        actions, "outbox", "List the reports of a store that no hub has taken yet.", database=False
    )
    outbox.add_argument("--send", metavar="URL", default=None, help="send them to this hub now")
    outbox.add_argument("--again", action="store_true", help="let refused reports wait again")
    outbox.add_argument(
        "--timeout", metavar="TIME", type=options.positive_seconds, default=60.0, help="for --send (60s)"
    )
    options.add_store(outbox)
    options.add_json(outbox)


def _declare(actions: Any, name: str, text: str, *, database: bool = True) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, description=text, help=text, allow_abbrev=False
    )
    if database:
        _add_database(parser)
    return parser


def _add_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--db", metavar="FILE", default=_DATABASE, help=f"the hub's file (./{_DATABASE})")


def _declare_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", metavar="HOST", default="127.0.0.1", help="where to listen (127.0.0.1)")
    parser.add_argument(
        "--port",
        metavar="PORT",
        type=options.port,
        default=_PORT,
        help=f"the port ({_PORT}); 0: one that is free",
    )
    parser.add_argument("--manual", action="store_true", help="a person approves each session")
    parser.add_argument(
        "--tls-cert", metavar="FILE", default=None, help="certificate chain, PEM: listen with TLS"
    )
    parser.add_argument(
        "--tls-key", metavar="FILE", default=None, help="its private key, if not in that file"
    )


def _declare_token(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="token_action", metavar="ACTION", required=True)
    add = _declare(actions, "add", "Make a token and print it; it cannot be shown again.")
    add.add_argument("name", metavar="NAME", help="who will use it")
    add.add_argument("--approver", action="store_true", help="it may approve and reject over HTTP")
    add.add_argument(
        "--days", metavar="N", type=options.days, default=None, help="it ends after so many days"
    )
    remove = _declare(actions, "remove", "Let a token count no longer.")
    remove.add_argument("name", metavar="NAME", help="whose")
    options.add_json(_declare(actions, "list", "List the tokens: names, rights, ends."))


def run(args: argparse.Namespace) -> int:
    """Do the one thing."""
    if args.action == "serve":
        return _serve(args)
    if args.action == "outbox":
        return _outbox(args)
    from gapless.observe.hub.ledger import HubLedger

    if getattr(args, "token_action", None) != "add" and not Path(args.db).exists():
        raise NotFound(
            "there is no hub in this file", found=args.db, next_step="`gapless hub token add NAME` makes one"
        )
    with closing(HubLedger(args.db)) as ledger:
        if args.action == "token":
            return _token(args, ledger)
        if args.action == "tasks":
            return _tasks(args, ledger)
        status = "approved" if args.action == "approve" else "rejected"
        ledger.decide(args.task, status, args.reason)
        output.note(f"{args.task} is {status}")
        return 0


# -- serve -------------------------------------------------------------------------------------


def _serve(args: argparse.Namespace) -> int:
    from gapless.cli.stopping import StopSignals
    from gapless.observe.hub.server import Hub
    from gapless.observe.hub_endpoint import is_local

    tls = _tls(args)
    with StopSignals() as stop, Hub(args.db, args.host, args.port, manual=args.manual, tls=tls) as hub:
        if tls is None and not is_local(args.host):
            output.note(
                "warning: others can read what is sent here, tokens too: this is not TLS (--tls-cert)"
            )
        if not hub.ledger.tokens():
            output.note("nobody has a token yet: `gapless hub token add NAME`")
        print(f"listening on {hub.url}", flush=True)
        while not stop.wait(3600.0):
            pass
    return 0


def _tls(args: argparse.Namespace) -> ssl.SSLContext | None:
    if args.tls_cert is None:
        if args.tls_key is not None:
            raise UsageError(
                "a key needs its certificate", field="--tls-key", next_step="give --tls-cert too"
            )
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(args.tls_cert, args.tls_key)
    return context


# -- tokens and tasks --------------------------------------------------------------------------


def _token(args: argparse.Namespace, ledger: HubLedger) -> int:
    if args.token_action == "add":
        expires_s = None if args.days is None else int(time.time() + args.days * 86_400)
        output.say(ledger.add_token(args.name, approver=args.approver, expires_s=expires_s))
        output.note("keep it: only its digest is stored. It belongs into GAPLESS_HUB_TOKEN")
    elif args.token_action == "remove":
        ledger.remove_token(args.name)
        output.note(f"the token of {args.name} counts no longer")
    elif args.json:
        output.say_json({"tokens": ledger.tokens()})
    else:
        rows = [
            (t["name"], "approver" if t["approver"] else "recorder", _end(t["expires_s"]))
            for t in ledger.tokens()
        ]
        _say_table(("NAME", "MAY", "ENDS"), rows)
    return 0


def _end(expires_s: int | None) -> str:
    return "never" if expires_s is None else output.local_time(expires_s * 1_000_000_000)


def _tasks(args: argparse.Namespace, ledger: HubLedger) -> int:
    tasks = ledger.tasks() if args.task is None else [ledger.task(args.task)]
    episodes = [] if args.task is None else [e["executionMetadata"] for e in ledger.episodes(args.task)]
    if args.json:
        output.say_json({"tasks": tasks} if args.task is None else {"task": tasks[0], "episodes": episodes})
        return 0
    _say_table(
        ("ID", "STATUS", "SESSION", "EPISODES", "OWNER", "REASON"),
        [
            (
                t["id"],
                t["status"],
                str(t["request"].get("session", "")),
                str(t["episodes"]),
                t["owner"],
                t.get("reason", ""),
            )
            for t in tasks
        ],
    )
    if episodes:
        output.say()
        columns = ("sequence", "outcome", "success", "frames", "content_digest")
        _say_table(
            [name.upper() for name in columns], [[_cell(e.get(name)) for name in columns] for e in episodes]
        )
    return 0


def _cell(value: object) -> str:
    return "-" if value is None else str(value)


def _say_table(headers: Any, rows: Any) -> None:
    for line in output.table(headers, rows, right=frozenset()):
        output.say(line)


# -- outbox ------------------------------------------------------------------------------------


def _outbox(args: argparse.Namespace) -> int:
    from gapless.observe.hub_client import HubRecordingClient
    from gapless.observe.hub_endpoint import HubEndpoint
    from gapless.observe.outbox import Outbox, ReportState

    path = options.existing_store(args) / "outbox.db"
    if not path.exists():
        _tell_reports(args, [])
        return 0
    with closing(Outbox(path)) as outbox:
        if args.again:
            output.note(f"{outbox.try_again()} refused reports wait again")
        if args.send is not None:
            HubEndpoint(args.send, None, args.timeout).check_token()
            HubRecordingClient(args.send, outbox_path=path, drain_s=args.timeout).close()
        left = outbox.reports([ReportState.WAITING, ReportState.REFUSED])
    _tell_reports(args, left)
    return EXIT_LEFT if args.send is not None and left else 0


def _tell_reports(args: argparse.Namespace, reports: list[Report]) -> None:
    if args.json:
        found = [
            {
                "hub": r.hub,
                "task": r.task,
                "kind": r.kind,
                "state": r.state,
                "attempts": r.attempts,
                "last_error": r.last_error,
            }
            for r in reports
        ]
        output.say_json({"reports": found})
        return
    if not reports:
        output.note("no report waits")
        return
    _say_table(
        ("HUB", "TASK", "KIND", "STATE", "ATTEMPTS", "LAST ERROR"),
        [(r.hub, r.task, r.kind, r.state, str(r.attempts), r.last_error or "") for r in reports],
    )
