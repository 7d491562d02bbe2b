"""The shape that acquisition programs usually have, as a peer: one object and four hops for each sample.

Device loop -> a bridge between two loops (a semaphore of the device's loop bounds it, ``call_soon_threadsafe``
carries each item there and each permit back) -> conductor loop -> ``queue.Queue`` -> writer thread that makes an
Arrow IPC batch and an fsync of every 1,024 rows; beside it an ``asyncio.Queue`` for a subscriber and
``call_soon_threadsafe`` into the loop of a user interface.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

_CAPACITY = 4096
_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample with what such programs give it."""

    channel: str
    t_mono_ns: int
    t_utc: float
    value: float
    unit: str
    uncertainty: float | None
    source_record_id: str


_SCHEMA = pa.schema(
    [
        ("channel", pa.string()), ("t_mono_ns", pa.int64()), ("t_utc", pa.float64()), ("value", pa.float64()),
        ("unit", pa.string()), ("uncertainty", pa.float64()), ("source_record_id", pa.string()),
    ]
)  # fmt: skip


def record(folder: Path, count: int, rate_hz: float = 0.0) -> list[int]:
    """Move ``count`` samples through all hops; return how long each took from its stamp to the writer."""
    latencies: list[int] = []
    inbox: queue.Queue[Sample | None] = queue.Queue(_CAPACITY)
    writer = threading.Thread(target=_write, args=(folder / "samples.arrows", inbox, latencies))
    writer.start()
    asyncio.run(_conduct(count, rate_hz, inbox))
    inbox.put(None)
    writer.join()
    return latencies


async def _conduct(count: int, rate_hz: float, inbox: queue.Queue[Sample | None]) -> None:
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[Sample | None] = asyncio.Queue()
    subscriber: asyncio.Queue[Sample] = asyncio.Queue(256)
    room = _Room()
    ui_loop, ui = _user_interface()
    device = threading.Thread(target=_device, args=(count, rate_hz, loop, arrived, room))
    device.start()
    reader = loop.create_task(_read(subscriber))
    while (sample := await arrived.get()) is not None:
        room.give_back()
        try:
            inbox.put_nowait(sample)
        except queue.Full:
            await asyncio.to_thread(inbox.put, sample)
        if subscriber.full():
            subscriber.get_nowait()
        subscriber.put_nowait(sample)
        ui_loop.call_soon_threadsafe(_SEEN.append, sample)
    reader.cancel()
    device.join()
    ui_loop.call_soon_threadsafe(ui_loop.stop)
    ui.join()
    _SEEN.clear()


class _Room:
    """The bound of the bridge: permits of the device's loop."""

    def __init__(self) -> None:
        self.permits = asyncio.Semaphore(_CAPACITY)
        self.loop: asyncio.AbstractEventLoop | None = None

    def give_back(self) -> None:
        """Return a permit from the conductor's loop."""
        if self.loop is not None and not self.loop.is_closed():
            try:
                self.loop.call_soon_threadsafe(self.permits.release)
            except RuntimeError:  # the device has ended: nobody needs the permit
                self.loop = None


_SEEN: list[Sample] = []


def _user_interface() -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    loop = asyncio.new_event_loop()

    def run() -> None:
        loop.run_forever()
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    return loop, thread


async def _read(subscriber: asyncio.Queue[Sample]) -> None:
    while True:
        await subscriber.get()


def _device(
    count: int,
    rate_hz: float,
    loop: asyncio.AbstractEventLoop,
    arrived: asyncio.Queue[Sample | None],
    room: _Room,
) -> None:
    async def stream() -> None:
        room.loop = asyncio.get_running_loop()
        began_s = time.perf_counter()
        for n in range(count):
            if rate_hz and (ahead_s := n / rate_hz - (time.perf_counter() - began_s)) > 0.001:
                await asyncio.sleep(ahead_s)
            value = 2.0 * 1.5 + 1.0
            sample = Sample("c0", time.monotonic_ns(), time.time(), value, "V", None, f"fast:d:{n}")
            await room.permits.acquire()
            loop.call_soon_threadsafe(arrived.put_nowait, sample)

    asyncio.run(stream())
    loop.call_soon_threadsafe(arrived.put_nowait, None)


def _write(path: Path, inbox: queue.Queue[Sample | None], latencies: list[int]) -> None:
    with path.open("wb") as file, pa.ipc.new_stream(file, _SCHEMA) as stream:
        rows: list[Sample] = []
        while (sample := inbox.get()) is not None:
            latencies.append(time.monotonic_ns() - sample.t_mono_ns)
            rows.append(sample)
            if len(rows) == _ROWS:
                _flush(rows, stream, file.fileno())
        _flush(rows, stream, file.fileno())


def _flush(rows: list[Sample], stream: pa.ipc.RecordBatchStreamWriter, fd: int) -> None:
    columns = [[getattr(row, name) for row in rows] for name in _SCHEMA.names]
    stream.write_batch(
        pa.RecordBatch.from_arrays(
            [pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA
        )
    )
    os.fsync(fd)
    rows.clear()
