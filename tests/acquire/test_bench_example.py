"""The bench of examples/rigs, run as its page says, against its own counterparts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import gapless

from .debian import find_program

RIGS = Path(__file__).parents[2] / "examples" / "rigs"
WITHOUT_EXTRAS = """
import sys

for name in ("pint", "av", "pymodbus", "serial", "aiomqtt", "paho", "caproto", "asyncua", "fastapi"):
    sys.modules[name] = None  # as if it were not installed

from gapless.cli.main import main

sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_bench_ramps_holds_and_is_whole(tmp_path: Path) -> None:
    """Completed, balanced, off at the end; heater and multimeter recorded exactly what was served."""
    if find_program("mosquitto", "mosquitto") is None:
        pytest.skip("mosquitto is not installed, and this machine may not install it")
    log, store = tmp_path / "log.json", tmp_path / "store"
    done = subprocess.run(
        [
            sys.executable, str(RIGS / "bench_counterparts.py"), "--log", str(log), "--",
            sys.executable, "-m", "gapless.cli.main", "record", str(RIGS / "bench.toml"),
            "--method", str(RIGS / "ramp.toml"), "--for", "90s", "--name", "x", "--store", str(store), "--json",
        ],
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    known = json.loads(done.stdout)
    assert (known["outcome"], known["state"], known["unsafe_devices"]) == ("completed", "sealed", [])
    ledger = known["ledger"]
    assert ledger["produced"] == ledger["written"] + ledger["dropped"] + ledger["gapped"]
    served = json.loads(log.read_text(encoding="utf-8"))
    assert served["setpoint"] == 0
    with gapless.connect(store) as client:
        reader = client.sequence_handler("x").reader
        readings = reader.topic("device/heater").to_arrow().column("reading").to_pylist()
        at = served["readings"].index(readings[0])
        assert readings == served["readings"][at : at + len(readings)]
        voltages = reader.topic("channels/meter").to_arrow().column("sample_voltage").to_pylist()
        assert voltages == [float(text) for text in served["voltages"]][: len(voltages)]
        peak = max(reader.topic("channels/heater").to_arrow().column("heater_pv").to_pylist())
        assert peak > 110
        air = reader.topic("channels/weather").to_arrow().column("air_temperature").to_pylist()
        published = [entry["temperature"] for entry in served["published"]]
        assert air == published[published.index(air[0]) :][: len(air)]
        assert reader.topics["window"].rows == reader.topics["window/frames"].rows > 0
        assert client.verify("x") == []


def test_the_counterparts_say_what_to_install(tmp_path: Path) -> None:
    """Without the extras one line names them, before anything is started."""
    script = (
        "import runpy, sys\n"
        "sys.modules.update(dict.fromkeys(('pymodbus', 'av')))\n"
        f"runpy.run_path({str(RIGS / 'bench_counterparts.py')!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "the bench needs libraries: pip install 'gapless[modbus,video]'\n"


def test_the_dry_run_prints_the_timeline() -> None:
    """Nothing is opened; every step has its time, or the bound of it."""
    done = subprocess.run(
        [
            sys.executable, "-m", "gapless.cli.main", "record", str(RIGS / "bench.toml"),
            "--method", str(RIGS / "ramp.toml"), "--dry-run",
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "0.0 s  ramp heater from 20 to 120 degC" in done.stdout
    assert "at most 20 s" in done.stdout


def test_the_host_rig_works_anywhere(tmp_path: Path) -> None:
    """Ten rows a second of this machine, sealed as completed, without any extra."""
    done = subprocess.run(
        [
            sys.executable, "-c", WITHOUT_EXTRAS, "record", str(RIGS / "host.toml"),
            "--for", "2s", "--store", str(tmp_path), "--json",
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    known = json.loads(done.stdout)
    assert (known["outcome"], known["ledger"]["gapped"]) == ("completed", 0)
    assert known["ledger"]["written"] >= 20
