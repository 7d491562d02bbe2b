"""``python writing_server.py STORE``: serves a store for writing until it is killed; prints its address."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from gapless.serve.limits import Limits
from gapless.serve.native.writing import NativeWriting
from gapless.serve.server import Server


def main() -> None:
    """Serve."""
    server = Server(Path(sys.argv[1]), "127.0.0.1", 0, limits=Limits(lease_s=600), doors=[NativeWriting])
    server.start()
    print(server.url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
