"""A client in memory: just enough to see what an import stores, and to export from it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest


@dataclass
class MemoryTopic:
    """The rows of one topic; written by push_batch, read by scan."""

    schema: pa.Schema
    batches: list[pa.RecordBatch] = field(default_factory=list)

    def push_batch(self, batch: pa.RecordBatch) -> None:
        """Keep a batch of exactly this schema."""
        assert batch.schema.equals(self.schema, check_metadata=True)
        batch.validate(full=True)
        self.batches.append(batch)

    def table(self) -> pa.Table:
        """Return all rows."""
        return pa.Table.from_batches(self.batches, self.schema)

    def scan(
        self, columns: Sequence[str] | None = None, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a half-open window."""
        names = self.schema.names[1:] if columns is None else columns
        for batch in self.batches:
            times = batch.column("timestamp_ns")
            keep = pc.greater_equal(times, -(2**63) if start_ns is None else start_ns)
            if end_ns is not None:
                keep = pc.and_(keep, pc.less(times, end_ns))
            yield batch.select(["timestamp_ns", *names]).filter(keep)


@dataclass
class MemorySequence:
    """One sequence: its topics by name and the events noted in it."""

    name: str
    metadata: dict[str, Any]
    group: str | None
    tables: dict[str, MemoryTopic] = field(default_factory=dict)
    events: list[tuple[str, str, str, str, Any]] = field(default_factory=list)

    @property
    def topics(self) -> list[str]:
        """The names of the topics."""
        return list(self.tables)

    def topic(self, name: str) -> MemoryTopic:
        """Return one topic."""
        return self.tables[name]

    def topic_create(self, name: str, metadata: Mapping[str, Any], schema: pa.Schema) -> MemoryTopic:
        """Begin a topic."""
        self.tables[name] = MemoryTopic(schema)
        return self.tables[name]

    def event(self, severity: str, kind: str, message: str, *, source: str = "", data: Any = None) -> None:
        """Note an event."""
        self.events.append((severity, kind, message, source, data))


@dataclass
class MemoryClient:
    """Keeps the sequences that ended well, drops those that did not."""

    sequences: dict[str, MemorySequence] = field(default_factory=dict)

    @contextmanager
    def sequence_create(
        self, sequence_name: str, metadata: Any = None, *, group: str | None = None
    ) -> Iterator[MemorySequence]:
        """Begin a sequence; it is kept when the block ends well."""
        sequence = MemorySequence(sequence_name, metadata, group)
        yield sequence
        self.sequences[sequence_name] = sequence


@pytest.fixture
def client() -> MemoryClient:
    """A client without sequences."""
    return MemoryClient()


@pytest.fixture
def make_sequence() -> Callable[..., MemorySequence]:
    """Make a sequence of tables: ``make_sequence("name", {"topic": table})``."""

    def make(name: str, tables: Mapping[str, pa.Table]) -> MemorySequence:
        sequence = MemorySequence(name, {}, None)
        for topic, table in tables.items():
            sequence.tables[topic] = MemoryTopic(table.schema, table.to_batches())
        return sequence

    return make


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a text as a file: ``csv_file(text, encoding="utf-8")``."""

    def write(text: str, encoding: str = "utf-8", name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write
