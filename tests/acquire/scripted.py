"""A real device made for tests: it yields what it is told to and counts what is done to it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from gapless.acquire.adapter import DeviceField
from gapless.acquire.device_config import DeviceConfig, OnFailure
from gapless.acquire.emission import Emission
from gapless.acquire.kit import Device
from gapless.errors import DeviceUnreachable


class ScriptedDevice(Device):
    """Yields ``limit`` records of one value, its number, then ends or waits to be stopped."""

    family = "scripted"

    def __init__(
        self,
        name: str = "d",
        *,
        limit: int = 0,
        resource: str | None = None,
        shares: bool = False,
        refuses: bool = False,
        ends: bool = False,
        fails_after: int | None = None,
        left_over: int = 0,
        waits: bool = False,
        on_failure: str = "crash",
    ) -> None:
        super().__init__(name, DeviceConfig(adapter="scripted", on_failure=OnFailure(on_failure)))
        self.go = threading.Event()  # a stream that waits begins when it is set
        if not waits:
            self.go.set()
        self.let_go = threading.Event()  # a slow command ends when it is set, or after its seconds
        self.offered = 0  # records of the present run
        self.seen = 0  # commands that have reached the device
        self.on_command: Callable[[], None] = lambda: None
        self.limit = limit
        self.resource = resource or f"sim:{name}"
        self.shares = shares
        self.refuses = refuses
        self.ends = ends
        self.fails_after = fails_after
        self.left_over = left_over
        self.opened = self.closed = self.started = self.stopped = 0
        self.threads: set[int] = set()
        self.completed: list[str] = []

    @property
    def resource_id(self) -> str:
        """Return the given resource."""
        return self.resource

    @property
    def shares_resource(self) -> bool:
        """Tell what the test said."""
        return self.shares

    @property
    def expected_rate_hz(self) -> float:
        """Return a rate that sizes the bridge."""
        return 100.0

    def fields(self) -> Sequence[DeviceField]:
        """Return the one field."""
        return [DeviceField("value", "float64", "V")]

    async def connect(self) -> None:
        """Count, or refuse."""
        self.threads.add(threading.get_ident())
        if self.refuses:
            raise DeviceUnreachable(f"{self.name} refuses")
        self.opened += 1

    async def disconnect(self) -> None:
        """Count."""
        self.threads.add(threading.get_ident())
        self.closed += 1

    async def start(self, context: Any) -> None:
        """Count."""
        await super().start(context)
        self.started += 1
        self.offered = 0

    async def stop(self) -> None:
        """Count."""
        await super().stop()
        self.stopped += 1

    def handlers(self) -> dict[str, Any]:
        """Return the commands."""
        return {"echo": self._echo, "slow": self._slow, "break": self._break}

    async def _echo(self, value: Any) -> Any:
        self.seen += 1
        self.on_command()
        self.completed.append(f"echo {value}")
        return value

    async def _slow(self, seconds: float) -> str:
        self.seen += 1
        end_s = time.monotonic() + seconds
        while not self.let_go.is_set() and time.monotonic() < end_s:
            await asyncio.sleep(0.002)
        self.completed.append("slow")
        return "slow"

    async def _break(self) -> None:
        raise OSError("the wire is cut")

    async def stream(self) -> AsyncIterator[Emission]:
        """Yield the records."""
        self.threads.add(threading.get_ident())
        while not self.go.is_set() and not self.stopping:
            await asyncio.sleep(0.002)
        for n in range(self.limit):
            if self.stopping:
                break
            if self.fails_after is not None and n >= self.fails_after:
                raise RuntimeError("the device broke")
            self.offered += 1
            for emission in self.record([float(n)], self.context.clock.now_ns()):
                yield emission
        if not self.ends:
            await self.pause(60.0)
        for n in range(self.left_over):
            self.offered += 1
            for emission in self.record([float(-n)], self.context.clock.now_ns()):
                yield emission
