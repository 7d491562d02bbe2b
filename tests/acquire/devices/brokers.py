"""A mosquitto broker of a test's own, on a port that the system gave."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.acquire.debian import find_program

_WAIT_S = 30.0


def free_port() -> int:
    """Return a TCP port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_mosquitto() -> str | None:
    """Return the path of mosquitto, installing it where that is possible."""
    return find_program("mosquitto", "mosquitto")


class Broker:
    """Mosquitto with sessions that survive its restart; :meth:`freeze` makes it deaf, with open sockets."""

    def __init__(self, folder: Path, program: str) -> None:
        self.port = free_port()
        self._program = program
        self._config = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        user = "user root\n" if os.geteuid() == 0 else ""
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\n{user}"
            f"persistence true\npersistence_location {folder}/\nautosave_interval 1\nautosave_on_changes true\n"
            f"log_dest file {self._log}\nlog_type all\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, unless it runs already, and wait until it takes connections."""
        if self._process is not None:
            return
        self._process = subprocess.Popen([self._program, "-c", str(self._config)])
        deadline_s = time.monotonic() + _WAIT_S
        while not self._answers():
            assert self._process.poll() is None, f"mosquitto ended: {self._log.read_text()}"
            assert time.monotonic() < deadline_s, "mosquitto does not listen"
            time.sleep(0.01)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it with a signal; SIGTERM lets it save its sessions."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(_WAIT_S)
            self._process = None

    def freeze(self) -> None:
        """Stop the process: its sockets stay open and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen broker go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def connections(self, client_id: str) -> int:
        """Return how often a client has connected since the log began."""
        return self._log.read_text().count(f" as {client_id} ")
