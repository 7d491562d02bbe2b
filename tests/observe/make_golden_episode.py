"""Writes the golden store of episode format 1: ``python -m tests.observe.make_golden_episode FOLDER``.

Run once for each format; what it wrote is kept for ever and never written again.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.observe.toy import Eye, Toy, Wheel, World, started

import gapless
from gapless.observe import FrameFlag


def main(folder: Path) -> None:
    """Record ten rows with two cameras; a new policy step at the fifth."""
    world = World(7)
    recorder = Toy("toy", [Wheel(world)], [Eye(world), Eye(world, "depth", media="png")])
    with gapless.connect(folder) as client, started(client, [recorder], data_hz=100) as observer:
        observer.begin_episode(seed=7)
        for number in range(10):
            world.step = number
            if number == 4:
                observer.flag(FrameFlag.NEW_POLICY_STEP)
            observer.observe(number, world.time_ns)
        name = observer.end_episode(success=True)
        print(name, client.sequence_handler(name).content_digest)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
