"""SIGKILL while video is recorded: every acknowledged picture decodes to what was pushed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from gapless.client.client import connect
from gapless.model.ontology.images import Image
from gapless.model.outcome import OnErrorPolicy
from gapless.store.media.rows import Media

KILLS = int(os.environ.get("GAPLESS_KILLS", "200")) // 25
TOPICS = ("mp4", "png")


def numbered(k: int) -> npt.NDArray[Any]:
    """Return a picture that says k in blocks of black and white, which lossy codecs keep."""
    picture = np.zeros((48, 64, 3), np.uint8)
    for bit in range(12):
        if k >> bit & 1:
            picture[16 * (bit // 4) :, 16 * (bit % 4) :][:16, :16] = 255
    return picture


def number_of(picture: npt.NDArray[Any]) -> int:
    """Return the number that a picture says."""
    return sum(int(picture[16 * (b // 4) + 8, 16 * (b % 4) + 8].mean() > 128) << b for b in range(12))


def record_until_killed(store: str, seed: int) -> None:
    """Push pictures in bursts; each line tells what was durable in each topic before it was written."""
    dice = random.Random(seed)
    with (
        connect(store, flush_ms=20) as client,
        client.sequence_create("run", on_error=OnErrorPolicy.Report) as seq,
    ):
        cameras = [seq.topic_create(name, ontology_type=Image, media=Media(name)) for name in TOPICS]
        for k in range(4096):
            for cam in cameras:
                cam.push_image(k, numbered(k))
            if dice.random() < 0.2:
                seq.flush()
            os.write(1, f"{cameras[0].durable_rows} {cameras[1].durable_rows}\n".encode())


@pytest.mark.crash
@pytest.mark.parametrize("seed", range(KILLS))
def test_every_acknowledged_picture_survives_a_kill(tmp_path: Path, seed: int) -> None:
    """After recovery the pictures are a prefix of what was pushed, at least as long as was acknowledged."""
    lines = random.Random(-seed - 1).randint(1, 120)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
    with subprocess.Popen(
        [sys.executable, __file__, str(tmp_path), str(seed)], stdout=subprocess.PIPE, env=environment
    ) as child:
        assert child.stdout is not None
        acknowledged = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        acknowledged += child.stdout.readlines()
    counts = [int(n) for n in next(line for line in reversed(acknowledged) if line.endswith(b"\n")).split()]
    with connect(tmp_path) as client:
        client.recover("run")
        handler = client.sequence_handler("run")
        assert handler.outcome == "interrupted"
        assert client.verify("run", deep=True) == []
        for name, count in zip(TOPICS, counts, strict=True):
            # killed before the first sync, not even the topic is there
            found = list(handler.topic(name).frames()) if name in handler.topics else []
            assert len(found) >= count
            assert [number_of(picture) for _, picture in found] == list(range(len(found)))
            assert [time_ns for time_ns, _ in found] == list(range(len(found)))


if __name__ == "__main__":
    record_until_killed(sys.argv[1], int(sys.argv[2]))
