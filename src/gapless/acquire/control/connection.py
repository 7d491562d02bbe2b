"""One client of a control socket: its requests, their answers and its stream."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from gapless._version import __version__
from gapless.acquire.command import Command, CommandResult
from gapless.acquire.control import messages
from gapless.acquire.control.calls import BoundedCalls
from gapless.acquire.control.live_stream import FEED_ITEMS, LiveStream
from gapless.acquire.control.run_control import RunControl
from gapless.acquire.control.socket_place import peer_uid
from gapless.errors import ControlFailed

SEND_DEADLINE_S = 2.0
MAX_WAITING = 16
_LOOK_S = 0.02
_QUICK_S = 5.0
_NOTE_S = 15.0
_STOP_S = 15.0
_EMERGENCY_S = 180.0  # a program may take 60 s, and may be tried again on a second connection
_COMMAND_GRACE_S = 15.0  # beyond the device's time-out: the intent becomes durable, and the hops


class Connection:
    """Serves one client until it leaves, is too slow, or the run is over.

    What it asks is done one beside the other, so an emergency stop never waits for a slow command.
    """

    def __init__(
        self, run: RunControl, calls: BoundedCalls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._run = run
        self._calls = calls
        self._reader = reader
        self._writer = writer
        self._sending = asyncio.Lock()
        self._answering: set[asyncio.Task[None]] = set()
        self._stream: LiveStream | None = None
        self._streaming: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None
        writer.transport.set_write_buffer_limits(high=0)  # drain waits until the kernel has taken everything

    async def serve(self) -> None:
        """Greet, then answer until the client closes its end; nothing but a cancellation is raised."""
        try:
            self._check_peer()
            await self._send({"hello": self._hello()})
            while line := await self._next_line():
                await self._accept(line)
            await self._answered()
        except ControlFailed as error:
            await self._send_from_task(messages.error_message(None, error))
        except OSError as error:  # it went away, or was dropped: the run goes on
            self.failure = error
        finally:
            self._leave()

    async def _answered(self) -> None:
        """Wait for the answers that are on their way; each has its deadline."""
        if self._answering:
            await asyncio.wait(self._answering)

    async def finish(self, timeout_s: float) -> None:
        """Let answers that are on their way reach the client, then leave it."""
        pending = [*self._answering, *([self._streaming] if self._streaming else [])]
        if pending:
            await asyncio.wait(pending, timeout=timeout_s)
        self._leave()
        self.drop()

    def _leave(self) -> None:
        for task in [*self._answering, *([self._streaming] if self._streaming else [])]:
            task.cancel()
        if self._stream is not None:
            self._stream.close()
        self._writer.close()

    def drop(self) -> None:
        """Let the client go at once, with whatever it has not taken."""
        self._writer.transport.abort()

    def _hello(self) -> dict[str, Any]:
        return {
            "protocol": messages.PROTOCOL,
            "sequence": self._run.name,
            "pid": os.getpid(),
            "version": __version__,
        }

    def _check_peer(self) -> None:
        uid = peer_uid(self._writer.get_extra_info("socket"))
        if uid not in (None, 0, os.getuid()):
            raise ControlFailed("another user's run takes no requests", found=f"user {uid}")

    async def _next_line(self) -> bytes:
        """Return the next line, b"" at the end. Raises ControlFailed for one that is too long."""
        try:
            return await self._reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            return error.partial  # a last line without its end; nothing follows it
        except asyncio.LimitOverrunError as error:
            raise ControlFailed(
                "a request is too long", expected=f"at most {messages.MAX_REQUEST_BYTES} bytes in a line"
            ) from error

    async def _accept(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            request = messages.decode_request(line)
            if len(self._answering) >= MAX_WAITING and not isinstance(request, messages.EmergencyStop):
                raise ControlFailed(
                    "too many requests wait for their answer", expected=f"at most {MAX_WAITING}"
                )
        except ControlFailed as error:
            await self._send(messages.error_message(messages.id_of(line), error))
            return
        task = asyncio.get_running_loop().create_task(self._answer(request))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, request: messages.Request) -> None:
        try:
            answer = (
                self._subscribe(request)
                if isinstance(request, messages.Subscribe)
                else await self._do(request)
            )
            message = {"id": request.id, "ok": answer}
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - the task's boundary: the client gets it
            message = messages.error_message(request.id, error)
        await self._send_from_task(message)
        if self._stream is not None and self._streaming is None:
            self._streaming = asyncio.get_running_loop().create_task(self._tell(self._stream))

    def _subscribe(self, request: messages.Subscribe) -> dict[str, Any]:
        if self._stream is not None:
            raise ControlFailed("one stream for each connection", next_step="connect again for another")
        self._stream = LiveStream(self._run.feed(FEED_ITEMS), request.channels, request.rate_hz)
        return {"rate_hz": request.rate_hz}

    async def _tell(self, stream: LiveStream) -> None:
        """Send what is due until the run ends or the client is gone; the run itself is never waited for."""
        while not stream.ended and self.failure is None:
            for message in stream.collect():
                await self._send_from_task(message)
            await asyncio.sleep(_LOOK_S)

    async def _send_from_task(self, message: dict[str, Any]) -> None:
        try:
            await self._send(message)
        except OSError as error:  # the client is gone
            self.failure = error

    async def _send(self, message: dict[str, Any]) -> None:
        """Send a line. A client whose buffer stays full is dropped, and ConnectionAbortedError raised."""
        line = messages.encode(message)
        if len(line) > messages.MAX_REPLY_BYTES:
            problem = ControlFailed(
                "the answer is too long", expected=f"at most {messages.MAX_REPLY_BYTES} bytes"
            )
            line = messages.encode(messages.error_message(message.get("id"), problem))
        async with self._sending:
            if self.failure is not None or self._writer.is_closing():
                raise ConnectionAbortedError("the client is gone")
            self._writer.write(line)
            try:
                async with asyncio.timeout(SEND_DEADLINE_S):
                    await self._writer.drain()
            except TimeoutError as error:
                self.failure = error
                self.drop()
                raise ConnectionAbortedError("the client does not read") from error

    async def _do(self, request: messages.Request) -> Any:
        """Ask the run on a thread of its own, each verb with its deadline."""
        run, calls = self._run, self._calls
        match request:
            case messages.Status():
                return await calls.run("status", run.status, _QUICK_S)
            case messages.Describe():
                return await calls.run("describe", run.describe, _QUICK_S)
            case messages.Note(text=text, by=by):
                return await calls.run("note", lambda: run.note(text, by), _NOTE_S)
            case messages.Order():
                limit_s = request.timeout_s + _COMMAND_GRACE_S
                return await calls.run("command", lambda: self._command(request, limit_s), limit_s)
            case messages.Confirm(prompt_id=prompt_id, answer=answer, by=by):
                return await calls.run("confirm", lambda: run.confirm(prompt_id, answer, by), _QUICK_S)
            case messages.Stop(reason=reason, by=by):
                return await calls.run("stop", lambda: run.stop(reason, by), _STOP_S, urgent=True)
            case messages.EmergencyStop(reason=reason, by=by):
                report = await calls.run(
                    "emergency_stop", lambda: run.emergency_stop(reason, by), _EMERGENCY_S, urgent=True
                )
                return report.to_json()
        raise AssertionError(request)

    def _command(self, request: messages.Order, limit_s: float) -> dict[str, Any]:
        """Give a command and wait for its answer; without a confirmation nobody stands behind it."""
        command = Command(
            name=request.name,
            arguments=request.arguments,
            issued_by=request.by,
            confirmed_by=request.by if request.confirmed else None,
            timeout_s=request.timeout_s,
        )
        result: CommandResult = self._run.dispatch(request.device, command).result(limit_s)
        return {
            "command_id": result.command_id,
            "status": str(result.status),
            "accepted": result.accepted,
            "value": result.value,
            "message": result.message,
        }
