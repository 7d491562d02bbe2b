"""The safe-state program of a device: how it is run, and what became of it.

A program must leave the device harmless however often it is run, and from whatever state: after any
failure it begins again from its first step.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from enum import StrEnum
from typing import Any, Self

import msgspec

from gapless.acquire.adapter import Adapter, Bus
from gapless.acquire.command import SAFE_STATE, Command, CommandResult, CommandStatus
from gapless.acquire.device_config import SafeState, SafeStep

AUTHORIZATION = SAFE_STATE
_PAUSE_S = 0.05
_CLOSE_S = 1.0


class SafeStatus(StrEnum):
    """What is known of a device after its program."""

    SAFE = "safe"  # every step was done
    UNSAFE = "unsafe"  # at least one step was not, or nobody knows
    NOT_DECLARED = "not_declared"  # the device has no program


class Via(StrEnum):
    """On which connection the program ran."""

    WORKER = "worker"
    SECOND_CONNECTION = "second_connection"
    GUARD = "guard"


class SafeOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one device; ``message`` says what went wrong."""

    device: str
    status: SafeStatus
    via: Via | None = None
    took_s: float = 0.0
    message: str = ""

    @classmethod
    def unsafe(cls, device: str, message: str, via: Via | None = None, took_s: float = 0.0) -> Self:
        """Return the outcome of a device that may do harm."""
        return cls(device=device, status=SafeStatus.UNSAFE, via=via, took_s=took_s, message=message)


class SafeReport(msgspec.Struct, frozen=True):
    """What became of every device, and why their programs ran."""

    reason: str
    outcomes: tuple[SafeOutcome, ...]

    @property
    def unsafe_devices(self) -> list[str]:
        """The devices that a person must go to."""
        return [outcome.device for outcome in self.outcomes if outcome.status is SafeStatus.UNSAFE]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values; :meth:`from_json` is the inverse."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> SafeReport:
        """Return the report that :meth:`to_json` made."""
        return msgspec.convert(document, cls)


async def run_program(
    adapter: Adapter, safe: SafeState, authorization: str = AUTHORIZATION, *, via: Via = Via.WORKER
) -> SafeOutcome:
    """Run a device's program until every step was done in one pass, at most ``deadline_s`` seconds.

    Opens the device if need be, and anew after a failure. A step that fails does not keep the others from
    being tried. Whatever the device does, the outcome tells it; nothing but a cancellation is raised.
    """
    began_s = time.monotonic()
    program = _Program(adapter, safe, authorization)
    try:
        async with asyncio.timeout(safe.deadline_s):
            while not await program.passed():
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError:
        words = f"not within {safe.deadline_s:g} s: {program.words()}"
        return SafeOutcome.unsafe(adapter.name, words, via, time.monotonic() - began_s)
    took_s = time.monotonic() - began_s
    return SafeOutcome(device=adapter.name, status=SafeStatus.SAFE, via=via, took_s=took_s)


class _Program:
    """One device's program on its way; what went wrong last is at hand however it ends."""

    def __init__(self, adapter: Adapter, safe: SafeState, authorization: str) -> None:
        self._adapter = adapter
        self._steps = safe.program
        self._authorization = authorization
        self._give_up_s = time.monotonic() + safe.deadline_s
        self._doing = ""
        self._problems: list[str] = []
        self._is_broken = False

    def words(self) -> str:
        """Return what went wrong, and what had no answer yet."""
        pending = [f"{self._doing}: no answer"] if self._doing else []
        return "; ".join([*self._problems, *pending])

    async def passed(self) -> bool:
        """Try every step once and return whether all were done.

        A step may take half of its share of the time left, so that a connection that hangs can be made anew.
        """
        self._problems = []
        undone = 0
        for before, step in enumerate(self._steps):
            if not await self._connected():
                return False
            left_s = max(0.02, self._give_up_s - time.monotonic())
            undone += not await self._given(step, left_s / (len(self._steps) - before) / 2)
        return not undone

    async def _connected(self) -> bool:
        """Drop a connection that failed, in which half an answer may wait, and open what is not open."""
        if self._is_broken:
            self._is_broken = False
            await self._try("close", self._adapter.close(), _CLOSE_S)
        return await self._try("open", self._adapter.open())

    async def _given(self, step: SafeStep, limit_s: float) -> bool:
        command = Command(
            name=step.command,
            arguments=dict(step.arguments),
            issued_by=self._authorization,
            authorization_id=self._authorization,
            timeout_s=limit_s,
        )
        answers: list[CommandResult] = []

        async def ask() -> None:
            answers.append(await self._adapter.command(command))

        if not await self._try(step.command, ask(), limit_s + _PAUSE_S):
            self._is_broken = True
            return False
        (answer,) = answers
        if answer.status is CommandStatus.DONE:
            return True
        self._is_broken = answer.status is CommandStatus.FAILED
        self._problems.append(f"{step.command} {answer.status}: {answer.message}")
        return False

    async def _try(self, what: str, call: Awaitable[None], limit_s: float | None = None) -> bool:
        """Await an adapter's call; note what went wrong."""
        self._doing = what
        problem = await _tried(what, call, limit_s)
        self._doing = ""
        self._problems += [problem] if problem else []
        return not problem


async def _tried(what: str, call: Awaitable[None], limit_s: float | None = None) -> str:
    """Await an adapter's call and return what went wrong in words, "" if nothing did."""
    try:
        async with asyncio.timeout(limit_s):
            await call
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - the adapter's code ends here: its failure is the answer
        return f"{what}: {type(error).__name__} {error}".rstrip()
    return ""


def run_apart(make: Callable[[], Adapter], device: str, safe: SafeState, via: Via) -> Future[SafeOutcome]:
    """Run the program on a device made for it, with a connection, loop and daemon thread of its own.

    The future is done within ``deadline_s`` unless the adapter's code blocks its thread.
    """
    answer: Future[SafeOutcome] = Future()

    def run() -> None:
        try:
            asyncio.run(_on_fresh(make, safe, via, answer))
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: the outcome tells it
            _settle(answer, SafeOutcome.unsafe(device, f"{type(error).__name__}: {error}", via))

    threading.Thread(target=run, name=f"gapless-{via}-{device}", daemon=True).start()
    return answer


async def _on_fresh(
    make: Callable[[], Adapter], safe: SafeState, via: Via, answer: Future[SafeOutcome]
) -> None:
    """Answer as soon as the outcome is known; what closing then does changes nothing."""
    adapter = make()
    adapter.share(Bus())
    _settle(answer, await run_program(adapter, safe, via=via))
    await _tried("close", adapter.close(), _CLOSE_S)


def _settle(answer: Future[SafeOutcome], outcome: SafeOutcome) -> None:
    if not answer.done():
        answer.set_result(outcome)


__all__ = [
    "AUTHORIZATION",
    "SafeOutcome",
    "SafeReport",
    "SafeStatus",
    "Via",
    "run_apart",
    "run_program",
]
