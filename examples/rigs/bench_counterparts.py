"""The other side of bench.toml on this machine: a heater, a multimeter, a weather station and a camera.

python examples/rigs/bench_counterparts.py                     runs them until Ctrl-C
python examples/rigs/bench_counterparts.py -- COMMAND ARGS…    runs COMMAND beside them, ends with its code
    --log FILE   writes what each of them served when it ends

Needs pip install 'gapless[modbus,mqtt,video]' and mosquitto (on Debian: apt-get install mosquitto).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from gapless.testing.line_models import ScpiModel
from gapless.testing.line_simulator import LineSimulator

if TYPE_CHECKING:
    from gapless.testing.modbus_server import ModbusServer

EXTRAS = {"pymodbus": "modbus", "paho": "mqtt", "av": "video"}
READING, PV, SP = 0, 1, 2  # registers of the heater; temperatures in tenths of a degree
TIME_CONSTANT_S = 1.5


class Furnace:
    """A first-order heater: its temperature follows the setpoint."""

    def __init__(self) -> None:
        self._temperature = 20.0
        self._at_s = time.monotonic()

    def __call__(self, server: ModbusServer) -> None:
        """Move the model to now and put its temperature into the register."""
        now_s = time.monotonic()
        share = 1.0 - math.exp(-(now_s - self._at_s) / TIME_CONSTANT_S)
        goal = max(20.0, server.get(SP) / 10)
        self._temperature += (goal - self._temperature) * share
        self._at_s = now_s
        server.set(PV, round(self._temperature * 10) & 0xFFFF)


@contextmanager
def heater() -> Iterator[ModbusServer]:
    """Serve the heater on a port of the system."""
    from gapless.testing.modbus_server import ModbusServer

    with ModbusServer(behave=Furnace()) as server:
        server.count_at(READING)
        yield server


@contextmanager
def broker() -> Iterator[int]:
    """Run Debian's mosquitto on a free port, with its files in a temporary folder."""
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise SystemExit("mosquitto is not installed; on Debian: apt-get install mosquitto")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "mosquitto.conf"
        configuration.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n", encoding="utf-8")
        process = subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.DEVNULL)
        try:
            yield port
        finally:
            process.terminate()
            process.wait(10)


@contextmanager
def weather(port: int, served: list[dict[str, float]]) -> Iterator[None]:
    """Publish the air twice a second; what was published is added to ``served``."""
    import paho.mqtt.client as mqtt

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    give_up_s = time.monotonic() + 10
    while True:
        try:
            client.connect("127.0.0.1", port)
            break
        except OSError:
            if time.monotonic() > give_up_s:
                raise
            time.sleep(0.05)
    client.loop_start()
    over = threading.Event()

    def publish() -> None:
        while not over.wait(0.5):
            air = {"temperature": 21.0 + math.sin(time.monotonic() / 20), "humidity": 43.0}
            client.publish("bench/air", json.dumps(air), qos=1)
            served.append(air)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        client.loop_stop()
        client.disconnect()


class _Window(BaseHTTPRequestHandler):
    """Sends a clip of a moving picture as MPEG-TS, at its own pace and again and again."""

    clip = b""
    seconds = 5.0

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        self.end_headers()
        pieces = 50
        size = len(self.clip) // pieces + 1
        try:
            for start in range(0, len(self.clip), size):
                self.wfile.write(self.clip[start : start + size])
                time.sleep(self.seconds / pieces)
        except OSError:  # the viewer went away
            return

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ARG002 - as the class it overrides
        return


def clip(seconds: float, rate: int = 15) -> bytes:
    """Return a clip of moving stripes as MPEG-TS with H.264."""
    import av
    import numpy as np

    out = BytesIO()
    with av.open(out, "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.options = {"preset": "ultrafast", "tune": "zerolatency"}
        for n in range(int(seconds * rate)):
            picture = np.zeros((240, 320, 3), np.uint8)
            picture[:, (n * 4) % 320 :, 1] = 160
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return out.getvalue()


@contextmanager
def window() -> Iterator[int]:
    """Serve the camera over HTTP."""
    _Window.seconds = 60.0
    _Window.clip = clip(_Window.seconds)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Window)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def main() -> int:
    """Run the counterparts, and the command beside them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--log", type=Path, metavar="FILE")
    parser.add_argument("command", nargs="*", metavar="COMMAND")
    args = parser.parse_args()
    if missing := [extra for library, extra in EXTRAS.items() if find_spec(library) is None]:
        raise SystemExit(f"the bench needs libraries: pip install 'gapless[{','.join(missing)}]'")
    published: list[dict[str, float]] = []
    with ExitStack() as stack:
        furnace = stack.enter_context(heater())
        meter = stack.enter_context(LineSimulator(ScpiModel()))
        mqtt_port = stack.enter_context(broker())
        stack.enter_context(weather(mqtt_port, published))
        ports = {
            "BENCH_MODBUS_PORT": str(furnace.port),
            "BENCH_SCPI_PORT": str(meter.port),
            "BENCH_MQTT_PORT": str(mqtt_port),
            "BENCH_CAMERA_URL": f"http://127.0.0.1:{stack.enter_context(window())}/window.ts",
        }
        code = _beside(ports, args.command)
        if args.log is not None:
            _write_log(args.log, furnace, meter, published)
    return code


def _beside(ports: dict[str, str], command: list[str]) -> int:
    """Run the command and return its code; without one, wait for Ctrl-C."""
    if not command:
        print("\n".join(f"export {name}={value}" for name, value in ports.items()), flush=True)
        stop = threading.Event()

        def end(_number: int, _frame: FrameType | None) -> None:
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        stop.wait()
        return 0
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the command
    return subprocess.call(command, env=os.environ | ports)


def _write_log(
    path: Path, furnace: ModbusServer, meter: LineSimulator, published: list[dict[str, float]]
) -> None:
    """Write what was served: readings of the heater, voltages, publications, and the last setpoint."""
    document = {
        "readings": furnace.values_served(READING),
        "setpoint": furnace.get(SP),
        "voltages": meter.replies("READ?"),
        "published": published,
    }
    path.write_text(json.dumps(document), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
