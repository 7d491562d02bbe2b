"""A device that breaks and may, the runs it is in, and what they tell of its absence."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from gapless.acquire.emission import Emission
from gapless.acquire.ending import RunResult
from gapless.acquire.run import Run
from gapless.client.client import Client
from gapless.errors import NotFound

from .scripted import ScriptedDevice
from .small_rig import SmallRig


class FallibleDevice(ScriptedDevice):
    """A scripted device that may break and be away: it hangs, refuses and breaks when it is told to.

    ``hangs``: connecting never ends. ``breaks``: how many records each of its streams gives before it
    breaks; None for one that lasts. ``is_quiet``: streams that begin from now on give nothing.
    """

    def __init__(self, name: str = "d", *, breaks: int | None = None, **more: Any) -> None:
        super().__init__(name, limit=10**9, on_failure="warn", **more)
        self.config = self.config.model_copy(update={"open_timeout_s": 120.0, "read_timeout_s": 120.0})
        self.breaks = breaks
        self.hangs = self.is_quiet = False
        self.lingers_s = 0.0  # how long stopping takes
        self.tried = threading.Semaphore(0)  # connecting began
        self.cancelled = threading.Event()  # a connecting that hung was cancelled
        self.attempts = 0

    async def connect(self) -> None:
        """Connect, hang or refuse."""
        self.attempts += 1
        self.tried.release()
        if self.hangs:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        await super().connect()

    async def stop(self) -> None:
        """Stop, in its own time."""
        await super().stop()
        await asyncio.sleep(self.lingers_s)

    async def stream(self) -> AsyncIterator[Emission]:
        """Yield a record each 2 ms until it breaks."""
        if self.is_quiet:
            await self.pause(600.0)
            return
        given = 0
        while not await self.pause(0.002):
            if self.breaks is not None and given >= self.breaks:
                raise RuntimeError("the device broke")
            given += 1
            for emission in self.record([float(given)], self.context.clock.now_ns()):
                yield emission


def until(holds: Callable[[], Any]) -> None:
    """Wait until something holds."""
    deadline_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def started(client: Client, devices: Sequence[Any], **settings: Any) -> Run:
    """Return a run of the devices that is running."""
    pool = settings.pop("pool", None)
    name = settings.pop("name", "x")
    run = Run(SmallRig(devices, **settings), client, name=name, pool=pool)  # type: ignore[arg-type]
    run.start()
    return run


def stopped(run: Run) -> RunResult:
    """Stop a run and return how it ended."""
    run.stop("enough", by="me")
    return ended(run)


def ended(run: Run) -> RunResult:
    """Return how a run ended, when it has."""
    result = run.wait(60)
    assert result is not None, "the run did not end"
    return result


def kinds(run: Run) -> list[str]:
    """Return what has been told so far; the log keeps the last events."""
    return [entry.kind for entry in list(run.events.last)]


def rows(client: Client, topic: str, name: str = "x") -> list[dict[str, Any]]:
    """Return the rows of a topic; none if there is no such topic."""
    try:
        found: list[dict[str, Any]] = client.sequence_handler(name).reader.topic(topic).to_arrow().to_pylist()
    except NotFound:
        return []
    return found


def told(client: Client, kind: str) -> list[dict[str, Any]]:
    """Return the events of one kind."""
    return [row for row in rows(client, "_events") if row["kind"] == kind]


def gaps_of(client: Client, topic: str) -> list[dict[str, Any]]:
    """Return the gaps of a topic."""
    return [row for row in rows(client, "_gaps") if row["topic"] == topic]


def check_whole(client: Client, device: str, absences: int) -> None:
    """Each absence is one gap row of each topic, no row lies in one, numbers go on, and the ledger balances."""
    assert [finding for finding in client.verify("x") if finding.severity == "error"] == []
    records = rows(client, f"device/{device}")
    assert [row["record"] for row in records] == list(range(len(records)))
    assert [row["source_record"] for row in rows(client, f"channels/{device}")] == list(range(len(records)))
    for topic in (f"device/{device}", f"channels/{device}"):
        gaps = gaps_of(client, topic)
        assert len(gaps) == absences
        for gap in gaps:
            assert gap["cause"].startswith("device_failed: ")
            assert gap["count"] is None
            inside = [row for row in records if gap["timestamp_ns"] < row["timestamp_ns"] < gap["end_ns"]]
            assert inside == []
        ledger = client.sequence_handler("x").reader.topics[topic].ledger
        assert ledger["produced"] == ledger["written"] + ledger["dropped"] + ledger["gapped"]
        assert ledger["written"] == len(records)
