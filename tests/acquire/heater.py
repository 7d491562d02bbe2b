"""A heater behind TCP and its device: what the tests of safety command, and read back from the heater itself."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import ClassVar, Self

from pydantic import Field

from gapless.acquire.adapter import DeviceField
from gapless.acquire.device_config import PolledConfig, SafeState, SafeStep
from gapless.acquire.kit import Handler, PolledDevice
from gapless.errors import DeviceFault


class HeaterServer(socketserver.ThreadingTCPServer):
    """Keeps ``power`` in a register; a line ``SET 5`` sets it, ``GET`` reads it. It greets whoever connects.

    ``silent``: connections by number (from 1) that are greeted and never answered. ``exclusive``: a second
    connection is closed while the first lives. ``refusals``: how many SETs are answered with NO first.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.power = 100.0
        self.valve = 1.0
        self.silent: set[int] = set()
        self.exclusive = False
        self.refusals = 0
        self.sets: list[tuple[str, float]] = []
        self.connections = 0
        self.live: set[socket.socket] = set()
        self.changed = threading.Condition()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """The port that the system gave."""
        return int(self.server_address[1])

    def wait_for(self, power: float, timeout_s: float = 60.0) -> bool:
        """Wait until the register holds a value."""
        with self.changed:
            return self.changed.wait_for(lambda: self.power == power, timeout_s)

    def hang_up(self) -> None:
        """Cut every connection."""
        for connection in list(self.live):
            connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.hang_up()
        self._thread.join(10)
        self.server_close()


class _Conversation(socketserver.StreamRequestHandler):
    server: HeaterServer

    def handle(self) -> None:
        server = self.server
        with server.changed:
            server.connections += 1
            number = server.connections
            is_second = bool(server.live)
        if server.exclusive and is_second:
            return
        server.live.add(self.connection)
        try:
            self.wfile.write(b"HEATER\n")
            for line in self.rfile:
                if number not in server.silent:
                    self.wfile.write(self._answer(line.decode().split()) + b"\n")
        except OSError as error:
            server.sets.append((f"broken: {error}", 0.0))
        finally:
            server.live.discard(self.connection)

    def _answer(self, words: list[str]) -> bytes:
        server = self.server
        if words[0] == "GET":
            return str(server.power).encode()
        with server.changed:
            if server.refusals > 0:
                server.refusals -= 1
                return b"NO"
            value = float(words[1])
            server.sets.append((words[0], value))
            if words[0] == "SET":
                server.power = value
            else:
                server.valve = value
            server.changed.notify_all()
        return b"OK"


class HeaterConfig(PolledConfig):
    """A heater by host and port."""

    host: str = "127.0.0.1"
    port: int = Field(gt=0)


class Heater(PolledDevice):
    """Reads the heater's power and sets it."""

    family: ClassVar[str] = "heater"
    Config: ClassVar[type[HeaterConfig]] = HeaterConfig

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    @property
    def resource_id(self) -> str:
        """The address of the heater."""
        return f"sim:{self.config.host}:{self.config.port}/{self.name}"

    def fields(self) -> Sequence[DeviceField]:
        """Return the power."""
        return [DeviceField("power", "float64", "W")]

    async def connect(self) -> None:
        """Connect to the heater and wait for its greeting."""
        self._reader, self._writer = await asyncio.open_connection(self.config.host, self.config.port)
        try:
            await self._reader.readuntil(b"\n")
        except BaseException:
            await self.disconnect()
            raise

    async def disconnect(self) -> None:
        """Hang up."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError as error:
            self.closing_error = error

    async def read(self) -> Sequence[float]:
        """Return the power."""
        return [float(await self._ask("GET"))]

    def handlers(self) -> Mapping[str, Handler]:
        """Return what the heater obeys."""
        return {"set": self._set, "valve": self._valve, "break": self._break}

    async def _set(self, value: float) -> None:
        await self._order(f"SET {value}")

    async def _valve(self, value: float) -> None:
        await self._order(f"VALVE {value}")

    async def _break(self) -> None:
        raise ZeroDivisionError("a defect of the adapter")

    async def _order(self, line: str) -> None:
        answer = await self._ask(line)
        if answer != "OK":
            raise DeviceFault("the heater said no", found=answer)

    async def _ask(self, line: str) -> str:
        self._writer.write(f"{line}\n".encode())
        await self._writer.drain()
        answer = await self._reader.readuntil(b"\n")
        return answer.decode().strip()


def off(*steps: tuple[str, float], deadline_s: float = 5.0, second: bool = False) -> SafeState:
    """Return a safe-state program; without steps it sets the power to 0."""
    chosen = steps or (("set", 0.0),)
    program = tuple(SafeStep(command=c, arguments={} if c == "break" else {"value": v}) for c, v in chosen)
    return SafeState(program=program, deadline_s=deadline_s, second_connection=second)


def config_of(server: HeaterServer, safe: SafeState | None) -> HeaterConfig:
    """Return the table of a heater at a server."""
    return HeaterConfig(adapter="heater", port=server.port, safe_state=safe, rate_hz=50.0)
