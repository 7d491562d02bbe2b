"""What a run says of its devices' commands: a form made of it gives commands that the device takes."""

from __future__ import annotations

from typing import Any

import pytest

from gapless.acquire.control.description import describe_run
from gapless.acquire.rig import Rig

POINTS = [
    {"name": "pv", "register": 1, "dtype": "int16", "unit": "degC"},
    {"name": "sp", "register": 2, "unit": "degC", "writable": True},
]
DEVICES: dict[str, Any] = {
    "gas": {"adapter": "serial_line", "transport": "tcp", "host": "127.0.0.1", "port": 9, "table": "alicat"},
    "oven": {"adapter": "modbus", "host": "127.0.0.1", "points": POINTS},
    "model": {"adapter": "simulated", "fields": [{"name": "x", "unit": "V"}, {"name": "y", "unit": "V"}]},
    "plant": {
        "adapter": "opcua", "url": "opc.tcp://127.0.0.1:9", "nodes": [{"name": "t", "node": "ns=2;s=T"}],
    },
    "beam": {"adapter": "epics", "pvs": [{"name": "current", "pv": "BEAM:I"}]},
}  # fmt: skip


@pytest.fixture(scope="module")
def commands() -> dict[str, Any]:
    """Return what is told of each device's commands."""
    rig = Rig.of({"devices": DEVICES})
    return {
        name: told["commands"] for name, told in describe_run(rig, rig.make_adapters())["devices"].items()
    }


def test_a_command_of_a_line_table_has_the_table_s_arguments(commands: dict[str, Any]) -> None:
    """By their names and types, with no words of Python's; one without arguments has none."""
    value = {"name": "value", "type": "float", "required": True, "default": None}
    assert commands["gas"]["setpoint"] == {"description": "", "parameters": [value]}
    assert commands["gas"]["hold_closed"]["parameters"] == []


@pytest.mark.parametrize(
    ("device", "command", "name", "choices"),
    [
        ("oven", "write", "point", ["sp"]),
        ("oven", "read", "point", ["pv", "sp"]),
        ("model", "set", "field", ["x", "y"]),
        ("plant", "write", "node", ["t"]),
        ("plant", "call", "method", ["t"]),
        ("beam", "put", "pv", ["current"]),
    ],
)
def test_names_that_a_command_takes_are_offered(
    commands: dict[str, Any], device: str, command: str, name: str, choices: list[str]
) -> None:
    """The points that can be written, the fields, the nodes, the variables."""
    known = {parameter["name"]: parameter for parameter in commands[device][command]["parameters"]}
    assert known[name]["choices"] == choices
    assert [other for other, parameter in known.items() if "choices" not in parameter] == [
        other for other in known if other not in ("point", "field", "node", "owner", "method", "pv")
    ]


def test_defaults_are_told(commands: dict[str, Any]) -> None:
    """What may be left out has its default, and no choices."""
    parameters = {parameter["name"]: parameter for parameter in commands["plant"]["call"]["parameters"]}
    assert (parameters["arguments"]["required"], parameters["arguments"]["default"]) == (False, ())
