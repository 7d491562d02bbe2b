"""One open connection for all devices on a port: made by the first, dropped after a fault, closed by the last."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Hashable
from typing import Any, Protocol

from gapless.acquire.kit import PolledDevice
from gapless.errors import ResourceConflict


def serial_resource(port: str) -> str:
    """Return the resource of a serial port, the same for every path that leads to it."""
    return f"serial:{os.path.realpath(port)}"


class Link(Protocol):
    """An open connection; its settings are the same for all who share it."""

    @property
    def settings(self) -> Hashable:
        """How the connection was opened."""

    @property
    def is_broken(self) -> bool:
        """Closed, or an answer may still be on its way: no request may use it."""

    @property
    def late_until_s(self) -> float:
        """Until when, on the monotonic clock, an answer that nobody waits for may still come; 0: never."""

    async def close(self) -> None:
        """Close; closing twice changes nothing."""


class LinkedDevice(PolledDevice):
    """A polled device whose connection others on the same bus may use too, one transaction at a time."""

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self._is_user = False

    @property
    def shares_resource(self) -> bool:
        """True: the bus keeps transactions apart."""
        return True

    @property
    @abstractmethod
    def settings(self) -> Hashable:
        """How the connection is to be opened."""

    @abstractmethod
    async def connect_link(self, late_until_s: float) -> Link:
        """Open a connection; answers to given-up requests that come until then are let pass first."""

    @abstractmethod
    async def probe(self) -> None:
        """Ask the device something, to know that it is there."""

    async def connect(self) -> None:
        """Join the connection, making it if need be, and see that the device answers."""
        try:
            await self.probe()
        except BaseException:
            await self.disconnect()
            raise

    async def disconnect(self) -> None:
        """Leave the connection; the last one closes it."""
        if self._is_user:
            self._is_user = False
            self.bus.users -= 1
        link = self.bus.connection
        if not self.bus.users and link is not None:
            self.bus.connection = link if link.is_broken else None
            await link.close()

    async def close(self) -> None:
        """Leave the connection, also one that a command joined while the device counted as lost."""
        await super().close()
        if self._is_user:
            await self.disconnect()

    async def live_link(self) -> Any:
        """Join and return a connection that works, a new one if the last is broken."""
        if not self._is_user:
            self._is_user = True
            self.bus.users += 1
        link = self.bus.connection
        if link is not None and link.settings != self.settings:
            raise ResourceConflict(
                f"device {self.name!r} and another one open {self.resource_id} differently",
                found=f"{self.settings} and {link.settings}",
            )
        if link is None or link.is_broken:
            late_until_s = 0.0
            if link is not None:
                late_until_s = link.late_until_s
                await link.close()
            link = self.bus.connection = await self.connect_link(late_until_s)
        return link


__all__ = ["Link", "LinkedDevice", "serial_resource"]
