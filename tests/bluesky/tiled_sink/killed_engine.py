"""Records a run for a Tiled server and never ends it: to be killed. Usage: URL STORE UID EVENTS."""

from __future__ import annotations

import sys
import time

from tests.bluesky.tiled_sink.sample_runs import scalar_run

from gapless.bluesky.tiled_writer import TiledWriter


def main(url: str, store: str, uid: str, events: int) -> None:
    """Hand over the documents, say so when they are durable, and wait for the end."""
    writer = TiledWriter.from_uri(url, backup_directory=store)
    for name, doc in scalar_run(events, uid=uid)[:-1]:
        writer(name, doc)
    writer.flush(60)
    print("flushed", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
