"""A process that records two episodes and prints their digests: ``… STORE SEED ENCODERS``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.observe.toy import Eye, Toy, Wheel, World, run, started

import gapless


def main(store: Path, seed: int, encoders: int) -> None:
    """Record and print what every file of media and rows is, and the identities."""
    world = World(seed)
    cameras = [
        Eye(world, "left", size=(96, 128)),
        Eye(world, "right", size=(96, 128)),
        Eye(world, "depth", media="png"),
    ]
    recorder = Toy("toy", [Wheel(world), Wheel(world, "fast", every="step")], cameras)
    with gapless.connect(store, max_encoders=encoders, flush_ms=20 * encoders) as client:
        with started(client, [recorder], data_hz="30000/1001", video_hz=20) as observer:
            observer.begin_episode(seed=seed)
            run(observer, world, 120)
            observer.end_and_begin_next(success=True, seed=seed + 1)
            world.reset()
            run(observer, world, 60)
        found = {}
        for name in client.list_sequences():
            handler = client.sequence_handler(name)
            parts = sorted((store / "sequences" / name.replace("/", "%2F") / "topics").rglob("*.parquet"))
            own = [str(p.relative_to(store)) for p in parts if "%5F" not in p.parent.name]
            found[name] = [handler.content_digest, own]
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
