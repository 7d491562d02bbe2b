"""What a method will do and when, as far as that is known before it runs."""

from __future__ import annotations

from gapless.acquire.procedure.context import MethodRig
from gapless.acquire.procedure.method import Method
from gapless.acquire.procedure.planned import PlannedStep
from gapless.acquire.procedure.planning import plan


def timeline(method: Method, rig: MethodRig) -> list[tuple[float | None, PlannedStep, str]]:
    """Return start in seconds, step and text of each step; None for a start that follows an unknown length."""
    shown: list[tuple[float | None, PlannedStep, str]] = []
    start_s: float | None = 0.0
    for step in plan(method.steps, rig):
        shown.append((start_s, step, f"{step.text} {_length(step)}".rstrip()))
        start_s = None if start_s is None or step.length_s is None else start_s + step.length_s
    return shown


def _length(step: PlannedStep) -> str:
    if step.kind == "safe_shutdown":
        return ""
    if step.length_s is None:
        return "(no time-out)" if step.limit_s is None else f"(at most {step.limit_s:g} s)"
    return f"({step.length_s:g} s)" if step.kind == "ramp" else ""
