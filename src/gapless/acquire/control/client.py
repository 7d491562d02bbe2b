"""The other end of a control socket: plain blocking calls with deadlines, for the command line and programs."""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from gapless.errors import ControlFailed, NotFound
from gapless.store.layout import Bundle
from gapless.store.platform import PLATFORM

if TYPE_CHECKING:
    from gapless.acquire.command import CommandResult
    from gapless.acquire.safe_state import SafeReport

CONNECT_S = 5.0
_CHUNK_BYTES = 256 * 1024
_MAX_LINE_BYTES = 32 * 1024 * 1024


def control_path(bundle: Bundle) -> Path | None:
    """Return the control socket of the run that records a sequence; None when it has none.

    Raises NotFound when nobody records it now.
    """
    if not PLATFORM.is_locked(bundle.lock):
        raise _not_recorded(bundle.path.name)
    try:
        words = json.loads(bundle.lock.read_bytes())
        path = words.get("control")
    except FileNotFoundError as error:
        raise _not_recorded(bundle.path.name) from error
    except (ValueError, AttributeError):  # the lock of something that writes no such words
        return None
    return Path(path) if isinstance(path, str) else None


def _not_recorded(name: str) -> NotFound:
    return NotFound(f"{name} is not being recorded now", next_step="`gapless ls` tells which sequences are")


class ControlClient:
    """One connection to a run. Every call raises what the run refused with, or ControlFailed.

    Not for several threads at once. Closed by ``close`` or at the end of a ``with`` block.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(CONNECT_S)
        self._unread = bytearray()
        self._waiting: deque[dict[str, Any]] = deque()
        self._number = 0
        try:
            self._socket.connect(str(path))
            greeting = self._next(time.monotonic() + CONNECT_S)
        except (OSError, ControlFailed) as error:
            self.close()
            raise ControlFailed(
                "the run does not answer on its control socket", found=f"{path}: {error}"
            ) from error
        self.hello: dict[str, Any] = self._greeted(greeting)

    @classmethod
    def connect(cls, target: Path | Bundle) -> Self:
        """Connect to a socket, or to the run that records a bundle.

        Raises NotFound when nobody records it now, ControlFailed when its recorder takes no requests.
        """
        if isinstance(target, Path):
            return cls(target)
        path = control_path(target)
        if path is None:
            raise ControlFailed(
                f"the recorder of {target.path.name} takes no requests", next_step="use its own window"
            )
        return cls(path)

    def _greeted(self, greeting: dict[str, Any]) -> dict[str, Any]:
        from gapless.acquire.control.messages import PROTOCOL, error_of

        if "error" in greeting:
            self.close()
            raise error_of(greeting["error"])
        hello: dict[str, Any] = greeting.get("hello", {})
        if hello.get("protocol") != PROTOCOL:
            self.close()
            raise ControlFailed(
                "the run speaks another version of the control protocol",
                found=hello.get("protocol"),
                expected=PROTOCOL,
                next_step=f"use gapless {hello.get('version', 'of the run')}",
            )
        return hello

    # -- the verbs -----------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return what the run is at."""
        status: dict[str, Any] = self._ask("status", 10.0)
        return status

    def describe(self) -> dict[str, Any]:
        """Return devices with their commands, channels with unit and alarm band, and setpoints.

        Raises ControlFailed for a run of a release that does not tell.
        """
        description: dict[str, Any] = self._ask("describe", 10.0)
        return description

    def note(self, text: str, by: str) -> None:
        """Record a note; it is durable when the call returns."""
        self._ask("note", 20.0, text=text, by=by)

    def command(
        self,
        device: str,
        name: str,
        arguments: dict[str, Any] | None = None,
        *,
        by: str,
        confirmed: bool,
        timeout_s: float = 5.0,
    ) -> CommandResult:
        """Give a command to a device; ``confirmed``: the person in ``by`` stands behind it."""
        from gapless.acquire.command import CommandResult, CommandStatus

        answer = self._ask(
            "command",
            timeout_s + 20.0,
            device=device,
            name=name,
            arguments=arguments or {},
            by=by,
            confirmed=confirmed,
            timeout_s=timeout_s,
        )
        return CommandResult(
            command_id=answer["command_id"],
            status=CommandStatus(answer["status"]),
            value=answer["value"],
            message=answer["message"],
        )

    def confirm(self, prompt_id: str, answer: str, by: str) -> None:
        """Answer a prompt of the method."""
        self._ask("confirm", 10.0, prompt_id=prompt_id, answer=answer, by=by)

    def stop(self, by: str, reason: str = "stopped by the operator") -> None:
        """Begin the end of the run; it is sealed as aborted."""
        self._ask("stop", 20.0, by=by, reason=reason)

    def emergency_stop(self, by: str, reason: str = "emergency stop by the operator") -> SafeReport:
        """Put every device into its safe state and return what became of each; then the run ends."""
        from gapless.acquire.safe_state import SafeReport

        return SafeReport.from_json(self._ask("emergency_stop", 200.0, by=by, reason=reason))

    def subscribe(self, channels: Sequence[str] | None = None, rate_hz: float = 10.0) -> None:
        """Ask for the stream that :meth:`updates` yields: channels by globs, all of them if left out."""
        self._ask("subscribe", 10.0, channels=channels, rate_hz=rate_hz)

    def updates(self, timeout_s: float) -> Iterator[dict[str, Any]]:
        """Yield what the stream brings within the time; ends before only with the stream.

        Raises ControlFailed when the run is gone.
        """
        until_s = time.monotonic() + timeout_s
        while True:
            message = self._waiting.popleft() if self._waiting else self._next_or_none(until_s)
            if message is None or message["stream"] == "end":
                return
            yield message

    # -- lines ---------------------------------------------------------------------------------

    def _ask(self, verb: str, limit_s: float, **fields: Any) -> Any:
        from gapless.acquire.control.messages import error_of

        self._number += 1
        request = {"id": self._number, "verb": verb, **fields}
        until_s = time.monotonic() + limit_s
        self._send(json.dumps(request, allow_nan=False).encode() + b"\n", limit_s)
        while True:
            message = self._next(until_s)
            if "stream" in message:
                self._waiting.append(message)
            elif "error" in message and message.get("id") in (self._number, None):
                raise error_of(message["error"])
            elif message.get("id") == self._number:
                return message["ok"]

    def _send(self, line: bytes, timeout_s: float) -> None:
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendall(line)
        except OSError as error:
            raise _gone(error) from error

    def _next(self, until_s: float) -> dict[str, Any]:
        message = self._next_or_none(until_s)
        if message is None:
            raise ControlFailed(
                "the run did not answer in time", next_step="`gapless ls` tells whether it lives"
            )
        return message

    def _next_or_none(self, until_s: float) -> dict[str, Any] | None:
        """Return the next message, or None when none came in time. Raises ControlFailed at the end."""
        while (end := self._unread.find(b"\n")) < 0:
            if len(self._unread) > _MAX_LINE_BYTES:
                raise ControlFailed("the run's answer has no end", found=f"{len(self._unread)} bytes")
            try:
                self._socket.settimeout(max(0.001, until_s - time.monotonic()))
                chunk = self._socket.recv(_CHUNK_BYTES)
            except TimeoutError:
                return None
            except OSError as error:
                raise _gone(error) from error
            if not chunk:
                raise _gone("it closed the connection")
            self._unread += chunk
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        """Leave; the run goes on."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _gone(why: object) -> ControlFailed:
    return ControlFailed("the run has ended, or let this connection go", found=str(why))
