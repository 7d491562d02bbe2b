"""Lines of bytes over TCP or a serial port, with what is needed to trust them.

A line comes with the moment its last byte arrived. What came before a question is thrown away. After
anything but a whole answer the connection is not used again, and the next one waits until the time in which
the answer was due is over.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Self

from gapless.errors import DeviceFault, DeviceUnreachable, MissingExtra

try:
    from termios import error as TermiosError  # noqa: N812 - a class, whatever the system calls it
except ImportError:
    TermiosError = OSError  # type: ignore[assignment,misc]  # no such system, no such error

_QUIET_S = 0.1  # a line that was silent for so long carries no late answer
_MOST_BYTES = 1 << 20
_MOST_LINES = 16_384
_READ_BYTES = 65_536


class LineInbox(asyncio.Protocol):
    """Cuts what arrives into lines. ``stamp`` is asked when the end of a line arrives.

    Lines that nobody takes are dropped, oldest first, and counted in ``lost``.
    """

    def __init__(self, line_end: bytes) -> None:
        self.line_end = line_end
        self.stamp: Callable[[], int] = time.monotonic_ns
        self.lines: deque[tuple[bytes, int]] = deque()
        self.lost = 0
        self.rest = bytearray()
        self.error: str = ""
        self.heard_s = time.monotonic()
        self._came = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self.heard_s = time.monotonic()
        *ended, rest = (bytes(self.rest) + data).split(self.line_end)
        stamp = self.stamp() if ended else 0
        self.lines.extend((line, stamp) for line in ended)
        while len(self.lines) > _MOST_LINES:
            self.lines.popleft()
            self.lost += 1
        self.rest[:] = rest
        if len(self.rest) > _MOST_BYTES:
            self.connection_lost(None)
            self.error = f"{_MOST_BYTES} bytes came without an end of line"
        self._came.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Note the end of the connection; what arrived before it can still be taken."""
        self.error = self.error or (str(error) if error is not None else "the connection was closed")
        self._came.set()

    def discard(self) -> None:
        """Forget what has arrived."""
        self.discard_lines()
        self.rest.clear()

    def discard_lines(self) -> None:
        """Forget the whole lines that have arrived."""
        self.lines.clear()
        self.lost = 0

    def wake(self) -> None:
        """Let who waits look again whether it is over."""
        self._came.set()

    async def wait(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Wait until a line is there or it is over; raise DeviceFault when the connection ends before."""
        while not self.lines and not is_over():
            if self.error:
                raise DeviceFault(f"the connection broke: {self.error}", found=self.heard())
            self._came.clear()
            await self._came.wait()

    def heard(self) -> str:
        """Return what came without an end of line, in words."""
        return f"{bytes(self.rest[-64:])!r} without an end of line" if self.rest else "nothing"


class LineLink:
    """An open connection that speaks in lines."""

    def __init__(self, settings: Hashable, inbox: LineInbox) -> None:
        self.settings = settings
        self.inbox = inbox
        self.late_until_s = 0.0
        self._is_closed = False
        self._transport: asyncio.Transport | None = None
        self._port: Any = None  # serial.Serial, which publishes no types

    @classmethod
    async def open(cls, settings: Any, late_until_s: float = 0.0) -> Self:
        """Open ``(line, tcp, end, host, port)`` or ``(line, serial, end, path, baudrate, bits, parity, stop)``.

        Raises DeviceUnreachable, or MissingExtra where pyserial is needed and not installed.
        """
        link = cls(settings, LineInbox(settings[2]))
        try:
            if settings[1] == "tcp":
                await link._open_tcp(*settings[3:])
            else:
                link._open_serial(*settings[3:])
            if late_until_s:
                await link._let_pass(late_until_s)
        except BaseException:
            await link.close()
            raise
        return link

    async def _open_tcp(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._transport, _ = await loop.create_connection(lambda: self.inbox, host, port)
        except OSError as error:
            raise DeviceUnreachable(f"nobody answers at {host}:{port}", found=str(error)) from error

    def _open_serial(self, path: str, baudrate: int, bits: int, parity: str, stop_bits: int) -> None:
        try:
            import serial
        except ImportError as error:
            raise MissingExtra(
                "devices on a serial port need pyserial", next_step="pip install 'gapless[serial]'"
            ) from error
        try:
            self._port = serial.Serial(
                path, baudrate, bits, parity, stop_bits, timeout=0, write_timeout=0, exclusive=True
            )
            self._port.reset_input_buffer()
            asyncio.get_running_loop().add_reader(self._port.fileno(), self._take)
        except (OSError, ValueError, NotImplementedError, TermiosError) as error:
            raise DeviceUnreachable(f"{path} cannot be opened", found=str(error)) from error

    def _take(self) -> None:
        try:
            data = self._port.read(_READ_BYTES)
        except OSError as error:
            self._leave_loop()
            self.inbox.connection_lost(error)
            return
        if data:
            self.inbox.data_received(data)

    def _leave_loop(self) -> None:
        if self._port is not None and self._port.is_open:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._port.fileno())
            loop.remove_writer(self._port.fileno())

    async def _let_pass(self, late_until_s: float) -> None:
        """Throw away what comes until then, and until the line has been silent for a moment, if it ever is."""
        self.inbox.heard_s = time.monotonic()
        late_until_s = max(late_until_s, self.inbox.heard_s + _QUIET_S)
        longest_s = late_until_s + 5 * _QUIET_S
        while (
            left_s := min(max(late_until_s, self.inbox.heard_s + _QUIET_S), longest_s) - time.monotonic()
        ) > 0:
            await asyncio.sleep(left_s)
        self.inbox.discard()

    @property
    def is_broken(self) -> bool:
        """Whether the connection is closed, by whomever."""
        return self._is_closed or bool(self.inbox.error)

    def spoil(self, why: str, late_until_s: float = 0.0) -> None:
        """Let nobody use the connection again; until then a reply may come that nobody waits for."""
        self.late_until_s = late_until_s
        self.inbox.error = self.inbox.error or why

    async def close(self) -> None:
        """Close; closing twice changes nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._transport is not None:
            self._transport.abort()
            await asyncio.sleep(0)  # the socket is closed in the loop's next turn
        if self._port is not None:
            self._close_port(self._port)
        self.inbox.connection_lost(None)

    def _close_port(self, port: Any) -> None:
        self._leave_loop()
        try:
            if self.inbox.error:
                port.reset_output_buffer()  # closing would wait for a device that takes nothing more
            port.close()
        except (OSError, TermiosError) as error:
            self.inbox.error = str(error)

    # -- lines ---------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """Send all bytes; the device may take its time within the caller's limit."""
        if self._transport is not None:
            self._transport.write(data)
            return
        while data:
            data = data[self._write(data) :]
            if data:
                await self._writable()

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._port.fileno(), data)
        except BlockingIOError:
            return 0

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        room: asyncio.Future[None] = loop.create_future()
        fd = self._port.fileno()
        loop.add_writer(fd, _settle, room)
        try:
            await room
        finally:
            loop.remove_writer(fd)

    async def line(self) -> tuple[bytes, int]:
        """Return the next line without its end, and its stamp; raise DeviceFault at the connection's end."""
        await self.inbox.wait()
        return self.inbox.lines.popleft()


def _settle(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_result(None)


__all__ = ["LineInbox", "LineLink"]
