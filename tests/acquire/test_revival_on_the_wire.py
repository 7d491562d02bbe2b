"""Devices behind real sockets that break and may: what is told, and what their neighbours notice of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from gapless.acquire.devices.modbus import ModbusConfig, ModbusDevice
from gapless.acquire.devices.serial_line import LineConfig, LineDevice
from gapless.acquire.emission import Emission
from gapless.acquire.kit import PolledDevice
from gapless.client.client import Client
from gapless.model.outcome import Outcome
from gapless.testing.line_models import ScpiModel
from gapless.testing.line_simulator import LineSimulator
from gapless.testing.modbus_server import ModbusServer

from .absence import check_whole, ended, gaps_of, kinds, rows, started, stopped, told, until


class Brittle(PolledDevice):
    """An adapter that does not connect again by itself: the first poll that fails ends its stream."""

    broken = False  # the next poll fails whatever the wire says
    opens = 0

    async def open(self) -> None:
        """Count, and open."""
        self.opens += 1
        await super().open()

    async def stream(self) -> AsyncIterator[Emission]:
        """Poll until stopped."""
        while not await self.pause(1.0 / self.expected_rate_hz):
            if self.broken:
                raise RuntimeError(f"{self.name} broke, as it was told to")
            async with self.bus.lock:
                stamp_ns = self.context.clock.now_ns()
                values = await self.read()
            for emission in self.record(values, stamp_ns):
                yield emission


class BrittleModbus(Brittle, ModbusDevice):
    """A Modbus unit behind such an adapter."""


class BrittleLine(Brittle, LineDevice):
    """A device that speaks in lines behind such an adapter."""


POINTS = [
    {"name": "value", "register": 0, "dtype": "uint16", "unit": "V"},
    {"name": "sp", "register": 1, "dtype": "uint16", "writable": True},
]


def modbus_config(server: ModbusServer, **changes: Any) -> ModbusConfig:
    """Return the table of a unit that may break."""
    given = {
        "adapter": "modbus",
        "host": server.host,
        "port": server.port,
        "rate_hz": 50.0,
        "points": POINTS,
        "read_timeout_s": 20.0,
        "on_failure": "warn",
    }
    return ModbusConfig.model_validate({**given, **changes})


@pytest.fixture
def server() -> Iterator[ModbusServer]:
    """Two Modbus units that number their answers."""
    with ModbusServer(units=(1, 2)) as running:
        running.count_at(0, unit=1)
        running.count_at(0, unit=2)
        yield running


@pytest.mark.usefixtures("soon")
class TestRealDevices:
    """Counterparts behind real sockets that go away and come back."""

    def test_a_modbus_server_that_is_switched_off_and_on(self, client: Client, server: ModbusServer) -> None:
        """The only device of the run is back: event, one gap, records numbered on, every value as served."""
        run = started(client, [BrittleModbus("d", modbus_config(server))])
        until(lambda: run.recorder.rows > 20)
        server.stop()
        until(lambda: "device_away" in kinds(run))
        server.start()
        until(lambda: "device_back" in kinds(run))
        before = run.recorder.rows
        until(lambda: run.recorder.rows > before + 20)
        result = stopped(run)
        assert (result.outcome, result.sealed) == (Outcome.ABORTED, True)
        check_whole(client, "d", absences=1)
        values = [int(row["d_value"]) for row in rows(client, "channels/d")]
        assert values == sorted(set(values))
        assert set(values) <= set(server.values_served(0, unit=1))
        [back] = told(client, "device_back")
        assert (back["severity"], back["source"]) == ("info", "d")
        assert " tries" in back["message"]
        [gap] = gaps_of(client, "channels/d")
        assert back["timestamp_ns"] == gap["end_ns"]

    def test_a_multimeter_that_is_switched_off_and_on_twice(self, client: Client) -> None:
        """A line device over TCP: each time one event and one gap of its own."""
        table = {
            "terminator": "\n",
            "queries": [
                {"send": "READ?", "pattern": "(?P<value>.*)", "fields": [{"name": "value", "unit": "V"}]}
            ],
        }
        with LineSimulator(ScpiModel()) as simulator:
            config = LineConfig.model_validate(
                {
                    "adapter": "serial_line",
                    "transport": "tcp",
                    "host": simulator.host,
                    "port": simulator.port,
                    "rate_hz": 50.0,
                    "read_timeout_s": 20.0,
                    "on_failure": "warn",
                    "table": table,
                }
            )
            run = started(client, [BrittleLine("d", config)])
            for times in (1, 2):
                before = run.recorder.rows
                until(lambda before=before: run.recorder.rows > before + 20)  # type: ignore[misc]
                simulator.stop()
                until(lambda times=times: kinds(run).count("device_failed") == times)  # type: ignore[misc]
                simulator.start()
                until(lambda times=times: kinds(run).count("device_back") == times)  # type: ignore[misc]
            assert stopped(run).outcome is Outcome.ABORTED
            said = [float(reply) for reply in simulator.replies("READ?")]
        check_whole(client, "d", absences=2)
        assert {row["d_value"] for row in rows(client, "channels/d")} <= set(said)

    def test_one_of_two_units_on_a_bus(self, client: Client, server: ModbusServer) -> None:
        """While one unit is away the other is read on: never closed, never called lost, without a gap."""
        broken = BrittleModbus("a", modbus_config(server, unit_id=1, read_timeout_s=2.0))
        works = BrittleModbus("b", modbus_config(server, unit_id=2))
        run = started(client, [broken, works])
        until(lambda: run.recorder.rows > 20)
        server.faults.silent_units = {1}
        until(lambda: broken.opens > 3)
        before = run.conductor.readings["b"]
        until(lambda: run.conductor.readings["b"] > before + 10)
        server.faults.silent_units = set()
        until(lambda: "device_back" in kinds(run))
        assert stopped(run).outcome is Outcome.ABORTED
        check_whole(client, "a", absences=1)
        check_whole(client, "b", absences=0)
        assert works.opens == 1
        assert {row["source"] for row in told(client, "device_failed")} == {"a"}
        assert told(client, "device_lost") == []

    def test_an_emergency_stop_while_a_neighbour_is_tried(self, client: Client, server: ModbusServer) -> None:
        """The try lets go of the bus: the safe state is reached at once, and nothing is tried behind it."""
        program = [{"command": "write", "arguments": {"point": "sp", "value": 0}}]
        safe = {"program": program, "deadline_s": 10.0}
        heater = BrittleModbus("a", modbus_config(server, unit_id=1, safe_state=safe))
        broken = BrittleModbus("b", modbus_config(server, unit_id=2, read_timeout_s=60, open_timeout_s=60))
        server.set(1, 600, unit=1)
        run = started(client, [heater, broken], guard=False)
        until(lambda: run.recorder.rows > 20)
        server.faults.silent_units = {2}
        broken.broken = True
        asked = len(server.requests)
        until(lambda: broken.opens > 1 and any(unit == 2 for unit, *_ in server.requests[asked:]))
        report = run.emergency_stop("fire", by="me")
        assert report.unsafe_devices == []
        assert server.get(1, unit=1) == 0
        opens, asked = broken.opens, len(server.requests)
        result = ended(run)
        assert (result.outcome, result.sealed, result.unsafe_devices) == (Outcome.ABORTED, True, [])
        assert broken.opens == opens
        assert [unit for unit, *_ in server.requests[asked:] if unit == 2] == []
        check_whole(client, "b", absences=1)
