"""From what crosses the bridges to the topics of one sequence: the run's only door to the disk.

A run is one sequence. ``device/<device>`` holds the native records, ``channels/<group>`` one row for each
record with the calibrated values of the group's channels, ``<camera>/frames`` the frame receipts. The
recording plan leaves channels and cameras out here and nowhere else. Everything is pushed from the
conductor's thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from gapless.acquire.adapter import Adapter, DeviceField
from gapless.acquire.emission import ChannelSample, FrameReceipt, GapReport, Reading, SampleBlock
from gapless.acquire.group import ChannelGroup, groups_of
from gapless.client.sequence_writer import SequenceWriter
from gapless.client.topic_writer import TopicWriter
from gapless.store.media.frame_table import RECEIPTS, frame_table_of

if TYPE_CHECKING:
    from gapless.acquire.channel import ChannelSpec

_LOOK_S = 0.005
_WIDE = ("string", "large_string", "binary", "large_binary")
_CAUSE_CHARS = 500  # a cause may quote what a device answered, whatever that was
_ROW_BYTES = 16  # overhead of a row that is not counted by its columns


@dataclass
class _Group:
    """One channel group's topic: where each channel's values lie in a row.

    ``numbered``: the source column holds the record's number; else, for channels made on the bus, its id.
    """

    topic: TopicWriter
    width: int
    numbered: bool
    names: list[str]
    slots: dict[str, tuple[int, bool, bool]] = field(default_factory=dict)  # first column, uncertainty?, raw?


@dataclass
class _Rows:
    """The topics that one device's readings go to."""

    records: TopicWriter | None
    groups: list[_Group]
    row_bytes: int
    wide: tuple[int, ...]  # fields whose values may be long: text, bytes, lists


class Recorder:
    """Writes a run's emissions. ``accept`` returns when the bounded hand-over to the writer has them.

    ``room`` waits on the loop, not in the hand-over, so that a disk that hangs stops the acquisition's
    data but none of its other work. ``blocked_since_ns`` is set exactly while it waits.
    """

    def __init__(
        self,
        sequence: SequenceWriter,
        adapters: Mapping[str, Adapter],
        channels: Sequence[ChannelSpec],
        *,
        keeps: Callable[[str], bool] = lambda _name: True,
    ) -> None:
        self._sequence = sequence
        self._keeps = keeps
        self._cameras: dict[str, TopicWriter] = {}
        self._free_bytes = 0
        self._waiting = 0
        self._turn = asyncio.Lock()
        self.blocked_since_ns: int | None = None
        self.blocked_ns = 0
        self.rows = 0
        self._group_of: dict[str, _Group] = {}
        kept = [spec for spec in channels if keeps(spec.name)]
        groups = groups_of(kept).values()
        made = {group.name: self._declare_group(group, adapters) for group in groups}
        self._devices = {
            name: self._declare(adapter, [made[g.name] for g in groups if g.device == name])
            for name, adapter in adapters.items()
        }
        self._derives = any(spec.device is None for spec in kept)

    # -- topics --------------------------------------------------------------------------------

    def _declare_group(self, group: ChannelGroup, adapters: Mapping[str, Adapter]) -> _Group:
        family = None if group.device is None else adapters[group.device].family
        schema = group.schema()
        topic = self._sequence.topic_create(group.topic, group.metadata(family), schema=schema)
        made = _Group(topic, len(schema) - 1, group.device is not None, schema.names[1:])
        at = 1
        for spec in group.channels:
            made.slots[spec.name] = (at, spec.has_uncertainty, spec.keep_raw)
            self._group_of[spec.name] = made
            at += len(spec.column_names)
        return made

    def _declare(self, adapter: Adapter, groups: list[_Group]) -> _Rows:
        fields = adapter.fields()
        records = None
        if fields:
            records = self._sequence.topic_create(
                f"device/{adapter.name}",
                {"family": adapter.family, "device": adapter.name, "resource": adapter.resource_id},
                schema=record_schema(fields),
            )
        row_bytes = sum(8 * group.width + _ROW_BYTES for group in groups) + 16 * len(fields) + 32
        wide = tuple(n for n, field in enumerate(fields) if field.shape or field.dtype in _WIDE)
        return _Rows(records, groups, row_bytes, wide)

    def topics_of(self, device: str) -> tuple[TopicWriter | None, list[TopicWriter]]:
        """Return a device's record topic and its group topics, for gap rows."""
        rows = self._devices[device]
        return rows.records, [group.topic for group in rows.groups]

    # -- room ----------------------------------------------------------------------------------

    def has_room(self, size_bytes: int) -> bool:
        """Tell whether the bytes fit what was free at the last look, and nobody waits; if so they are taken off."""
        if self._waiting:
            return False
        self._free_bytes -= size_bytes
        return self._free_bytes >= 0

    async def room(self, size_bytes: int) -> None:
        """Return when the hand-over can take this many bytes without waiting; who came first goes first."""
        if self.has_room(size_bytes):
            return
        self._waiting += 1
        try:
            async with self._turn:
                await self._wait_for_room(size_bytes)
        finally:
            self._waiting -= 1

    async def _wait_for_room(self, size_bytes: int) -> None:
        began_ns = 0
        try:
            while (free := self._sequence.progress.headroom_bytes // 2) < size_bytes:
                began_ns = began_ns or time.monotonic_ns()
                self.blocked_since_ns = self.blocked_since_ns or began_ns  # drains wait side by side
                await asyncio.sleep(_LOOK_S)
                if self._sequence.progress.idle:  # larger than half of all room: alone it fits
                    break
        finally:
            if began_ns:
                self.blocked_since_ns = None
                self.blocked_ns += time.monotonic_ns() - began_ns
        self._free_bytes = max(0, free - size_bytes)

    def size_of(self, crossing: Any) -> int:
        """Return about how many bytes a crossing needs in the hand-over."""
        if type(crossing) is not Reading:
            return 64
        rows = self._devices[crossing.record.device]
        if crossing.samples and type(crossing.samples[0]) is SampleBlock:
            return rows.row_bytes * len(crossing.samples[0].values)
        if rows.wide:
            values = crossing.record.values
            return rows.row_bytes + 2 * sum(_width(values[n]) for n in rows.wide if n < len(values))
        return rows.row_bytes

    # -- rows ----------------------------------------------------------------------------------

    def accept(self, reading: Reading) -> None:
        """Take a record and its samples; when it returns they are the writer's."""
        record = reading.record
        rows = self._devices[record.device]
        if rows.records is not None:
            rows.records.push_row(record.timestamp_ns, record.n, record.t_utc_ns, *record.values)
        samples = reading.samples
        if samples:
            if type(samples[0]) is SampleBlock:
                self._blocks(record.n, samples)
            elif len(rows.groups) == 1 and not self._derives:
                self._row(rows.groups[0], record.n, samples)  # type: ignore[arg-type]
            else:
                self._split(record.n, samples)  # type: ignore[arg-type]
        self.rows += 1

    @staticmethod
    def _row(group: _Group, n: int | str, samples: Iterable[ChannelSample]) -> None:
        row: list[Any] = [None] * group.width
        slots = group.slots
        stamp: int | None = None
        for sample in samples:
            slot = slots.get(sample.channel)
            if slot is None:  # left out by the recording plan
                continue
            at, uncertain, raw = slot
            stamp = sample.timestamp_ns
            row[at] = sample.value
            at += 1
            if uncertain:
                row[at] = sample.uncertainty
                at += 1
            row[at] = sample.status
            if raw:
                row[at + 1] = sample.raw
        if stamp is not None:
            row[0] = n
            group.topic.push_row(stamp, *row)

    def _split(self, n: int, samples: Iterable[ChannelSample]) -> None:
        """Push one row into each group that has samples here."""
        of_group: dict[int, tuple[_Group, list[ChannelSample]]] = {}
        for sample in samples:
            group = self._group_of.get(sample.channel)
            if group is not None:
                of_group.setdefault(id(group), (group, []))[1].append(sample)
        for group, mine in of_group.values():
            self._row(group, n if group.numbered else mine[0].source_record_id, mine)

    def _blocks(self, n: int, blocks: Iterable[SampleBlock]) -> None:
        of_group: dict[int, tuple[_Group, list[SampleBlock]]] = {}
        for block in blocks:
            group = self._group_of.get(block.channel)
            if group is not None:
                of_group.setdefault(id(group), (group, []))[1].append(block)
        for group, mine in of_group.values():
            self._columns(group, n if group.numbered else mine[0].source_record_id, mine)

    @staticmethod
    def _columns(group: _Group, n: int | str, blocks: Sequence[SampleBlock]) -> None:
        count = len(blocks[0].values)
        names = group.names
        source: Any = np.full(count, n, np.int64) if group.numbered else [n] * count
        columns: dict[str, Any] = {names[0]: source}
        for block in blocks:
            at, uncertain, raw = group.slots[block.channel]
            columns[names[at]] = block.values
            at += 1
            if uncertain:
                if block.uncertainty is not None:
                    columns[names[at]] = pa.array(block.uncertainty, mask=np.isnan(block.uncertainty))
                at += 1
            columns[names[at]] = np.zeros(count, np.int8) if block.status is None else block.status
            if raw and block.raw is not None:
                columns[names[at + 1]] = block.raw
        group.topic.push_columns(blocks[0].timestamps_ns, columns)

    def accept_derived(self, made: ChannelSample | SampleBlock) -> None:
        """Take what was made on the bus; what is not declared as a channel is for readers of the bus only."""
        group = self._group_of.get(made.channel)
        if group is None:
            return
        if isinstance(made, SampleBlock):
            self._columns(group, made.source_record_id, [made])
        else:
            self._row(group, made.source_record_id, [made])

    def accept_receipt(self, receipt: FrameReceipt) -> None:
        """Take a frame's receipt into the topic ``<camera>/frames``."""
        if not self._keeps(receipt.camera):
            return
        topic = self._cameras.get(receipt.camera)
        if topic is None:
            topic = self._sequence.topic_create(frame_table_of(receipt.camera), schema=RECEIPTS)
            self._cameras[receipt.camera] = topic
        topic.push_row(receipt.timestamp_ns, receipt.frame_idx, receipt.t_utc_ns, receipt.capture_latency_s)

    # -- what is missing -----------------------------------------------------------------------

    def gap_calls(self, gap: GapReport) -> list[Callable[[], None]]:
        """Return the calls that record a gap in every topic of the device; each waits for the disk."""
        records, groups = self.topics_of(gap.device)
        rows = gap.rows if gap.rows is not None else gap.records
        calls: list[Callable[[], None]] = []
        if records is not None:
            calls.append(_gap_call(records, gap.records, gap))
        calls += [_gap_call(topic, rows, gap) for topic in groups]
        for name in (gap.device, f"{gap.device}/frames"):
            if gap.device in self._cameras and self._sequence.topic_writer_exists(name):
                calls.append(_gap_call(self._sequence.get_topic_writer(name), rows, gap))
        return calls


def _width(value: Any) -> int:
    """Return about how many bytes a long value takes, as a record and once more as a sample."""
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    return (
        8 * len(value) if isinstance(value, list | tuple) else len(value) if hasattr(value, "__len__") else 8
    )


def _gap_call(topic: TopicWriter, count: int | None, gap: GapReport) -> Callable[[], None]:
    cause = "".join(c if c.isprintable() else repr(c)[1:-1] for c in gap.cause)[:_CAUSE_CHARS] or "unknown"
    return lambda: topic.gap(count, cause, start_ns=gap.start_ns, end_ns=max(gap.start_ns, gap.end_ns))


def record_schema(fields: Sequence[DeviceField]) -> pa.Schema:
    """Return the schema of a device's native records."""
    columns = [
        pa.field("timestamp_ns", pa.int64(), nullable=False),
        pa.field("record", pa.int64(), nullable=False, metadata={"description": "n of source_record_id"}),
        pa.field("t_utc_ns", pa.int64(), nullable=False, metadata={"unit": "ns"}),
    ]
    for item in fields:
        kind = pa.type_for_alias(item.dtype)
        if item.shape:
            kind = pa.list_(kind)
        words = {"description": item.description} if item.description else {}
        if item.unit:
            words["unit"] = item.unit
        columns.append(pa.field(item.name, kind, metadata=words or None))
    return pa.schema(columns)
