"""Devices that speak in lines of text over a serial port or TCP: asked by a table, or talking by themselves."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

import msgspec

from gapless.acquire.adapter import DeviceField, StartContext
from gapless.acquire.devices.line_config import LineConfig
from gapless.acquire.devices.line_table import LineCommand, LineTable, Reply, Value, render
from gapless.acquire.devices.line_transport import LineLink
from gapless.acquire.devices.shared_link import LinkedDevice, serial_resource
from gapless.acquire.emission import Emission, GapReport
from gapless.acquire.kit import TROUBLE, Handler
from gapless.errors import DeviceFault

T = TypeVar("T")


class LineDevice(LinkedDevice):
    """One device with the columns and commands of its table."""

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
        self._stopped_ns = 0
        self._is_countable = True  # whether what a talking device failed to say can be counted

    @property
    def resource_id(self) -> str:
        """The TCP address or the serial port."""
        return self._resource_id

    @property
    def settings(self) -> Hashable:
        """What the devices on one port must agree on."""
        settings: Hashable = self.config.settings
        return settings

    @property
    def shares_resource(self) -> bool:
        """Whether others may be asked on the same port: not where a device talks by itself."""
        return self.table.stream is None

    def fields(self) -> Sequence[DeviceField]:
        """Return the table's columns."""
        return [field.column() for field in self.table.fields]

    async def connect_link(self, *, after_fault: bool) -> LineLink:
        """Open the port or the connection."""
        link = await LineLink.open(self.settings, after_fault=after_fault)
        if self._context is not None:
            link.inbox.stamp = self._context.clock.now_ns
        return link

    async def probe(self) -> None:
        """Ask who is there; a device without an identity is asked its first query, or listened to."""
        if self.table.identity is not None:
            self._identity = await self._ask(self.table.identity.send, self.table.identity)
        elif self.table.queries:
            await self._ask(self.table.queries[0].send, self.table.queries[0])
        else:
            await self._overhear()

    async def start(self, context: StartContext) -> None:
        """Begin a run: all queries are due, and what a talking device said before is not of this run."""
        await super().start(context)
        self._polls = 0
        self._overheard.clear()
        if self.bus.connection is not None:
            self.bus.connection.inbox.discard_lines()
            self.bus.connection.inbox.stamp = context.clock.now_ns

    async def stop(self) -> None:
        """End a run; who waits for a talking device waits no longer."""
        if not self.stopping:
            self._stopped_ns = self.context.clock.now_ns()
        await super().stop()
        if self.bus.connection is not None:
            self.bus.connection.inbox.wake()

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
            self.bus.connection.spoil(error.message)
            raise

    async def _exchange(self, data: bytes, reply: Reply, limit_s: float) -> str:
        """Send a line and return the one that comes back, "" where none is expected."""
        link: LineLink = await self.live_link()
        if self.table.stream is None:
            link.inbox.discard()
        try:
            async with asyncio.timeout(limit_s):
                await link.send(data)
                return await self._reply(link) if reply.is_expected else ""
        except TimeoutError as error:
            link.spoil("a reply did not come in time")
            raise DeviceFault(f"no reply within {limit_s:.3g} s", found=link.inbox.heard()) from error
        except BaseException:
            link.spoil("a transaction was given up")
            raise

    async def _reply(self, link: LineLink) -> str:
        while True:
            line, stamp = await link.line()
            text = _text(line)
            if self.table.stream is None or self.table.stream.matches(text, self.parameters) is None:
                return text
            self._overheard.append((text, stamp))

    # -- commands ------------------------------------------------------------------------------

    def handlers(self) -> Mapping[str, Handler]:
        """Return the table's commands."""
        return {name: partial(self._obey, order) for name, order in self.table.commands.items()}

    async def _obey(self, order: LineCommand, /, **arguments: Any) -> Any:
        values = order.check(arguments)
        data = render(order.send, self.table.terminator, {**self.parameters, **values})
        line = await self._exchange(data, order, order.timeout_s or self._limit_s)
        if not order.is_expected:
            return None
        return self._understood(lambda: order.answer(line, values, self.parameters))

    # -- a device that talks by itself ---------------------------------------------------------

    def stream(self) -> AsyncIterator[Emission]:
        """Yield a record for each poll, or for each line that the device sends by itself."""
        return super().stream() if self.table.stream is None else self._follow(self.table.stream)

    async def _follow(self, reply: Reply) -> AsyncIterator[Emission]:
        clock = self.context.clock
        while True:
            began_ns = clock.now_ns()
            try:
                heard = await self._next_line()
                if heard is None or (self.stopping and heard[1] > self._stopped_ns):
                    break
                values = list(reply.parse(heard[0], self.parameters).values())
            except TROUBLE as error:
                for emission in self._trouble.failed(error, began_ns):
                    yield emission
                if self.bus.connection is None or self.bus.connection.is_broken:
                    self._is_countable = False
                    await self._recover()
                    await self.pause(self._trouble.pause_s)
                continue
            for emission in self._made_up(heard[1]):
                yield emission
            for emission in self.record(values, heard[1]):
                yield emission
        for emission in self._made_up(clock.now_ns(), back=False):
            yield emission

    def _made_up(self, now_ns: int, *, back: bool = True) -> Iterator[Emission]:
        """Yield the gaps of what was not heard before now."""
        inbox = self.bus.connection.inbox if self.bus.connection is not None else None
        if inbox is not None and inbox.lost:
            lost, inbox.lost = inbox.lost, 0
            yield GapReport(self.name, "device_queue_full", now_ns, now_ns, records=lost)
        for emission in self._trouble.ended(now_ns, back=back):
            if isinstance(emission, GapReport) and not self._is_countable:
                emission = msgspec.structs.replace(emission, records=None)
            yield emission
        self._is_countable = True

    async def _next_line(self) -> tuple[str, int] | None:
        """Return a line and its stamp; None when the run is stopped and nothing is left."""
        while not self.stopping or self.is_open:
            async with self.bus.lock, asyncio.timeout(self.config.read_timeout_s):
                if not self.is_open:
                    await self.open()
                link: LineLink = await self.live_link()
                if self._overheard:
                    return self._overheard.popleft()
                if link.inbox.lines:
                    line, stamp = link.inbox.lines.popleft()
                    return _text(line), stamp
            if self.stopping:
                break
            await self._wait_for_more(link)
        return None

    async def _wait_for_more(self, link: LineLink) -> None:
        try:
            async with asyncio.timeout(self.config.read_timeout_s):
                await link.inbox.wait(lambda: self.stopping or bool(self._overheard))
        except TimeoutError as error:
            link.spoil("the device fell silent")
            raise DeviceFault(
                f"nothing was said for {self.config.read_timeout_s:g} s", found=link.inbox.heard()
            ) from error

    async def _overhear(self) -> None:
        """Listen until a line makes sense; the first one may have begun before anybody listened."""
        link: LineLink = await self.live_link()
        for _ in range(2):
            async with asyncio.timeout(self.config.read_timeout_s):
                text = _text((await link.line())[0])
            assert self.table.stream is not None
            if self.table.stream.matches(text, self.parameters) is not None:
                return
        raise DeviceFault("what the device says is not what its table says", found=repr(text[:80]))


def _text(line: bytes) -> str:
    try:
        return line.decode("ascii")
    except UnicodeDecodeError as error:
        raise DeviceFault("the device sent bytes that are no ASCII", found=repr(line[:80])) from error


__all__ = ["LineConfig", "LineDevice"]
