"""``python -m tests.bluesky.network.serving STORE PORT``: serves a store until it is killed; prints its address."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from gapless.serve.limits import Limits
from gapless.serve.server import Server


def main(store: str, port: str) -> None:
    """Serve; a writer that is gone is let go of after a moment."""
    server = Server(Path(store), "127.0.0.1", int(port), limits=Limits(lease_s=1.0))
    server.start()
    print(server.url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:3])
