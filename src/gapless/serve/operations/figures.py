"""All figures of a server at one moment: what its doors counted, and what is looked up when somebody asks."""

from __future__ import annotations

import os
import platform
import shutil
import time

import psutil
import pyarrow as pa

from gapless._version import __version__
from gapless.serve.metrics import Labels
from gapless.serve.operations.exposition import render
from gapless.serve.server import Server


class Figures:
    """Gathers the figures of a server that has started, also while it goes down. From any thread."""

    def __init__(self, server: Server) -> None:
        self._served = server.served
        self._traffic = server.traffic
        self._root = server.served.root
        self._began_s = time.monotonic()
        self._process = psutil.Process()
        self._build = {"version": __version__, "python": platform.python_version(), "pyarrow": pa.__version__}

    def samples(self) -> dict[tuple[str, Labels], float]:
        """Return every figure with its labels."""
        found = self._served.metrics.snapshot()
        found["gapless_build_info", tuple(sorted(self._build.items()))] = 1
        found |= {(name, ()): value for name, value in self._present().items()}
        return found

    def text(self) -> str:
        """Return every figure as Prometheus reads it."""
        return render(self.samples())

    def _present(self) -> dict[str, float]:
        disk = shutil.disk_usage(self._root)
        return {
            "gapless_uptime_seconds": time.monotonic() - self._began_s,
            "gapless_draining": self._served.draining.is_set(),
            "gapless_calls": self._traffic.calls,
            "gapless_connections": self._traffic.connections,
            "gapless_disk_free_bytes": disk.free,
            "gapless_disk_size_bytes": disk.total,
        } | self._process_figures()

    def _process_figures(self) -> dict[str, float]:
        with self._process.oneshot():
            cpu = self._process.cpu_times()
            found: dict[str, float] = {
                "process_resident_memory_bytes": self._process.memory_info().rss,
                "process_cpu_seconds_total": cpu.user + cpu.system,
                "process_start_time_seconds": self._process.create_time(),
            }
            if os.name == "posix":
                found["process_open_fds"] = self._process.num_fds()
        return found
