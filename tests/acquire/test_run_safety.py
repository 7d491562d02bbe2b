"""What must hold when somebody else misbehaves: user code, a second run, a command at the wrong moment."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gapless
from gapless.acquire.analyzer import analyzer
from gapless.acquire.command import Command, CommandStatus
from gapless.acquire.conductor import Conductor
from gapless.acquire.emission import ChannelSample, GapReport, SampleBlock
from gapless.acquire.pool import PoolDispatcher, WorkerPool
from gapless.acquire.run import Run
from gapless.client.client import Client
from gapless.errors import PreflightFailed, ResourceConflict, RunFailed
from gapless.model.outcome import Outcome
from gapless.testing.faults import FaultyPlatform

from .scripted import ScriptedDevice
from .small_rig import SmallRig


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A client whose waits for the disk are bounded generously."""
    return gapless.connect(tmp_path, deadline_s=60)


def run_of(client: Client, *devices: ScriptedDevice, name: str = "x", **settings: Any) -> Run:
    """Return a run of the devices that has not begun."""
    keywords = {key: settings.pop(key) for key in ("preflight", "pool", "length_s") if key in settings}
    return Run(SmallRig(devices, **settings), client, name=name, **keywords)  # type: ignore[arg-type]


def with_procedure(run: Run, procedure: Any) -> Run:
    """Let a coroutine function be the run's method."""
    make = run._make_conductor

    def made() -> Conductor:
        conductor = make()
        conductor._procedure = procedure
        return conductor

    run._make_conductor = made  # type: ignore[method-assign]
    return run


def events(client: Client, name: str = "x") -> list[str]:
    """Return the kinds of the run's events."""
    topic = client.sequence_handler(name).reader.topic("_events")
    return [row["kind"] for row in topic.to_arrow().to_pylist()]


def until_seen(device: ScriptedDevice) -> None:
    """Wait until a command has reached the device."""
    deadline_s = time.monotonic() + 60
    while not device.seen:
        assert time.monotonic() < deadline_s, "the command does not come"
        time.sleep(0.002)


def order(name: str, **arguments: Any) -> Command:
    """Return a command that a person stands behind."""
    return Command(name=name, arguments=arguments, confirmed_by="me")


def test_a_waiting_command_never_follows_the_safe_state(client: Client) -> None:
    """A command that waits for the bus while the devices are made safe is refused when its turn comes."""
    device = ScriptedDevice()
    run = run_of(client, device)
    run.start()
    slow = run.dispatch("d", order("slow", seconds=60.0))
    until_seen(device)
    waiting = run.dispatch("d", order("echo", value=900))
    time.sleep(0.1)  # it reaches the bus, which the slow one holds
    run.emergency_stop("fire", by="me")
    device.let_go.set()
    assert waiting.result(30).status is CommandStatus.REFUSED
    assert slow.result(30).status is CommandStatus.DONE
    assert run.wait(60) is not None
    assert device.completed == ["slow"]


def test_a_preflight_without_end_can_be_stopped(client: Client) -> None:
    """A stop during the preflight ends the run as aborted; start returns."""

    async def check(conductor: Conductor) -> None:
        await asyncio.sleep(3600)

    run = run_of(client, ScriptedDevice(), preflight=[check])
    run.start(stopped=lambda: True)
    result = run.wait(60)
    assert result is not None
    assert (result.outcome, result.sealed) == (Outcome.ABORTED, True)


def test_two_runs_never_share_devices(client: Client) -> None:
    """A second run on a pool is refused before it touches anything; so is a second start; the first goes on."""
    device = ScriptedDevice(limit=10**9)
    with WorkerPool({"d": device}) as pool:
        first = run_of(client, device, pool=pool)
        first.start()
        with pytest.raises(ResourceConflict, match="another run of this program"):
            run_of(client, device, pool=pool, name="y").start()
        with pytest.raises(ResourceConflict):
            first.start()
        assert device.stopped == 0
        assert PoolDispatcher(pool).dispatch("d", order("echo", value=1)).result(10).accepted is False
        first.stop("enough", by="me")
        result = first.wait(60)
        assert result is not None
        assert result.outcome is Outcome.ABORTED
        second = run_of(client, device, pool=pool, name="y")
        second.start()
        second.stop("enough", by="me")
        assert second.wait(60) is not None
        assert PoolDispatcher(pool).dispatch("d", order("echo", value=1)).result(10).value == 1


def test_another_runs_authorisation_is_none(client: Client) -> None:
    """Only this run's own authorisation counts."""
    device = ScriptedDevice()
    run = run_of(client, device)
    run.start()
    foreign = Command(name="echo", arguments={"value": 1}, authorization_id="of another run")
    assert not run.dispatch("d", foreign).result(30).accepted
    own = Command(name="echo", arguments={"value": 2}, authorization_id=run.authorization_id)
    assert run.dispatch("d", own).result(30).value == 2
    run.stop("enough", by="me")
    assert run.wait(60) is not None


def test_a_thread_that_a_step_left_behind_holds_nothing_up(client: Client) -> None:
    """A blocking call that never returns does not keep the safe state or the seal from happening."""
    forever = threading.Event()

    async def step(conductor: Conductor) -> None:
        await asyncio.to_thread(forever.wait)

    run = with_procedure(run_of(client, ScriptedDevice()), step)
    run.start()
    run.stop("enough", by="me")
    result = run.wait(60)
    forever.set()
    assert result is not None
    assert (result.outcome, result.sealed) == (Outcome.ABORTED, True)


def test_a_step_cannot_end_the_program(client: Client) -> None:
    """sys.exit in a step crashes the run like any other error; it is sealed and its devices are closed."""

    async def step(conductor: Conductor) -> None:
        sys.exit(3)

    device = ScriptedDevice(limit=50, waits=True)
    run = with_procedure(run_of(client, device), step)
    run.start()
    result = run.wait(60)
    assert result is not None
    assert (result.outcome, result.sealed) == (Outcome.CRASHED, True)
    assert device.closed == 1


def test_what_a_broken_drain_cannot_take_is_counted(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading that the recorder refuses ends the run; it and all behind it are gaps with their count."""
    device = ScriptedDevice(limit=300, waits=True)
    run = run_of(client, device)
    run.start()
    accept = run.recorder.accept

    def refuse_some(reading: Any) -> None:
        if reading.record.n >= 100:
            raise TypeError("no")
        accept(reading)

    monkeypatch.setattr(run.recorder, "accept", refuse_some)
    device.go.set()
    result = run.wait(60)
    assert result is not None
    assert (result.outcome, result.sealed) == (Outcome.CRASHED, True)
    ledger = client.sequence_handler("x").reader.topics["channels/d"].ledger
    assert (ledger["produced"], ledger["written"]) == (device.offered, 100)


def test_a_gap_may_quote_what_a_device_said(client: Client) -> None:
    """A cause with control characters is stored in a form that can be read."""
    run = run_of(client, ScriptedDevice())
    run.start()
    run.conductor._tell_gap(GapReport("d", "device: heard '\x15\n'", 1, 2, records=7))
    run.stop("enough", by="me")
    assert run.wait(60) is not None
    gaps = client.sequence_handler("x").reader.topic("_gaps").to_arrow().to_pylist()
    assert {(gap["count"], gap["cause"]) for gap in gaps} == {(7, "device: heard '\\x15\\n'")}


@analyzer(["d_value"])
def hot(sample: ChannelSample) -> SampleBlock:
    """Return a block that is far too hot."""
    stamps = np.array([sample.timestamp_ns], np.int64)
    return SampleBlock("hot", stamps, np.array([9999.0]), "V", sample.source_record_id)


def test_an_alarm_watches_blocks_made_on_the_bus(client: Client) -> None:
    """A channel that an analyzer makes in blocks has its alarm like any other."""
    declared = {
        "name": "hot", "analyzer": f"{__name__}:hot", "unit": "V",
        "alarm": {"high": 100.0, "severity": "error", "on_failure": "safe_shutdown"},
    }  # fmt: skip
    run = run_of(client, ScriptedDevice(limit=5), analyzers=(f"{__name__}:hot",), extra_channels=[declared])
    run.start()
    result = run.wait(60)
    assert result is not None
    assert result.outcome is Outcome.CRASHED
    assert "alarm" in events(client)


def test_a_command_that_the_end_cuts_off_has_its_answer(client: Client) -> None:
    """A command still under way when the run ends is answered as failed, in words and in the events."""
    device = ScriptedDevice()
    run = run_of(client, device)
    run.start()
    slow = run.dispatch(
        "d", Command(name="slow", arguments={"seconds": 30.0}, confirmed_by="me", timeout_s=60.0)
    )
    until_seen(device)
    run.stop("enough", by="me")
    assert run.wait(60) is not None
    assert slow.result(60).status is CommandStatus.FAILED
    assert {"command_issued", "command_failed"} <= set(events(client))


HELD = threading.Event()  # set: the analyzer is in its wait
LET_GO = threading.Event()


@analyzer(["d_value"])
def wedged(sample: ChannelSample) -> None:
    """Hold the conductor's loop until somebody lets go."""
    HELD.set()
    LET_GO.wait()


@pytest.fixture
def wedge() -> Iterator[threading.Event]:
    """What lets the wedged analyzer go; it is let go at the end in any case."""
    HELD.clear()
    LET_GO.clear()
    yield LET_GO
    LET_GO.set()


def wedged_run(client: Client, device: ScriptedDevice, **more: Any) -> Run:
    """Return a run whose analyzer holds the loop, with short deadlines."""
    deadlines = {"saturation_deadline_s": 0.5, "drain_deadline_s": 3.0}
    return run_of(client, device, analyzers=(f"{__name__}:wedged",), **(deadlines | more))


def test_code_that_holds_the_loop_for_ever(client: Client, wedge: threading.Event) -> None:
    """The run ends without its conductor: sealed, with the name of the function, and every row counted."""
    device = ScriptedDevice(limit=10**9, waits=True)
    run = wedged_run(client, device)
    run.start()
    device.go.set()
    result = run.wait(60)
    assert result is not None, "the run waits for the code"
    assert (result.outcome, result.sealed) == (Outcome.CRASHED_BUT_SEALED, True)
    assert result.exit_code == 6
    assert "conductor took nothing" in str(result.cause)
    assert "wedged (test_run_safety.py" in str(result.cause)
    assert device.closed == 1
    told = client.sequence_handler("x").reader.topic("_events").to_arrow().to_pylist()
    [blocked] = [row for row in told if row["kind"] == "conductor_blocked"]
    assert "wedged (test_run_safety.py" in blocked["data"]
    gaps = client.sequence_handler("x").reader.topic("_gaps").to_arrow().to_pylist()
    assert {gap["cause"] for gap in gaps} >= {"conductor_blocked"}
    topics = client.sequence_handler("x").reader.topics
    for name in ("channels/d", "device/d"):
        assert topics[name].ledger["produced"] == device.offered


def test_a_stop_that_meets_held_code(client: Client, wedge: threading.Event) -> None:
    """A stop that the held loop cannot obey is carried out without it, and what held it is a fault."""
    device = ScriptedDevice(limit=10**9, waits=True)
    run = wedged_run(client, device, saturation_deadline_s=6.0, drain_deadline_s=0.5)  # the stop comes first
    run.start()
    device.go.set()
    assert HELD.wait(60)
    run.stop("enough", by="me")
    assert run.latch.outcome is Outcome.ABORTED
    result = run.wait(60)
    assert result is not None
    assert (result.outcome, result.sealed, result.exit_code) == (Outcome.CRASHED_BUT_SEALED, True, 6)
    assert {"stop", "conductor_blocked", "run_crashed_but_sealed"} <= set(events(client))


def test_code_that_returns_after_its_run(client: Client, wedge: threading.Event) -> None:
    """What held the loop and returns finds its run over: nothing is written and no device is touched."""
    device = ScriptedDevice(limit=10**9, waits=True)
    with WorkerPool({"d": device}) as pool:
        first = wedged_run(client, device, pool=pool)
        first.start()
        device.go.set()
        assert first.wait(60) is not None
        second = run_of(client, device, pool=pool, name="y")
        second.start()
        stopped = device.stopped
        wedge.set()
        assert first._thread is not None
        first._thread.join(60)
        assert not first._thread.is_alive()
        assert device.stopped == stopped
        second.stop("enough", by="me")
        result = second.wait(60)
    assert result is not None
    assert (result.outcome, result.sealed) == (Outcome.ABORTED, True)
    assert [f for f in client.verify("x", deep=True) if f.severity == "error"] == []


def test_code_that_holds_the_loop_for_a_while(client: Client, wedge: threading.Event) -> None:
    """Safe state at the first deadline; code that returns before the second leaves the end to the conductor."""
    device = ScriptedDevice(limit=50, waits=True)
    run = run_of(
        client, device, analyzers=(f"{__name__}:wedged",), saturation_deadline_s=0.5, drain_deadline_s=60.0
    )
    run.start()
    device.go.set()
    deadline_s = time.monotonic() + 60
    while run.latch.outcome is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    wedge.set()
    result = run.wait(60)
    assert result is not None
    assert (result.outcome, result.sealed) == (Outcome.CRASHED_BUT_SEALED, True)
    assert "conductor_blocked" not in events(client)
    ledger = client.sequence_handler("x").reader.topics["channels/d"].ledger
    assert (ledger["produced"], ledger["written"]) == (50, 50)


def test_a_preflight_that_holds_the_loop(client: Client, wedge: threading.Event) -> None:
    """A check before the run that never returns ends the start with an error; the device is closed."""

    async def check(conductor: Conductor) -> None:
        LET_GO.wait()

    device = ScriptedDevice()
    run = run_of(client, device, preflight=[check], saturation_deadline_s=0.5, drain_deadline_s=0.5)
    with pytest.raises(RunFailed, match="held"):
        run.start()
    assert run.result is not None
    assert run.result.outcome is Outcome.CRASHED_BUT_SEALED
    assert device.closed == 1


def test_a_disk_that_hangs_before_the_run(tmp_path: Path) -> None:
    """A sync that hangs while the sequence is created: the start ends in time, and later leaves no owner."""
    platform = FaultyPlatform()
    client = gapless.connect(tmp_path, platform=platform, deadline_s=60)
    device = ScriptedDevice()
    platform.hang_syncs()
    try:
        run = run_of(client, device, seal_deadline_s=0.5)
        with pytest.raises(PreflightFailed, match="did not take the new sequence in time") as raised:
            run.start()
        assert raised.value.exit_code == 5
        assert (device.opened, device.closed, device.started) == (1, 1, 0)
    finally:
        platform.release()
    deadline_s = time.monotonic() + 60
    while "x" not in client.list_sequences() or client.sequence_handler("x").outcome is None:
        assert time.monotonic() < deadline_s, "the late sequence was left open"
        time.sleep(0.05)
    assert client.sequence_handler("x").outcome == Outcome.CRASHED
    other = run_of(client, device, name="y", length_s=0.1)
    other.start()
    result = other.wait(60)
    assert result is not None
    assert result.outcome is Outcome.COMPLETED


@pytest.mark.parametrize("moment", ["open", "start"])
def test_ctrl_c_while_it_starts(tmp_path: Path, moment: str) -> None:
    """Ctrl-C before the run is running: aborted and sealed, devices closed, nothing left behind."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.acquire.slow_starter", str(tmp_path), moment],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"{moment}\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert json.loads(out.splitlines()[-1]) == {"outcome": "aborted", "sealed": True, "exit_code": 130}
    assert "closed" in out.splitlines()
    with gapless.connect(tmp_path) as client:
        assert client.sequence_handler("x").outcome == Outcome.ABORTED
