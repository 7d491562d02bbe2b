"""A tiny recording of several topics, sealed or left behind as a journal, for tests that break its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from gapless.errors import IntegrityError, NotFound
from gapless.store import journal
from gapless.store.declaration import TopicDeclaration
from gapless.store.durability import Durability
from gapless.store.layout import Bundle, Cuts
from gapless.store.platform import PLATFORM, Platform
from gapless.store.reader import BundleReader
from gapless.store.seal import seal
from gapless.store.writer import BundleWriter
from gapless.testing.sample import COUNTS, MOTION, NOTES, SampleTopic

ONTOLOGY: dict[str, Any] = {"tag": None, "version": 1, "fingerprint": ""}
SMALL = Cuts(group_rows=32, group_bytes=8 << 10, part_groups=2, part_bytes=64 << 10)
TOPICS = (MOTION, COUNTS, NOTES)
ROWS = {MOTION.name: 150, COUNTS.name: 40, NOTES.name: 20}


class SmallRecording:
    """Three topics pushed in turns, flushed several times; the rows are those of the sample topics."""

    def __init__(
        self,
        path: Path,
        platform: Platform = PLATFORM,
        *,
        segment_bytes: int = 4096,
        cuts: Cuts = SMALL,
        durability: Durability | None = None,
    ) -> None:
        path.mkdir(parents=True)
        self.bundle = Bundle(path)
        self.platform = platform
        self.header = journal.make_header("small", platform=platform)
        self.writer = BundleWriter(
            self.bundle,
            self.header,
            durability=durability or Durability(flush_ms=10_000),
            platform=platform,
            segment_bytes=segment_bytes,
            cuts=cuts,
        )
        self.states = [
            self.writer.declare(TopicDeclaration(16 + i, t.name, t.schema, ONTOLOGY))
            for i, t in enumerate(TOPICS)
        ]
        self.lanes = [self.writer.lane(state) for state in self.states]
        self.pushed = [0] * len(TOPICS)

    def push(self, which: int, rows: int) -> None:
        """Push the next rows of a topic."""
        topic: SampleTopic = TOPICS[which]
        for _ in range(rows):
            self.lanes[which].push_row(*topic.row(self.pushed[which]))
            self.pushed[which] += 1

    def turn(self) -> None:
        """Push a tenth of everything and make it durable."""
        for which, topic in enumerate(TOPICS):
            self.push(which, -(-ROWS[topic.name] // 10))
        self.writer.flush()

    def fill(self) -> None:
        """Push everything in ten turns."""
        for _ in range(10):
            self.turn()

    def close(self, outcome: str = "completed") -> None:
        """End the recording; the journal stays."""
        self.writer.close({"outcome": outcome, "cause": None})

    def abandon(self) -> None:
        """Let go without closing words, as a process that dies."""
        self.writer.refuse(RuntimeError)
        self.writer._fail(RuntimeError("abandoned"))  # stops the thread
        self.writer.hand_over.queue.put(None)
        self.writer.release()
        (self.bundle.journal / "closing").write_bytes(bytes(64 << 10))

    def seal(self) -> dict[str, Any]:
        """Seal as a sequence writer does and return the manifest."""
        self.close()
        assert self.writer.sealer is not None
        sealer = self.writer.sealer.stop(10)
        sealer.take(sealer.read_segment(self.writer.segments.close()))
        manifest = seal(self.bundle, self.header, sealer, self.platform)
        self.writer.release()
        return manifest


def expected(pushed: Mapping[str, int]) -> dict[str, pa.Table]:
    """Return the rows that each topic must have."""
    return {topic.name: topic.table(0, pushed[topic.name]) for topic in TOPICS}


def gap_rows(reader: BundleReader) -> list[dict[str, Any]]:
    """Return the rows of ``_gaps``; none where nothing is missing."""
    try:
        rows: list[dict[str, Any]] = reader.topic("_gaps").to_arrow().to_pylist()
    except NotFound:
        return []
    return rows


def exact_but_for_gaps(reader: BundleReader, truth: dict[str, pa.Table]) -> None:
    """Assert that each topic's rows are the truth without the rows that ``_gaps`` names, or a prefix of that.

    A prefix is allowed where ``_gaps`` says that the end is missing (cause ``killed`` or ``failed``).
    """
    gaps = gap_rows(reader)
    open_end = any(gap["topic"] == "*" for gap in gaps)
    for name, table in truth.items():
        missing = {
            k
            for gap in gaps
            if gap["topic"] == name
            for k in range(gap["first_seq"], gap["first_seq"] + gap["count"])
        }
        kept = [k for k in range(table.num_rows) if k not in missing]
        found = reader.topic(name).to_arrow() if name in reader.topics else table.slice(0, 0)
        if open_end:
            assert len(found) <= len(kept)
            kept = kept[: len(found)]
        assert found.equals(table.take(pa.array(kept, pa.int64()))), (
            f"{name}: {len(found)} rows are not the truth"
        )


def damaged_or_exact(path: Path, truth: dict[str, pa.Table]) -> str:
    """Read a bundle: ``exact`` when every topic is the truth but for gaps, ``error`` when reading refused."""
    from gapless.store.reader import open_bundle

    try:
        exact_but_for_gaps(open_bundle(path), truth)
    except IntegrityError:
        return "error"
    return "exact"
