"""The writer of a recorder's table, and of the rows that every episode has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gapless.observe.recorder import Table
from gapless.observe.writers.writer import Instant
from gapless.store.episode_rows import FRAMES

if TYPE_CHECKING:
    from gapless.client.sequence_writer import SequenceWriter
    from gapless.client.topic_writer import TopicWriter


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
