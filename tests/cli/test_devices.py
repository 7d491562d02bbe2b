"""`gapless devices`: what there is to record with, and whether a rig's devices answer."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Cli

RIG = """\
name = "desk"

[devices.machine]
adapter = "host"
rate_hz = 20

[devices.heater]
adapter = "simulated"
fields = [{ name = "sp", unit = "degC" }]

[[channels]]
name = "load"
device = "machine"
field = "cpu_percent"
unit = "%"

[setpoints.heater]
device = "heater"
command = "set"
arguments = { field = "sp" }
unit = "degC"
"""
METER = """\
[devices.meter]
adapter = "serial_line"
transport = "tcp"
host = "127.0.0.1"
port = "${METER_PORT}"
table = "scpi_multimeter"
"""


@pytest.fixture
def listening() -> Iterator[int]:
    """Return a port at which somebody listens, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def deserted() -> Iterator[int]:
    """Return a port that is taken, so that nobody else can listen there, and answers nobody."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


# -- discover ----------------------------------------------------------------------------------


def test_discover_lists_adapters_ports_and_cameras(cli: Cli) -> None:
    """Every adapter with what it is for, and headings even where nothing was found; no address is tried."""
    done = cli("devices", "discover")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^host +ready +this machine", done.stdout, re.M)
    assert re.search(r"^simulated +ready", done.stdout, re.M)
    assert "\nserial ports\n  " in done.stdout
    assert "\ncameras\n  " in done.stdout
    assert "addresses" not in done.stdout


def test_discover_tries_the_addresses_that_are_named(cli: Cli, listening: int, deserted: int) -> None:
    """An address with a port is tried as it is."""
    tried = [f"127.0.0.1:{listening}", f"127.0.0.1:{deserted}"]
    done = cli("devices", "discover", "--tcp", tried[0], "--tcp", tried[1], "--json")
    found = json.loads(done.stdout)
    assert set(found) == {"adapters", "serial_ports", "cameras", "addresses"}
    assert {"name", "problem", "about"} == set(found["adapters"][0])
    first, second = found["addresses"]
    assert (first["name"], first["about"]) == (tried[0], "somebody listens")
    assert second["name"] == tried[1]
    assert second["about"].startswith("nobody listens: ")


def test_a_host_alone_is_tried_at_the_usual_ports(cli: Cli) -> None:
    """Modbus, MQTT, OPC UA and SCPI, each by its name."""
    found = json.loads(cli("devices", "discover", "--tcp", "127.0.0.1", "--json").stdout)["addresses"]
    assert [item["name"].rpartition(":")[2] for item in found] == ["502", "1883", "4840", "5025"]
    assert ["Modbus" in found[0]["about"], "MQTT" in found[1]["about"]] == [True, True]


@pytest.mark.parametrize("address", ["", ":502", "host:port", "host:99999", "http://x", "a:1:2", "[::1"])
def test_what_is_no_address_is_a_usage_error(cli: Cli, address: str) -> None:
    """Nothing is tried."""
    done = cli("devices", "discover", "--tcp", address)
    assert done.returncode == 2
    assert "HOST or HOST:PORT" in done.stderr


def test_an_address_of_ipv6_has_brackets(cli: Cli, deserted: int) -> None:
    """They are part of the name that is printed."""
    found = json.loads(cli("devices", "discover", "--tcp", f"[::1]:{deserted}", "--json").stdout)
    assert found["addresses"][0]["name"] == f"[::1]:{deserted}"


# -- check -------------------------------------------------------------------------------------


def test_devices_that_answer(cli: Cli, tmp_path: Path) -> None:
    """Each is named with its first record; a warning is told and does not change the exit code."""
    (tmp_path / "rig.toml").write_text(RIG)
    done = cli("devices", "check", "rig.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "desk: 2 devices, 1 channel; the file has no error" in done.stdout
    assert "machine (host) on host:machine: answers" in done.stdout
    assert "cpu_percent = " in done.stdout
    assert "heater (simulated) on sim:heater: answers" in done.stdout
    assert "sp = 0.0" in done.stdout
    assert re.search(r"^rig\.toml:18: warning: setpoints\.heater\.device: .* \[R010\]$", done.stdout, re.M)
    assert not (tmp_path / "gapless-data").exists()


def test_a_device_that_does_not_answer_ends_with_5(cli: Cli, tmp_path: Path, deserted: int) -> None:
    """The others are tried all the same."""
    (tmp_path / "rig.toml").write_text(RIG + METER)
    done = cli("devices", "check", "rig.toml", "--json", METER_PORT=str(deserted))
    assert done.returncode == 5, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["rig"] == "desk"
    assert [problem["code"] for problem in told["problems"]] == ["R010"]
    state = {device["device"]: bool(device["problem"]) for device in told["devices"]}
    assert state == {"machine": False, "heater": False, "meter": True}
    assert str(deserted) in told["devices"][2]["problem"]
    assert told["devices"][0]["first_record"]


def test_a_device_that_accepts_and_says_nothing_does_not_answer(
    cli: Cli, tmp_path: Path, listening: int
) -> None:
    """An open port is not an instrument."""
    (tmp_path / "rig.toml").write_text(METER)
    done = cli("devices", "check", "rig.toml", METER_PORT=str(listening))
    assert done.returncode == 5, done.stdout + done.stderr
    assert "meter (serial_line)" in done.stdout
    assert "no answer" in done.stdout


def test_a_device_that_opens_and_gives_nothing_does_not_answer(cli: Cli, tmp_path: Path) -> None:
    """A device that a run would call silent is not well, whatever it says of itself."""
    hanging = RIG.replace("fields = ", "silence_deadline_s = 0.5\nhang_after_s = 0\nfields = ")
    (tmp_path / "rig.toml").write_text(hanging)
    done = cli("devices", "check", "rig.toml")
    assert done.returncode == 5, done.stdout + done.stderr
    assert "no record within 0.5 s, its silence deadline" in done.stdout


def test_a_device_whose_program_breaks_does_not_answer(cli: Cli, tmp_path: Path) -> None:
    """What its stream raises is told, and the others are tried."""
    (tmp_path / "rig.toml").write_text(RIG.replace("fields = ", "die_after_s = 0\nfields = "))
    done = cli("devices", "check", "rig.toml")
    assert done.returncode == 5, done.stdout + done.stderr
    assert "RuntimeError: heater died" in done.stdout
    assert "machine (host) on host:machine: answers" in done.stdout


def test_problems_of_the_file_end_with_2(cli: Cli, tmp_path: Path) -> None:
    """All of them, with file, line, code and what to do; no device is tried."""
    broken = RIG.replace("rate_hz = 20", "rate = 20").replace('"cpu_percent"', '"cpu_persent"')
    broken = broken.replace('name = "desk"', 'nmae = "desk"')
    (tmp_path / "rig.toml").write_text(broken)
    done = cli("devices", "check", "rig.toml")
    assert done.returncode == 2, done.stderr
    told = re.findall(r"^rig\.toml:(\d+): (\S+): .* \[(R\d+)\]$", done.stdout, re.M)  # warnings too
    assert told == [("1", "nmae", "R002"), ("5", "devices.machine.rate", "R002"), ("18", "warning", "R010")]
    assert "did you mean rate_hz?" in done.stdout
    as_json = json.loads(cli("devices", "check", "rig.toml", "--json").stdout)
    assert [(item["line"], item["code"]) for item in as_json["problems"]] == [
        (1, "R002"),
        (5, "R002"),
        (18, "R010"),
    ]
    assert all(item["fix"] for item in as_json["problems"])
    assert as_json["devices"] == []


def test_recording_a_rig_with_problems_lists_the_same(cli: Cli, tmp_path: Path) -> None:
    """`record` refuses what `check` refuses, before there is a sequence."""
    (tmp_path / "rig.toml").write_text(RIG.replace("rate_hz = 20", "rate = 20"))
    done = cli("record", "rig.toml", "--for", "1s")
    assert done.returncode == 2
    assert "rig.toml:5: devices.machine.rate: unknown key; did you mean rate_hz? [R002]" in done.stderr
    assert not (tmp_path / "gapless-data").exists()


def test_usage(cli: Cli, tmp_path: Path) -> None:
    """check needs a file that is there, discover takes none."""
    assert cli("devices", "check").returncode == 2
    assert cli("devices", "discover", "rig.toml").returncode == 2
    missing = cli("devices", "check", "nowhere.toml")
    assert missing.returncode == 2
    assert "nowhere.toml" in missing.stdout
