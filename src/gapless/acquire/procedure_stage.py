"""The run as its method sees it: commands with the run's authorisation, the bus, prompts, events."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from gapless.acquire.clock import RunClock
from gapless.acquire.command import Command, CommandResult
from gapless.acquire.emission import ChannelSample, SampleBlock
from gapless.acquire.procedure.executor import Executor
from gapless.errors import NotFound, UsageError
from gapless.flow.policy import BackpressurePolicy
from gapless.flow.subscription import Subscription
from gapless.model.outcome import Outcome

if TYPE_CHECKING:
    from gapless.acquire.conductor import Conductor
    from gapless.acquire.procedure.method import Method
    from gapless.acquire.run import Run
    from gapless.acquire.safe_state import SafeReport

_QUEUE = 1024
_BY = "method"


@dataclass
class _Prompt:
    """A question to the operator that waits for its answer."""

    prompt_id: str
    text: str
    choices: tuple[str, ...]
    answer: asyncio.Future[str]


class ProcedureStage:
    """Performs one method on the conductor's loop; what the operator answers comes from other threads."""

    def __init__(self, run: Run, method: Method) -> None:
        self._run = run
        self._method = method
        self._prompts: dict[str, _Prompt] = {}
        self._performance: Executor | None = None

    async def perform(self, conductor: Conductor) -> None:
        """Run the method to its end; what it raises ends the run."""
        self._performance = Executor(self._method, self._run.rig, self)
        end = await self._performance.run()
        if end.abort_reason is not None:
            conductor.stop(Outcome.ABORTED, end.abort_reason)

    def status(self) -> dict[str, Any]:
        """Return what the method is at, and what it asks."""
        known: dict[str, Any] = {} if self._performance is None else self._performance.status()
        asked = [
            {"prompt_id": p.prompt_id, "text": p.text, "choices": list(p.choices)}
            for p in list(self._prompts.values())
        ]
        return {"method": self._method.name, **known, "prompts": asked}

    # -- what a step may ask -------------------------------------------------------------------

    @property
    def clock(self) -> RunClock:
        """The run's clock."""
        return self._run.clock

    async def dispatch(self, device: str, command: Command) -> CommandResult:
        """Give a command with the run's authorisation."""
        signed = msgspec.structs.replace(
            command, authorization_id=self._run.authorization_id, issued_by=command.issued_by or _BY
        )
        return await self._run.dispatcher.send(device, signed)

    def subscribe(self, channels: Sequence[str]) -> Subscription[Any]:
        """Listen to channels; the run waits for a reader that stays behind, up to the saturation deadline."""
        wanted = frozenset(channels)
        return self._run.conductor.bus.subscribe_where(
            lambda item: getattr(item, "channel", None) in wanted,
            name=f"method {', '.join(sorted(wanted))}",
            capacity=_QUEUE,
            policy=BackpressurePolicy.BLOCK,
        )

    def last_value(self, channel: str) -> ChannelSample | SampleBlock | None:
        """Return the latest sample of a channel."""
        found: ChannelSample | SampleBlock | None = self._run.conductor.bus.last_value(channel)
        return found

    async def event(self, severity: str, kind: str, message: str, data: dict[str, Any] | None = None) -> None:
        """Record an event; it becomes durable with the next sync, and the method does not wait for it."""
        self._run.events.record(severity, kind, message, source=_BY, data=data)

    async def prompt(self, text: str, choices: Sequence[str], timeout_s: float | None) -> str:
        """Ask the operator; TimeoutError when no answer came in time."""
        prompt = _Prompt(
            uuid.uuid4().hex[:8], text, tuple(choices), asyncio.get_running_loop().create_future()
        )
        self._prompts[prompt.prompt_id] = prompt
        data = {"prompt_id": prompt.prompt_id, "choices": list(choices)}
        self._run.events.record("info", "prompt", text, source=_BY, data=data)
        try:
            async with asyncio.timeout(timeout_s):
                return await prompt.answer
        finally:
            del self._prompts[prompt.prompt_id]

    def confirm(self, prompt_id: str, answer: str, by: str) -> None:
        """Answer a prompt, from any thread; UsageError for an answer that is no choice."""
        prompt = self._prompts.get(prompt_id)
        if prompt is None:
            raise NotFound("no such prompt waits for an answer", sequence=self._run.name, found=prompt_id)
        if answer not in prompt.choices:
            raise UsageError(
                "the answer is not one of the choices", found=answer, expected=", ".join(prompt.choices)
            )
        data = {"prompt_id": prompt_id, "answer": answer}
        self._run.events.record("info", "prompt_answered", f"{prompt.text}: {answer}", source=by, data=data)
        self._run.conductor.loop.call_soon_threadsafe(_answer, prompt.answer, answer)

    async def request_safe_shutdown(self, reason: str) -> SafeReport:
        """Run every device's safe-state program."""
        return await asyncio.to_thread(self._run.watchdog.make_safe, reason, final=False)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def _answer(future: asyncio.Future[str], answer: str) -> None:
    if not future.done():
        future.set_result(answer)
