"""``python fuzz_server.py STORE``: serves a store with all doors; prints its port, then what it is like when asked.

Each line on stdin is answered by a JSON line with the number of threads and open files. The log goes to stderr.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import sys
import threading
from pathlib import Path

from gapless.serve.limits import Limits
from gapless.serve.server import Server

LIMITS = Limits(
    max_batch_bytes=1 << 20, max_request_bytes=1 << 20, max_writers=64, lease_s=4.0, session_lease_s=4.0
)


def main() -> None:
    """Serve until stdin ends."""
    faulthandler.enable()
    logging.basicConfig(level=logging.ERROR)
    server = Server(Path(sys.argv[1]), "127.0.0.1", 0, limits=LIMITS)
    server.start()
    print(server.port, flush=True)
    for _ in sys.stdin:
        files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
        threads = sorted(thread.name for thread in threading.enumerate())
        print(json.dumps({"threads": threads, "files": files, "calls": server.traffic.calls}), flush=True)
    server.stop(5)


if __name__ == "__main__":
    main()
