"""A device that answers questions and obeys orders in lines of text, as its table says."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

from gapless.acquire.adapter import DeviceField, StartContext
from gapless.acquire.devices.line_config import LineConfig
from gapless.acquire.devices.line_table import LineCommand, LineTable, Reply, Value, render
from gapless.acquire.devices.line_transport import LineLink
from gapless.acquire.devices.shared_link import LinkedDevice, serial_resource
from gapless.acquire.kit import Handler
from gapless.acquire.parameter import Parameter
from gapless.errors import DeviceFault

T = TypeVar("T")


class AskedLine(LinkedDevice):
    """A device that answers: the columns and commands of its table."""

    family: ClassVar[str] = "serial_line"
    Config: ClassVar[type[LineConfig]] = LineConfig

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self.table: LineTable = config.table
        self.parameters = {**config.table.parameters, **config.parameters}
        is_tcp = config.transport == "tcp"
        self._resource_id = f"tcp:{config.host}:{config.port}" if is_tcp else serial_resource(config.port)
        self._limit_s = 0.9 * config.read_timeout_s  # before the poll is given up, to say what was heard
        self._polls = 0
        self._identity: dict[str, Any] = {}
        self._overheard: deque[tuple[str, int]] = deque()  # what a talking device said beside a reply

    @property
    def resource_id(self) -> str:
        """The TCP address or the serial port."""
        return self._resource_id

    @property
    def settings(self) -> Hashable:
        """What the devices on one port must agree on."""
        settings: Hashable = self.config.settings
        return settings

    def fields(self) -> Sequence[DeviceField]:
        """Return the table's columns."""
        return [field.column() for field in self.table.fields]

    async def connect_link(self, late_until_s: float) -> LineLink:
        """Open the port or the connection."""
        link = await LineLink.open(self.settings, late_until_s)
        if self._context is not None:
            link.inbox.stamp = self._context.clock.now_ns
        return link

    async def probe(self) -> None:
        """Ask who is there; a device without an identity is asked its first query."""
        if self.table.identity is not None:
            self._identity = await self._ask(self.table.identity.send, self.table.identity)
        elif self.table.queries:
            await self._ask(self.table.queries[0].send, self.table.queries[0])

    async def start(self, context: StartContext) -> None:
        """Begin a run: all queries are due, and what a talking device said before is not of this run."""
        await super().start(context)
        self._polls = 0
        self._overheard.clear()
        if self.bus.connection is not None:
            self.bus.connection.inbox.discard_lines()
            self.bus.connection.inbox.stamp = context.clock.now_ns

    async def facts(self) -> dict[str, Any]:
        """Return what the device said when it was asked who it is."""
        return {"address": self.resource_id, "parameters": self.parameters, "identity": self._identity}

    # -- questions -----------------------------------------------------------------------------

    async def read(self) -> Sequence[Any]:
        """Ask the queries that are due; the fields of the others are None."""
        values: list[Any] = []
        for query in self.table.queries:
            if self._polls % query.every:
                values += [None] * len(query.fields)
            else:
                values += (await self._ask(query.send, query)).values()
        self._polls += 1
        return values

    async def _ask(self, send: str, reply: Reply) -> dict[str, Value | None]:
        data = render(send, self.table.terminator, self.parameters)
        line = await self._exchange(data, reply, self._limit_s)
        return self._understood(lambda: reply.parse(line, self.parameters))

    def _understood(self, read: Callable[[], T]) -> T:
        """Return what a reply says; one that says nothing may be meant for another question."""
        try:
            return read()
        except DeviceFault as error:
            self.bus.connection.spoil(error.message, time.monotonic() + self._limit_s)
            raise

    async def _exchange(self, data: bytes, reply: Reply, limit_s: float) -> str:
        """Send a line and return the one that comes back, "" where none is expected."""
        link: LineLink = await self.live_link()
        if self.table.stream is None:
            link.inbox.discard()
        due_s = time.monotonic() + limit_s
        try:
            async with asyncio.timeout(limit_s):
                await link.send(data)
                return await self._reply(link) if reply.is_expected else ""
        except TimeoutError as error:
            link.spoil("a reply did not come in time", due_s)
            raise DeviceFault(f"no reply within {limit_s:.3g} s", found=link.inbox.heard()) from error
        except BaseException:
            link.spoil("a transaction was given up", due_s)
            raise

    async def _reply(self, link: LineLink) -> str:
        while True:
            line, stamp = await link.line()
            text = text_of(line)
            if self.table.stream is None or self.table.stream.matches(text, self.parameters) is None:
                return text
            self._overheard.append((text, stamp))

    # -- commands ------------------------------------------------------------------------------

    def handlers(self) -> Mapping[str, Handler]:
        """Return the table's commands."""
        return {name: partial(self._obey, order) for name, order in self.table.commands.items()}

    def check_arguments(self, command: str, arguments: Mapping[str, Any]) -> None:
        """Raise UsageError for arguments that the table's command does not take."""
        self.table.commands[command].check(arguments)

    def takes(self, command: str) -> list[Parameter]:
        """Return the arguments of the table's command."""
        return [
            Parameter(name, argument.json_type, choices=tuple(argument.choices))
            for name, argument in self.table.commands[command].arguments.items()
        ]

    async def _obey(self, order: LineCommand, /, **arguments: Any) -> Any:
        values = order.check(arguments)
        data = render(order.send, self.table.terminator, {**self.parameters, **values})
        line = await self._exchange(data, order, order.timeout_s or self._limit_s)
        if not order.is_expected:
            return None
        return self._understood(lambda: order.answer(line, values, self.parameters))


def text_of(line: bytes) -> str:
    """Return a line as text, or raise DeviceFault for bytes that are no ASCII."""
    try:
        return line.decode("ascii")
    except UnicodeDecodeError as error:
        raise DeviceFault("the device sent bytes that are no ASCII", found=repr(line[:80])) from error


__all__ = ["AskedLine", "text_of"]
