"""One run of a device under observation: its clock, what it streamed, and what the process holds open for it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from dataclasses import dataclass
from typing import Any

from gapless.acquire.adapter import Adapter, StartContext
from gapless.acquire.command import Command
from gapless.acquire.emission import DeviceEvent, Emission, FrameReceipt, SourceRecord


@dataclass(frozen=True)
class Question:
    """A command and the value that its answer must have."""

    command: Command
    answer: Any


def order(name: str, timeout_s: float = 5.0, /, **arguments: Any) -> Command:
    """Return a command that a person confirmed."""
    return Command(name=name, arguments=arguments, confirmed_by="contract", timeout_s=timeout_s)


class FarClock:
    """A run's clock far from every other one of the machine: a stamp that is not its own stands out."""

    def now_ns(self) -> int:
        """Return a monotonic time in the year 2065."""
        return 3_000_000_000_000_000_000 + time.monotonic_ns()

    def utc_ns(self) -> int:
        """Return the wall clock."""
        return time.time_ns()


class Observed:
    """One run of a device: everything that it streamed, in order."""

    def __init__(self, adapter: Adapter, context: StartContext, began_ns: int) -> None:
        self.adapter = adapter
        self.context = context
        self.emissions: list[Emission] = []
        self.began_ns = began_ns
        self.task = asyncio.get_running_loop().create_task(self._collect())

    async def _collect(self) -> None:
        async for emission in self.adapter.stream():
            self.emissions.append(emission)

    def of(self, *kinds: type[Any]) -> list[Any]:
        """Return the emissions of some kinds."""
        return [emission for emission in self.emissions if isinstance(emission, kinds)]

    @property
    def records(self) -> list[SourceRecord]:
        """The records so far."""
        return self.of(SourceRecord)

    @property
    def count(self) -> int:
        """How many records or frames came so far."""
        return len(self.of(SourceRecord, FrameReceipt))

    def events(self, kind: str) -> list[DeviceEvent]:
        """Return the events of one kind."""
        return [event for event in self.of(DeviceEvent) if event.kind == kind]


def held_now() -> tuple[int, int]:
    """Return the numbers of open file descriptors (0 where they cannot be counted) and of threads."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(folder):
            return len(os.listdir(folder)), threading.active_count()
    return 0, threading.active_count()


def is_more(now: tuple[int, int], before: tuple[int, int]) -> bool:
    """Return whether there are more descriptors or more threads than before."""
    return any(number > earlier for number, earlier in zip(now, before, strict=True))


__all__ = ["FarClock", "Observed", "Question", "held_now", "is_more", "order"]
