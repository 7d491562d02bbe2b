"""Performs a method step by step, each with its events."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from gapless.acquire.procedure.context import MethodRig, ProcedureContext
from gapless.acquire.procedure.method import Method
from gapless.acquire.procedure.planned import PlannedStep, StepEnd
from gapless.acquire.procedure.planning import plan


@dataclass(frozen=True)
class MethodEnd:
    """How a method ended; ``abort_reason`` is why it was cut short, None when every step was done."""

    steps_done: int
    abort_reason: str | None = None


class Executor:
    """Performs one method once, on the loop of its context."""

    def __init__(self, method: Method, rig: MethodRig, context: ProcedureContext) -> None:
        self._name = method.name
        self._steps = plan(method.steps, rig)
        self._context = context
        self._index = 0

    async def run(self) -> MethodEnd:
        """Do every step; what one raises is told as an event and raised again.

        Events: ``step_started``, then ``step_ended`` or ``step_failed``, each with index and kind.
        """
        for index, step in enumerate(self._steps):
            self._index = index
            end = await self._perform(index, step)
            if end.abort_reason is not None:
                return MethodEnd(index + 1, end.abort_reason)
        return MethodEnd(len(self._steps))

    async def _perform(self, index: int, step: PlannedStep) -> StepEnd:
        known = {"method": self._name, "index": index, "kind": step.kind}
        await self._context.event("info", "step_started", step.text, known)
        try:
            end = await step.perform(self._context)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # any step's failure is told before it ends the run
            await self._context.event("error", "step_failed", f"{step.text}: {error}", known)
            raise
        await self._context.event("info", "step_ended", step.text, {**known, **end.data})
        return end

    def status(self) -> dict[str, Any]:
        """Return which step is on, for a live view; from any thread."""
        step = self._steps[self._index]
        return {
            "index": self._index,
            "of": len(self._steps),
            "kind": step.kind,
            "text": f"step {self._index + 1} of {len(self._steps)}: {step.text}",
        }
