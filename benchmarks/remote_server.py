"""A server in a process of its own, ours or a plain one of Arrow Flight, which tells what it costs.

``python remote_server.py gapless|discard|file FOLDER``: ours, one that throws away what comes, and one that writes it
to a file. It prints its port, answers every line on stdin with its figures as a line of JSON, and ends with stdin.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
from pyarrow import flight

SEES_MEMORY = Path("/proc/self/statm").exists()
_LOOK_S = 0.25
_PAGE_BYTES = 4096


class ServerProcess:
    """The process, started and ended with a ``with`` block. ``kind``: ``gapless``, ``discard`` or ``file``."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._command = [sys.executable, __file__, kind, str(folder)]

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, text=True)
        self.port = int(self._answer())
        self.url = f"grpc://127.0.0.1:{self.port}"
        return self

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self._command)} ended with {self._process.wait()}")
        return json.loads(line)

    def figures(self) -> dict[str, Any]:
        """Return ``cpu_ns`` of the process so far, and what the samples of its memory since the last call say."""
        assert self._process.stdin is not None
        print("figures", file=self._process.stdin, flush=True)
        found: dict[str, Any] = self._answer()
        return found

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=120)


class Resident:
    """Looks at the resident size of this process four times a second, from a thread of its own."""

    def __init__(self) -> None:
        self._samples: list[int] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while SEES_MEMORY and not self._ended.wait(_LOOK_S):
            pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
            self._samples.append(int(pages) * _PAGE_BYTES)

    def figures(self) -> dict[str, float]:
        """Return the typical sizes before and after the middle of the time, and the largest; begin anew.

        The first fifth does not count: buffers grow to what they need.
        """
        samples, self._samples = self._samples, []
        steady = samples[len(samples) // 5 :]
        middle = len(steady) // 2
        if not middle:
            return {"early_bytes": 0, "late_bytes": 0, "peak_bytes": 0}
        return {
            "early_bytes": statistics.median(steady[:middle]),
            "late_bytes": statistics.median(steady[middle:]),
            "peak_bytes": max(samples),
        }


class _Plain(flight.FlightServerBase):  # type: ignore[misc]
    """Reads what comes and says when that was all: the least that a Flight upload can cost.

    With a folder it writes an Arrow file, synced once at the end: no checksum, no ledger, nothing to go on from.
    """

    def __init__(self, folder: Path | None) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._folder = folder

    def do_put(self, _context: Any, _descriptor: Any, reader: Any, writer: Any) -> None:
        if self._folder is None:
            for _ in reader:
                pass
        else:
            self._keep(reader, self._folder)
        writer.write(b"all")

    def _keep(self, reader: Any, folder: Path) -> None:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            with pa.ipc.new_stream(file, reader.schema) as out:
                for chunk in reader:
                    out.write_batch(chunk.data)
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def _plain(folder: Path | None) -> Iterator[_Plain]:
    server = _Plain(folder)
    try:
        yield server
    finally:
        server.shutdown()


def _serving(kind: str, folder: Path) -> AbstractContextManager[Any]:
    if kind != "gapless":
        return _plain(folder if kind == "file" else None)
    from gapless.serve.server import Server

    return Server(folder, port=0)


def main(kind: str, folder: Path) -> None:
    """Serve until stdin ends."""
    with _serving(kind, folder) as server:
        print(server.port, flush=True)
        resident = Resident()
        for _ in sys.stdin:
            print(json.dumps({"cpu_ns": time.process_time_ns(), **resident.figures()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
