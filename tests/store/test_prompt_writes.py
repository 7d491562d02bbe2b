"""Rows that are handed on are in the file at once, and their producer hears of it, whichever way they went."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import gapless
from gapless import Image
from gapless.store.lane import GeneralLane

DEADLINE_S = 30
SCHEMA = pa.schema([pa.field("text", pa.string(), nullable=False)])


@pytest.mark.parametrize("way", ["handed", "stolen", "full"])
def test_a_row_that_was_handed_on_is_told_as_written(tmp_path: Path, way: str) -> None:
    """Handed over, taken by the writer's own turn before, or in a block that was full."""
    told = threading.Event()
    with gapless.connect(tmp_path, flush_ms=60_000) as client, client.sequence_create("run") as sequence:
        lane = sequence.topic_create("notes", schema=SCHEMA)._lane
        assert isinstance(lane, GeneralLane)
        lane.push_row(1, "x" * (300_000 if way == "full" else 3))
        if way == "stolen":
            sequence.flush()
        lane.hand_on(told.set)
        assert told.wait(DEADLINE_S)
        if way == "handed":
            journal = next((tmp_path / "sequences" / "run" / "journal").glob("*.seg")).read_bytes()
            assert b"xxx" in journal, "before the next sync, which is a minute away"


def test_a_bound_on_unwritten_pictures_never_stops_a_recording(tmp_path: Path) -> None:
    """Small and large pictures, while the writer's turns take rows as often as they can."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (400, 400), np.uint8)  # its PNG fills a block by itself
    with gapless.connect(tmp_path, flush_ms=1, deadline_s=DEADLINE_S) as client:
        with client.sequence_create("run") as sequence:
            writers = [
                sequence.topic_create(name, ontology_type=Image, media=media, max_unwritten_frames=4)  # type: ignore[call-overload]
                for name, media in (("small", "mp4"), ("large", "png"))
            ]
            for number in range(600):
                writers[0].push_image(number, noise[:32, :32])
                if number % 10 == 0:
                    writers[1].push_image(number, noise)
        handler = client.sequence_handler("run")
        assert (handler.topic("small").rows, handler.topic("large").rows) == (600, 60)
