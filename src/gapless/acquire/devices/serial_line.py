"""Devices that speak in lines of text over a serial port or TCP: asked, or talking by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import msgspec

from gapless.acquire.devices.asked_line import AskedLine, text_of
from gapless.acquire.devices.line_config import LineConfig
from gapless.acquire.devices.line_table import Reply
from gapless.acquire.devices.line_transport import LineLink
from gapless.acquire.emission import Emission, GapReport
from gapless.acquire.kit import TROUBLE
from gapless.errors import DeviceFault


class LineDevice(AskedLine):
    """One device with the columns and commands of its table.

    A table with queries is asked at ``rate_hz``. One with a stream is listened to: each line becomes a
    record that is stamped when its last byte arrives.
    """

    family: ClassVar[str] = "serial_line"
    Config: ClassVar[type[LineConfig]] = LineConfig

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self._stopped_ns = 0
        self._is_countable = True  # whether what a talking device failed to say can be counted

    @property
    def shares_resource(self) -> bool:
        """Whether others may be asked on the same port: not where a device talks by itself."""
        return self.table.stream is None

    async def probe(self) -> None:
        """Ask who is there, or listen to a device that talks by itself."""
        await super().probe()
        if self.table.stream is not None and self.table.identity is None:
            await self._overhear(self.table.stream)

    async def stop(self) -> None:
        """End a run; who waits for a talking device waits no longer."""
        if not self.stopping:
            self._stopped_ns = self.context.clock.now_ns()
        await super().stop()
        if self.bus.connection is not None:
            self.bus.connection.inbox.wake()

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
            is_vague = isinstance(emission, GapReport) and not self._is_countable
            yield msgspec.structs.replace(emission, records=None) if is_vague else emission
        self._is_countable = True

    async def _next_line(self) -> tuple[str, int] | None:
        """Return a line and its stamp; None when the run is stopped and nothing is left."""
        while not self.stopping or self._can_have_more():
            async with self.bus.lock, asyncio.timeout(self.config.read_timeout_s):
                if not self.is_open:
                    await self.open()
                link: LineLink = await self.live_link()
                if self._overheard:
                    return self._overheard.popleft()
                if link.inbox.lines:
                    line, stamp = link.inbox.lines.popleft()
                    return text_of(line), stamp
            if self.stopping:
                break
            await self._wait_for_more(link)
        return None

    def _can_have_more(self) -> bool:
        link = self.bus.connection
        return bool(self._overheard) or (link is not None and bool(link.inbox.lines))

    async def _wait_for_more(self, link: LineLink) -> None:
        try:
            async with asyncio.timeout(self.config.read_timeout_s):
                await link.inbox.wait(lambda: self.stopping or bool(self._overheard))
        except TimeoutError as error:
            link.spoil("the device fell silent")
            raise DeviceFault(
                f"nothing was said for {self.config.read_timeout_s:g} s", found=link.inbox.heard()
            ) from error

    async def _overhear(self, reply: Reply) -> None:
        """Listen until a line makes sense; the first one may have begun before anybody listened."""
        link: LineLink = await self.live_link()
        for _ in range(2):
            async with asyncio.timeout(self.config.read_timeout_s):
                text = text_of((await link.line())[0])
            if reply.matches(text, self.parameters) is not None:
                return
        raise DeviceFault("what the device says is not what its table says", found=repr(text[:80]))


__all__ = ["LineConfig", "LineDevice"]
