"""From the steps of a file to steps that can be performed: every name, unit and limit is checked here."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from gapless.acquire.problem import ConfigProblem, RigProblems
from gapless.acquire.procedure.condition import Condition, parse_condition
from gapless.acquire.procedure.context import MethodRig
from gapless.acquire.procedure.method_file import REFUSAL
from gapless.acquire.procedure.planned import (
    Ask,
    CallFunction,
    CustomStep,
    MakeSafe,
    Pause,
    PlannedStep,
    Ramp,
    Setting,
    WaitForCondition,
    WaitForRows,
)
from gapless.acquire.procedure.setpoint import Setpoint
from gapless.acquire.procedure.steps import (
    AcquireSpec,
    AnyStepSpec,
    CustomSpec,
    HoldSpec,
    PromptSpec,
    RampSpec,
    SafeShutdownSpec,
    SetpointStepSpec,
    WaitSpec,
)
from gapless.errors import GaplessError, RigRefused

T = TypeVar("T")

_NAMES = ("setpoint", "channel", "function")  # fields that name something else


def plan(steps: Iterable[AnyStepSpec], rig: MethodRig) -> tuple[PlannedStep, ...]:
    """Return the steps ready to be performed, or raise RigProblems naming all that is wrong."""
    planned, problems = try_plan(steps, rig)
    if problems:
        raise RigProblems(problems, REFUSAL)
    return planned


def try_plan(
    steps: Iterable[AnyStepSpec], rig: MethodRig
) -> tuple[tuple[PlannedStep, ...], list[ConfigProblem]]:
    """Return the steps that are right, and what is wrong with each of the others."""
    planner = _Planner(rig)
    planned: list[PlannedStep] = []
    problems: list[ConfigProblem] = []
    ended = False
    for index, spec in enumerate(steps):
        if ended:
            words = "no step comes after safe_shutdown: it would not be safe"
            problems.append(ConfigProblem("R005", words, ("steps", index)))
        ended = ended or isinstance(spec, SafeShutdownSpec)
        try:
            planned.append(planner.plan(spec))
        except GaplessError as error:
            problems.append(_problem(error, index))
    return tuple(planned), problems


class _Planner:
    """Plans one step after the other and knows where each setpoint is left."""

    def __init__(self, rig: MethodRig) -> None:
        self._rig = rig
        self._left_at: dict[str, float] = {}
        self._makers: dict[type, Callable[[Any], PlannedStep]] = {
            HoldSpec: self._hold,
            RampSpec: self._ramp,
            SetpointStepSpec: self._setpoint,
            WaitSpec: self._wait,
            PromptSpec: self._prompt,
            AcquireSpec: self._acquire,
            SafeShutdownSpec: self._safe_shutdown,
            CustomSpec: self._custom,
        }

    def plan(self, spec: AnyStepSpec) -> PlannedStep:
        """Return the step, or raise RigRefused."""
        return self._makers[type(spec)](spec)

    def _hold(self, spec: HoldSpec) -> PlannedStep:
        if spec.until is None:
            return Pause("hold", f"hold for {_seconds(spec.duration_s)}", spec.duration_s, None)
        condition = self._condition(spec.until)
        text = f"hold until {condition.text}"
        return WaitForCondition("hold", text, None, spec.timeout_s, spec.on_timeout, condition, 0.0)

    def _wait(self, spec: WaitSpec) -> PlannedStep:
        condition = self._condition(spec.until)
        text = f"wait until {condition.text}" + (f" for {_seconds(spec.for_s)}" if spec.for_s else "")
        return WaitForCondition("wait", text, None, spec.timeout_s, spec.on_timeout, condition, spec.for_s)

    def _setpoint(self, spec: SetpointStepSpec) -> PlannedStep:
        setpoint = self._named(spec.setpoint)
        value = self._left_at[spec.setpoint] = _in_field("to", lambda: setpoint.value_of(spec.to))
        text = f"set {spec.setpoint} to {value:g} {setpoint.spec.unit}"
        return Setting("setpoint", text, 0.0, None, setpoint, value)

    def _ramp(self, spec: RampSpec) -> PlannedStep:
        setpoint = self._named(spec.setpoint)
        begin = self._begin(spec, setpoint)
        end = self._left_at[spec.setpoint] = _in_field("to", lambda: setpoint.value_of(spec.to))
        rate = spec.rate
        if rate is None:
            length_s = spec.duration_s or 0.0
        else:
            length_s = abs(end - begin) / _in_field("rate", lambda: setpoint.per_second(rate))
        text = f"ramp {spec.setpoint} from {begin:g} to {end:g} {setpoint.spec.unit}" + (
            f" at {rate}" if rate else f" in {_seconds(length_s)}"
        )
        return Ramp("ramp", text, length_s, None, setpoint, begin, end, spec.update_hz)

    def _begin(self, spec: RampSpec, setpoint: Setpoint) -> float:
        start = spec.start
        if start is not None:
            return _in_field("from", lambda: setpoint.value_of(start))
        if spec.setpoint not in self._left_at:
            raise RigRefused(
                "no step before has set this setpoint, so nobody knows where the ramp begins",
                field="from",
                next_step="give `from`, or a setpoint step before it",
            )
        return self._left_at[spec.setpoint]

    def _prompt(self, spec: PromptSpec) -> PlannedStep:
        text = f"ask: {spec.text} ({', '.join(spec.choices)})"
        return Ask(
            "prompt", text, None, spec.timeout_s, spec.on_timeout, spec.text, spec.choices, spec.abort_on
        )

    def _acquire(self, spec: AcquireSpec) -> PlannedStep:
        if spec.rows is None or spec.channel is None:
            return Pause("acquire", f"acquire for {_seconds(spec.duration_s)}", spec.duration_s, None)
        if all(channel.name != spec.channel for channel in self._rig.channels):
            raise RigRefused("the rig has no such channel", field="channel", found=spec.channel)
        text = f"acquire {spec.rows} values of {spec.channel}"
        return WaitForRows("acquire", text, None, spec.timeout_s, spec.on_timeout, spec.channel, spec.rows)

    def _safe_shutdown(self, spec: SafeShutdownSpec) -> PlannedStep:
        return MakeSafe("safe_shutdown", "put every device into its safe state", None, None, spec.reason)

    def _custom(self, spec: CustomSpec) -> PlannedStep:
        function = _in_field("function", lambda: custom_function(spec.function))
        try:
            inspect.signature(function).bind(None, **spec.arguments)
        except TypeError as error:
            raise RigRefused(str(error), field="arguments", found=spec.function) from error
        return CallFunction("custom", f"call {spec.function}", None, spec.timeout_s, function, spec.arguments)

    def _condition(self, text: str) -> Condition:
        return _in_field("until", lambda: parse_condition(text, self._rig.channels))

    def _named(self, name: str) -> Setpoint:
        spec = self._rig.setpoints.get(name)
        if spec is None:
            raise RigRefused(
                "the rig has no such setpoint",
                field="setpoint",
                found=name,
                expected=", ".join(self._rig.setpoints) or "a table [setpoints.NAME] in the rig",
            )
        return Setpoint(name, spec)


def custom_function(reference: str) -> CustomStep:
    """Return the coroutine function that ``module:function`` names, or raise RigRefused."""
    module_name, _, name = reference.partition(":")
    try:
        function: CustomStep = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise RigRefused(
            "the function cannot be imported", found=f"{reference}: {error}", expected="module:function"
        ) from error
    if not inspect.iscoroutinefunction(function):
        raise RigRefused("a custom step is an async function", found=reference)
    return function


def _in_field(name: str, make: Callable[[], T]) -> T:
    """Return what ``make`` does; a refusal gets the name of the field that it is about."""
    try:
        return make()
    except GaplessError as error:
        error.field = error.field or name
        raise


def _problem(error: GaplessError, index: int) -> ConfigProblem:
    """Return what a step was refused for, with its evidence."""
    found = "" if error.found is None else f"; found {error.found}"
    expected = "" if error.expected is None else f"; expected {error.expected}"
    path: tuple[str | int, ...] = ("steps", index)
    if error.field is not None:
        path = (*path, error.field)
    code = "R003" if error.field in _NAMES else "R005"
    fix = "" if error.advice == type(error).next_step else error.advice
    return ConfigProblem(code, f"{error.message}{found}{expected}", path, fix=fix)


def _seconds(length_s: float | None) -> str:
    if length_s is None:
        return "?"
    if length_s < 120:
        return f"{length_s:g} s"
    minutes, seconds = divmod(length_s, 60)
    return f"{minutes:.0f} min" + (f" {seconds:g} s" if seconds else "")
