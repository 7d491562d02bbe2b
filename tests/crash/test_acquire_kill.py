"""A recorder of a bench killed at any moment: what the devices served is there, and the heater is off."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gapless
from gapless.errors import NotFound
from gapless.testing.line_models import ScpiModel
from gapless.testing.line_simulator import LineSimulator
from gapless.testing.modbus_server import ModbusServer

KILLS = int(os.environ.get("GAPLESS_ACQUIRE_KILLS", "4"))
READING, SP = 0, 1
RIG = """
name = "bench"

[devices.heater]
adapter = "modbus"
host = "127.0.0.1"
port = "${MODBUS}"
rate_hz = 50
points = [
    { name = "reading", register = 0, dtype = "uint16" },
    { name = "sp", register = 1, dtype = "uint16", scale = 0.1, unit = "degC", writable = true },
]

[devices.heater.safe_state]
program = [{ command = "write", arguments = { point = "sp", value = 0 } }]

[devices.meter]
adapter = "serial_line"
transport = "tcp"
host = "127.0.0.1"
port = "${SCPI}"
table = "scpi_multimeter"
rate_hz = 20

[[channels]]
name = "reading"
device = "heater"
field = "reading"
unit = "1"

[[channels]]
name = "voltage"
device = "meter"
field = "voltage"
unit = "V"

[setpoints.heater]
device = "heater"
command = "write"
arguments = { point = "sp" }
unit = "degC"
low = 0
high = 600
"""
METHOD = """
[method]
name = "heat"

[[steps]]
kind = "ramp"
setpoint = "heater"
from = "100 degC"
to = "600 degC"
duration_s = 60
"""


@pytest.mark.crash
@pytest.mark.timeout(120 + 30 * KILLS)
def test_a_killed_bench_is_whole_and_safe(tmp_path: Path) -> None:
    """SIGKILL between 0.2 and 8 s: an exact beginning of what was served, interrupted, setpoint 0."""
    rig, method = tmp_path / "rig.toml", tmp_path / "method.toml"
    rig.write_text(RIG, encoding="utf-8")
    method.write_text(METHOD, encoding="utf-8")
    moments = random.Random(7)
    heated = 0
    for number in range(KILLS):
        with ModbusServer() as heater, LineSimulator(ScpiModel()) as meter:
            heater.count_at(READING)
            environment = os.environ | {"MODBUS": str(heater.port), "SCPI": str(meter.port)}
            arguments = [str(rig), "--method", str(method), "--name", f"x{number}", "--store", str(tmp_path)]
            recorder = subprocess.Popen(
                [sys.executable, "-m", "gapless.cli.main", "record", *arguments],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            time.sleep(moments.uniform(0.2, 8.0))
            recorder.send_signal(signal.SIGKILL)
            killed_ns = time.monotonic_ns()
            recorder.communicate(timeout=90)
            heated += any(entry.is_write and entry.value for entry in heater.served)
            assert heater.wait_for(0, SP, timeout_s=60), "nobody switched the heater off"
            check(tmp_path, f"x{number}", heater, meter, killed_ns)
    assert heated or KILLS < 4, "no kill came while the heater was on"


def check(store: Path, name: str, heater: ModbusServer, meter: LineSimulator, killed_ns: int) -> None:
    """Recover the sequence and compare it with what the counterparts say they served."""
    with gapless.connect(store) as client:
        try:
            client.recover(name)
        except NotFound:  # killed before there was a sequence: then no device was told to do anything either
            assert not any(entry.is_write for entry in heater.served)
            return
        handler = client.sequence_handler(name)
        assert str(handler.outcome) == "interrupted"
        assert client.verify(name) == []
        if "channels/heater" not in handler.reader.topics:
            return
        got = handler.reader.topic("channels/heater").to_arrow().column("reading").to_pylist()
        served = [entry for entry in heater.served if entry.address == READING and not entry.is_write]
        # the first read is the connection's own question; what follows is recorded from its first on
        first = [int(value) for value in got[:1]]
        at = next((n for n, entry in enumerate(served) if [entry.value] == first), 0)
        assert [int(value) for value in got] == [entry.value for entry in served[at : at + len(got)]]
        assert at <= 1
        # what was answered longer ago than the flush window and a slow sync is durable
        old = [entry for entry in served[at:] if killed_ns - entry.time_ns > 2_000_000_000]
        assert len(got) >= len(old)
        voltages = handler.reader.topic("channels/meter").to_arrow().column("voltage").to_pylist()
        said = [float(text) for text in meter.replies("READ?")]
        assert voltages == said[: len(voltages)]
        ledger = handler.reader.topic("channels/heater").ledger
        assert ledger["produced"] == ledger["written"] + ledger["dropped"] + ledger["gapped"]
