"""``python writing_client.py URL NAME``: writes rows until it is killed; prints what is accepted, line by line."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.serve.native.raw_writer import RawWriter


def main() -> None:
    """Write."""
    writer = RawWriter(sys.argv[1], sys.argv[2])
    writer.open(window_ms=5)
    writer.topic()
    lane = writer.lane()
    print(writer.uid, flush=True)
    for first in range(0, 10**9, 10):
        lane.push(first, first + 10)
        if first % 100 == 0:
            lane.sync(first + 10)
            print(lane.accepted, flush=True)


if __name__ == "__main__":
    main()
