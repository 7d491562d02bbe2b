"""The writer of a recorder's table, and of the rows that every episode has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from gapless.observe.recorder import Table
from gapless.observe.writers.writer import Instant

if TYPE_CHECKING:
    from gapless.client.sequence_writer import SequenceWriter
    from gapless.client.topic_writer import TopicWriter


def _field(name: str, kind: pa.DataType, description: str, unit: str | None = None) -> pa.Field:
    words = {"description": description} | ({"unit": unit} if unit else {})
    return pa.field(name, kind, nullable=False, metadata=words)


FRAMES = pa.schema(
    [
        _field("frame_index", pa.int64(), "number of the row in its episode, from 0 without holes"),
        _field("captured_ns", pa.int64(), "when the sources were read; the row's time is the nominal grid", "ns"),
        _field(
            "frame_flags",
            pa.uint8(),
            "bits: 1 new policy step, 2 after a reset, 4 after a gap, 8 backfilled, 16 repeated image",
        ),
        _field("task_index", pa.int32(), "row of topic tasks with this index; -1: no task"),
    ]
)  # fmt: skip
TASKS = pa.schema(
    [
        _field("task_index", pa.int32(), "number of the task"),
        _field("task", pa.string(), "what the robot is to do"),
    ]
)
ENDED = pa.schema(
    [
        pa.field("success", pa.bool_(), metadata={"description": "whether the task was done; null: not judged"}),
        _field("frames", pa.int64(), "rows of topic frames"),
        _field("reason", pa.string(), "why the episode ended"),
    ]
)  # fmt: skip


class TableWriter:
    """Writes one row of a table for each instant."""

    def __init__(self, recorder: str, table: Table) -> None:
        self.table = table
        self.topic = table.spec.topic
        self._recorder = recorder
        self._writer: TopicWriter

    def open(self, sequence: SequenceWriter) -> None:
        """Make the table's topic."""
        spec = self.table.spec
        metadata = {
            **spec.metadata,
            "recorder": self._recorder,
            "version": spec.version,
            "every": spec.every,
            "roles": {role: list(names) for role, names in spec.roles.items()},
        }
        self._writer = sequence.topic_create(spec.topic, metadata, schema=spec.schema)

    def append(self, instant: Instant) -> None:
        """Write the values that the table read last."""
        self._writer.push_row(instant.time_ns, *self.table.row)

    def gap(self, count: int | None, cause: str, start_ns: int, end_ns: int) -> None:
        """Record missing ticks."""
        self._writer.gap(count, cause, start_ns=start_ns, end_ns=end_ns, durable=False)


class FrameWriter:
    """Writes the rows that tie an episode together: number, capture, flags and task of each tick."""

    topic = "frames"

    def __init__(self) -> None:
        self.rows = 0
        self.task = -1
        self._writer: TopicWriter

    def open(self, sequence: SequenceWriter) -> None:
        """Make the topic."""
        self._writer = sequence.topic_create(self.topic, schema=FRAMES)

    def append(self, instant: Instant) -> None:
        """Write one row."""
        self._writer.push_row(instant.time_ns, self.rows, instant.captured_ns, instant.flags, self.task)
        self.rows += 1

    def gap(self, count: int | None, cause: str, start_ns: int, end_ns: int) -> None:
        """Record missing ticks."""
        self._writer.gap(count, cause, start_ns=start_ns, end_ns=end_ns, durable=False)
