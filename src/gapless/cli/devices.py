"""Look for devices, and try those of a rig before it runs.

`discover` lists the adapters that a rig may name and whether they can be used, then the serial ports and
cameras of this machine. --tcp HOST:PORT tries whether somebody listens there, --tcp HOST the ports of Modbus,
MQTT, OPC UA and SCPI. No other address is tried.

`check RIG.toml` reports every problem of the file with its line, then opens each device, asks what it is,
reads one record, and closes it. Exit codes: 0 all well, 2 problems in the file, 5 a device did not answer.
"""

from __future__ import annotations

import argparse
import importlib.util
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gapless.cli import options, output
from gapless.errors import UsageError

if TYPE_CHECKING:
    from gapless.acquire.problem import ConfigProblem
    from gapless.acquire.rig import Rig
    from gapless.acquire.trial import Trial

EXIT_PROBLEMS = 2
EXIT_NO_ANSWER = 5
_PORTS = {502: "Modbus", 1883: "MQTT", 4840: "OPC UA", 5025: "SCPI"}
_CONNECT_S = 2.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("action", choices=("discover", "check"), help="discover, or check RIG.toml")
    parser.add_argument("rig", metavar="RIG.toml", nargs="?", default=None, help="check: the rig file")
    parser.add_argument(
        "--tcp", metavar="HOST[:PORT]", action="append", default=[], help="discover: an address to try"
    )
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Discover or check."""
    if args.action == "discover":
        if args.rig is not None:
            raise UsageError(
                "discover takes no rig", found=args.rig, next_step="`gapless devices check RIG.toml`"
            )
        return _discover(args)
    if args.rig is None:
        raise UsageError("check needs the rig's file", next_step="`gapless devices check RIG.toml`")
    return _check(args)


# -- discover ----------------------------------------------------------------------------------


def _discover(args: argparse.Namespace) -> int:
    from gapless.acquire.registry import offers

    addresses = [address for text in args.tcp for address in _addresses(text)]
    adapters = [offer._asdict() for offer in offers()]
    places = {
        "serial_ports": _serial_ports(),
        "cameras": _cameras(),
        "addresses": [_try_address(*address) for address in addresses],
    }
    if args.json:
        output.say_json({"adapters": adapters, **places})
        return 0
    rows = [(offer["name"], offer["problem"] or "ready", offer["about"]) for offer in adapters]
    for line in output.table(("ADAPTER", "STATE", "FOR"), rows, right=frozenset()):
        output.say(line)
    for title, found in places.items():
        if found or title != "addresses":
            output.say()
            output.say(title.replace("_", " "))
            for item in found or [{"name": "none found", "about": ""}]:
                output.say(f"  {item['name']}  {item['about']}".rstrip())
    return 0


def _serial_ports() -> list[dict[str, str]]:
    if importlib.util.find_spec("serial") is None:
        return []
    from serial.tools.list_ports import comports

    return [{"name": port.device, "about": port.description or ""} for port in sorted(comports())]


def _cameras() -> list[dict[str, str]]:
    found = []
    for device in sorted(Path("/dev").glob("video*")):
        label = Path("/sys/class/video4linux") / device.name / "name"
        found.append({"name": str(device), "about": label.read_text().strip() if label.exists() else ""})
    return found


def _addresses(text: str) -> list[tuple[str, int]]:
    """Return host and port of ``HOST:PORT``, or the usual ports of ``HOST``; ``[::1]:502`` for IPv6."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
        (host or "").encode("idna")  # as a look-up does, which refuses a label that is too long
    except ValueError as error:
        raise UsageError("an address is HOST or HOST:PORT", found=f"{text}: {error}") from error
    if not host or parts.path or parts.username is not None:
        raise UsageError("an address is HOST or HOST:PORT", found=text)
    return [(host, number) for number in ([port] if port is not None else _PORTS)]


def _try_address(host: str, port: int) -> dict[str, str]:
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    usual = f", {_PORTS[port]} as a rule" if port in _PORTS else ""
    try:
        with socket.create_connection((host, port), _CONNECT_S):
            return {"name": name, "about": f"somebody listens{usual}"}
    except OSError as error:
        return {"name": name, "about": f"nobody listens{usual}: {error}"}


# -- check -------------------------------------------------------------------------------------


def _check(args: argparse.Namespace) -> int:
    from gapless.acquire.problem import RigProblems
    from gapless.acquire.rig import load_rig
    from gapless.acquire.trial import try_devices

    try:
        rig = load_rig(args.rig)
    except RigProblems as refusal:
        if args.json:
            output.say_json({"rig": None, "problems": _as_json(refusal.problems), "devices": []})
        else:
            _tell_problems(refusal.problems)
        return EXIT_PROBLEMS
    trials = try_devices(rig)
    if args.json:
        found = {"problems": _as_json(rig.warnings), "devices": [trial.to_json() for trial in trials]}
        output.say_json({"rig": rig.name, **found})
    else:
        _tell_problems(rig.warnings)
        _tell_trials(rig, trials)
    return EXIT_NO_ANSWER if any(trial.problem for trial in trials) else 0


def _as_json(problems: Sequence[ConfigProblem]) -> list[dict[str, Any]]:
    return [problem.to_json() for problem in problems]


def _tell_problems(problems: Sequence[ConfigProblem]) -> None:
    for problem in problems:
        output.say(str(problem))
        output.say(f"  {problem.next_step}")


def _tell_trials(rig: Rig, trials: list[Trial]) -> None:
    devices, channels = output.counted(len(trials), "device"), output.counted(len(rig.channels), "channel")
    output.say(f"{rig.name}: {devices}, {channels}; the file has no error")
    for trial in trials:
        state = output.styled("no answer", "red") if trial.problem else output.styled("answers", "green")
        output.say(f"  {trial.device} ({trial.adapter}) on {trial.resource}: {state}")
        for words in (trial.problem, trial.about, trial.first_record):
            if words:
                output.say(f"    {words}")
