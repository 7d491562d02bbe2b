"""A device that breaks and may: what is tried to bring it back, what is told, and what is never disturbed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import gapless
from gapless.acquire import revival
from gapless.acquire.adapter import StartContext
from gapless.acquire.analyzer import analyzer
from gapless.acquire.clock import HostClock, SimulatedClock
from gapless.acquire.command import Command, CommandStatus
from gapless.acquire.device_config import DeviceConfig, OnFailure, SafeState, SafeStep
from gapless.acquire.devices.modbus import ModbusConfig, ModbusDevice
from gapless.acquire.devices.serial_line import LineConfig, LineDevice
from gapless.acquire.emission import ChannelSample, DeviceEvent, Emission, GapReport, Reading
from gapless.acquire.ending import RunResult
from gapless.acquire.kit import PolledDevice
from gapless.acquire.pool import WorkerPool
from gapless.acquire.run import Run
from gapless.acquire.safety import SafetyMonitor
from gapless.acquire.worker import StreamBegan, StreamEnded, Worker
from gapless.client.client import Client
from gapless.errors import DeviceFault, DeviceUnreachable, NotFound, UsageError
from gapless.flow.bridge import ThreadBridge
from gapless.model.outcome import Outcome
from gapless.testing.line_models import ScpiModel
from gapless.testing.line_simulator import LineSimulator
from gapless.testing.modbus_server import ModbusServer

from .scripted import ScriptedDevice
from .small_rig import SmallRig


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


class FallibleDevice(ScriptedDevice):
    """A scripted device that may break and be away: it hangs, refuses and breaks when it is told to.

    ``hangs``: connecting never ends. ``breaks``: how many records each of its streams gives before it
    breaks; None for one that lasts. ``is_quiet``: streams that begin from now on give nothing.
    """

    def __init__(self, name: str = "d", *, breaks: int | None = None, **more: Any) -> None:
        super().__init__(name, limit=10**9, on_failure="warn", **more)
        self.config = self.config.model_copy(update={"open_timeout_s": 120.0, "read_timeout_s": 120.0})
        self.breaks = breaks
        self.hangs = self.is_quiet = False
        self.lingers_s = 0.0  # how long stopping takes
        self.tried = threading.Semaphore(0)  # connecting began
        self.cancelled = threading.Event()  # a connecting that hung was cancelled
        self.attempts = 0

    async def connect(self) -> None:
        """Connect, hang or refuse."""
        self.attempts += 1
        self.tried.release()
        if self.hangs:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        await super().connect()

    async def stop(self) -> None:
        """Stop, in its own time."""
        await super().stop()
        await asyncio.sleep(self.lingers_s)

    async def stream(self) -> AsyncIterator[Emission]:
        """Yield a record each 2 ms until it breaks."""
        if self.is_quiet:
            await self.pause(600.0)
            return
        given = 0
        while not await self.pause(0.002):
            if self.breaks is not None and given >= self.breaks:
                raise RuntimeError("the device broke")
            given += 1
            for emission in self.record([float(given)], self.context.clock.now_ns()):
                yield emission


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A client whose waits for the disk are bounded generously."""
    return gapless.connect(tmp_path / "store", deadline_s=60)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let broken devices be tried soon and often."""
    monkeypatch.setattr(revival, "_BACKOFF_S", (0.05, 0.1))


def until(holds: Callable[[], Any]) -> None:
    """Wait until something holds."""
    deadline_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def started(client: Client, devices: Sequence[Any], **settings: Any) -> Run:
    """Return a run of the devices that is running."""
    pool = settings.pop("pool", None)
    name = settings.pop("name", "x")
    run = Run(SmallRig(devices, **settings), client, name=name, pool=pool)  # type: ignore[arg-type]
    run.start()
    return run


def stopped(run: Run) -> RunResult:
    """Stop a run and return how it ended."""
    run.stop("enough", by="me")
    return ended(run)


def ended(run: Run) -> RunResult:
    """Return how a run ended, when it has."""
    result = run.wait(60)
    assert result is not None, "the run did not end"
    return result


def kinds(run: Run) -> list[str]:
    """Return what has been told so far; the log keeps the last events."""
    return [entry.kind for entry in list(run.events.last)]


def rows(client: Client, topic: str, name: str = "x") -> list[dict[str, Any]]:
    """Return the rows of a topic; none if there is no such topic."""
    try:
        found: list[dict[str, Any]] = client.sequence_handler(name).reader.topic(topic).to_arrow().to_pylist()
    except NotFound:
        return []
    return found


def told(client: Client, kind: str) -> list[dict[str, Any]]:
    """Return the events of one kind."""
    return [row for row in rows(client, "_events") if row["kind"] == kind]


def gaps_of(client: Client, topic: str) -> list[dict[str, Any]]:
    """Return the gaps of a topic."""
    return [row for row in rows(client, "_gaps") if row["topic"] == topic]


def check_whole(client: Client, device: str, absences: int) -> None:
    """Each absence is one gap row of each topic, no row lies in one, numbers go on, and the ledger balances."""
    assert [finding for finding in client.verify("x") if finding.severity == "error"] == []
    records = rows(client, f"device/{device}")
    assert [row["record"] for row in records] == list(range(len(records)))
    assert [row["source_record"] for row in rows(client, f"channels/{device}")] == list(range(len(records)))
    for topic in (f"device/{device}", f"channels/{device}"):
        gaps = gaps_of(client, topic)
        assert len(gaps) == absences
        for gap in gaps:
            assert gap["cause"].startswith("device_failed: ")
            assert gap["count"] is None
            inside = [row for row in records if gap["timestamp_ns"] < row["timestamp_ns"] < gap["end_ns"]]
            assert inside == []
        ledger = client.sequence_handler("x").reader.topics[topic].ledger
        assert ledger["produced"] == ledger["written"] + ledger["dropped"] + ledger["gapped"]
        assert ledger["written"] == len(records)


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
        "read_timeout_s": 0.5,
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
                    "read_timeout_s": 0.5,
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
        broken = BrittleModbus("a", modbus_config(server, unit_id=1, read_timeout_s=0.2))
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


ASKED = threading.Event()  # the analyzer shall hold the loop
LET_GO = threading.Event()


@analyzer(["e_value"])
def wedged(sample: ChannelSample) -> None:
    """Hold the conductor's loop, when asked to, until somebody lets go."""
    if ASKED.is_set():
        LET_GO.wait()


@pytest.mark.usefixtures("soon")
class TestEnds:
    """How a run with a device that is away ends."""

    def test_a_stop_during_a_try(self, client: Client) -> None:
        """A connecting that would take minutes is cut off; the device is not started again."""
        device = FallibleDevice(breaks=20)
        run = started(client, [device])
        device.hangs = True
        until(lambda: device.attempts == 2)
        result = stopped(run)
        assert (result.outcome, result.sealed, result.cause) == (Outcome.ABORTED, True, "enough")
        assert device.cancelled.is_set()
        assert (device.attempts, device.started) == (2, 1)
        check_whole(client, "d", absences=1)
        assert told(client, "device_back") == []

    def test_a_stop_before_the_patience_is_over(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Once the run is stopped nobody waits for a device any more, however long the stop takes."""
        monkeypatch.setattr(revival, "_PATIENCE_S", 3.0)
        device = FallibleDevice(breaks=20)
        device.config = device.config.model_copy(update={"silence_deadline_s": 1.0})
        run = started(client, [device])
        device.refuses = True
        until(lambda: "device_failed" in kinds(run))
        device.lingers_s = 4.0
        result = stopped(run)
        assert (result.outcome, result.cause) == (Outcome.ABORTED, "enough")

    def test_the_safe_state_of_a_device_that_is_being_tried(self, client: Client) -> None:
        """A try that is cut off leaves the device closed; its program opens it, and leaves it closed to tries."""
        device = FallibleDevice(breaks=20)
        program = (SafeStep(command="echo", arguments={"value": 0}),)
        safe = SafeState(program=program, deadline_s=20.0)
        device.config = device.config.model_copy(update={"safe_state": safe})
        open_at: list[bool] = []
        device.on_command = lambda: open_at.append(device.is_open)
        run = started(client, [device], guard=False)
        device.hangs = True
        until(lambda: device.attempts == 2)
        device.hangs = False
        assert run.emergency_stop("fire", by="me").unsafe_devices == []
        assert (device.completed[:1], open_at[:1]) == (["echo 0"], [True])
        assert ended(run).outcome is Outcome.ABORTED
        assert device.started == 1

    def test_code_that_holds_the_loop_while_a_device_is_away(self, client: Client) -> None:
        """The run ends without its conductor: the try is cut off, and the absence is a gap."""
        ASKED.clear()
        LET_GO.clear()
        device, other = FallibleDevice("d", breaks=20), FallibleDevice("e")
        run = started(
            client,
            [device, other],
            analyzers=(f"{__name__}:wedged",),
            saturation_deadline_s=0.5,
            drain_deadline_s=1.0,
        )
        device.hangs = True
        until(lambda: device.attempts == 2)
        ASKED.set()
        result = ended(run)
        LET_GO.set()
        assert (result.outcome, result.sealed) == (Outcome.CRASHED_BUT_SEALED, True)
        assert device.cancelled.is_set()
        check_whole(client, "d", absences=1)

    def test_every_device_is_away_for_too_long(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        """The run crashes, and says how long it waited; failed tries were told once."""
        monkeypatch.setattr(revival, "_PATIENCE_S", 1.0)
        devices = [FallibleDevice("a", breaks=20), FallibleDevice("b", breaks=30)]
        for device in devices:
            device.config = device.config.model_copy(update={"silence_deadline_s": 1.5})
        run = started(client, devices)
        for device in devices:
            device.refuses = True
        result = ended(run)
        assert (result.outcome, result.exit_code) == (Outcome.CRASHED, 1)
        assert result.cause == "every device broke, and none was back within 1.5 s"
        assert all(device.attempts > 3 for device in devices)
        assert sorted(row["source"] for row in told(client, "device_away")) == ["a", "b"]
        check_whole(client, "a", absences=1)
        check_whole(client, "b", absences=1)

    def test_a_device_that_never_gives_anything_again(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that opens and breaks each time is not back, and holds no run up."""
        monkeypatch.setattr(revival, "_PATIENCE_S", 1.0)
        device = FallibleDevice(breaks=20)
        run = started(client, [device], length_s=600.0)
        until(lambda: run.recorder.rows >= 10)
        device.breaks = 0
        result = ended(run)
        assert result.outcome is Outcome.CRASHED
        assert device.started > 3
        assert [row["kind"] for row in rows(client, "_events")] == [
            "device_failed",
            "device_away",
            "run_crashed",
        ]
        check_whole(client, "d", absences=1)

    def test_the_others_are_at_their_end(self, client: Client) -> None:
        """When every device that works has ended, the run is complete: nobody waits for the broken one."""
        broken = FallibleDevice("a", breaks=5)
        run = started(client, [broken, ScriptedDevice("b", limit=50, waits=True, ends=True)])
        broken.refuses = True
        until(lambda: "device_away" in kinds(run))
        other = run.pool.adapters["b"]
        assert isinstance(other, ScriptedDevice)
        other.go.set()
        assert ended(run).outcome is Outcome.COMPLETED

    def test_simulated_time_does_not_pass(self, client: Client) -> None:
        """With the simulated clock nothing is tried: the run ends at once, the same every time."""
        device = FallibleDevice(breaks=5)
        run = started(client, [device], clock="simulated")
        result = ended(run)
        assert (result.outcome, result.cause) == (Outcome.CRASHED, "every device broke")
        assert (device.attempts, device.started) == (1, 1)

    def test_the_next_run_of_a_pool_opens_what_was_away(self, client: Client) -> None:
        """A device that the last run could not open again is opened, or the next run does not start."""
        device = FallibleDevice(breaks=20)
        with WorkerPool({"d": device}) as pool:
            first = started(client, [device], pool=pool)
            device.refuses = True
            until(lambda: "device_away" in kinds(first))
            stopped(first)
            with pytest.raises(DeviceUnreachable, match="d refuses"):
                started(client, [device], pool=pool, name="y")
            device.refuses, device.breaks = False, None
            third = started(client, [device], pool=pool, name="z")
            until(lambda: third.recorder.rows > 20)
            stopped(third)
        assert [row["record"] for row in rows(client, "device/d", "z")][:3] == [0, 1, 2]


class TestTelling:
    """What is an event, and when."""

    def test_one_that_is_back_and_gone_is_tried_no_sooner(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What breaks again soon goes on with the pauses it had; what had held begins with the shortest."""
        monkeypatch.setattr(revival, "_BACKOFF_S", (0.0, 600.0))
        tried: list[str] = []
        back: list[str] = []
        told: list[Any] = []
        gave_up: list[str] = []

        async def revive(device: str) -> None:
            tried.append(device)

        async def main() -> None:
            revivals = revival.Revivals(
                revive, may_try=lambda: True, back=back.append, tell=told.append, give_up=gave_up.append
            )

            async def lose(times: int) -> None:
                revivals.lost("d", HostClock(), 1, "it broke")
                while len(tried) < times:
                    await asyncio.sleep(0.001)

            await lose(1)
            revivals.gave("d")
            assert dict(revivals.away) == {}
            await lose(1)
            await asyncio.sleep(0.05)
            assert tried == ["d"]
            revivals.gave("d")
            revivals._before["d"].back_s -= 601.0
            await lose(2)
            revivals.end()

        asyncio.run(asyncio.wait_for(main(), 30))
        assert back == ["d", "d"]
        assert [type(item) for item in told] == [GapReport, DeviceEvent] * 2
        assert gave_up == []

    @pytest.mark.usefixtures("soon")
    def test_failed_tries_are_told_once_a_minute(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first failure is told at once, the others when the time has passed."""
        device = FallibleDevice(breaks=20)
        run = started(client, [device, FallibleDevice("e")])
        device.refuses = True
        until(lambda: device.attempts > 8)
        assert kinds(run) == ["device_failed", "device_away"]
        monkeypatch.setattr(revival, "_TELL_S", 0.0)
        until(lambda: kinds(run).count("device_away") > 2)
        stopped(run)
        assert "DeviceUnreachable: d refuses" in told(client, "device_away")[0]["message"]

    @pytest.mark.usefixtures("soon")
    def test_a_quiet_device_is_back_when_its_stream_lasts(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that speaks only when it has something to say need not speak to be back; its silence counts."""
        monkeypatch.setattr(revival, "_HELD_S", 0.2)
        device = FallibleDevice(breaks=20)
        device.config = device.config.model_copy(update={"silence_deadline_s": 0.5})
        run = started(client, [device])
        device.is_quiet = True
        until(lambda: kinds(run) == ["device_failed", "device_back", "device_silent"])
        stopped(run)
        check_whole(client, "d", absences=1)

    def test_silence_counts_again(self) -> None:
        """A device that is back has its silence deadline, from the moment it is back."""
        now_s = [10.0]
        config = DeviceConfig(adapter="x", silence_deadline_s=2.0, on_failure=OnFailure.WARN)
        monitor = SafetyMonitor(
            {"d": config}, [], SimulatedClock(), rates_hz={"d": 10.0}, monotonic=lambda: now_s[0]
        )
        assert monitor.longest_deadline_s == 2.0
        monitor.ended("d")
        now_s[0] += 100.0
        assert monitor.poll() == []
        assert monitor.longest_deadline_s == 2.0
        monitor.resumed("d")
        now_s[0] += 1.9
        assert monitor.poll() == []
        now_s[0] += 0.2
        assert [finding.kind for finding in monitor.poll()] == ["device_silent"]


class TestWorker:
    """One try, on the worker."""

    @pytest.fixture
    def device(self) -> FallibleDevice:
        """A device that breaks after three records."""
        return FallibleDevice(breaks=3)

    @pytest.fixture
    def worker(self, device: FallibleDevice) -> Iterator[Worker]:
        """Its worker, sampling, after the break."""
        with WorkerPool({"d": device}) as pool:
            worker = pool.workers[0]
            self.bridge: ThreadBridge[Any] = ThreadBridge("test", capacity=10_000)
            worker.arm({"d": StartContext(HostClock(), "run", recording_enabled=False)}, self.bridge)
            worker.begin()
            self.crossed: list[Any] = []
            until(lambda: self.has_crossed(StreamEnded))
            yield worker

    def has_crossed(self, kind: type[Any]) -> bool:
        """Take what crossed and tell whether it ends with one of a kind."""
        self.crossed += self.bridge.take_nowait(1024)
        return bool(self.crossed) and isinstance(self.crossed[-1], kind)

    def test_what_crosses(self, worker: Worker, device: FallibleDevice) -> None:
        """The new stream says that it begins, then gives records numbered on; the order of calls is fixed."""
        worker.revive("d").result(30)
        until(lambda: self.has_crossed(StreamEnded))
        assert [type(item) for item in self.crossed] == [
            *[Reading] * 3, StreamEnded, StreamBegan, *[Reading] * 3, StreamEnded
        ]  # fmt: skip
        numbers = [item.record.n for item in self.crossed if isinstance(item, Reading)]
        assert numbers == [0, 1, 2, 3, 4, 5]
        ended, began = self.crossed[3], self.crossed[4]
        assert ended.timestamp_ns <= began.timestamp_ns <= self.crossed[5].record.timestamp_ns
        assert (device.opened, device.closed, device.started, device.stopped) == (2, 1, 2, 1)
        assert len(device.threads) == 1

    def test_it_is_refused_at_the_wrong_moment(self, worker: Worker, device: FallibleDevice) -> None:
        """Not while its stream lasts, not behind the safe state, not when the run stops."""
        device.breaks = None
        worker.revive("d").result(30)
        with pytest.raises(UsageError, match="has not ended"):
            worker.revive("d").result(30)
        worker.bar()
        with pytest.raises(UsageError, match="the run ends"):
            worker.revive("d").result(30)
        worker.unbar()
        worker.stop()
        with pytest.raises(UsageError, match="the run ends"):
            worker.revive("d").result(30)
        assert device.opened == 2

    def test_a_stop_cuts_it_off(self, worker: Worker, device: FallibleDevice) -> None:
        """A try that hangs is cancelled by the stop, also where nothing was barred before."""
        device.hangs = True
        attempt = worker.revive("d")
        until(lambda: device.attempts == 2)
        worker.stop()
        until(attempt.done)
        assert attempt.cancelled()
        assert (device.cancelled.is_set(), device.started) == (True, 1)

    def test_the_bar_frees_the_bus(self, worker: Worker, device: FallibleDevice) -> None:
        """A try that hangs is cancelled, and what waited for the bus has its turn."""
        device.hangs = True
        attempt = worker.revive("d")
        until(lambda: device.attempts == 2)
        waiting = worker.dispatch("d", Command(name="echo", arguments={"value": 1}, confirmed_by="me"))
        worker.bar()
        until(attempt.done)
        assert attempt.cancelled()
        assert waiting.result(30).status is CommandStatus.REFUSED

    def test_a_device_that_ends_the_program(
        self, worker: Worker, device: FallibleDevice, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """sys.exit in an adapter is a failed try; the worker's loop goes on."""

        async def leave(_device: FallibleDevice) -> None:
            raise SystemExit(3)

        monkeypatch.setattr(FallibleDevice, "connect", leave)
        with pytest.raises(DeviceFault, match="tried to end the program"):
            worker.revive("d").result(30)
        monkeypatch.undo()
        worker.revive("d").result(30)
