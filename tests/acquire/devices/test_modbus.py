"""Modbus devices against pymodbus's own server, over TCP and over a serial line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import ValidationError

from gapless.acquire.adapter import Adapter, Bus, StartContext
from gapless.acquire.clock import HostClock
from gapless.acquire.command import CommandStatus
from gapless.acquire.devices.modbus import ModbusConfig, ModbusDevice
from gapless.acquire.emission import DeviceEvent, Emission, SourceRecord
from gapless.errors import DeviceFault, DeviceUnreachable, ResourceConflict, UsageError
from gapless.testing.adapter_contract import AdapterContract, Question, order
from gapless.testing.modbus_server import ModbusServer

from .conftest import NullModem

POINTS: list[dict[str, Any]] = [
    {"name": "count", "register": 0},
    {"name": "pv", "register": 1, "dtype": "float32", "unit": "degC", "word_order": "little"},
    {"name": "sp", "register": 3, "dtype": "float32", "unit": "degC", "writable": True, "verify": True},
    {"name": "level", "register": 9, "dtype": "int16", "scale": 0.5, "offset": 1.0, "unit": "mm"},
    {"name": "pump", "register": 5, "kind": "coil", "dtype": "bool", "writable": True},
]


@pytest.fixture
def server() -> Iterator[ModbusServer]:
    """Return a server on a port of its own whose first register counts the reads."""
    with ModbusServer() as running:
        running.count_at(0)
        yield running


def config(server: ModbusServer, **changes: Any) -> ModbusConfig:
    """Return the table of a unit at a server."""
    given = {
        "adapter": "modbus",
        "host": server.host,
        "port": server.port,
        "rate_hz": 100.0,
        "points": POINTS,
    }
    return ModbusConfig.model_validate({**given, "read_timeout_s": 0.5, **changes})


def with_device(device: Adapter, use: Callable[[Adapter], Awaitable[Any]]) -> Any:
    """Open a device, use it, close it."""

    async def main() -> Any:
        await device.open()
        try:
            return await use(device)
        finally:
            await device.close()

    return asyncio.run(asyncio.wait_for(main(), 60))


async def values(device: Any) -> list[Any]:
    """Read one record's values."""
    return list(await device.read())


class ModbusContract(AdapterContract):
    """What both transports have in common."""

    server: ModbusServer

    def questions(self) -> Sequence[Question]:
        """Return reads of two registers, and a write."""
        self.server.set(9, 40)
        return [
            Question(order("read", point="level"), 21.0),
            Question(order("read", point="pump"), answer=False),
            Question(order("write", point="sp", value=21.5), None),
        ]

    @contextmanager
    def slow(self) -> Iterator[float]:
        """Answer late."""
        self.server.faults.delay_s = 0.3
        yield 0.3
        self.server.faults.delay_s = 0.0

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Do not answer."""
        self.server.faults.silent = True
        yield
        self.server.faults.silent = False


class TestContractTcp(ModbusContract):
    """The contract over TCP."""

    @pytest.fixture(autouse=True)
    def _served(self, server: ModbusServer) -> None:
        self.server = server

    def make_adapter(self) -> Adapter:
        """Return a unit of the server."""
        return ModbusDevice("m", config(self.server))

    def make_unreachable(self) -> Adapter:
        """Return a unit at a port where nobody listens."""
        self.server.stop()
        return ModbusDevice("m", config(self.server, open_timeout_s=2))

    def connections(self) -> int:
        """Return what the server counted."""
        return self.server.connections

    def cut(self) -> None:
        """Stop the server."""
        self.server.stop()

    def mend(self) -> None:
        """Start it again."""
        self.server.start()


class TestContractRtu(ModbusContract):
    """The contract over a serial line."""

    @pytest.fixture(autouse=True)
    def _served(self, null_modem: NullModem) -> Iterator[None]:
        self.modem = null_modem
        self.server = ModbusServer(serial_port=str(null_modem.far))
        self.server.start()
        yield
        self.server.stop()

    def make_adapter(self) -> Adapter:
        """Return a unit at the near end."""
        return ModbusDevice("m", config(self.server, transport="rtu", host=None, port=str(self.modem.near)))

    def make_unreachable(self) -> Adapter:
        """Return a unit that is not on the line."""
        self.server.faults.silent = True
        return self.make_adapter()

    def cut(self) -> None:
        """Pull the adapter."""
        self.server.stop()
        self.modem.unplug()

    def mend(self) -> None:
        """Plug it in again."""
        self.modem.plug()
        self.server.start()


class TestReading:
    """What is asked and what comes of it."""

    def test_neighbours_are_read_at_once(self, server: ModbusServer) -> None:
        """Five points in three places cost three requests a poll, and none is read twice."""
        device = ModbusDevice("m", config(server))

        async def use(device: Any) -> None:
            server.requests.clear()
            for _ in range(4):
                await device.read()

        with_device(device, use)
        assert server.requests == [(1, 1, 5, 1), (1, 3, 0, 5), (1, 3, 9, 1)] * 4

    def test_a_gap_may_be_read_over(self, server: ModbusServer) -> None:
        """With max_gap the four unused registers are read too, in one request less."""
        device = ModbusDevice("m", config(server, max_gap=4))

        async def use(device: Any) -> list[Any]:
            server.requests.clear()
            server.set(9, 0xFFFE)
            return await values(device)

        assert with_device(device, use)[3] == 0.0
        assert server.requests == [(1, 1, 5, 1), (1, 3, 0, 10)]

    def test_values_are_what_the_server_served(self, server: ModbusServer) -> None:
        """The counting register of each record is one that the server says it served, in order."""
        device = ModbusDevice("m", config(server))
        emissions: list[Emission] = []

        async def use(device: Any) -> None:
            await device.start(StartContext(HostClock(), "r", recording_enabled=False))
            async for emission in device.stream():
                emissions.append(emission)
                if len(emissions) == 20:
                    await device.stop()

        with_device(device, use)
        seen = [emission.values[0] for emission in emissions if isinstance(emission, SourceRecord)]
        assert seen == list(range(1, 21))
        assert seen == server.values_served(0)

    def test_the_columns_say_what_the_points_are(self, server: ModbusServer) -> None:
        """A scaled integer is a float, the others are what they are on the wire."""
        fields = ModbusDevice("m", config(server)).fields()
        assert [(f.name, f.dtype, f.unit) for f in fields] == [
            ("count", "uint16", None),
            ("pv", "float32", "degC"),
            ("sp", "float32", "degC"),
            ("level", "float64", "mm"),
            ("pump", "bool", None),
        ]


class TestWriting:
    """Commands and what the registers then hold."""

    def test_a_write_arrives(self, server: ModbusServer) -> None:
        """The float's words stand in the order that the point says, and the coil is set."""

        async def use(device: Any) -> list[Any]:
            return [
                await device.command(order("write", point="sp", value=-2.0)),
                await device.command(order("write", point="pump", value=True)),
                await device.command(order("read", point="sp")),
            ]

        results = with_device(ModbusDevice("m", config(server)), use)
        assert [result.status for result in results] == [CommandStatus.DONE] * 3
        assert results[2].value == -2.0
        assert (server.get(3), server.get(4)) == (0xC000, 0)
        assert server.get(5, kind="coil") == 1

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"point": "count", "value": 1}, "not writable"),
            ({"point": "nothing", "value": 1}, "no point is called 'nothing'"),
            ({"point": "sp", "value": "hot"}, "takes a finite number"),
            ({"point": "sp", "value": float("nan")}, "takes a finite number"),
            ({"point": "sp", "value": 101.0}, "outside what point 'sp' may be set to"),
            ({"point": "sp", "value": True}, "takes a finite number"),
            ({"point": "pump", "value": 1}, "true or false"),
            ({"point": "word", "value": 70_000}, "cannot hold the value"),
            ({"point": "word", "value": 1.5}, "takes whole numbers"),
        ],
    )
    def test_what_cannot_be_written_is_refused(
        self, server: ModbusServer, arguments: dict[str, Any], words: str
    ) -> None:
        """Nothing reaches the device."""
        points = [
            *(point for point in POINTS if point["name"] != "sp"),
            {"name": "sp", "register": 3, "dtype": "float32", "writable": True, "low": 0, "high": 100},
            {"name": "word", "register": 20, "writable": True},
        ]

        async def use(device: Any) -> Any:
            return await device.command(order("write", **arguments))

        device = ModbusDevice("m", config(server, points=points))
        with pytest.raises(UsageError, match=words):
            device.check_arguments("write", arguments)
        result = with_device(device, use)
        assert result.status is CommandStatus.REFUSED
        assert words in result.message
        assert not [entry for entry in server.served if entry.is_write]

    def test_a_write_that_does_not_take_is_a_failure(self, server: ModbusServer) -> None:
        """A device that confirms and keeps the old value is found out by reading back."""
        server.behave = lambda server: server.set(3, 0, 0)

        async def use(device: Any) -> Any:
            return await device.command(order("write", point="sp", value=5.0))

        result = with_device(ModbusDevice("m", config(server)), use)
        assert result.status is CommandStatus.FAILED
        assert "does not hold what was written" in result.message


class TestFaults:
    """Answers that are none."""

    @pytest.mark.parametrize(
        ("fault", "words", "found"),
        [
            ("silent", "no answer within", "nothing"),
            ("garbage", "no answer within", "the bytes "),
            ("half", "the connection was closed", "the bytes 00 0"),
        ],
    )
    def test_no_whole_answer_is_a_fault(
        self, server: ModbusServer, fault: str, words: str, found: str
    ) -> None:
        """Silence, noise and half a frame say what was heard, and the next read is right again."""

        async def use(device: Any) -> tuple[DeviceFault, list[Any]]:
            setattr(server.faults, fault, True)
            with pytest.raises(DeviceFault) as caught:
                await device.read()
            setattr(server.faults, fault, False)
            return caught.value, await values(device)

        error, after = with_device(ModbusDevice("m", config(server)), use)
        assert words in error.message
        assert str(error.found).startswith(found)
        assert after[0] == server.values_served(0)[-1]

    def test_a_refusal_is_told_by_its_name(self, server: ModbusServer) -> None:
        """An exception response is a fault that names the exception, and the connection stays."""

        async def use(device: Any) -> Any:
            server.faults.exceptions.add(9)
            with pytest.raises(DeviceFault, match=r"exception 2 \(illegal address\)"):
                await device.read()
            server.faults.exceptions.clear()
            return await values(device)

        with_device(ModbusDevice("m", config(server)), use)
        assert server.connections == 1

    def test_a_late_answer_on_a_serial_line_is_thrown_away(self, null_modem: NullModem) -> None:
        """An answer that comes after its request was given up does not answer the next one."""
        with ModbusServer(serial_port=str(null_modem.far)) as server:
            server.count_at(0)
            near = {"transport": "rtu", "host": None, "port": str(null_modem.near)}

            async def use(device: Any) -> list[Any]:
                server.faults.delay_s = 0.5
                with pytest.raises(DeviceFault, match=r"no answer within 0\.45 s"):
                    await device.read()
                server.faults.delay_s = 0.0
                return await values(device)

            after = with_device(ModbusDevice("m", config(server, points=POINTS[:1], **near)), use)
            assert server.values_served(0) == [1, 2, 3]
            assert after == [3]


class TestSharing:
    """Two units on one connection."""

    def test_units_share_a_connection(self) -> None:
        """The first opens it, the last closes it, and each reads its own registers."""
        with ModbusServer(units=(1, 2)) as server:
            server.set(9, 2, unit=1)
            server.set(9, 4, unit=2)
            bus = Bus()
            devices = [ModbusDevice(f"m{unit}", config(server, unit_id=unit)) for unit in (1, 2)]

            async def main() -> list[Any]:
                for device in devices:
                    device.share(bus)
                    await device.open()
                found = [(await values(device))[3] for device in devices]
                await devices[0].close()
                found.append((await values(devices[1]))[3])
                await devices[1].close()
                return found

            assert asyncio.run(asyncio.wait_for(main(), 60)) == [2.0, 3.0, 3.0]
            assert server.connections == 1
            assert bus.users == 0
            assert bus.connection is None

    def test_a_dead_unit_does_not_silence_its_neighbour(self) -> None:
        """While one unit does not answer, the other is not called lost and gives its own values."""
        with ModbusServer(units=(1, 2)) as server:
            server.set(9, 4, unit=2)
            bus = Bus()
            dead, alive = (
                ModbusDevice(f"m{unit}", config(server, unit_id=unit, rate_hz=20, read_timeout_s=timeout_s))
                for unit, timeout_s in ((1, 1.0), (2, 0.5))
            )
            kept: list[Emission] = []
            lost: list[DeviceEvent] = []

            async def follow(device: ModbusDevice) -> None:
                async for emission in device.stream():
                    if device is alive:
                        kept.append(emission)
                    elif isinstance(emission, DeviceEvent):
                        lost.append(emission)

            async def main() -> None:
                for device in (dead, alive):
                    device.share(bus)
                    await device.open()
                    await device.start(StartContext(HostClock(), "r", recording_enabled=False))
                server.faults.silent_units.add(1)
                tasks = [asyncio.create_task(follow(device)) for device in (dead, alive)]
                while not lost or sum(isinstance(item, SourceRecord) for item in kept) < 20:
                    await asyncio.sleep(0.02)
                for device in (dead, alive):
                    await device.stop()
                await asyncio.gather(*tasks)
                for device in (dead, alive):
                    await device.close()

            asyncio.run(asyncio.wait_for(main(), 60))
            assert all(isinstance(item, SourceRecord) for item in kept)
            assert {item.values[3] for item in kept if isinstance(item, SourceRecord)} == {3.0}

    def test_different_settings_on_one_port_are_refused(self, null_modem: NullModem) -> None:
        """Two devices that would open one port differently are a conflict, told when the second opens."""
        with ModbusServer(serial_port=str(null_modem.far), units=(1, 2)) as server:
            bus = Bus()
            near = {"transport": "rtu", "host": None, "port": str(null_modem.near)}
            first = ModbusDevice("a", config(server, **near))
            second = ModbusDevice("b", config(server, unit_id=2, baudrate=9600, **near))
            assert first.resource_id == second.resource_id

            async def main() -> None:
                for device in (first, second):
                    device.share(bus)
                await first.open()
                try:
                    with pytest.raises(ResourceConflict, match=r"open serial:.* differently"):
                        await second.open()
                finally:
                    await first.close()

            asyncio.run(asyncio.wait_for(main(), 60))

    def test_a_unit_that_is_not_there_is_unreachable(self, server: ModbusServer) -> None:
        """A server that answers for another unit only does not pass for the device."""
        server.faults.silent_units.add(1)

        async def main() -> None:
            device = ModbusDevice("m", config(server))
            with pytest.raises(DeviceUnreachable, match="'m' did not answer"):
                await device.open()
            assert device.bus.users == 0

        asyncio.run(asyncio.wait_for(main(), 60))


class TestConfig:
    """What a device's table may not say."""

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"host": None}, "transport tcp needs a host"),
            ({"port": "/dev/ttyUSB0"}, "a number from 1 to 65535"),
            ({"baudrate": 9600}, "baudrate: transport tcp makes no use of it"),
            ({"transport": "rtu", "port": "/dev/x"}, "host: transport rtu makes no use of it"),
            ({"transport": "rtu", "host": None, "port": 502}, "a path such as /dev/ttyUSB0"),
            ({"points": []}, "at least 1 item"),
            ({"points": [POINTS[0], POINTS[0]]}, "two points are called count"),
            ({"points": [{"name": "x", "register": 65_535, "dtype": "int32"}]}, "beyond register 65535"),
            (
                {"points": [{"name": "x", "register": 1, "kind": "input", "writable": True}]},
                "cannot be written",
            ),
            ({"points": [{"name": "x", "register": 1, "kind": "coil"}]}, "a coil point is bool"),
            ({"points": [{"name": "x", "register": 1, "verify": True}]}, "for writable points"),
            ({"points": [{"name": "x", "register": 1, "scale": 0}]}, "scale is not 0"),
            ({"table": "nothing"}, "no table is called 'nothing'; there are:"),
            ({"table": "alicat"}, "takes tables of kind 'modbus'"),
        ],
    )
    def test_what_makes_no_sense_is_refused(
        self, server: ModbusServer, changes: dict[str, Any], words: str
    ) -> None:
        """With words that name it."""
        with pytest.raises(ValidationError, match=words):
            config(server, **changes)

    def test_a_port_may_come_from_the_environment(self, server: ModbusServer) -> None:
        """A TCP port given as text is the port."""
        device = ModbusDevice("m", config(server, port=str(server.port)))
        assert with_device(device, values)[0] > 0
