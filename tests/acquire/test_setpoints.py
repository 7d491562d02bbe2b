"""The limits of a rig's setpoints: no command of a run leaves them, however it is spelled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import gapless
from gapless.acquire.adapter import DeviceField
from gapless.acquire.command import Command, CommandStatus
from gapless.acquire.control.client import ControlClient
from gapless.acquire.kit import Device, Handler
from gapless.acquire.procedure.context import ProcedureContext
from gapless.acquire.rig import Rig
from gapless.acquire.run import Run
from gapless.acquire.setpoints import Setpoints
from gapless.acquire.settings import SetpointSpec
from gapless.store.layout import Bundle

FIELDS = [{"name": name, "unit": "K", "signal": {"kind": "constant", "value": 20.0}} for name in ("pv", "sp")]
TABLES: dict[str, Any] = {
    "name": "oven",
    "devices": {
        "oven": {
            "adapter": "simulated",
            "rate_hz": 50,
            "fields": FIELDS,
            "safe_state": {"program": [{"command": "set", "arguments": {"field": "sp", "value": -5}}]},
        }
    },
    "channels": [{"name": "oven_sp", "device": "oven", "field": "sp", "unit": "K"}],
    "setpoints": {
        "heat": {
            "device": "oven", "command": "set", "arguments": {"field": "sp"}, "unit": "K", "low": 0, "high": 600,
        }
    },
}  # fmt: skip


class Supply(Device):
    """A supply with outputs, of which the first is the default."""

    family = "supply"
    resource_id = "sim:supply"
    expected_rate_hz = 1.0

    def fields(self) -> list[DeviceField]:
        """Return one field."""
        return [DeviceField("volts")]

    def handlers(self) -> Mapping[str, Handler]:
        """Return one command."""
        return {"set": self._set}

    async def _set(self, value: float, output: Any = 1, *, slow: bool = False) -> None:
        """Do nothing."""

    async def connect(self) -> None:
        """Nothing is there."""

    async def disconnect(self) -> None:
        """Nothing is open."""

    def stream(self) -> Any:
        """Give nothing."""
        raise NotImplementedError


def setpoints(**specs: dict[str, Any]) -> Setpoints:
    """Return setpoints of the supply."""
    made = {
        name: SetpointSpec.model_validate({"device": "psu", "command": "set", "unit": "V", **spec})
        for name, spec in specs.items()
    }
    return Setpoints(made, {"psu": Supply("psu", None)})


@pytest.mark.parametrize("value", [0, 5, 5.0, -0.0, 4.999])
def test_a_value_inside_the_limits_passes(value: float) -> None:
    """Both limits belong to the range, whole numbers are numbers."""
    held = setpoints(out={"arguments": {"output": 1}, "low": 0, "high": 5})
    assert held.refusal_of("psu", Command(name="set", arguments={"output": 1, "value": value})) == ""


@pytest.mark.parametrize(
    "value",
    [5.001, -1, 10**400, -(10**400), float("inf"), float("nan"), "900", "3", True, None, [3], {"v": 3}],
)
def test_a_value_outside_is_refused_in_words(value: Any) -> None:
    """Also what is no number: a device may read a text, a truth or a list as one."""
    held = setpoints(out={"arguments": {"output": 1}, "low": 0, "high": 5})
    words = held.refusal_of("psu", Command(name="set", arguments={"output": 1, "value": value}))
    assert words.startswith("out ")
    assert words.endswith("the rig allows 0 … 5 V")


@pytest.mark.parametrize(
    "arguments",
    [
        {"output": 1}, {}, {"output": 1.0}, {"output": "1"}, {"output": " 1 "}, {"output": True},
        {"output": 1, "slow": True}, {"output": 1, "unknown": 3},
    ],
)  # fmt: skip
def test_however_the_arguments_are_spelled(arguments: dict[str, Any]) -> None:
    """A default left out, a number as text, an argument that the setpoint does not name."""
    held = setpoints(out={"arguments": {"output": 1}, "low": 0, "high": 5})
    assert held.refusal_of("psu", Command(name="set", arguments={**arguments, "value": 9}))


@pytest.mark.parametrize(
    ("device", "name", "arguments"),
    [("psu", "set", {"output": 2}), ("psu", "off", {"output": 1}), ("other", "set", {"output": 1})],
)
def test_what_sets_something_else_is_not_held(device: str, name: str, arguments: dict[str, Any]) -> None:
    """Another output, another command, another device: their values are no business of the setpoint."""
    held = setpoints(out={"arguments": {"output": 1}, "low": 0, "high": 5})
    assert held.refusal_of(device, Command(name=name, arguments={**arguments, "value": 9})) == ""


def test_one_limit_bounds_one_side_and_none_bounds_nothing() -> None:
    """Only what the rig declares is held."""
    least = setpoints(out={"low": 2})
    assert least.refusal_of("psu", Command(name="set", arguments={"value": 1}))
    assert least.refusal_of("psu", Command(name="set", arguments={"value": 1e9})) == ""
    free = setpoints(out={})
    assert free.refusal_of("psu", Command(name="set", arguments={"value": "max"})) == ""


def test_two_setpoints_of_one_thing_agree() -> None:
    """Other limits for what one command sets contradict each other, also by a default; others do not."""
    first = {"arguments": {"output": 1}, "low": 0, "high": 5}
    assert setpoints(a=first, b={"low": 0, "high": 6}).contradictions() == [("a", "b")]
    assert setpoints(a=first, b={**first, "high": None}).contradictions() == [("a", "b")]
    assert setpoints(a=first, b=first).contradictions() == []
    assert setpoints(a=first, b={**first, "arguments": {"output": 2}, "high": 9}).contradictions() == []


# -- a run -----------------------------------------------------------------------------------------


def by_socket(run: Run) -> tuple[str, str]:
    """Give the command as a page and the command line do."""
    assert run.sequence.path is not None
    with ControlClient.connect(Bundle(run.sequence.path)) as client:
        result = client.command("oven", "set", {"field": "sp", "value": 900}, by="ada", confirmed=True)
    return str(result.status), result.message


def by_python(run: Run) -> tuple[str, str]:
    """Give the command from the program that records."""
    command = Command(name="set", arguments={"field": "sp", "value": 900}, confirmed_by="ada")
    result = run.dispatch("oven", command).result(60)
    return str(result.status), result.message


@pytest.mark.parametrize("way", [by_socket, by_python])
def test_a_run_refuses_a_value_beyond_a_setpoint(tmp_path: Path, way: Any) -> None:
    """Nothing is issued, the refusal is an event; values inside and the safe state, which is outside, are done."""
    with gapless.connect(tmp_path) as client:
        run = Run(Rig.of(TABLES), client, name="x")
        run.start()
        refusal = ("refused", "heat may not be set to 900 K; the rig allows 0 … 600 K")
        assert way(run) == refusal
        inside = Command(name="set", arguments={"field": "sp", "value": 600}, confirmed_by="ada")
        assert run.dispatch("oven", inside).result(60).status is CommandStatus.DONE
        run.stop("enough", by="test")
        result = run.wait(60)
        assert result is not None
        assert (str(result.outcome), result.unsafe_devices) == ("aborted", [])
        rows = client.sequence_handler("x").reader.topic("_events").to_arrow().to_pylist()
        commands = [row for row in rows if row["kind"].startswith("command_")]
        assert [row["kind"] for row in commands] == ["command_refused", "command_issued", "command_done"]
        assert [row["message"] for row in commands] == [
            f"set field=sp value=900 to oven: refused: {refusal[1]}",
            "set field=sp value=600 to oven",
            "set field=sp value=600 to oven: done",
        ]
        assert json.loads(commands[0]["data"])["arguments"] == {"field": "sp", "value": 900}
        found = (
            client.sequence_handler("x")
            .reader.topic("channels/oven")
            .to_arrow()
            .column("oven_sp")
            .to_pylist()
        )
        assert 900 not in found


def test_a_step_of_ones_own_is_held_too(tmp_path: Path) -> None:
    """What a custom step commands by itself has the limits that a setpoint step has."""
    from gapless.acquire.procedure.method import Method

    rig = Rig.of(TABLES)
    step = {"kind": "custom", "function": f"{__name__}:overheat", "timeout_s": 60}
    method = Method.of({"method": {"name": "m"}, "steps": [step]}, rig)
    with gapless.connect(tmp_path) as client:
        run = Run(rig, client, name="x", method=method)
        run.start()
        result = run.wait(60)
        assert result is not None
        assert "heat may not be set to 601 K" in str(result.cause)


async def overheat(context: ProcedureContext) -> None:
    """Command a value beyond the setpoint, and say what became of it."""
    result = await context.dispatch("oven", Command(name="set", arguments={"field": "sp", "value": 601}))
    if not result.accepted:
        raise RuntimeError(result.message)
