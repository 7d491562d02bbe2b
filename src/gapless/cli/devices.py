"""Look for devices, and try those of a rig before it runs.

`discover` lists the adapters that a rig may name and whether what they need is installed, then the serial
ports and cameras of this machine; --tcp HOST[:PORT] tries whether somebody listens there.

`check RIG.toml` reports every problem of the file with its line, then opens each device, asks what it is,
reads one record, and closes it. Exit codes: 0 all well, 2 problems in the file, 5 a device did not answer.
"""

from __future__ import annotations

import argparse
import importlib.util
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.cli import options, output
from gapless.errors import UsageError

if TYPE_CHECKING:
    from gapless.acquire.rig import Rig
    from gapless.acquire.trial import Trial

EXIT_PROBLEMS = 2
EXIT_NO_ANSWER = 5
_NEEDS = {
    "modbus": "pymodbus", "serial": "serial", "mqtt": "aiomqtt", "epics": "caproto", "opcua": "asyncua",
    "video": "av",
}  # fmt: skip
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
    found = {"adapters": _adapters(), "serial_ports": _serial_ports(), "cameras": _cameras()}
    found["addresses"] = [_try_address(text) for text in args.tcp]
    if args.json:
        output.say_json(found)
        return 0
    rows = [(a["name"], a["state"], a["about"]) for a in found["adapters"]]
    for line in output.table(("ADAPTER", "STATE", "FOR"), rows, right=frozenset()):
        output.say(line)
    for title, key in (("serial ports", "serial_ports"), ("cameras", "cameras"), ("addresses", "addresses")):
        if found[key] or key != "addresses":
            output.say()
            output.say(title)
            for item in found[key] or [{"name": "none found", "about": ""}]:
                output.say(f"  {item['name']}  {item['about']}".rstrip())
    return 0


def _adapters() -> list[dict[str, str]]:
    from gapless.acquire.registry import BUILT_IN, entry_points

    shown = []
    for name, built_in in BUILT_IN.items():
        missing = built_in.extra is not None and importlib.util.find_spec(_NEEDS[built_in.extra]) is None
        state = f"pip install 'gapless[{built_in.extra}]'" if missing else "ready"
        shown.append({"name": name, "state": state, "about": built_in.about})
    others = [
        {"name": name, "state": "ready", "about": f"from {point.value}"}
        for name, point in entry_points().items()
    ]
    return [*shown, *others]


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


def _try_address(text: str) -> dict[str, str]:
    host, _, port = text.partition(":")
    if port and not port.isdecimal():
        raise UsageError("an address is HOST or HOST:PORT", found=text)
    number = int(port or 502)
    try:
        with socket.create_connection((host, number), _CONNECT_S):
            return {"name": f"{host}:{number}", "about": "somebody listens"}
    except OSError as error:
        return {"name": f"{host}:{number}", "about": f"nobody listens: {error}"}


# -- check -------------------------------------------------------------------------------------


def _check(args: argparse.Namespace) -> int:
    from gapless.acquire.problem import RigProblems
    from gapless.acquire.rig import load_rig
    from gapless.acquire.trial import try_devices

    try:
        rig = load_rig(args.rig)
    except RigProblems as refusal:
        return _tell_problems(args, refusal)
    trials = try_devices(rig)
    silent = [trial for trial in trials if trial.problem]
    if args.json:
        output.say_json({"rig": rig.name, "problems": [], "devices": [trial.to_json() for trial in trials]})
    else:
        _tell_trials(rig, trials)
    return EXIT_NO_ANSWER if silent else 0


def _tell_problems(args: argparse.Namespace, refusal: Any) -> int:
    if args.json:
        output.say_json({"problems": [problem.to_json() for problem in refusal.problems]})
        return EXIT_PROBLEMS
    for problem in refusal.problems:
        output.say(str(problem))
        output.say(f"  {problem.to_json()['fix']}")
    return EXIT_PROBLEMS


def _tell_trials(rig: Rig, trials: list[Trial]) -> None:
    channels = len(rig.channels)
    output.say(f"{rig.name}: {len(trials)} devices, {channels} channels; the file has no problem")
    for trial in trials:
        state = output.styled("no answer", "red") if trial.problem else output.styled("answers", "green")
        output.say(f"  {trial.device} ({trial.adapter}) on {trial.resource}: {state}")
        for words in (trial.problem, trial.about, trial.first_record):
            if words:
                output.say(f"    {words}")
