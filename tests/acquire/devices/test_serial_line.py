"""Devices that speak in lines, against simulators behind TCP ports and pseudo-terminals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gapless.acquire.adapter import Adapter, Bus, StartContext
from gapless.acquire.clock import HostClock
from gapless.acquire.command import CommandStatus
from gapless.acquire.devices.serial_line import LineConfig, LineDevice
from gapless.acquire.emission import DeviceEvent, Emission, GapReport, SourceRecord
from gapless.errors import DeviceFault, DeviceUnreachable, UsageError
from gapless.testing.adapter_contract import AdapterContract, Question, order
from gapless.testing.line_models import AlicatModel, SartoriusModel, ScpiModel
from gapless.testing.line_simulator import LineSimulator

TALKER: dict[str, Any] = {
    "terminator": "\n",
    "stream": {"pattern": r"n=(?P<n>.*)", "fields": [{"name": "n", "dtype": "int64"}]},
    "commands": {
        name: {
            "send": name,
            "pattern": rf"{name} (?P<said>\d+)",
            "fields": [{"name": "said", "dtype": "int64"}],
        }
        for name in ("one", "two")
    },
}


def over_tcp(simulator: LineSimulator, table: Any, **changes: Any) -> LineConfig:
    """Return the table of a device at a simulator's TCP port."""
    place = {"transport": "tcp", "host": simulator.host, "port": simulator.port}
    return config(place, table, **changes)


def over_serial(simulator: LineSimulator, table: Any, **changes: Any) -> LineConfig:
    """Return the table of a device on a simulator's pseudo-terminal."""
    return config({"transport": "serial", "port": simulator.path}, table, **changes)


def config(place: dict[str, Any], table: Any, **changes: Any) -> LineConfig:
    """Return a device's table with short timeouts."""
    given = {"adapter": "serial_line", "rate_hz": 100.0, "read_timeout_s": 0.5, "table": table}
    return LineConfig.model_validate({**given, **place, **changes})


def with_device(device: LineDevice, use: Callable[[LineDevice], Awaitable[Any]]) -> Any:
    """Open a device, use it, close it."""

    async def main() -> Any:
        await device.open()
        try:
            return await use(device)
        finally:
            await device.close()

    return asyncio.run(asyncio.wait_for(main(), 60))


async def record(device: LineDevice, enough: Callable[[list[Emission]], bool]) -> list[Emission]:
    """Run a device until there is enough."""
    emissions: list[Emission] = []
    await device.start(StartContext(HostClock(), "r", recording_enabled=False))
    async for emission in device.stream():
        emissions.append(emission)
        if enough(emissions):
            await device.stop()
    return emissions


def values_of(emissions: list[Emission], column: int = 0) -> list[Any]:
    """Return one column of the records."""
    return [emission.values[column] for emission in emissions if isinstance(emission, SourceRecord)]


def count_of(emissions: list[Emission]) -> int:
    """Return how many records there are."""
    return len(values_of(emissions))


class LineContract(AdapterContract):
    """What all simulated devices have in common."""

    simulator: LineSimulator

    @contextmanager
    def slow(self) -> Iterator[float]:
        """Answer late."""
        self.simulator.faults.delay_s = 0.3
        yield 0.3
        self.simulator.faults.delay_s = 0.0

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Say nothing."""
        self.simulator.faults.silent = True
        yield
        self.simulator.faults.silent = False

    def cut(self) -> None:
        """Switch it off."""
        self.simulator.stop()

    def mend(self) -> None:
        """Switch it on."""
        self.simulator.start()


class TestContractAlicat(LineContract):
    """A mass flow controller behind a TCP port."""

    @pytest.fixture(autouse=True)
    def _served(self) -> Iterator[None]:
        with LineSimulator(AlicatModel(), terminator="\r") as self.simulator:
            yield

    def make_adapter(self) -> Adapter:
        """Return the controller."""
        return LineDevice("a", over_tcp(self.simulator, "alicat"))

    def make_unreachable(self) -> Adapter:
        """Return one at a port where nobody listens."""
        self.simulator.stop()
        return self.make_adapter()

    def connections(self) -> int:
        """Return what the simulator counted."""
        return self.simulator.connections

    def questions(self) -> Sequence[Question]:
        """Return two setpoints."""
        return [Question(order("setpoint", value=value), value) for value in (1.5, 2.5)]


class TestContractScpi(LineContract):
    """A multimeter on a serial port."""

    @pytest.fixture(autouse=True)
    def _served(self, tmp_path: Path) -> Iterator[None]:
        with LineSimulator(ScpiModel(), link=tmp_path / "tty") as self.simulator:
            yield

    def make_adapter(self) -> Adapter:
        """Return the multimeter."""
        return LineDevice("v", over_serial(self.simulator, "scpi_multimeter"))

    def make_unreachable(self) -> Adapter:
        """Return one that is switched off."""
        self.simulator.faults.silent = True
        return self.make_adapter()

    def questions(self) -> Sequence[Question]:
        """Return two ranges."""
        return [Question(order("range", value=value), value) for value in (1.0, 100.0)]


class TestContractSartorius(LineContract):
    """A balance on a serial port."""

    @pytest.fixture(autouse=True)
    def _served(self, tmp_path: Path) -> Iterator[None]:
        with LineSimulator(SartoriusModel(), terminator="\r\n", link=tmp_path / "tty") as self.simulator:
            yield

    def make_adapter(self) -> Adapter:
        """Return the balance, without the parity that a pseudo-terminal does not have."""
        return LineDevice("b", over_serial(self.simulator, "sartorius", parity="N"))

    def make_unreachable(self) -> Adapter:
        """Return one that is switched off."""
        self.simulator.faults.silent = True
        return self.make_adapter()

    def questions(self) -> Sequence[Question]:
        """Return orders that it follows without a word."""
        return [Question(order("tare"), None), Question(order("zero"), None)]


def talker(link: Path | None = None) -> LineSimulator:
    """Return a device that counts aloud 100 times a second and answers ``one`` and ``two``."""
    answers = {"one": "one 1", "two": "two 2"}
    return LineSimulator(answers.get, link=link, talk=lambda n: f"n={n}", talk_hz=100.0)


class TestContractTalker(LineContract):
    """A device that talks by itself, on a serial port."""

    @pytest.fixture(autouse=True)
    def _served(self, tmp_path: Path) -> Iterator[None]:
        with talker(tmp_path / "tty") as self.simulator:
            yield

    def make_adapter(self) -> Adapter:
        """Return the device."""
        return LineDevice("t", over_serial(self.simulator, TALKER))

    def make_unreachable(self) -> Adapter:
        """Return one that says nothing."""
        self.simulator.faults.silent = True
        return self.make_adapter()

    def questions(self) -> Sequence[Question]:
        """Return what it answers."""
        return [Question(order("one"), 1), Question(order("two"), 2)]


class TestAsked:
    """What is asked, and what comes of it."""

    def test_records_are_what_the_device_said(self) -> None:
        """Each frame that was served after the opening is one record, in order."""
        with LineSimulator(AlicatModel(), terminator="\r") as simulator:
            device = LineDevice("a", over_tcp(simulator, "alicat"))
            emissions = with_device(device, lambda d: record(d, lambda e: len(e) == 20))
            pressures = [float(said.split()[1]) for said in simulator.replies("A")]
        assert values_of(emissions) == pressures[1:]  # the first frame was the probe's
        assert values_of(emissions, 5) == ["Air"] * 20

    def test_a_query_may_be_rarer_than_the_others(self) -> None:
        """What is asked at every tenth poll is None in between."""
        with LineSimulator(ScpiModel()) as simulator:
            device = LineDevice("v", over_tcp(simulator, "scpi_multimeter"))
            emissions = with_device(device, lambda d: record(d, lambda e: len(e) == 21))
            assert len(simulator.replies("SYST:ERR?")) == 3
        assert values_of(emissions) == [n / 1000 for n in range(1, 22)]
        assert [n for n, code in enumerate(values_of(emissions, 1)) if code is not None] == [0, 10, 20]

    def test_it_says_who_answered(self) -> None:
        """The snapshot holds the identity that the device gave."""
        with LineSimulator(ScpiModel("4711")) as simulator:
            device = LineDevice("v", over_tcp(simulator, "scpi_multimeter"))
            snapshot = with_device(device, lambda d: d.snapshot())
        assert snapshot.facts["identity"]["serial"] == "4711"

    def test_two_units_share_a_line(self) -> None:
        """Each is asked by its own name over one connection."""
        models = [AlicatModel("A"), AlicatModel("B")]
        with LineSimulator(lambda line: models[0](line) or models[1](line), terminator="\r") as simulator:
            devices = [
                LineDevice(unit, over_tcp(simulator, "alicat", parameters={"unit_id": unit})) for unit in "AB"
            ]

            async def main() -> list[Any]:
                bus = Bus()
                for device in devices:
                    device.share(bus)
                    await device.open()
                await devices[1].command(order("setpoint", value=3.0))
                found = [(await device.read())[4] for device in devices]
                for device in devices:
                    await device.close()
                return found

            assert asyncio.run(asyncio.wait_for(main(), 60)) == [0.0, 3.0]
            assert simulator.connections == 1

    def test_the_wrong_instrument_is_not_opened(self) -> None:
        """A device that says who it is in words the table does not know is refused."""
        with LineSimulator(AlicatModel("*"), terminator="\n") as simulator:
            device = LineDevice("v", over_tcp(simulator, "scpi_multimeter"))
            with pytest.raises(DeviceUnreachable, match="not what its table says"):
                with_device(device, lambda d: d.read())


class TestFaults:
    """Replies that are none."""

    @pytest.mark.parametrize(
        ("fault", "words", "found"),
        [
            ("silent", "no reply within", ("nothing",)),
            ("garbage", "no ASCII", ("b'",)),
            # a connection that is reset may take with it what had arrived and was not read yet
            ("half", "the connection broke", ("b'A +", "nothing")),
        ],
    )
    def test_no_whole_reply_is_a_fault(self, fault: str, words: str, found: tuple[str, ...]) -> None:
        """Silence, noise and half a line say what was heard, and the next read is right again."""
        with LineSimulator(AlicatModel(), terminator="\r") as simulator:

            async def use(device: LineDevice) -> tuple[DeviceFault, Sequence[Any]]:
                setattr(simulator.faults, fault, True)
                with pytest.raises(DeviceFault) as caught:
                    await device.read()
                setattr(simulator.faults, fault, False)
                return caught.value, await device.read()

            error, after = with_device(LineDevice("a", over_tcp(simulator, "alicat")), use)
            assert words in error.message
            assert str(error.found).startswith(found)
            assert after[0] == float(simulator.replies("A")[-1].split()[1])

    def test_half_a_line_that_stays_open_is_a_fault(self, tmp_path: Path) -> None:
        """On a serial port nobody hangs up: the timeout tells what came."""
        with LineSimulator(AlicatModel(), terminator="\r", link=tmp_path / "tty") as simulator:

            async def use(device: LineDevice) -> Sequence[Any]:
                simulator.faults.half = True
                with pytest.raises(DeviceFault, match="no reply within") as caught:
                    await device.read()
                assert "without an end of line" in str(caught.value.found)
                simulator.faults.half = False
                return await device.read()

            after = with_device(LineDevice("a", over_serial(simulator, "alicat")), use)
            assert after[0] == float(simulator.replies("A")[-1].split()[1])

    def test_a_late_reply_is_not_taken_for_the_next(self, tmp_path: Path) -> None:
        """A reply that comes after its query was given up answers nothing."""
        with LineSimulator(AlicatModel(), terminator="\r", link=tmp_path / "tty") as simulator:

            async def use(device: LineDevice) -> Sequence[Any]:
                simulator.faults.delay_s = 0.5
                with pytest.raises(DeviceFault, match=r"no reply within 0\.45 s"):
                    await device.read()
                simulator.faults.delay_s = 0.0
                return await device.read()

            after = with_device(LineDevice("a", over_serial(simulator, "alicat")), use)
            replies = [float(reply.split()[1]) for reply in simulator.replies("A")]
        assert after[0] == replies[-1]
        assert after[0] not in replies[:-1]  # the probe's, and the one that came too late

    def test_what_was_said_unasked_is_thrown_away(self, tmp_path: Path) -> None:
        """A line that came before the question is not its answer."""
        with LineSimulator(AlicatModel(), terminator="\r", link=tmp_path / "tty") as simulator:
            device = LineDevice("a", over_serial(simulator, "alicat"))

            def once(_: int) -> str:
                simulator.talk = None  # a second line could come between a question and its answer
                return "A nonsense"

            async def use(device: LineDevice) -> Sequence[Any]:
                inbox = device.bus.connection.inbox
                simulator.talk = once
                deadline_s = time.monotonic() + 60
                while not inbox.lines:
                    assert time.monotonic() < deadline_s
                    await asyncio.sleep(0.01)
                return await device.read()

            assert with_device(device, use)[1] == 25.0

    def test_a_denied_setpoint_is_a_failure(self) -> None:
        """A controller that answers with another setpoint has not obeyed."""
        model = AlicatModel()
        with LineSimulator(
            lambda line: model("A") if line.startswith("AS") else model(line), terminator="\r"
        ) as simulator:
            device = LineDevice("a", over_tcp(simulator, "alicat"))
            result = with_device(device, lambda d: d.command(order("setpoint", value=2.0)))
        assert result.status is CommandStatus.FAILED
        assert "does not confirm value" in result.message

    def test_a_lost_device_obeys_and_is_closed(self) -> None:
        """A command makes the connection that a failed poll dropped, and closing ends that one too."""
        with LineSimulator(AlicatModel(), terminator="\r") as simulator:
            device = LineDevice("a", over_tcp(simulator, "alicat"))

            async def use(device: LineDevice) -> Any:
                await device.close()
                return await device.command(order("setpoint", value=1.5))

            assert with_device(device, use).status is CommandStatus.DONE
            assert simulator.connections == 2
        assert (device.bus.users, device.bus.connection) == (0, None)

    @pytest.mark.parametrize("value", [-1.0, float("inf"), "2", True, None])
    def test_an_argument_out_of_range_is_refused(self, value: Any) -> None:
        """Nothing is sent."""
        with LineSimulator(AlicatModel(), terminator="\r") as simulator:
            device = LineDevice("a", over_tcp(simulator, "alicat"))
            with pytest.raises(UsageError, match="value"):
                device.check_arguments("setpoint", {"value": value})
            result = with_device(device, lambda d: d.command(order("setpoint", value=value)))
            assert result.status is CommandStatus.REFUSED
            assert {exchange.heard for exchange in simulator.served} == {"A"}


class TestTalking:
    """A device that talks by itself."""

    def test_every_line_is_a_record(self) -> None:
        """Between the first and the last record no line is missing, and each has its own stamp."""
        with talker() as simulator:
            device = LineDevice("t", over_tcp(simulator, TALKER))
            emissions = with_device(device, lambda d: record(d, lambda e: len(e) >= 50))
        numbers = values_of(emissions)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        stamps = [e.timestamp_ns for e in emissions if isinstance(e, SourceRecord)]
        assert stamps == sorted(stamps)

    def test_commands_lose_no_line(self) -> None:
        """What the device says while a command is answered is recorded too."""
        with talker() as simulator:
            device = LineDevice("t", over_tcp(simulator, TALKER))

            async def use(device: LineDevice) -> list[Emission]:
                running = asyncio.create_task(record(device, lambda e: count_of(e) >= 60))
                for _ in range(10):
                    result = await device.command(order("two"))
                    assert (result.status, result.value) == (CommandStatus.DONE, 2)
                    await asyncio.sleep(0.02)
                return await running

            numbers = values_of(with_device(device, use))
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))

    def test_noise_is_a_counted_gap(self) -> None:
        """A line that makes no sense is an event and a gap of one, and the connection stays."""
        with LineSimulator(
            lambda line: None, talk=lambda n: "n=x" if n == 30 else f"n={n}", talk_hz=100.0
        ) as simulator:
            device = LineDevice("t", over_tcp(simulator, TALKER))
            emissions = with_device(device, lambda d: record(d, lambda e: 35 in values_of(e)))
            assert simulator.connections == 1
        (gap,) = [e for e in emissions if isinstance(e, GapReport)]
        assert gap.records == 1
        numbers = values_of(emissions)
        assert numbers == [n for n in range(numbers[0], numbers[-1] + 1) if n != 30]
        assert [e.kind for e in emissions if isinstance(e, DeviceEvent)] == ["device_lost", "device_back"]

    def test_silence_is_a_gap_of_unknown_size(self) -> None:
        """Nobody knows what a silent device would have said."""
        with talker() as simulator:
            device = LineDevice("t", over_tcp(simulator, TALKER))

            def enough(emissions: list[Emission]) -> bool:
                kinds = [e.kind for e in emissions if isinstance(e, DeviceEvent)]
                simulator.faults.silent = count_of(emissions) >= 5 and "device_lost" not in kinds
                return "device_back" in kinds

            emissions = with_device(device, lambda d: record(d, enough))
        (gap,) = [e for e in emissions if isinstance(e, GapReport)]
        assert gap.records is None
        assert "nothing was said for 0.5 s" in gap.cause


class TestConfig:
    """What a device's table may not say."""

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"table": "nothing"}, "no table is called 'nothing'; there are: alicat"),
            ({"table": "watlow_pm"}, "takes tables of kind 'line'"),
            ({"table": "./none.toml"}, "there is no table ./none.toml"),
            ({"parameters": {"color": "red"}}, "no parameter color"),
            ({"transport": "tcp"}, "transport tcp needs a host"),
            ({"host": "x"}, "host: transport serial makes no use of it"),
            ({"port": 5}, "a path such as /dev/ttyUSB0"),
            (
                {"transport": "tcp", "host": "x", "port": 1, "parity": "E"},
                "parity: transport tcp makes no use",
            ),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, changes: dict[str, Any], words: str) -> None:
        """With words that name it."""
        with pytest.raises(ValidationError, match=words):
            config({"port": "/dev/x"}, **{"table": "alicat", **changes})

    def test_the_settings_are_the_tables_unless_given(self) -> None:
        """A balance is odd parity by its table; the device's table may say otherwise."""
        usual = config({"port": "/dev/x"}, "sartorius")
        own = config({"port": "/dev/x"}, "sartorius", parity="N", baudrate=1200)
        assert usual.settings == ("line", "serial", b"\r\n", "/dev/x", 9600, 8, "O", 1)
        assert own.settings == ("line", "serial", b"\r\n", "/dev/x", 1200, 8, "N", 1)

    def test_a_dumped_table_is_the_same_device(self) -> None:
        """The configuration as run holds the whole table, and makes the same device without the file."""
        given = config({"port": "/dev/x"}, "alicat")
        assert LineConfig.model_validate(given.model_dump()) == given
