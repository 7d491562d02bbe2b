"""Loss of power: what was not synced is dropped, and everything acknowledged is still back."""

from __future__ import annotations

import os
import random
import shutil
import threading
from pathlib import Path

import pytest
from tests.crash.small_bundle import ROWS, SMALL, TOPICS, SmallRecording

from gapless.store.durability import Durability
from gapless.store.layout import Bundle
from gapless.store.reader import open_bundle
from gapless.store.recover import recover
from gapless.store.verify import verify
from gapless.testing.power_cut import PowerCut

CUTS_EACH = max(1, int(os.environ.get("GAPLESS_KILLS", "100")) // 100)


class Recorder:
    """Records on a disk that may lose power after any operation, and keeps a copy of what would be left."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "store").mkdir(parents=True)
        self.power = PowerCut(path / "shelf")
        self.power.sync_directory(path / "store")
        self.lock = threading.Lock()
        self.dice = random.Random(7)
        self.acknowledged = [0] * len(TOPICS)
        self.copies: list[tuple[Path, list[int], str]] = []
        self.recording: SmallRecording | None = None

    def cut(self, operation: str) -> None:
        """Keep what would be left if the power failed after this operation."""
        if self.recording is None:
            return
        acknowledged = [state.durable_rows for state in self.recording.states]
        with self.lock:  # the writer's and the sealer's thread come here
            for _ in range(CUTS_EACH):
                target = self.path / f"cut{len(self.copies)}"
                self.power.lose_power(self.path / "store", target, self.dice)
                self.copies.append((target, acknowledged, operation))

    def record(self) -> None:
        """Record and seal, cutting the power after every operation that makes something durable."""
        self.recording = SmallRecording(
            self.path / "store" / "small", self.power, durability=Durability(flush_ms=10_000)
        )
        self.power.after_each = self.cut
        self.recording.fill()
        self.recording.seal()
        self.power.after_each = None
        self.recording = None


@pytest.mark.crash
@pytest.mark.timeout(600)
def test_everything_acknowledged_survives_a_power_cut_after_any_operation(ram_path: Path) -> None:
    """While recording, sealing in the background, carrying and sealing: each acknowledged row is back, in order."""
    recorder = Recorder(ram_path)
    recorder.record()
    assert len(recorder.copies) > 100
    sealed = 0
    for target, acknowledged, operation in recorder.copies:
        path = target / "small"
        sealed += Bundle(path).manifest.exists()
        check(path, acknowledged, operation)
        shutil.rmtree(target)
    assert 0 < sealed < len(recorder.copies)


def check(path: Path, acknowledged: list[int], operation: str) -> None:
    """Recover what is left and compare it with the truth."""
    recover(path, cuts=SMALL)
    reader = open_bundle(path)
    for topic, durable in zip(TOPICS, acknowledged, strict=True):
        if topic.name not in reader.topics:
            assert durable == 0, (topic.name, operation)
            continue
        found = reader.topic(topic.name)
        assert durable <= found.rows <= ROWS[topic.name], (topic.name, operation)
        assert found.to_arrow().equals(topic.table(0, found.rows)), (topic.name, operation)
    assert [f for f in verify(path, deep=True) if f.severity == "error"] == []
