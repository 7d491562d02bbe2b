"""What the guard process does: import the adapters, wait for the end of its input, act, report.

It never opens a device before the recorder is dead, and ends by itself in every case: at the word ``done``,
or when all programs have ended or passed their deadlines.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from gapless.acquire.adapter import Adapter
from gapless.acquire.device_config import SafeState
from gapless.acquire.guard import DONE
from gapless.acquire.safe_state import SafeOutcome, SafeReport, SafeStatus, Via, run_apart
from gapless.errors import GaplessError
from gapless.store.deadline import within
from gapless.store.late_events import GUARD_LOCK, LateEvent, leave_late_events
from gapless.store.layout import Bundle
from gapless.store.platform import PLATFORM

_MARGIN_S = 0.5
_REPORT_S = 10.0
_IGNORED = ("SIGINT", "SIGTERM", "SIGHUP")
_REASON = "the recorder died"


@dataclass(frozen=True)
class Ward:
    """One device the guard would make safe."""

    name: str
    safe: SafeState
    make: Callable[[], Adapter]


def main() -> int:
    """Run as a guard; returns 7 when a device may be unsafe."""
    for name in _IGNORED:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):  # the recorder died before it had anything to guard
        return 0
    order = json.loads(line)
    bundle = Bundle(Path(order["bundle"]))
    PLATFORM.lock(bundle.journal / GUARD_LOCK)
    wards, problems = take_order(order["devices"])
    _say(sys.stdout, json.dumps({"problems": problems}) + "\n")
    if sys.stdin.buffer.readline() == DONE:
        return 0
    report = make_safe(wards, problems)
    _say(sys.stderr, _words(report))
    _leave(bundle, report, order["anchor_ns"] + PLATFORM.boot_ns())
    return 7 if report.unsafe_devices else 0


def take_order(devices: Iterable[dict[str, Any]]) -> tuple[list[Ward], dict[str, str]]:
    """Import what each device needs; return those that can be made safe and why the others cannot."""
    wards: list[Ward] = []
    problems: dict[str, str] = {}
    for device in devices:
        name = device["name"]
        try:
            wards.append(_ward(device))
        except BaseException as error:  # noqa: BLE001 - an adapter's module: its failure is the answer
            problems[name] = f"{type(error).__name__}: {error}"
    return wards, problems


def _ward(device: dict[str, Any]) -> Ward:
    name, adapter_class = device["name"], _find(device["adapter"])
    config = _find(device["config_class"]).model_validate(device["config"])
    adapter_class(name, config)  # what construction imports or refuses is known now, not in the emergency
    return Ward(name, config.safe_state, lambda: adapter_class(name, config))


def _find(place: str) -> Any:
    module, _, path = place.partition(":")
    found = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def make_safe(wards: Iterable[Ward], problems: dict[str, str]) -> SafeReport:
    """Run all programs at once on connections of their own, and return what became of each."""
    began_s = time.monotonic()
    started = [(w, run_apart(w.make, w.name, w.safe, Via.GUARD)) for w in wards]
    outcomes = [SafeOutcome.unsafe(name, why, Via.GUARD) for name, why in problems.items()]
    for ward, answer in started:
        left_s = began_s + ward.safe.deadline_s + _MARGIN_S - time.monotonic()
        try:
            outcomes.append(answer.result(max(0.0, left_s)))
        except TimeoutError as error:
            words = f"no end within {ward.safe.deadline_s:g} s {error}".rstrip()
            outcomes.append(SafeOutcome.unsafe(ward.name, words, Via.GUARD))
    return SafeReport(_REASON, tuple(outcomes))


def _words(report: SafeReport) -> str:
    return "".join(
        f"gapless guard: {report.reason}; {o.device} is {o.status}{f' ({o.message})' if o.message else ''}\n"
        for o in report.outcomes
    )


def _say(stream: TextIO | None, words: str) -> bool:
    """Write to whoever still reads; return whether it could be: a reader may have died with the recorder."""
    if stream is None:
        return False
    try:
        stream.write(words)
        stream.flush()
    except OSError:
        return False
    return True


def _leave(bundle: Bundle, report: SafeReport, now_ns: int) -> None:
    """Leave the report for recovery; a disk that hangs is given up after 10 s."""
    unsafe = [o for o in report.outcomes if o.status is SafeStatus.UNSAFE]
    events = [
        LateEvent(now_ns, "error", "device_unsafe", o.device, f"{o.device} may be unsafe: {o.message}")
        for o in unsafe
    ]
    severity = "error" if unsafe else "info"
    events.append(
        LateEvent(now_ns, severity, "safe_state", "guard", f"safe state: {report.reason}", report.to_json())
    )
    try:
        within(_REPORT_S, "report", bundle.path.name, lambda: leave_late_events(bundle, events, PLATFORM))
    except (OSError, GaplessError) as error:
        _say(sys.stderr, f"gapless guard: the report could not be kept: {error}\n")


if __name__ == "__main__":
    os._exit(main())  # a thread that an adapter left behind must not keep the guard
