"""Devices that speak by themselves: callbacks and messages, and blocks of samples at a fixed rate."""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from gapless.acquire.adapter import DeviceField, StartContext
from gapless.acquire.emission import DeviceEvent, Emission, GapReport, SourceRecord
from gapless.acquire.kit import TROUBLE, Device
from gapless.errors import BridgeClosed, DeviceFault
from gapless.flow.bridge import ThreadBridge
from gapless.flow.deadline import Deadline
from gapless.flow.policy import BackpressurePolicy

_QUEUE_RECORDS = 16_384
_SETTLE_S = 1.0
_LOOK_S = 0.001
_Delivery = tuple[Sequence[Any], int]  # one record's values and their stamp


class PushedDevice(Device):
    """A device whose values arrive by callback. A subclass calls :meth:`deliver` from any thread.

    Records that arrive faster than the run takes them are dropped oldest first, and told in a gap row. What
    is reported with :meth:`report` is never dropped.
    """

    def __init__(self, name: str, config: Any) -> None:
        super().__init__(name, config)
        self._inbox: ThreadBridge[_Delivery | DeviceEvent | GapReport] | None = None
        self._overflow = _Overflow(name)

    async def start(self, context: StartContext) -> None:
        """Begin to take what is delivered."""
        await super().start(context)
        self._overflow = _Overflow(self.name)
        self._inbox = ThreadBridge(
            f"{self.name}-inbox",
            capacity=_QUEUE_RECORDS,
            policy=BackpressurePolicy.DROP_OLDEST,
            on_drop=self._overflow.add,
        )

    async def stop(self) -> None:
        """Take no more; what was delivered is still streamed."""
        await super().stop()
        if self._inbox is not None:
            self._inbox.close()

    def deliver(self, values: Sequence[Any], timestamp_ns: int | None = None) -> bool:
        """Hand over one record's values; return whether a run takes them.

        They are stamped now unless the stamp was taken nearer to the device.
        """
        if self._inbox is None or self.stopping:
            return False
        stamp_ns = self.context.clock.now_ns() if timestamp_ns is None else timestamp_ns
        return self._put((values, stamp_ns))

    def report(self, emission: DeviceEvent | GapReport) -> bool:
        """Hand over an event or a gap in its place among the records; return whether a run takes it."""
        return self._put(emission)

    def _put(self, item: _Delivery | DeviceEvent | GapReport) -> bool:
        inbox = self._inbox
        if inbox is None or self.stopping:
            return False
        try:
            return inbox.put_nowait(item)
        except BridgeClosed:  # the run stopped on its thread while this one was here
            return False

    async def stream(self) -> AsyncIterator[Emission]:
        """Yield what is delivered until stopped."""
        inbox, overflow = self._inbox, self._overflow
        assert inbox is not None
        while burst := await inbox.get_burst():
            for missed in overflow.take():
                yield missed
            for item in burst:
                if isinstance(item, tuple):
                    for emission in self.record(*item):
                        yield emission
                else:
                    yield item
        deadline = Deadline(_SETTLE_S)  # a thread may still be on its way to say what its record displaced
        while overflow.count < inbox.metrics().dropped and not deadline.passed:
            await asyncio.sleep(_LOOK_S)
        for missed in overflow.take():
            yield missed


class _Overflow:
    """What a full inbox gave up: how many records of which time, and every event and gap among them."""

    def __init__(self, device: str) -> None:
        self.count = 0
        self._device = device
        self._lock = threading.Lock()  # filled by any thread that delivers
        self._records = 0
        self._span_ns = (0, 0)
        self._reports: list[DeviceEvent | GapReport] = []

    def add(self, item: _Delivery | DeviceEvent | GapReport) -> None:
        """Take what was dropped."""
        with self._lock:
            self.count += 1
            if not isinstance(item, tuple):
                self._reports.append(item)
                return
            stamp_ns = item[1]
            low_ns, high_ns = self._span_ns if self._records else (stamp_ns, stamp_ns)
            self._span_ns = (min(low_ns, stamp_ns), max(high_ns, stamp_ns))
            self._records += 1

    def take(self) -> list[DeviceEvent | GapReport]:
        """Return, once, the reports and the gap of the lost records."""
        if not self._records and not self._reports:
            return []
        with self._lock:
            taken, self._reports = self._reports, []
            lost, self._records = self._records, 0
            if lost:
                taken.append(GapReport(self._device, "device_queue_full", *self._span_ns, records=lost))
        return taken


@dataclass(frozen=True, slots=True)
class Block:
    """Samples ``first_index`` and after: one array for each field, all of one length."""

    first_index: int
    columns: Mapping[str, np.ndarray]


BLOCK_FIELDS = (
    DeviceField("first_index", "int64", None, "number of the block's first sample since the start"),
    DeviceField("count", "int64", None, "samples in the block"),
    DeviceField("arrival_ns", "int64", "ns", "run clock when the block arrived"),
)


class BlockDevice(Device):
    """A device that samples at a fixed rate and delivers blocks. A subclass gives :meth:`read_block`.

    Sample k is stamped ``t0 + k / rate`` in whole nanoseconds, ``t0_ns`` being the run clock at ``start``,
    which a subclass that knows better sets; the arrival of each block is kept beside it, so that a drifting
    device clock can be seen. A hole in the indices becomes a gap row with its count.
    """

    t0_ns = 0

    async def start(self, context: StartContext) -> None:
        """Begin to sample: sample 0 is taken now, however much later it is asked for."""
        await super().start(context)
        self.t0_ns = context.clock.now_ns()

    @property
    @abstractmethod
    def sample_rate(self) -> Fraction:
        """Samples a second of each field, exactly."""

    @abstractmethod
    def block_fields(self) -> Sequence[DeviceField]:
        """Return the fields that are sampled."""

    @abstractmethod
    async def read_block(self) -> Block | None:
        """Return the next block; None when the source is at its end or stopped; raise one of TROUBLE.

        It is cancelled when it takes ``read_timeout_s`` longer than a block lasts. It is called again after
        trouble: it connects again where it must, and the index counts on.
        """

    def fields(self) -> Sequence[DeviceField]:
        """Return the columns of the native records: where each block lies, not its samples."""
        return BLOCK_FIELDS

    def channel_fields(self) -> Sequence[DeviceField]:
        """Return the fields that channels bind to: those that are sampled."""
        return self.block_fields()

    def stamps(self, t0_ns: int, first_index: int, count: int) -> np.ndarray:
        """Return the times of ``count`` samples: ``t0 + index * 1e9 / rate``, in integers."""
        rate = self.sample_rate
        index = np.arange(first_index, first_index + count, dtype=np.int64)
        whole, rest = np.divmod(index, rate.numerator)  # keeps the product below 2^63 at any index
        per_second_ns = rate.denominator * 10**9
        stamps: np.ndarray = t0_ns + whole * per_second_ns + rest * per_second_ns // rate.numerator
        return stamps

    async def stream(self) -> AsyncIterator[Emission]:
        """Yield blocks until stopped or at the source's end."""
        clock = self.context.clock
        expected = 0
        while not self.stopping:
            try:
                block = await self._next_block()
            except TROUBLE as error:
                began_ns = clock.now_ns()
                for emission in self._trouble.failed(error, began_ns):
                    yield emission
                if await self.pause(self._trouble.pause_s):
                    break
                continue
            if block is None:
                break
            for emission in self._trouble.ended(clock.now_ns(), counts=False):
                yield emission
            if block.first_index != expected:
                yield self._hole(self.t0_ns, expected, block.first_index)
            count = len(next(iter(block.columns.values())))
            for emission in self._block(self.t0_ns, block, count, clock.now_ns()):
                yield emission
            expected = block.first_index + count
        for emission in self._trouble.ended(clock.now_ns(), back=False, counts=False):
            yield emission

    async def _next_block(self) -> Block | None:
        block = await self.within(self.config.read_timeout_s + 1.0 / self.expected_rate_hz, self.read_block)
        if block is not None:
            lengths = {len(column) for column in block.columns.values()}
            if len(lengths) != 1 or 0 in lengths:
                raise DeviceFault(
                    f"{self.name} gave a block that is none",
                    found=f"columns of {sorted(lengths)} samples",
                    expected="as many samples in each column, at least one",
                )
        return block

    def _hole(self, t0_ns: int, expected: int, found: int) -> GapReport:
        start_ns = int(self.stamps(t0_ns, min(expected, found), 1)[0])
        end_ns = int(self.stamps(t0_ns, max(expected, found), 1)[0])
        lost = max(0, found - expected)
        return GapReport(self.name, "device_overrun", start_ns, end_ns, records=None, rows=lost or None)

    def _block(self, t0_ns: int, block: Block, count: int, arrival_ns: int) -> list[Emission]:
        context = self.context
        stamps = self.stamps(t0_ns, block.first_index, count)
        samples = context.binder.sample_count if context.binder is not None else 0
        record = SourceRecord(
            self.family,
            self.name,
            self._n,
            int(stamps[0]),
            context.clock.utc_ns(),
            (block.first_index, count, arrival_ns),
            samples,
        )
        self._n += 1
        if context.binder is None:
            return [record]
        return [record, *context.binder.bind_block(record, stamps, block.columns)]


__all__ = ["BLOCK_FIELDS", "Block", "BlockDevice", "PushedDevice"]
