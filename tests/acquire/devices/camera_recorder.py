"""A process that records a camera and tells how much of it is durable, until it is killed."""

from __future__ import annotations

import json
import os
import sys

import gapless
from gapless.acquire.rig import Rig
from gapless.acquire.run import Run


def record(store: str, camera: str) -> None:
    """Record sequence ``x`` of a camera given as JSON; each line tells how many pictures are durable."""
    rig = Rig.of({"name": "r", "run": {"guard": False}, "devices": {"cam": json.loads(camera)}})
    with gapless.connect(store, flush_ms=20) as client:
        run = Run(rig, client, name="x")
        run.start()
        while run.wait(0.02) is None:
            known = run.sequence.topic_writer_exists("cam")
            durable = run.sequence.get_topic_writer("cam").durable_rows if known else 0
            os.write(1, f"{durable}\n".encode())


if __name__ == "__main__":
    record(*sys.argv[1:])
