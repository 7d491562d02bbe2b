"""Loss of power while another program writes into the bundle: an announced file is never sealed wrongly."""

from __future__ import annotations

import random
import shutil
import threading
from pathlib import Path

import pytest
from tests.crash.small_bundle import SMALL, SmallRecording

from gapless.client.artifact import Artifacts
from gapless.store import growing
from gapless.store.durability import Durability
from gapless.store.layout import Bundle
from gapless.store.recover import recover
from gapless.store.verify import verify
from gapless.testing.power_cut import PowerCut

WRITTEN = bytes(range(256)) * 64


@pytest.mark.crash
@pytest.mark.timeout(600)
def test_an_announced_file_is_sealed_whole_or_named_as_missing(
    ram_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a cut behind any operation: the entry is there, its digest is the file's, a sealed one has all bytes."""
    monkeypatch.setattr(growing, "_QUIET_S", 0.0)  # nobody is left who could write
    (ram_path / "store").mkdir()
    power = PowerCut(ram_path / "shelf")
    power.sync_directory(ram_path / "store")
    dice, lock = random.Random(5), threading.Lock()
    cuts: list[Path] = []

    def cut(_operation: str) -> None:
        with lock:  # the writer's and the sealer's thread come here
            cuts.append(ram_path / f"cut{len(cuts)}")
            power.lose_power(ram_path / "store", cuts[-1], dice)

    recording = SmallRecording(ram_path / "store" / "small", power, durability=Durability(flush_ms=10_000))
    path = Artifacts().grow(recording.writer, "cam/video.mkv", "video/x-matroska")
    power.after_each = cut
    path.write_bytes(WRITTEN)
    recording.fill()
    recording.seal()
    power.after_each = None
    sealed = missing = 0
    for store in cuts:
        bundle = Bundle(store / "small")
        was_sealed = bundle.manifest.exists()
        entry = recover(bundle.path, cuts=SMALL)["content"]["artifacts"]["cam/video.mkv"]
        assert [f for f in verify(bundle.path) if f.severity == "error"] == []
        if was_sealed:
            assert (bundle.path / entry["path"]).read_bytes() == WRITTEN
        sealed += was_sealed
        missing += "missing" in entry
        shutil.rmtree(store)
    assert 0 < sealed < len(cuts)
    assert missing > 0
