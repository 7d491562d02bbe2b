"""The steps of a method as its file writes them: one model for each kind; times in seconds.

A field that would have no effect beside the others is refused, like an unknown one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from gapless.acquire.device_config import Strict

Seconds = Annotated[FiniteFloat, Field(gt=0)]
Quantity = Annotated[str | FiniteFloat, Field(union_mode="left_to_right")]


class OnTimeout(StrEnum):
    """What happens when a step's time is over and what it waits for has not come."""

    WARN = "warn"  # an event; the next step begins
    ABORT = "abort"  # the method ends and the run is sealed as aborted
    SAFE_SHUTDOWN = "safe_shutdown"  # safe state at once; the run is sealed as crashed


class StepSpec(Strict):
    """What the steps have in common."""

    def gave(self, *names: str) -> list[str]:
        """Return which of the fields the file gives."""
        return [name for name in names if name in self.model_fields_set]


class HoldSpec(StepSpec):
    """Keep everything as it is for ``duration_s``, or until a condition holds."""

    kind: Literal["hold"]
    duration_s: Seconds | None = None
    until: str | None = None
    timeout_s: Seconds | None = None
    on_timeout: OnTimeout = OnTimeout.ABORT

    @model_validator(mode="after")
    def _ends_one_way(self) -> Self:
        _one_of(self, "duration_s", "until")
        _times_out_with(self, "until")
        return self


class RampSpec(StepSpec):
    """Move a setpoint in a straight line, ``update_hz`` times a second, and end exactly on ``to``.

    ``from`` is where it starts; left out, where the step before left the setpoint. ``rate`` is a quantity
    per s, min or h.
    """

    kind: Literal["ramp"]
    setpoint: str
    start: Quantity | None = Field(default=None, alias="from")
    to: Quantity
    rate: str | None = None
    duration_s: Seconds | None = None
    update_hz: float = Field(default=10.0, gt=0, le=100)

    @model_validator(mode="after")
    def _has_one_speed(self) -> Self:
        _one_of(self, "rate", "duration_s")
        return self


class SetpointStepSpec(StepSpec):
    """Set a setpoint of the rig once."""

    kind: Literal["setpoint"]
    setpoint: str
    to: Quantity


class WaitSpec(StepSpec):
    """Wait until a condition has held for ``for_s`` seconds of the data's own time."""

    kind: Literal["wait"]
    until: str
    for_s: float = Field(default=0.0, ge=0)
    timeout_s: Seconds
    on_timeout: OnTimeout = OnTimeout.ABORT


class PromptSpec(StepSpec):
    """Ask the operator. An answer in ``abort_on`` ends the run as aborted.

    Either ``timeout_s`` or ``wait = "forever"``: nobody waits for ever by accident.
    """

    kind: Literal["prompt"]
    text: str = Field(min_length=1)
    choices: tuple[str, ...] = Field(default=("ok",), min_length=1)
    abort_on: tuple[str, ...] = ()
    timeout_s: Seconds | None = None
    wait: Literal["forever"] | None = None
    on_timeout: OnTimeout = OnTimeout.ABORT

    @model_validator(mode="after")
    def _is_answerable(self) -> Self:
        _one_of(self, "timeout_s", "wait")
        _times_out_with(self, "timeout_s")
        if len(set(self.choices)) != len(self.choices):
            raise ValueError("each choice stands once")
        strange = [answer for answer in self.abort_on if answer not in self.choices]
        if strange:
            raise ValueError(f"abort_on holds answers that are not in choices: {', '.join(strange)}")
        return self


class AcquireSpec(StepSpec):
    """Record for ``duration_s``, or until ``channel`` has given ``rows`` more values."""

    kind: Literal["acquire"]
    duration_s: Seconds | None = None
    rows: int | None = Field(default=None, gt=0)
    channel: str | None = None
    timeout_s: Seconds | None = None
    on_timeout: OnTimeout = OnTimeout.ABORT

    @model_validator(mode="after")
    def _ends_one_way(self) -> Self:
        _one_of(self, "duration_s", "rows")
        _times_out_with(self, "rows")
        if (self.rows is None) != (self.channel is None):
            raise ValueError("rows counts the values of a channel: give both or neither")
        return self


class SafeShutdownSpec(StepSpec):
    """Run every device's safe-state program and end the method; the last step, if there is one."""

    kind: Literal["safe_shutdown"]
    reason: str = "the method ends in safe state"


class CustomSpec(StepSpec):
    """Call ``module:function``, an ``async def f(context, **arguments)``."""

    kind: Literal["custom"]
    function: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    timeout_s: Seconds | None = None


AnyStepSpec = (
    HoldSpec
    | RampSpec
    | SetpointStepSpec
    | WaitSpec
    | PromptSpec
    | AcquireSpec
    | SafeShutdownSpec
    | CustomSpec
)


def _one_of(step: StepSpec, first: str, second: str) -> None:
    given = [name for name in (first, second) if getattr(step, name) is not None]
    if len(given) != 1:
        raise ValueError(f"give {first} or {second}" + (", not both" if given else ""))


def _times_out_with(step: StepSpec, cause: str) -> None:
    """A time-out belongs to what can time out, and what can has one."""
    if getattr(step, cause) is not None:
        if getattr(step, "timeout_s", None) is None:
            raise ValueError(f"{cause} needs timeout_s: every wait has an end")
        return
    idle = step.gave("on_timeout", *([] if cause == "timeout_s" else ["timeout_s"]))
    if idle:
        raise ValueError(f"{', '.join(idle)} has no effect without {cause}")
