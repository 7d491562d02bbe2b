"""OPC UA against a real server: the contract, statuses and times, commands, a server that is killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.acquire.devices.brokers import free_port
from tests.acquire.devices.opcua_server import MOMENT
from tests.acquire.devices.proxies import Proxy

from gapless.acquire.adapter import Adapter
from gapless.acquire.command import Command, CommandStatus
from gapless.acquire.devices.opcua import NodeField, OpcUaConfig, OpcUaDevice
from gapless.acquire.emission import ChannelSample, GapReport, SampleStatus, SourceRecord
from gapless.acquire.setpoints import Setpoints
from gapless.acquire.settings import SetpointSpec
from gapless.errors import DeviceFault
from gapless.testing.adapter_contract import AdapterContract, Observed, Question, order

_WAIT_S = 30.0
_SERVER = Path(__file__).with_name("opcua_server.py")
_BAD_SENSOR_FAILURE = 0x808C0000


class ServerProcess:
    """The server, in a process of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, unless it runs already, and wait until it serves."""
        if self._process is not None:
            return
        self._process = subprocess.Popen([sys.executable, _SERVER, str(self.port)], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=_WAIT_S)
            self._process = None


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """Return a server for all tests that do not kill it."""
    server = ServerProcess()
    server.start()
    yield server
    server.kill()


def place(name: str, dtype: Any = "float64") -> NodeField:
    """Return one of the server's nodes."""
    return NodeField(name=name, node=f"ns=2;s={name}", dtype=dtype)


def device(port: int, *nodes: NodeField, **more: Any) -> OpcUaDevice:
    """Return a device on a server that hears of changes fifty times a second."""
    given: dict[str, Any] = {"rate_hz": 50, "nodes": nodes or (place("i"),)}
    return OpcUaDevice("u", OpcUaConfig(adapter="opcua", url=f"opc.tcp://127.0.0.1:{port}/", **given | more))


def named(adapter: Adapter, record: SourceRecord) -> dict[str, Any]:
    """Return a record's values by column, without those that are null."""
    pairs = zip(adapter.fields(), record.values, strict=True)
    return {field.name: value for field, value in pairs if value is not None}


class TestOpcUaContract(AdapterContract):
    """A client that subscribes keeps what every device promises."""

    mode = "subscribe"

    @pytest.fixture(autouse=True)
    def _served(self, server: ServerProcess) -> Iterator[None]:
        self.proxy = Proxy(server.port)
        yield
        self.proxy.close()

    def make_adapter(self) -> Adapter:
        """Return a client of the server."""
        return device(self.proxy.port, mode=self.mode)

    def make_unreachable(self) -> Adapter:
        """Return a client of nobody."""
        return device(free_port())

    def connections(self) -> int:
        """Return what the proxy counted."""
        return self.proxy.connections

    def questions(self) -> Sequence[Question]:
        """Return two nodes that do not change."""
        return [
            Question(order("read", node="ns=2;s=mode"), "auto"),
            Question(order("read", node="ns=2;s=count"), 7),
        ]

    @contextmanager
    def slow(self) -> Iterator[float]:
        """Hold answers up."""
        self.proxy.delay_s = 0.3
        yield self.proxy.delay_s
        self.proxy.delay_s = 0.0

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Keep answers back."""
        self.proxy.is_silent = True
        yield
        self.proxy.is_silent = False

    def cut(self) -> None:
        """Break the connection."""
        self.proxy.cut()

    def mend(self) -> None:
        """Take connections again."""
        self.proxy.mend()


class TestOpcUaPollContract(TestOpcUaContract):
    """A client that polls keeps it too."""

    mode = "poll"


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


def test_each_change_is_a_record_of_one_node(server: ServerProcess) -> None:
    """Its value, the source's time and the status; a bad value is null and its sample DEVICE_INVALID."""
    adapter = device(server.port, place("mode", "string"), place("broken"), place("count", "int64"))
    waits = Bench(adapter)
    observed = waits.run(lambda opened: waits.observed(opened, 3))
    whole: dict[str, Any] = {}
    for record in observed.records:
        given = named(adapter, record)
        assert len({name.partition("_")[0] for name in given}) == 1
        whole |= given
    assert (whole["mode"], whole["mode_status"]) == ("auto", 0)
    assert (whole["count"], whole["count_status"]) == (7, 0)
    assert "broken" not in whole
    assert whole["broken_status"] == _BAD_SENSOR_FAILURE
    assert whole["broken_source_ns"] == int(MOMENT.timestamp()) * 10**9 + 250_000_000
    names = [field.name for field in adapter.fields()]
    samples = {names[int(s.channel[1:])]: s for s in observed.of(ChannelSample)}
    assert (samples["broken"].value, samples["broken"].status) == (None, int(SampleStatus.DEVICE_INVALID))
    assert (samples["count"].value, samples["count"].status) == (7.0, 0)


def test_a_poll_is_a_record_of_all_nodes(server: ServerProcess) -> None:
    """Every record has every node."""
    adapter = device(server.port, place("mode", "string"), place("i"), place("broken"), mode="poll")
    waits = Bench(adapter)
    observed = waits.run(lambda opened: waits.observed(opened, 4))
    for record in observed.records:
        assert named(adapter, record).keys() == {
            f"{name}{column}" for name in ("mode", "i", "broken") for column in ("", "_source_ns", "_status")
        } - {"broken"}
    values = [named(adapter, record)["i"] for record in observed.records]
    assert values == sorted(values)


def test_changes_are_neither_lost_nor_turned_round(server: ServerProcess) -> None:
    """A node that changes faster than the server reports: its queue holds the changes, and all are there."""
    adapter = device(server.port, rate_hz=5, queue_size=1000)
    waits = Bench(adapter)
    observed = waits.run(lambda opened: waits.observed(opened, 30))
    values = [named(adapter, record)["i"] for record in observed.records]
    assert values == sorted(values)
    assert not observed.of(GapReport)


def test_changes_that_the_server_dropped_are_a_gap(server: ServerProcess) -> None:
    """The server says so in the status of the first change that it kept; the value is good all the same."""
    adapter = device(server.port, place("overrun"))
    waits = Bench(adapter)
    observed = waits.run(lambda opened: waits.observed(opened, 1))
    (gap,) = observed.of(GapReport)
    assert (gap.cause, gap.records) == ("server_queue_full", None)
    assert observed.began_ns - 10**9 < gap.start_ns <= gap.end_ns == observed.records[0].timestamp_ns
    assert named(adapter, observed.records[0])["overrun"] == 1.0


def test_a_value_of_another_type_is_null_and_told_once(server: ServerProcess) -> None:
    """A text where a number was promised: an event for the first in a row."""
    adapter = device(server.port, place("mode"), mode="poll")
    waits = Bench(adapter)
    observed = waits.run(lambda opened: waits.observed(opened, 3))
    (event,) = observed.events("value_refused")
    assert event.data == {"node": "ns=2;s=mode", "found": "'auto'"}
    assert all("mode" not in named(adapter, record) for record in observed.records)


def test_commands_write_read_and_call(server: ServerProcess) -> None:
    """Values take the node's own type; what it does not take is refused, what the server refuses fails."""
    adapter = device(server.port, place("setpoint"))

    async def scenario(opened: Adapter) -> None:
        await opened.open()

        async def give(name: str, **arguments: Any) -> tuple[CommandStatus, Any]:
            result = await opened.command(order(name, 5.0, **arguments))
            return result.status, result.value

        done, refused, failed = CommandStatus.DONE, CommandStatus.REFUSED, CommandStatus.FAILED
        assert await give("write", node="setpoint", value=42) == (done, None)
        assert await give("read", node="setpoint") == (done, 42.0)
        assert await give("write", node="setpoint", value="hot") == (refused, None)
        assert await give("write", node="ns=2;s=count", value=40_000) == (refused, None)
        assert await give("read", node="nowhere") == (refused, None)
        assert await give("read", node="ns=2;s=nowhere") == (failed, None)
        assert await give("write", node="ns=2;s=i", value=1) == (failed, None)
        called = {"owner": "i=85", "method": "ns=2;s=add"}
        assert await give("call", **called, arguments=[1, 2]) == (done, 3.0)
        assert await give("call", **called, arguments=[1]) == (refused, None)
        assert await give("call", **called, arguments=[1, 2.5]) == (refused, None)

    Bench(adapter).run(scenario)


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
def test_a_server_that_is_killed_and_comes_back(mode: str) -> None:
    """A new server knows neither session nor subscription: both are made again, around one gap."""
    server = ServerProcess()
    server.start()
    adapter = device(server.port, mode=mode)
    waits = Bench(adapter)

    async def scenario(opened: Adapter) -> Observed:
        await opened.open()
        observed = await waits.begin(opened)
        await waits.wait_for(observed, 3)
        server.kill()
        await waits.until(lambda: bool(observed.events("device_lost")), "the loss")
        result = await opened.command(order("read", 5.0, node="i"))
        assert result.status is CommandStatus.FAILED
        server.start()
        await waits.until(lambda: bool(observed.events("device_back")), "the return")
        await waits.wait_for(observed, observed.count + 3)
        await waits.end(observed)
        return observed

    try:
        observed = waits.run(scenario)
    finally:
        server.kill()
    (gap,), (lost,), (back,) = (
        observed.of(GapReport),
        observed.events("device_lost"),
        observed.events("device_back"),
    )
    assert gap.records is None
    assert gap.start_ns <= lost.timestamp_ns < gap.end_ns <= back.timestamp_ns
    waits.check_order(observed)


def test_a_node_that_the_server_does_not_have_stops_the_start(server: ServerProcess) -> None:
    """Named, before anything runs."""
    adapter = device(server.port, place("i"), place("nowhere"))
    waits = Bench(adapter)

    async def scenario(opened: Adapter) -> None:
        await opened.open()
        with pytest.raises(DeviceFault, match="nowhere"):
            await waits.begin(opened)
        await opened.stop()

    waits.run(scenario)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": "http://here"}, "url"),
        ({"nodes": []}, "at least 1"),
        ({"nodes": [{"name": "a", "node": "sausage"}]}, "no node id"),
        (
            {"nodes": [{"name": "a", "node": "i=1"}, {"name": "a_status", "node": "i=2"}]},
            "columns are called",
        ),
        ({"nodes": [{"name": "a", "node": "i=1"}, {"name": "b", "node": "ns=0;i=1"}]}, "twice"),
        ({"password": "x"}, "needs a username"),
    ],
)
def test_a_config_that_means_nothing_is_refused(given: dict[str, Any], words: str) -> None:
    """With words for the person who wrote it."""
    whole = {"url": "opc.tcp://h:4840", "nodes": [{"name": "a", "node": "i=1"}]} | given
    with pytest.raises(ValidationError, match=words):
        OpcUaConfig(adapter="opcua", **whole)


@pytest.mark.parametrize("node", ["heat", "ns=2;s=Heat", "ns=02;s=Heat", "srv=0;ns=2;s=Heat"])
def test_the_limits_of_a_setpoint_hold_for_every_spelling_of_its_node(node: str) -> None:
    """By its name in the rig or by its id, however it is written."""
    adapter = device(1, NodeField(name="heat", node="ns=2;s=Heat"))
    spec = SetpointSpec(
        device="u", command="write", arguments={"node": "heat"}, unit="degC", low=0.0, high=600.0
    )
    held = Setpoints({"heat": spec}, {"u": adapter})
    assert held.refusal_of("u", Command(name="write", arguments={"node": node, "value": 900.0}))
    assert held.refusal_of("u", Command(name="write", arguments={"node": node, "value": 600.0})) == ""
    assert (
        held.refusal_of("u", Command(name="write", arguments={"node": "ns=2;s=Cool", "value": 900.0})) == ""
    )
