"""A recording in progress with tiny segments and parts, so that rows move from journal to parts at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
from tests.store.bundle_files import TIME

from gapless.store import journal
from gapless.store.declaration import TopicDeclaration
from gapless.store.durability import Durability
from gapless.store.layout import CUTS, Bundle, Cuts
from gapless.store.platform import PLATFORM
from gapless.store.seal import seal
from gapless.store.writer import BundleWriter

SCHEMA = pa.schema([TIME, pa.field("x", pa.float64())])


SMALL_PARTS = Cuts(group_rows=64, part_groups=2)  # a part every 128 rows


class Recording:
    """One topic ``t`` whose column x counts the rows in order of arrival."""

    def __init__(
        self, path: Path, *, producer_seq: bool = False, segment_bytes: int = 8192, cuts: Cuts = CUTS
    ) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.bundle = Bundle(path)
        header = journal.make_header("live", platform=PLATFORM, metadata={"m": 1})
        self.writer = BundleWriter(
            self.bundle,
            header,
            durability=Durability(flush_ms=5),
            segment_bytes=segment_bytes,
            cuts=cuts,
        )
        self.declaration = TopicDeclaration(16, "t", SCHEMA, {"tag": None}, {}, producer_seq)
        self.state = self.writer.declare(self.declaration)
        self.lane = self.writer.lane(self.state)
        self.pushed = 0

    def push(self, times: Sequence[int], seqs: Sequence[int] | None = None) -> None:
        """Push one block of rows."""
        values = np.arange(self.pushed, self.pushed + len(times), dtype=np.float64)
        self.pushed += len(times)
        if seqs is None:
            batch = pa.record_batch([pa.array(times, pa.int64()), values], schema=SCHEMA)
        else:
            columns = [pa.array(times, pa.int64()), values, pa.array(seqs, pa.int64())]
            batch = pa.record_batch(columns, schema=self.declaration.stored_schema)
        self.lane.push_batch(batch)

    def push_many(self, blocks: int, rows: int = 50) -> None:
        """Push rising times, now and then a row that comes late, making each block durable."""
        for _ in range(blocks):
            first = self.pushed
            times = [10 * (first + k) - (95 if k % 17 == 16 else 0) for k in range(rows)]
            self.push(times)
            self.writer.flush()

    def seal(self) -> None:
        """End the recording as a sequence writer does."""
        self.writer.close({"outcome": "completed", "cause": None})
        assert self.writer.sealer is not None
        sealer = self.writer.sealer.stop(30.0)
        sealer.take(sealer.read_segment(self.writer.segments.close()))
        seal(self.bundle, self.writer.header, sealer, PLATFORM)
        self.writer.release()

    def die(self) -> None:
        """Let go of the journal as a killed owner does."""
        if not self.writer.closed:
            self.writer.close({"outcome": "completed", "cause": None})
        self.writer.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.die()
