"""A RunEngine that runs plans until it is killed, and says in a mapped file what of it is durable.

``python -m tests.crash.bluesky_child TARGET BACKUP PROGRESS SEED [FOLDER]``: TARGET is a store, or the URL of a
Tiled server, and then FOLDER its backup directory. BACKUP takes every document as a line of JSON. PROGRESS
holds two int64: runs that are durable with their stop document, and durable events of the run after them.
"""

from __future__ import annotations

import itertools
import mmap
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRESS = struct.Struct("<qq")


def length_of(seed: int, run: int) -> int:
    """Return how many events a run has."""
    return random.Random(seed * 1000 + run).randrange(3, 60)


def first_of(seed: int, run: int) -> int:
    """Return the value of a run's first event; each event's is the one before plus one."""
    return sum(length_of(seed, before) for before in range(run))


class Teller:
    """Makes all durable now and then, and tells so."""

    def __init__(self, told: mmap.mmap, flush: Callable[[], None], seed: int) -> None:
        self._told = told
        self._flush = flush
        self._dice = random.Random(seed)
        self._runs = 0

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        """Take a document that the writer has."""
        if name == "event" and self._dice.random() < 0.2:
            self._flush()
            self._told[:] = PROGRESS.pack(self._runs, doc["seq_num"])
        if name == "stop":
            self._flush()
            self._runs += 1
            self._told[:] = PROGRESS.pack(self._runs, 0)


def writer_of(target: str, folder: str | None) -> Any:
    """Return the callback for a store, or for a Tiled server."""
    if folder is None:
        from gapless.bluesky import Writer

        return Writer(target, name="{run:05d}-{uid8}")
    from gapless.bluesky import TiledWriter

    return TiledWriter.from_uri(target, backup_directory=folder)


def main(target: str, backup: Path, progress: Path, seed: int, folder: str | None = None) -> None:
    """Run for ever."""
    import bluesky.plans as bp
    from bluesky import RunEngine
    from ophyd.sim import SynSignal

    from gapless.bluesky.lossless import dumps

    counter = itertools.count(-1)  # a SynSignal calls its function once when it is made
    tick = SynSignal(name="tick", func=lambda: next(counter))
    writer = writer_of(target, folder)
    engine: Any = RunEngine()
    with (
        progress.open("r+b") as file,
        mmap.mmap(file.fileno(), PROGRESS.size) as told,
        backup.open("ab", buffering=0) as lines,
    ):
        engine.subscribe(writer)
        engine.subscribe(lambda name, doc: lines.write(dumps(name, doc)))
        engine.subscribe(Teller(told, writer.flush, seed))
        for run in itertools.count():
            engine(bp.count([tick], length_of(seed, run)), run=run)
            if run == 0:
                print("go", flush=True)  # what is imported on first use is over


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:6])
