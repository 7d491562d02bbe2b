"""Commands during a run: durable intent first, then the device, then the answer, joined by id."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from gapless.acquire.command import Command, CommandResult, CommandStatus, failed, refused
from gapless.acquire.pool import WorkerPool
from gapless.errors import GaplessError

if TYPE_CHECKING:
    from gapless.acquire.event_log import EventLog
    from gapless.acquire.setpoints import Setpoints

_SEVERITY = {CommandStatus.FAILED: "error", CommandStatus.REFUSED: "warning"}
_MOST_CHARACTERS = 200
_GRACE_S = 2.0  # beyond the command's own time-out: the hops, and a bus that is in use


class ConductorDispatcher:
    """Gives commands to the devices of an armed run.

    Each command that may go out leaves a ``command_issued`` event that is durable before the device sees it,
    and then ``command_done``, ``command_failed`` or ``command_refused`` with the same ``command_id``. A
    command without authorisation, beyond the limits of a setpoint, or while the run drains, is refused and
    recorded. Cancelling the caller's future cancels nothing that has reached the device.
    """

    def __init__(
        self,
        pool: WorkerPool,
        events: EventLog,
        loop: Callable[[], asyncio.AbstractEventLoop],
        *,
        takes_commands: Callable[[], bool],
        setpoints: Setpoints,
        in_flight: set[asyncio.Task[Any]],
        authorization_id: str,
        journal_deadline_s: float = 5.0,
    ) -> None:
        self._pool = pool
        self._events = events
        self._loop = loop
        self._takes_commands = takes_commands
        self._setpoints = setpoints
        self._journal_deadline_s = journal_deadline_s
        self._authorization_id = authorization_id
        self._in_flight = in_flight  # the run waits for them at its end
        self.last_hop_ns = 0

    def dispatch(self, device: str, command: Command) -> Future[CommandResult]:
        """Give a command to a device, from any thread."""
        if not self._takes_commands():
            answer: Future[CommandResult] = Future()
            answer.set_result(self._refuse_draining(device, command))
            return answer
        return asyncio.run_coroutine_threadsafe(self.send(device, command), self._loop())

    def _refuse_draining(self, device: str, command: Command) -> CommandResult:
        result = refused(command, "the run is draining and takes no commands")
        self._record(device, command, result, 0)
        return result

    async def send(self, device: str, command: Command) -> CommandResult:
        """Give a command to a device, on the conductor's loop."""
        task = asyncio.get_running_loop().create_task(self._carry_out(device, command))
        self._in_flight.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._in_flight.discard)
        return await asyncio.shield(task)

    async def _carry_out(self, device: str, command: Command) -> CommandResult:
        began_ns = time.monotonic_ns()
        try:
            result = await self._try(device, command)
        except asyncio.CancelledError:  # the run ends and waits no longer: the command still gets its answer
            result = failed(command, "the run ended before the answer; the state is unknown")
        self._record(device, command, result, time.monotonic_ns() - began_ns)
        return result

    async def _try(self, device: str, command: Command) -> CommandResult:
        if not self._takes_commands():
            return refused(command, "the run is draining and takes no commands")
        if not (command.confirmed_by or command.authorization_id == self._authorization_id):
            return refused(command, "neither the run nor a person stands behind the command")
        beyond = self._setpoints.refusal_of(device, command)
        if beyond:
            return refused(command, beyond)
        worker = self._pool.worker_for(device)
        issued = self._events.record(
            _routine(command),
            "command_issued",
            _order(device, command),
            source=device,
            data=_words_of(command),
        )
        try:
            async with asyncio.timeout(self._journal_deadline_s):
                await asyncio.wrap_future(issued)
        except (GaplessError, OSError, TimeoutError) as error:
            return refused(command, f"the journal did not take the intent in time: {error}")
        if not self._takes_commands():
            return refused(command, "the run began to drain before the command was sent")
        sent_ns = time.monotonic_ns()
        try:
            async with asyncio.timeout(command.timeout_s + _GRACE_S):
                result = await asyncio.wrap_future(worker.dispatch(device, command))
        except TimeoutError:
            return failed(
                command, f"no answer within {command.timeout_s + _GRACE_S:g} s; the state is unknown"
            )
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - a defect of an adapter must not end the run's other work
            return failed(command, f"{type(error).__name__}: {error}")
        self.last_hop_ns = time.monotonic_ns() - sent_ns
        return result

    def _record(self, device: str, command: Command, result: CommandResult, took_ns: int) -> None:
        data = {
            "command_id": command.command_id,
            "accepted": result.accepted,
            "value": _json(result.value),
            "took_ms": round(took_ns / 1e6, 3),
        }
        if result.status is CommandStatus.REFUSED:
            data |= _words_of(command)
        is_done = result.status is CommandStatus.DONE
        self._events.record(
            _routine(command) if is_done else _SEVERITY[result.status],
            f"command_{result.status}",
            f"{_order(device, command)}: {result.status}" + (f": {result.message}" if result.message else ""),
            source=device,
            data=data,
        )


def _routine(command: Command) -> str:
    """Return the severity of what goes well: a ramp's ten commands a second are no news, a person's are."""
    return "info" if command.confirmed_by else "debug"


def _order(device: str, command: Command) -> str:
    """Return a command in one line for people; its data has it whole."""
    words = " ".join([command.name, *(f"{name}={value}" for name, value in command.arguments.items())])
    return f"{shorten(words, _MOST_CHARACTERS, placeholder=' …')} to {device}"


def _words_of(command: Command) -> dict[str, Any]:
    return {
        "command_id": command.command_id,
        "command": command.name,
        "arguments": command.arguments,
        "issued_by": command.issued_by,
        "authorization_id": command.authorization_id,
        "confirmed_by": command.confirmed_by,
    }


def _json(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None | list | dict) else repr(value)
