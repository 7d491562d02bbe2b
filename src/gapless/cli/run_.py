"""Ask and steer a run that is going on: status, note, command, confirm, stop, emergency-stop.

REF is the sequence that is being recorded, or the path of the run's control socket. What an operator does
becomes an event of the run with the operator's name (--by, else the name of this user).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.cli import options, output
from gapless.cli.run_lines import status_lines
from gapless.errors import UsageError
from gapless.model.names import to_component
from gapless.store.layout import Bundle

if TYPE_CHECKING:
    from gapless.acquire.command import CommandResult
    from gapless.acquire.control.client import ControlClient
    from gapless.acquire.safe_state import SafeReport

EXIT_FAILED = 1
EXIT_UNSAFE = 7


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _declare(actions, "status", "Print what the run is at: devices, channels, queues, countdown, events.")
    note = _declare(actions, "note", "Put a note into the run's events; durable when it returns.", by=True)
    note.add_argument("text", metavar="TEXT", help="the note")
    command = _declare(
        actions, "command", "Give a command to a device; a person has to confirm each one.", by=True
    )
    command.add_argument("device", metavar="DEVICE", help="name of the device in the rig")
    command.add_argument("name", metavar="NAME", help="the command")
    command.add_argument(
        "arguments", metavar="KEY=VALUE", nargs="*", help="its arguments; a VALUE is JSON, else text"
    )
    command.add_argument("--confirm", action="store_true", help="confirm it here instead of being asked")
    command.add_argument(
        "--timeout", metavar="TIME", type=options.wait_seconds, default=5.0, help="for the answer (5s)"
    )
    confirm = _declare(actions, "confirm", "Answer what the method asks.", by=True)
    confirm.add_argument("answer", metavar="ANSWER", help="one of the choices")
    confirm.add_argument("--prompt", metavar="ID", default=None, help="which question, if there are several")
    stop = _declare(actions, "stop", "End the run: safe state, drain, seal as aborted.", by=True)
    emergency = _declare(
        actions,
        "emergency-stop",
        "Put every device into its safe state at once, then end the run. Exit code 7: a device may be unsafe.",
        by=True,
    )
    for ending in (stop, emergency):
        ending.add_argument("--reason", metavar="TEXT", default=None, help="why, for the events")


def _declare(actions: Any, name: str, text: str, *, by: bool = False) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, description=text, help=text, allow_abbrev=False
    )
    options.add_reference(parser)
    if by:
        parser.add_argument("--by", metavar="NAME", default=None, help="who does it (else this user)")
        options.add_dry_run(parser)
    options.add_store(parser)
    options.add_json(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Connect to the run, do the one thing and tell what became of it."""
    from gapless.acquire.control.client import ControlClient

    if args.action != "status":
        args.by = args.by or _user()
    if args.action == "command":
        args.arguments = dict(_argument(text) for text in args.arguments)
    with ControlClient.connect(_target(args)) as client:
        if args.action != "status" and args.dry_run:
            return _dry_run(args, client)
        return _ACTIONS[args.action](args, client)


def _target(args: argparse.Namespace) -> Path | Bundle:
    """Return the socket or the bundle; a whole name is found without the catalog, however slow the disk is."""
    path = Path(args.ref)
    if path.is_absolute() and path.is_socket():
        return path
    root = options.existing_store(args)
    direct = root / "sequences" / to_component(args.ref)
    if direct.is_dir():
        return Bundle(direct)
    return Bundle(options.find_sequence(args)[1].path)


def _status(args: argparse.Namespace, client: ControlClient) -> int:
    status = client.status()
    if args.json:
        output.say_json(status)
    else:
        for line in status_lines(status):
            output.say(line)
    return 0


def _note(args: argparse.Namespace, client: ControlClient) -> int:
    client.note(args.text, by=args.by)
    return _done(args, client, f"noted by {args.by}")


def _command(args: argparse.Namespace, client: ControlClient) -> int:
    if not args.confirm:
        _ask_person(args)
    result = client.command(
        args.device, args.name, args.arguments, by=args.by, confirmed=True, timeout_s=args.timeout
    )
    _tell_result(args, result)
    return 0 if result.status == "done" else EXIT_FAILED


def _ask_person(args: argparse.Namespace) -> None:
    """Return when the person at the terminal says yes; raise UsageError when there is none, or not."""
    words = " ".join([args.name, *(f"{key}={value}" for key, value in args.arguments.items())])
    if not sys.stdin.isatty():
        raise UsageError(
            "a command to a device needs a person's confirmation",
            found=f"{words} to {args.device}",
            next_step="give --confirm, or run it in a terminal",
        )
    output.note(f"{words} to {args.device}: type yes to confirm as {args.by}")
    if sys.stdin.readline().strip() != "yes":
        raise UsageError("the command was not confirmed", next_step="type yes")


def _tell_result(args: argparse.Namespace, result: CommandResult) -> None:
    if args.json:
        output.say_json(
            {
                "command_id": result.command_id,
                "status": str(result.status),
                "accepted": result.accepted,
                "value": result.value,
                "message": result.message,
            }
        )
        return
    value = "" if result.value is None else f" = {result.value}"
    message = f": {result.message}" if result.message else ""
    output.say(f"{args.device} {args.name} {result.status}{value}{message}")


def _confirm(args: argparse.Namespace, client: ControlClient) -> int:
    client.confirm(args.prompt or _only_prompt(client), args.answer, by=args.by)
    return _done(args, client, f"{args.by} answered {args.answer}")


def _only_prompt(client: ControlClient) -> str:
    prompts = (client.status().get("procedure") or {}).get("prompts", [])
    if len(prompts) != 1:
        known = ", ".join(f"{prompt['prompt_id']} ({prompt['text']})" for prompt in prompts)
        raise UsageError(
            "the run asks several things" if prompts else "the run asks nothing",
            found=known or None,
            next_step="name one with --prompt ID" if prompts else "`gapless run status` shows what it does",
        )
    return str(prompts[0]["prompt_id"])


def _stop(args: argparse.Namespace, client: ControlClient) -> int:
    client.stop(args.by, **_reason(args))
    return _done(args, client, "stopping: it makes safe, drains and seals as aborted")


def _emergency_stop(args: argparse.Namespace, client: ControlClient) -> int:
    report = client.emergency_stop(args.by, **_reason(args))
    if args.json:
        output.say_json(report.to_json())
    else:
        _tell_report(report)
    return EXIT_UNSAFE if report.unsafe_devices else 0


def _tell_report(report: SafeReport) -> None:
    for outcome in report.outcomes:
        via = "" if outcome.via is None else f" via {outcome.via}"
        message = f": {outcome.message}" if outcome.message else ""
        output.say(f"{outcome.device}  {outcome.status}{via} in {outcome.took_s:.2f} s{message}")
    if not report.outcomes:
        output.say("no device has a safe state")
    if report.unsafe_devices:
        output.note(
            f"error: NOT SAFE: {', '.join(report.unsafe_devices)}. "
            "Next: go there and make it safe by hand. [E706]"
        )


_ACTIONS: dict[str, Callable[[argparse.Namespace, ControlClient], int]] = {
    "status": _status,
    "note": _note,
    "command": _command,
    "confirm": _confirm,
    "stop": _stop,
    "emergency-stop": _emergency_stop,
}


def _done(args: argparse.Namespace, client: ControlClient, text: str) -> int:
    sequence = client.hello["sequence"]
    if args.json:
        output.say_json({"sequence": sequence, "action": args.action, "by": args.by, "done": True})
    else:
        output.say(f"{sequence}: {text}")
    return 0


def _dry_run(args: argparse.Namespace, client: ControlClient) -> int:
    hidden = ("action", "ref", "store", "json", "dry_run", "run", "by")
    asked = {key: value for key, value in vars(args).items() if key not in hidden and value is not None}
    plan = {"dry_run": True, "sequence": client.hello["sequence"], "action": args.action, "by": args.by}
    if args.json:
        output.say_json({**plan, **asked})
    else:
        words = " ".join(f"{key}={value}" for key, value in asked.items())
        output.say(f"would ask {plan['sequence']} for {args.action} as {args.by} {words}".rstrip())
    return 0


def _reason(args: argparse.Namespace) -> dict[str, str]:
    return {} if args.reason is None else {"reason": args.reason}


def _argument(text: str) -> tuple[str, Any]:
    key, found, value = text.partition("=")
    if not found or not key:
        raise UsageError("an argument of a command is KEY=VALUE", found=text)
    try:
        return key, json.loads(value)
    except ValueError:  # text without quotes is text
        return key, value


def _user() -> str:
    """Return the name of this user; a user without one is named by number."""
    import getpass
    import os

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
