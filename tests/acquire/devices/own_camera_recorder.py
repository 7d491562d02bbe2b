"""A process that records a camera's own program, and tells how many receipts are durable, until it is killed."""

from __future__ import annotations

import json
import os
import sys

import gapless
from gapless.acquire.rig import Rig
from gapless.acquire.run import Run


def record(store: str, command: list[str]) -> None:
    """Record sequence ``x``."""
    camera = {"adapter": "own_container_camera", "command": command, "rate_hz": 100}
    camera |= {"file_name": "video.nut", "media_type": "video/x-nut"}
    rig = Rig.of({"name": "r", "run": {"guard": False}, "devices": {"cam": camera}})
    with gapless.connect(store, flush_ms=20) as client:
        run = Run(rig, client, name="x")
        run.start()
        while run.wait(0.02) is None:
            known = run.sequence.topic_writer_exists("cam/frames")
            durable = run.sequence.get_topic_writer("cam/frames").durable_rows if known else 0
            os.write(1, f"{durable}\n".encode())


if __name__ == "__main__":
    record(sys.argv[1], json.loads(sys.argv[2]))
