"""A real Tiled server in a process of its own, on files that outlive it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

API_KEY = "secretsecretsecret"
_DEADLINE_S = 100


class TiledServer:
    """``tiled serve catalog`` with writable files and tables below ``folder``; ``readable`` for external data.

    ``kill`` ends it as a power cut does; ``start`` brings it back on the same port and the same files.
    """

    def __init__(self, folder: Path, *, tables: str = "sqlite", readable: Path | None = None) -> None:
        self.folder = folder
        self.port = _free_port()
        self._tables = tables
        self._readable = readable or folder
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Any = None
        (folder / "data").mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """Where it answers, with the key that may write."""
        return self.url_at(self.port)

    @staticmethod
    def url_at(port: int) -> str:
        """Return the same address behind another port, of a proxy."""
        return f"http://127.0.0.1:{port}/api/v1?api_key={API_KEY}"

    def start(self) -> TiledServer:
        """Start the process and return when it answers."""
        catalog = self.folder / "catalog.db"
        words = [sys.executable, "-m", "tiled", "serve", "catalog", str(catalog)]
        words += [] if catalog.exists() else ["--init"]
        words += ["--write", str(self.folder / "data"), "--write", self._table_uri()]
        words += ["--read", str(self._readable), "--api-key", API_KEY, "--port", str(self.port)]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                words, env=environment(self.folder), stdout=log, stderr=subprocess.STDOUT
            )
        self._wait()
        return self

    def _table_uri(self) -> str:
        return f"{self._tables}:///{self.folder / ('tables.' + self._tables)}"

    def _wait(self) -> None:
        deadline = time.monotonic() + _DEADLINE_S
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "server.log").read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise AssertionError((self.folder / "server.log").read_text())

    def kill(self) -> None:
        """End the process at once, whatever it was doing."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let the process stand still: it accepts connections and answers none."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def client(self) -> Any:
        """Return the root as the public client reads it."""
        from tiled.client import from_uri

        if self._client is None:
            self._client = from_uri(self.url)
        return self._client

    def __enter__(self) -> TiledServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.context.close()
        self.kill()


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which Tiled touches nothing outside ``folder``."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return os.environ | {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "XDG_CACHE_HOME": str(home),
        "TILED_PROFILES": str(home),
        "TILED_CACHE_DIR": str(home),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
