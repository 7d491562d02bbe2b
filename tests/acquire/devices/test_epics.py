"""EPICS Channel Access against a real server: the contract, kinds of values, alarms, a server that is killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.acquire.devices.brokers import free_port

from gapless.acquire.adapter import Adapter
from gapless.acquire.command import CommandStatus
from gapless.acquire.devices.epics import EpicsConfig, EpicsDevice, PvField
from gapless.acquire.emission import ChannelSample, GapReport, SampleStatus, SourceRecord
from gapless.errors import DeviceFault
from gapless.testing.adapter_contract import AdapterContract, Observed, Question, order

_WAIT_S = 30.0
_IOC = Path(__file__).with_name("epics_ioc.py")


class Ioc:
    """The server, in a process of its own, which nobody outside of the test can find."""

    def __init__(self) -> None:
        self.environment = {
            "EPICS_CA_ADDR_LIST": "127.0.0.1",
            "EPICS_CA_AUTO_ADDR_LIST": "NO",
            "EPICS_CA_SERVER_PORT": str(free_port()),
            "EPICS_CA_REPEATER_PORT": str(free_port()),
            "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
            "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
            "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, unless it runs already, and wait until it serves."""
        if self._process is not None:
            return
        self._process = subprocess.Popen(
            [sys.executable, _IOC], stdout=subprocess.PIPE, env=os.environ | self.environment
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=_WAIT_S)
            self._process = None


@pytest.fixture(scope="module")
def shared_ioc() -> Iterator[Ioc]:
    """Return a server for all tests that do not kill it."""
    ioc = Ioc()
    ioc.start()
    yield ioc
    ioc.kill()


@pytest.fixture
def ioc(shared_ioc: Ioc, monkeypatch: pytest.MonkeyPatch) -> Ioc:
    """Return the server, with the environment that finds it."""
    for name, value in shared_ioc.environment.items():
        monkeypatch.setenv(name, value)
    return shared_ioc


@pytest.fixture
def own_ioc(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ioc]:
    """Return a server that may be killed."""
    ioc = Ioc()
    for name, value in ioc.environment.items():
        monkeypatch.setenv(name, value)
    ioc.start()
    yield ioc
    ioc.kill()


def variable(name: str, dtype: Any = "float64", **more: Any) -> PvField:
    """Return one of the server's variables."""
    return PvField(name=name, pv=f"t:{name}", dtype=dtype, **more)


def device(*pvs: PvField, **more: Any) -> EpicsDevice:
    """Return a device on whatever server the environment finds."""
    return EpicsDevice("e", EpicsConfig(adapter="epics", pvs=pvs or (variable("i"),), **more))


def named(adapter: Adapter, record: SourceRecord) -> dict[str, Any]:
    """Return a record's values by column, without those that are null."""
    pairs = zip(adapter.fields(), record.values, strict=True)
    return {field.name: value for field, value in pairs if value is not None}


class TestEpicsContract(AdapterContract):
    """A Channel Access client keeps what every device promises."""

    @pytest.fixture(autouse=True)
    def _served(self, own_ioc: Ioc) -> None:
        self.ioc = own_ioc

    def make_adapter(self) -> Adapter:
        """Return a client of the server."""
        return device(variable("i"), variable("mode", "string"), variable("count", "int64"))

    def make_unreachable(self) -> Adapter:
        """Return a client of a variable that nobody has."""
        return device(variable("i"), variable("nowhere"), open_timeout_s=1)

    def questions(self) -> Sequence[Question]:
        """Return two variables that do not change."""
        return [Question(order("read", pv="mode"), "auto"), Question(order("read", pv="count"), 7)]

    def cut(self) -> None:
        """Kill the server."""
        self.ioc.kill()

    def mend(self) -> None:
        """Start the server again."""
        self.ioc.start()


class Bench(AdapterContract):
    """The waits of the contract, for scenarios of this module; collects no tests of its own."""

    __test__ = False

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter

    def make_adapter(self) -> Adapter:
        """Return the device under test."""
        return self.adapter

    async def observed(self, adapter: Adapter, count: int) -> Observed:
        """Open a device and run it until there are so many records."""
        await adapter.open()
        observed = await self.begin(adapter)
        await self.wait_for(observed, count)
        await self.end(observed)
        return observed


EVERY_KIND = (
    variable("setpoint"),
    variable("count", "int64"),
    PvField(name="mode", pv="t:mode", dtype="string"),
    variable("label", "string"),
    variable("note", "string"),
    variable("wave", length=3),
    variable("broken"),
)


def test_every_kind_of_variable_has_its_value_time_and_alarm(ioc: Ioc) -> None:
    """One variable a record; a value of severity invalid is null and its sample DEVICE_INVALID."""
    before_ns = time.time_ns()
    adapter = device(*EVERY_KIND)
    waits = Bench(adapter)
    observed = waits.run(lambda opened: waits.observed(opened, len(EVERY_KIND)))
    whole: dict[str, Any] = {}
    for record in observed.records:
        given = named(adapter, record)
        assert len({name.partition("_")[0] for name in given}) == 1
        whole |= given
    assert {name: whole.get(name) for name in ("setpoint", "count", "mode", "label", "wave", "broken")} == {
        "setpoint": 20.0,
        "count": 7,
        "mode": "auto",
        "label": "mixer",
        "wave": [1.0, 2.0, 3.0],
        "broken": None,
    }
    assert whole["note"] == "a text of more than forty characters, as records have them"
    assert (whole["count_severity"], whole["count_status"]) == (0, 0)
    assert (whole["broken_severity"], whole["broken_status"]) == (3, 1)
    assert before_ns - 600 * 10**9 < whole["setpoint_ioc_ns"] < time.time_ns()
    names = [field.name for field in adapter.fields()]
    (sample,) = [s for s in observed.of(ChannelSample) if names[int(s.channel[1:])] == "broken"]
    assert (sample.value, sample.status) == (None, int(SampleStatus.DEVICE_INVALID))


def test_changes_are_neither_lost_nor_turned_round(ioc: Ioc) -> None:
    """A counter is there number by number."""
    adapter = device()
    waits = Bench(adapter)
    observed = waits.run(lambda opened: waits.observed(opened, 40))
    values = [named(adapter, record)["i"] for record in observed.records]
    assert values == [values[0] + n for n in range(len(values))]


def test_a_value_of_another_kind_is_null_and_told_once(ioc: Ioc) -> None:
    """A waveform where three were not promised."""
    adapter = device(variable("wave", length=2), variable("i"))
    waits = Bench(adapter)
    observed = waits.run(lambda opened: waits.observed(opened, 3))
    (event,) = observed.events("value_refused")
    assert event.data == {"pv": "t:wave", "found": "3"}
    assert all("wave" not in named(adapter, record) for record in observed.records)


def test_commands_put_and_read(ioc: Ioc) -> None:
    """Done when the server has processed it; the server's no is a failure, nonsense is refused."""
    adapter = device(*EVERY_KIND, variable("guarded"))

    async def scenario(opened: Adapter) -> None:
        await opened.open()

        async def give(name: str, **arguments: Any) -> tuple[CommandStatus, Any]:
            result = await opened.command(order(name, 2.0, **arguments))
            return result.status, result.value

        done, refused, failed = CommandStatus.DONE, CommandStatus.REFUSED, CommandStatus.FAILED
        assert await give("put", pv="setpoint", value=42) == (done, None)
        assert await give("read", pv="setpoint") == (done, 42.0)
        assert await give("put", pv="setpoint", value=20.0) == (done, None)
        assert await give("put", pv="mode", value="manual") == (done, None)
        assert await give("read", pv="mode") == (done, "manual")
        assert await give("put", pv="mode", value=1) == (done, None)
        assert await give("put", pv="wave", value=[1.0, 2.0, 4.0]) == (done, None)
        assert await give("read", pv="wave") == (done, [1.0, 2.0, 4.0])
        assert await give("put", pv="wave", value=[1.0, 2.0, 3.0]) == (done, None)
        assert await give("put", pv="label", value="stirrer") == (done, None)
        assert await give("read", pv="label") == (done, "stirrer")
        assert await give("put", pv="label", value="mixer") == (done, None)
        assert await give("put", pv="guarded", value=11.0) == (failed, None)
        assert await give("put", pv="setpoint", value="hot") == (refused, None)
        assert await give("put", pv="t:setpoint", value=1.0) == (refused, None)

    Bench(adapter).run(scenario)


def test_a_command_while_the_server_is_away_fails(own_ioc: Ioc) -> None:
    """It is answered, and not kept for later."""
    adapter = device()
    waits = Bench(adapter)

    async def scenario(opened: Adapter) -> None:
        await opened.open()
        observed = await waits.begin(opened)
        await waits.wait_for(observed, 1)
        own_ioc.kill()
        await waits.until(lambda: bool(observed.events("device_lost")), "the loss")
        result = await opened.command(order("put", 5.0, pv="i", value=1.0))
        assert result.status is CommandStatus.FAILED
        await waits.end(observed)
        assert len(observed.of(GapReport)) == 1

    waits.run(scenario)


def test_a_defect_ends_the_stream(ioc: Ioc) -> None:
    """What the library's threads would keep to themselves is raised out of the stream."""

    class Defective(EpicsDevice):
        """Breaks at every change."""

        def deliver(self, values: Sequence[Any], timestamp_ns: int | None = None) -> bool:
            """Break."""
            raise ZeroDivisionError

    adapter = Defective("e", device().config)
    waits = Bench(adapter)

    async def scenario(opened: Adapter) -> None:
        await opened.open()
        observed = await waits.begin(opened)
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(_WAIT_S):
                await observed.task
        await opened.stop()

    waits.run(scenario)


def test_connections_that_do_not_end_are_left_after_a_deadline(
    ioc: Ioc, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What holds a thread of the library up fails the closing with a typed error; nothing waits for ever."""
    monkeypatch.setattr("gapless.acquire.devices.epics_client._HANG_UP_S", 0.2)
    entered, released = threading.Event(), threading.Event()

    class Stuck(EpicsDevice):
        """Keeps the library's thread at the first change."""

        def deliver(self, values: Sequence[Any], timestamp_ns: int | None = None) -> bool:
            """Wait to be released."""
            entered.set()
            return released.wait(_WAIT_S) and super().deliver(values, timestamp_ns)

    adapter = Stuck("e", device().config)
    waits = Bench(adapter)

    async def scenario(opened: Adapter) -> None:
        await opened.open()
        observed = await waits.begin(opened)
        assert await asyncio.to_thread(entered.wait, _WAIT_S)
        try:
            with pytest.raises(DeviceFault, match="do not end"):
                await opened.close()
        finally:
            released.set()
        await waits.end(observed)
        await waits.until(lambda: "e-hang-up" not in _threads(), "the end of the threads")

    waits.run(scenario)


def _threads() -> str:
    return " ".join(thread.name for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("pvs", "words"),
    [
        ([], "at least 1"),
        ([{"name": "a", "pv": "x"}, {"name": "b", "pv": "x"}], "two variables are called x"),
        ([{"name": "a", "pv": "x"}, {"name": "a_status", "pv": "y"}], "two columns are called a_status"),
    ],
)
def test_a_config_that_means_nothing_is_refused(pvs: Any, words: str) -> None:
    """With words for the person who wrote it."""
    with pytest.raises(ValidationError, match=words):
        EpicsConfig(adapter="epics", pvs=pvs)
