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
from gapless.acquire.binding import columns_of, group_schema
from gapless.acquire.emission import ChannelSample, FrameReceipt, GapReport, Reading, SampleBlock
from gapless.client.sequence_writer import SequenceWriter
from gapless.client.topic_writer import TopicWriter

if TYPE_CHECKING:
    from gapless.acquire.channel import ChannelSpec

_LOOK_S = 0.005
_ROW_BYTES = 16  # overhead of a row that is not counted by its columns

RECEIPTS = pa.schema(
    [
        pa.field("timestamp_ns", pa.int64(), nullable=False),
        pa.field("frame_idx", pa.int64(), nullable=False),
        pa.field("t_utc_ns", pa.int64(), nullable=False, metadata={"unit": "ns"}),
        pa.field("capture_latency_s", pa.float64(), metadata={"unit": "s"}),
    ]
)


@dataclass
class _Group:
    """One channel group's topic: where each channel's values lie in a row."""

    topic: TopicWriter
    width: int
    slots: dict[str, tuple[int, bool, bool]] = field(default_factory=dict)  # first column, uncertainty?, raw?
    names: list[str] = field(default_factory=list)


@dataclass
class _Rows:
    """The topics that one device's readings go to."""

    records: TopicWriter | None
    groups: list[_Group]
    group_of: dict[str, _Group]
    row_bytes: int


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
        self.blocked_since_ns: int | None = None
        self.blocked_ns = 0
        self.rows = 0
        self._devices = {name: self._declare(adapter, channels) for name, adapter in adapters.items()}
        self._derived: dict[str, _Group] = self._declare_derived(channels)

    # -- topics --------------------------------------------------------------------------------

    def _declare(self, adapter: Adapter, channels: Sequence[ChannelSpec]) -> _Rows:
        mine = [spec for spec in channels if spec.device == adapter.name and self._keeps(spec.name)]
        fields = adapter.fields()
        records = None
        if fields:
            records = self._sequence.topic_create(
                f"device/{adapter.name}",
                {"family": adapter.family, "device": adapter.name, "resource": adapter.resource_id},
                schema=record_schema(fields),
            )
        groups: dict[str, list[ChannelSpec]] = {}
        for spec in mine:
            groups.setdefault(spec.group_name, []).append(spec)
        made = [
            self._group(name, specs, f"{adapter.family}:{adapter.name}:") for name, specs in groups.items()
        ]
        row_bytes = sum(8 * group.width + _ROW_BYTES for group in made) + 16 * len(fields) + 32
        return _Rows(records, made, {name: group for group in made for name in group.slots}, row_bytes)

    def _group(self, name: str, specs: Sequence[ChannelSpec], prefix: str) -> _Group:
        schema = group_schema(specs)
        topic = self._sequence.topic_create(
            f"channels/{name}", {"source_record_prefix": prefix}, schema=schema
        )
        group = _Group(topic, len(schema) - 1, names=schema.names[1:])
        at = 1
        for spec in specs:
            columns = [column.name for column in columns_of(spec)]
            group.slots[spec.name] = (
                at,
                f"{spec.name}_uncertainty" in columns,
                f"{spec.name}_raw" in columns,
            )
            at += len(columns)
        return group

    def _declare_derived(self, channels: Sequence[ChannelSpec]) -> dict[str, _Group]:
        """A derived channel has the clock of its own first input, so each has a topic of its own."""
        specs = [spec for spec in channels if spec.device is None and self._keeps(spec.name)]
        return {spec.name: self._group(f"{spec.group_name}/{spec.name}", [spec], "") for spec in specs}

    def topics_of(self, device: str) -> tuple[TopicWriter | None, list[TopicWriter]]:
        """Return a device's record topic and its group topics, for gap rows."""
        rows = self._devices[device]
        return rows.records, [group.topic for group in rows.groups]

    # -- room ----------------------------------------------------------------------------------

    async def room(self, size_bytes: int) -> None:
        """Return when the hand-over can take this many bytes without waiting, or raise its failure."""
        if self._free_bytes >= size_bytes:
            self._free_bytes -= size_bytes
            return
        began_ns = 0
        try:
            while (free := self._sequence.progress.headroom_bytes // 2) < size_bytes:
                if not began_ns:
                    began_ns = self.blocked_since_ns = time.monotonic_ns()
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
                self._blocks(rows, record.n, samples)  # type: ignore[arg-type]  # one kind in each reading
            elif len(rows.groups) == 1 and not self._derived:
                self._row(rows.groups[0], record.n, samples)  # type: ignore[arg-type]
            else:
                self._split(rows, record.n, samples)  # type: ignore[arg-type]
        self.rows += 1

    @staticmethod
    def _row(group: _Group, n: int, samples: Iterable[ChannelSample]) -> None:
        row: list[Any] = [None] * group.width
        row[0] = n
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
            group.topic.push_row(stamp, *row)

    def _split(self, rows: _Rows, n: int, samples: Iterable[ChannelSample]) -> None:
        of_group: dict[int, list[ChannelSample]] = {}
        for sample in samples:
            group = rows.group_of.get(sample.channel)
            if group is not None:
                of_group.setdefault(id(group), []).append(sample)
            else:
                self.accept_derived(sample)
        for group in rows.groups:
            mine = of_group.get(id(group))
            if mine:
                self._row(group, n, mine)

    def _blocks(self, rows: _Rows, n: int, blocks: Iterable[SampleBlock]) -> None:
        columns: dict[int, dict[str, Any]] = {}
        derived: list[_Group] = []
        stamps: Any = None
        for block in blocks:
            group = rows.group_of.get(block.channel)
            if group is None:
                group = self._derived.get(block.channel)
                if group is None:
                    continue
                derived.append(group)
            stamps = block.timestamps_ns
            mine = columns.setdefault(id(group), {})
            at, uncertain, raw = group.slots[block.channel]
            mine[group.names[at]] = block.values
            if uncertain and block.uncertainty is not None:
                mine[group.names[at + 1]] = block.uncertainty
            if block.status is None:
                mine[group.names[at + 1 + uncertain]] = np.zeros(len(block.values), np.int8)
            else:
                mine[group.names[at + 1 + uncertain]] = block.status
            if raw and block.raw is not None:
                mine[group.names[at + 2 + uncertain]] = block.raw
        for group in [*rows.groups, *derived]:
            found = columns.get(id(group))
            if found:
                found[group.names[0]] = np.full(len(stamps), n, np.int64)
                group.topic.push_columns(stamps, found)

    def accept_derived(self, sample: ChannelSample) -> None:
        """Take a sample made on the bus; one that is not declared as a channel is for readers of the bus only."""
        group = self._derived.get(sample.channel)
        if group is not None:
            number = sample.source_record_id.rpartition(":")[2]
            self._row(group, int(number) if number.isdecimal() else 0, [sample])

    def accept_receipt(self, receipt: FrameReceipt) -> None:
        """Take a frame's receipt into the topic ``<camera>/frames``."""
        if not self._keeps(receipt.camera):
            return
        topic = self._cameras.get(receipt.camera)
        if topic is None:
            topic = self._sequence.topic_create(f"{receipt.camera}/frames", schema=RECEIPTS)
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
        return calls


def _gap_call(topic: TopicWriter, count: int | None, gap: GapReport) -> Callable[[], None]:
    return lambda: topic.gap(count, gap.cause, start_ns=gap.start_ns, end_ns=max(gap.start_ns, gap.end_ns))


def record_schema(fields: Sequence[DeviceField]) -> pa.Schema:
    """Return the schema of a device's native records."""
    columns = [
        pa.field("timestamp_ns", pa.int64(), nullable=False),
        pa.field("record", pa.int64(), nullable=False, metadata={"description": "n of source_record_id"}),
        pa.field("t_utc_ns", pa.int64(), nullable=False, metadata={"unit": "ns"}),
    ]
    for item in fields:
        kind = getattr(pa, item.dtype)()
        if item.shape:
            kind = pa.list_(kind)
        words = {"description": item.description} if item.description else {}
        if item.unit:
            words["unit"] = item.unit
        columns.append(pa.field(item.name, kind, metadata=words or None))
    return pa.schema(columns)
