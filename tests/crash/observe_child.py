"""A process that records episodes until it is killed, and says in a mapped file how far it is.

``python -m tests.crash.observe_child STORE PROGRESS SEED``: PROGRESS holds three int64: sealed episodes,
number of the open episode, instants of it that were observed completely.
"""

from __future__ import annotations

import mmap
import random
import struct
import sys
from pathlib import Path

from tests.observe.toy import Eye, Toy, Wheel, World, started

import gapless

CAMERAS = ("left", "right")
PROGRESS = struct.Struct("<qqq")


def recorder(world: World) -> Toy:
    """Return what is recorded: a table and two cameras."""
    return Toy("toy", [Wheel(world)], [Eye(world, name, size=(96, 128)) for name in CAMERAS])


def length_of(seed: int, episode: int) -> int:
    """Return how many instants an episode has."""
    return random.Random(seed * 1000 + episode).randrange(5, 90)


def main(store: Path, progress: Path, seed: int) -> None:
    """Record for ever."""
    with progress.open("r+b") as file, mmap.mmap(file.fileno(), PROGRESS.size) as told:
        world = World()
        observer = started(gapless.connect(store), [recorder(world)], data_hz=100)
        print("go", flush=True)
        sealed, episode = 0, 0
        observer.begin_episode()
        while True:
            world.reset()
            for instant in range(length_of(seed, episode)):
                world.step = instant
                observer.observe(instant, world.time_ns)
                told[:] = PROGRESS.pack(sealed, episode, instant + 1)
            if episode % 3 == 2:  # the boundary that seals behind the back: told as sealed one call later
                observer.end_and_begin_next(success=True)
            else:
                observer.end_episode(success=True)
                sealed = episode + 1
                told[:] = PROGRESS.pack(sealed, episode + 1, 0)
                observer.begin_episode()
            episode += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
