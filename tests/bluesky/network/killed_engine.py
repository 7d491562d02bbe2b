"""Records runs for a server until it is killed. ``python -m tests.bluesky.network.killed_engine URL SEED``.

Prints ``durable RUN EVENTS`` whenever everything up to there is durable, on the server or in the spool.
"""

from __future__ import annotations

import itertools
import random
import sys
import time

from tests.bluesky.recording.run_documents import (
    data_key,
    descriptor_document,
    event_document,
    start_document,
    stop_document,
)

from gapless.bluesky import Writer


def main(url: str, seed: str) -> None:
    """Run for ever: runs of up to 60 events, whose values count on from run to run."""
    dice = random.Random(int(seed))
    writer = Writer(url, name="{run:05d}-{uid8}")
    value = 0
    for run in itertools.count():
        start = start_document(run=run, first=value + 1)
        descriptor = descriptor_document(start, {"x": data_key()})
        writer("start", start)
        writer("descriptor", descriptor)
        for number in range(1, dice.randrange(3, 60)):
            value += 1
            writer("event", event_document(descriptor, number, {"x": float(value)}))
            if dice.random() < 0.1:
                writer.flush(120)
                print(f"durable {run} {number}", flush=True)
            time.sleep(0.002)
        writer("stop", stop_document(start))


if __name__ == "__main__":
    main(*sys.argv[1:3])
