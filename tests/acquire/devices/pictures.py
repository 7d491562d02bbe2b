"""Pictures that say their number, and an IP camera that serves them over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
import numpy.typing as npt

HEIGHT, WIDTH = 48, 64
BOUNDARY = "frame"
RECORDER = Path(__file__).with_name("camera_recorder.py")


def numbered(k: int) -> npt.NDArray[Any]:
    """Return a picture that says k, below 4096, in blocks of black and white, which lossy codecs keep."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for bit in range(12):
        if k >> bit & 1:
            picture[16 * (bit // 4) :, 16 * (bit % 4) :][:16, :16] = 255
    return picture


def number_of(picture: npt.NDArray[Any]) -> int:
    """Return the number that a picture says."""
    return sum(int(picture[16 * (b // 4) + 8, 16 * (b % 4) + 8].mean() > 128) << b for b in range(12))


def jpeg(k: int) -> bytes:
    """Return the picture k as a JPEG file."""
    context: Any = av.CodecContext.create("mjpeg", "w")
    context.height, context.width, context.pix_fmt = HEIGHT, WIDTH, "yuvj420p"
    context.time_base = Fraction(1, 30)
    frame = av.VideoFrame.from_ndarray(numbered(k), format="rgb24").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def part(data: bytes) -> bytes:
    """Return a JPEG file as one part of a multipart stream."""
    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data + b"\r\n"


def write_video(path: Path, numbers: Iterable[int], rate: int = 50) -> None:
    """Write a file whose pictures lie at the times of their numbers; missing numbers are holes in its times."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for k in numbers:
            frame = av.VideoFrame.from_ndarray(numbered(k), format="rgb24")
            frame.pts = k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def record_until_killed(store: Path, camera: dict[str, Any], durable: int) -> int:
    """Kill a process that records a camera once so many pictures are durable; return how many were."""
    source = str(Path(__file__).resolve().parents[3] / "src")
    words = [sys.executable, str(RECORDER), str(store), json.dumps(camera)]
    environment = os.environ | {"PYTHONPATH": source}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        found = 0
        while found < durable:
            line = child.stdout.readline()
            assert line, "the recorder ended"
            found = int(line)
        child.kill()
    return found


class IpCamera:
    """Serves ``/video``, pictures 0, 1, 2… as parts of one answer, to anybody, until stopped.

    ``served``: the numbers of each connection, written in whole. ``credentials``: what clients must show.
    :meth:`stop` breaks every connection; :meth:`start` serves on the same port again. While ``silent`` is
    set, connections stay open and nothing comes.
    """

    def __init__(self, rate_hz: float = 50.0, credentials: str | None = None) -> None:
        self.served: list[list[int]] = []
        self.port = 0
        self._credentials = credentials
        self._period_s = 1.0 / rate_hz
        self._jpegs = [jpeg(k) for k in range(256)]
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self.silent = threading.Event()

    @property
    def url(self) -> str:
        """Where the pictures are."""
        return f"http://127.0.0.1:{self.port}/video"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Serve, on the port of the last time."""
        camera = self
        self._stopping = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera._serve(self)

            def log_message(self, *_words: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        server.daemon_threads = False  # so that closing it waits for them
        self.port = server.server_port
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Break every connection and take no more."""
        self._stopping.set()
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        if self._thread is not None:
            self._thread.join(10)

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        if request.headers.get("Authorization") != self._credentials:
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="camera"')
            request.end_headers()
            return
        stopping = self._stopping
        numbers: list[int] = []
        self.served.append(numbers)
        request.send_response(200)
        request.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        request.end_headers()
        due_s = time.monotonic()
        try:
            for k in range(len(self._jpegs)):
                due_s += self._period_s
                if stopping.wait(max(0.0, due_s - time.monotonic())):
                    break
                if self.silent.is_set():
                    continue
                request.wfile.write(part(self._jpegs[k]))
                numbers.append(k)
        except OSError as error:  # the client went away
            request.close_connection = bool(error)
