"""A recording whose every arrival number and note is known before, so that it can go on from anywhere."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from gapless.store import journal
from gapless.store.adopt import Adoption
from gapless.store.declaration import TopicDeclaration
from gapless.store.durability import Durability
from gapless.store.frame import Kind
from gapless.store.layout import Bundle, Cuts
from gapless.store.platform import PLATFORM, Platform
from gapless.store.seal import seal
from gapless.store.topic_state import TopicState
from gapless.store.writer import BundleWriter
from gapless.testing.sample import COUNTS, MOTION, NOTES, SampleTopic

SMALL = Cuts(group_rows=32, group_bytes=8 << 10, part_groups=2, part_bytes=64 << 10)
ROWS = {MOTION: 400, COUNTS: 90, NOTES: 60}
NUMBERED = "numbered"
NUMBERED_ROWS = 120
GAPS = 6
ONTOLOGY: dict[str, Any] = {"tag": None, "version": 1, "fingerprint": ""}
_NUMBERED_SCHEMA = pa.schema(
    [pa.field("timestamp_ns", pa.int64(), nullable=False), pa.field("x", pa.float64())]
)


@dataclass(frozen=True)
class Stream:
    """One topic: what each of its arrival numbers is."""

    declaration: TopicDeclaration
    rows: int
    sample: SampleTopic | None = None

    def dropped(self, seq: int) -> bool:
        """Whether the number is of a row that a policy gave up."""
        return self.declaration.index % 2 == 0 and seq % 13 == 5

    def row(self, seq: int) -> tuple[Any, ...]:
        """Return the row as ``push_row`` takes it."""
        if self.sample is not None:
            return self.sample.row(seq)
        return (10 * seq, seq + seq // 10, float(seq))  # every tenth of the producer's own numbers is missing

    def batch(self, first: int, stop: int) -> pa.RecordBatch:
        """Return rows as one batch, ``_seq`` last where the producer numbers."""
        if self.sample is not None:
            return self.sample.batch(first, stop)
        times, seqs, values = zip(*map(self.row, range(first, stop)), strict=True)
        return pa.record_batch(
            [pa.array(times, pa.int64()), pa.array(values), pa.array(seqs, pa.int64())],
            schema=self.declaration.stored_schema,
        )

    def run(self, seq: int, most: int) -> int:
        """Return the end of the run of rows, or of the one given up, that begins at a number."""
        if self.dropped(seq):
            return seq + 1
        stop = seq
        while stop < min(seq + most, self.rows) and not self.dropped(stop):
            stop += 1
        return stop


def streams() -> list[Stream]:
    """Return every topic of the recording."""
    found = [
        Stream(TopicDeclaration(16 + i, topic.name, topic.schema, ONTOLOGY), rows, topic)
        for i, (topic, rows) in enumerate(ROWS.items())
    ]
    return [
        *found,
        Stream(
            TopicDeclaration(19, NUMBERED, _NUMBERED_SCHEMA, ONTOLOGY, {}, producer_seq=True), NUMBERED_ROWS
        ),
    ]


def gap(number: int) -> dict[str, Any]:
    """Return the document of a gap that a producer declares; two of them are alike."""
    alike = min(number, GAPS - 2)
    return {
        "timestamp_ns": 1000 * alike,
        "topic": MOTION.name,
        "first_seq": None,
        "count": 3,
        "end_ns": None,
        "cause": f"pause {alike}",
    }


class Owner:
    """One owner of the journal: pushes what is not there yet, in an order and in pieces that dice decide."""

    def __init__(self, writer: BundleWriter, dice: random.Random) -> None:
        self.writer = writer
        self.dice = dice
        known = {state.declaration.index: state for state in list(writer.topics.values())}
        self.states: list[tuple[Stream, TopicState]] = [
            (stream, known.get(stream.declaration.index) or writer.declare(stream.declaration))
            for stream in streams()
        ]
        self.lanes = [writer.lane(state) for _, state in self.states]
        self.next_seq = [state.next_seq for _, state in self.states]
        self.notes = writer.notes

    @classmethod
    def begin(cls, path: Path, dice: random.Random, platform: Platform = PLATFORM) -> Owner:
        """Begin the recording in a new bundle."""
        path.mkdir(parents=True)
        header = journal.make_header("run", platform=platform)
        return cls(cls._writer(Bundle(path), header, dice, platform, None), dice)

    @classmethod
    def adopt(cls, path: Path, dice: random.Random, platform: Platform = PLATFORM) -> Owner:
        """Go on with what a dead owner left."""
        adoption = Adoption.take(Bundle(path), platform, SMALL)
        return cls(cls._writer(Bundle(path), adoption.header, dice, platform, adoption), dice)

    @staticmethod
    def _writer(
        bundle: Bundle,
        header: dict[str, Any],
        dice: random.Random,
        platform: Platform,
        adopted: Adoption | None,
    ) -> BundleWriter:
        return BundleWriter(
            bundle,
            header,
            durability=Durability(flush_ms=dice.choice([1, 20, 10_000]), flush_bytes=4096),
            platform=platform,
            segment_bytes=dice.choice([3000, 9000, 1 << 20]),
            cuts=SMALL,
            adopted=adopted,
        )

    def steps(self) -> Iterator[None]:
        """Push piece by piece until everything is there."""
        while True:
            left = [n for n, (stream, _) in enumerate(self.states) if self.next_seq[n] < stream.rows]
            if not left and self.notes == GAPS:
                return
            which = self.dice.choice([*left, -1]) if self.notes < GAPS else self.dice.choice(left)
            if which < 0:
                self.writer.note(Kind.GAP, gap(self.notes))
                self.notes += 1
            else:
                self._push(which)
            if self.dice.random() < 0.1:
                self.writer.flush()
            yield

    def _push(self, which: int) -> None:
        stream, lane, first = self.states[which][0], self.lanes[which], self.next_seq[which]
        stop = stream.run(first, self.dice.choice([1, 5, 40]))
        if stream.dropped(first):
            lane.drop(1, "drop_oldest")
        elif self.dice.random() < 0.5:
            lane.push_batch(stream.batch(first, stop))
        else:
            for seq in range(first, stop):
                lane.push_row(*stream.row(seq))
        self.next_seq[which] = stop

    def push_all(self) -> None:
        """Push everything that is not there yet."""
        for _ in self.steps():
            pass

    def durable(self) -> dict[str, int]:
        """Return the arrival numbers that are durable, by topic."""
        return {stream.declaration.name: state.durable_seq for stream, state in self.states}

    def abandon(self) -> None:
        """Let go as a process that dies: no closing words."""
        self.writer.refuse(RuntimeError)
        self.writer._fail(RuntimeError("abandoned"))  # stops the thread
        self.writer.hand_over.queue.put(None)
        self.writer.release()
        (self.writer.bundle.journal / "closing").write_bytes(bytes(64 << 10))

    def seal(self) -> dict[str, Any]:
        """End and seal as a sequence writer does; return the manifest."""
        writer = self.writer
        writer.close({"outcome": "completed", "cause": None})
        assert writer.sealer is not None
        sealer = writer.sealer.stop(30)
        sealer.take(sealer.read_segment(writer.segments.close()))
        manifest = seal(writer.bundle, writer.header, sealer, writer.platform)
        writer.release()
        return manifest


def whole(path: Path, seed: int = 0) -> dict[str, Any]:
    """Record everything without an interruption and return the content of the manifest."""
    owner = Owner.begin(path, random.Random(seed))
    owner.push_all()
    return content(owner.seal())


def content(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the identity of a bundle: its content digest, with the content to compare where they differ."""
    return {"digest": manifest["content_digest"], "content": manifest["content"]}
