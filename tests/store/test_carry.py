"""However long a recording is, few segments wait for its slow topics, and a kill at any moment costs no row."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gapless.store import journal
from gapless.store.declaration import TopicDeclaration
from gapless.store.durability import Durability
from gapless.store.layout import Bundle, Cuts
from gapless.store.platform import PLATFORM, Platform
from gapless.store.reader import BundleReader
from gapless.store.recover import recover
from gapless.store.sealer import Sealer
from gapless.store.writer import BundleWriter

CUTS = Cuts(group_rows=64, group_bytes=1 << 20, part_groups=8, part_bytes=16 << 20)
SCHEMA = pa.schema(
    [pa.field("timestamp_ns", pa.int64(), nullable=False), pa.field("n", pa.int64(), nullable=False)]
)
NOTES = pa.schema([pa.field("timestamp_ns", pa.int64(), nullable=False), pa.field("text", pa.string())])
ONTOLOGY: dict[str, Any] = {"tag": None, "version": 1, "fingerprint": ""}
SLOW = 12
TURN_ROWS = 600  # of the fast topic, while each slow one has one: more than a part
DEADLINE_S = 60


class Recording:
    """A fast topic, slow ones, and one of text; a turn fills a segment."""

    def __init__(self, path: Path, platform: Platform = PLATFORM) -> None:
        path.mkdir(parents=True)
        self.bundle = Bundle(path)
        header = journal.make_header("long", platform=platform)
        self.writer = BundleWriter(
            self.bundle,
            header,
            durability=Durability(flush_ms=60_000),
            platform=platform,
            segment_bytes=TURN_ROWS * 16,
            cuts=CUTS,
        )
        schemas = {"fast": SCHEMA, "notes": NOTES} | {f"slow{n}": SCHEMA for n in range(SLOW)}
        states = [
            self.writer.declare(TopicDeclaration(16 + i, name, schema, ONTOLOGY))
            for i, (name, schema) in enumerate(schemas.items())
        ]
        self.fast, self.notes, *self.slow = (self.writer.lane(state) for state in states)
        self.turns = 0
        self.durable_turns = 0

    @property
    def sealer(self) -> Sealer:
        """The sealer of the recording; it rests between turns."""
        assert self.writer.sealer is not None
        return self.writer.sealer.sealer

    def turn(self) -> None:
        """Push and flush the rows of a turn, and wait until the sealer has seen the segments that they closed."""
        first = self.turns * TURN_ROWS
        for n in range(first, first + TURN_ROWS):
            self.fast.push_row(n, n)
        for lane in self.slow:
            lane.push_row(first, self.turns)
        self.notes.push_row(first, f"turn {self.turns}")
        self.turns += 1
        self.writer.flush()
        self.durable_turns += 1
        give_up = time.monotonic() + DEADLINE_S
        while self.writer.sealer is not None and self.writer.sealer.is_behind:
            assert time.monotonic() < give_up, "the sealer does not rest"
            assert self.writer.failure is None
            time.sleep(0.001)

    def let_go(self) -> None:
        """End the thread, as for a seal that never came."""
        self.writer.close({"outcome": "completed", "cause": None})
        self.writer.release()


def complete(path: Path, turns: int) -> None:
    """Assert that the sealed bundle has at least the rows of the turns, each once and in order."""
    reader = BundleReader(path)
    for name in ("fast", *(f"slow{n}" for n in range(SLOW))):
        found = reader.topic(name).to_arrow()["n"].to_pylist()
        assert found == list(range(len(found)))
        assert len(found) >= turns * (TURN_ROWS if name == "fast" else 1)
    notes = reader.topic("notes").to_arrow()["text"].to_pylist()
    assert notes == [f"turn {n}" for n in range(len(notes))]
    assert len(notes) >= turns


def test_a_longer_recording_keeps_no_more_segments_and_frames(tmp_path: Path) -> None:
    """Ten times as long: as many segments in the journal, as many references in memory."""
    recording = Recording(tmp_path / "long")
    most: list[tuple[int, int]] = []
    for turns in (20, 200):
        segments, frames = [], []
        while recording.turns < turns:
            recording.turn()
            segments.append(len(list(recording.bundle.journal.glob("*.seg"))))
            frames.append(sum(len(topic.live) for topic in recording.sealer.topics.values()))
        most.append((max(segments), max(frames)))
    recording.let_go()
    assert most[1][0] <= most[0][0] + 2
    assert most[1][1] <= most[0][1] + 2 * (SLOW + 2)
    assert most[1][0] < 16, "small carry segments become one"
    recover(recording.bundle.path, cuts=CUTS)
    complete(recording.bundle.path, 200)


class _Snapshots(Platform):
    """Keeps a copy of the bundle just before each of some deletions of a carry segment and its fellows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recording: Recording | None = None
        self.kept: list[tuple[Path, int]] = []
        self.names: set[str] = set()

    def remove(self, path: Path) -> None:
        """Look first, while source and copy are both there."""
        if self.recording is not None and path.suffix == ".seg" and len(self.kept) < 16:
            target = self.folder / str(len(self.kept))
            shutil.copytree(self.recording.bundle.path, target)
            self.kept.append((target, self.recording.durable_turns))
            self.names.add(path.name)
        super().remove(path)


@pytest.mark.parametrize("begin", [0, 7])
def test_a_kill_while_segments_are_put_together_costs_no_row(tmp_path: Path, begin: int) -> None:
    """Every row flushed before is back once, whichever of the segments are deleted already."""
    platform = _Snapshots(tmp_path / "kept")
    recording = Recording(tmp_path / "long", platform)
    while len(platform.kept) < 16:
        platform.recording = recording if recording.turns >= begin else None
        recording.turn()
    recording.let_go()
    assert any(name.startswith("carry") for name in platform.names), "carry segments were put together"
    for path, turns in platform.kept:
        recover(path, cuts=CUTS)
        complete(path, turns)
