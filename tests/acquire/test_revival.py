"""A device that breaks and may: what is tried to bring it back, what is told, and what is never disturbed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gapless.acquire import revival
from gapless.acquire.adapter import StartContext
from gapless.acquire.analyzer import analyzer
from gapless.acquire.clock import HostClock, SimulatedClock
from gapless.acquire.command import Command, CommandStatus
from gapless.acquire.device_config import DeviceConfig, OnFailure, SafeState, SafeStep
from gapless.acquire.emission import ChannelSample, DeviceEvent, GapReport, Reading
from gapless.acquire.pool import WorkerPool
from gapless.acquire.safety import SafetyMonitor
from gapless.acquire.worker import StreamBegan, StreamEnded, Worker
from gapless.client.client import Client
from gapless.errors import DeviceFault, DeviceUnreachable, UsageError
from gapless.flow.bridge import ThreadBridge
from gapless.model.outcome import Outcome

from .absence import FallibleDevice, check_whole, ended, kinds, rows, started, stopped, told, until
from .scripted import ScriptedDevice

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
        device = FallibleDevice()
        run = started(client, [device])
        device.hangs, device.breaks = True, 20
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
        device = FallibleDevice()
        device.config = device.config.model_copy(update={"silence_deadline_s": 1.0})
        run = started(client, [device])
        device.refuses, device.breaks = True, 20
        until(lambda: "device_failed" in kinds(run))
        device.lingers_s = 4.0
        result = stopped(run)
        assert (result.outcome, result.cause) == (Outcome.ABORTED, "enough")

    def test_the_safe_state_of_a_device_that_is_being_tried(self, client: Client) -> None:
        """A try that is cut off leaves the device closed; its program opens it, and leaves it closed to tries."""
        device = FallibleDevice()
        program = (SafeStep(command="echo", arguments={"value": 0}),)
        safe = SafeState(program=program, deadline_s=20.0)
        device.config = device.config.model_copy(update={"safe_state": safe})
        open_at: list[bool] = []
        device.on_command = lambda: open_at.append(device.is_open)
        run = started(client, [device], guard=False)
        device.hangs, device.breaks = True, 20
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
        device, other = FallibleDevice("d"), FallibleDevice("e")
        run = started(
            client,
            [device, other],
            analyzers=(f"{__name__}:wedged",),
            saturation_deadline_s=0.5,
            drain_deadline_s=1.0,
        )
        device.hangs, device.breaks = True, 20
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
        devices = [FallibleDevice("a"), FallibleDevice("b")]
        for device in devices:
            device.config = device.config.model_copy(update={"silence_deadline_s": 4.0})
        run = started(client, devices)
        for device in devices:
            device.refuses, device.breaks = True, 20
        result = ended(run)
        assert (result.outcome, result.exit_code) == (Outcome.CRASHED, 1)
        assert result.cause == "every device broke, and none was back within 4 s"
        assert all(device.attempts > 3 for device in devices)
        assert sorted(row["source"] for row in told(client, "device_away")) == ["a", "b"]
        check_whole(client, "a", absences=1)
        check_whole(client, "b", absences=1)

    def test_a_device_that_never_gives_anything_again(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that opens and breaks each time is not back, and holds no run up."""
        monkeypatch.setattr(revival, "_PATIENCE_S", 3.0)
        device = FallibleDevice()  # lasts until it is told to break, so that no second stream gives rows
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
        broken = FallibleDevice("a")
        run = started(client, [broken, ScriptedDevice("b", limit=50, waits=True, ends=True)])
        broken.refuses, broken.breaks = True, 5
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
        device = FallibleDevice()
        with WorkerPool({"d": device}) as pool:
            first = started(client, [device], pool=pool)
            device.refuses, device.breaks = True, 20
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
        device = FallibleDevice()
        run = started(client, [device, FallibleDevice("e")])
        device.refuses, device.breaks = True, 20
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
        device = FallibleDevice()
        device.config = device.config.model_copy(update={"silence_deadline_s": 3.0})
        run = started(client, [device])
        device.is_quiet, device.breaks = True, 20
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
