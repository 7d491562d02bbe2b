"""A camera's own program, as a maker of cameras ships it: writes a NUT file and says what is in it.

Arguments: the file, the rate, then words: ``count=N`` ends by itself after N pictures, ``dies=N`` ends with an
error after N, ``loses=N`` says that it lost two before picture N, ``mute=N`` says nothing of picture N,
``garbles=N`` says something else of it, ``deaf`` does not end with its input, ``nothing`` writes no file.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import av
from tests.acquire.devices.pictures import HEIGHT, WIDTH, numbered


@contextmanager
def writing(path: str, rate: float) -> Iterator[Any]:
    """Write a file of FFV1 pictures, each on the disk when it was given."""
    with av.open(path, "w", format="nut", options={"flush_packets": "1"}) as container:
        stream: Any = container.add_stream("ffv1", rate=round(rate))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "bgr0"

        def write(k: int) -> None:
            frame = av.VideoFrame.from_ndarray(numbered(k), format="rgb24")
            frame.pts = k
            container.mux(stream.encode(frame))

        yield write


def main() -> None:
    """Take pictures until the input ends."""
    path, rate, *words = sys.argv[1:]
    asked = {name: int(number or -1) for name, _, number in (word.partition("=") for word in words)}
    ended = threading.Event()
    if "deaf" in asked:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        threading.Thread(target=wait_for_the_end, args=(ended,), daemon=True).start()
    with nullcontext(lambda k: None) if "nothing" in asked else writing(path, float(rate)) as write:
        for k in range(asked.get("count", 4096)):
            if k == asked.get("dies"):
                sys.stderr.write("the sensor is gone\n")
                sys.stderr.flush()
                os._exit(3)
            taken_s = time.monotonic()
            write(k)
            say(k, taken_s, asked)
            if ended.wait(1 / float(rate)):
                break


def wait_for_the_end(ended: threading.Event) -> None:
    """Say when the input has ended."""
    sys.stdin.read()
    ended.set()


def say(k: int, taken_s: float, asked: dict[str, int]) -> None:
    """Tell of picture k, as well as it was asked for."""
    line: dict[str, Any] = {"frame": k, "time_ns": k * 1000, "latency_s": time.monotonic() - taken_s}
    if k == asked.get("loses"):
        line["lost"] = 2
    text = "Segmentation fault" if k == asked.get("garbles") else json.dumps(line)
    if k != asked.get("mute"):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
