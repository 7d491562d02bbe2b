"""One thread for each resource, legal edges only, and commands that cannot be cut in half."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError
from typing import Any

import pytest

from gapless.acquire.adapter import StartContext
from gapless.acquire.clock import HostClock
from gapless.acquire.command import Command, CommandStatus
from gapless.acquire.emission import Reading
from gapless.acquire.pool import PoolDispatcher, WorkerPool
from gapless.acquire.worker import EDGES, StreamEnded, Worker, WorkerState
from gapless.errors import DeviceUnreachable, NotFound, ResourceConflict, UsageError
from gapless.flow.bridge import ThreadBridge

from .scripted import ScriptedDevice


def context() -> StartContext:
    """Return a run that records nothing."""
    return StartContext(HostClock(), "run", recording_enabled=False)


def run_once(worker: Worker) -> list[Any]:
    """Arm, sample until every device is at its end, stop; return what crossed."""
    bridge: ThreadBridge[Any] = ThreadBridge("test", capacity=100_000)
    worker.arm({name: context() for name in worker.adapters}, bridge)
    worker.begin()
    crossed: list[Any] = []
    deadline_s = time.monotonic() + 60
    while sum(isinstance(item, StreamEnded) for item in crossed) < len(worker.adapters):
        assert time.monotonic() < deadline_s
        crossed += bridge.take_nowait(1024)
    worker.stop()
    while items := bridge.take_nowait(1024):
        crossed += items
    return crossed


def test_two_runs_on_one_pool_open_once() -> None:
    """Opening belongs to the configuration, starting and stopping to a run."""
    device = ScriptedDevice(limit=10, ends=True)
    with WorkerPool({"d": device}) as pool:
        for _ in range(2):
            crossed = run_once(pool.workers[0])
            readings = [item for item in crossed if isinstance(item, Reading)]
            assert [reading.record.n for reading in readings] == list(range(10))
            assert readings[0].record.source_record_id == "scripted:d:0"
    assert (device.opened, device.started, device.stopped, device.closed) == (1, 2, 2, 1)


def test_a_resource_is_touched_by_one_thread() -> None:
    """Devices that share a bus share its worker; all that is done to them is done on its thread."""
    devices = {
        name: ScriptedDevice(name, limit=5, ends=True, resource="bus:1", shares=True) for name in ("a", "b")
    }
    with WorkerPool(devices) as pool:
        assert len(pool.workers) == 1
        assert pool.worker_for("a") is pool.worker_for("b")
        assert devices["a"].bus is devices["b"].bus
        run_once(pool.workers[0])
    threads = devices["a"].threads | devices["b"].threads
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_conflicts_are_found_before_anything_is_opened() -> None:
    """Two devices on one resource that do not share it are refused by name."""
    devices = {name: ScriptedDevice(name, resource="sim:port") for name in ("a", "b")}
    with pytest.raises(ResourceConflict, match="a and b on sim:port"):
        WorkerPool(devices)
    assert devices["a"].opened == devices["b"].opened == 0


def test_two_rigs_on_one_port() -> None:
    """A resource that a pool holds is refused to another one, which names it, and free again afterwards."""
    resource = f"serial:/dev/test-{time.monotonic_ns()}"
    with WorkerPool({"a": ScriptedDevice("a", resource=resource)}):
        other = ScriptedDevice("b", resource=resource)
        with pytest.raises(ResourceConflict, match="another run on this machine holds"):
            WorkerPool({"b": other}).open()
        assert other.opened == 0
    with WorkerPool({"b": other}):
        assert other.opened == 1


def test_a_failed_open_closes_the_others_and_joins_the_thread() -> None:
    """If the third device does not answer, the two that did are closed again."""
    before = threading.active_count()
    devices = {
        name: ScriptedDevice(name, resource="bus:1", shares=True, refuses=name == "c") for name in "abc"
    }
    pool = WorkerPool(devices)
    with pytest.raises(DeviceUnreachable, match="c refuses"):
        pool.open()
    assert [devices[name].closed for name in "abc"] == [1, 1, 0]
    assert threading.active_count() == before
    assert pool.workers[0].state is WorkerState.CLOSED


@pytest.mark.parametrize("start", list(WorkerState))
@pytest.mark.parametrize("end", list(WorkerState))
def test_illegal_edges_raise_and_change_nothing(start: WorkerState, end: WorkerState) -> None:
    """Every pair of states that is no edge is refused."""
    worker = Worker("sim:x", {"d": ScriptedDevice()})
    worker.state = start
    if end in EDGES[start]:
        worker._move(end)
        assert worker.state is end
    else:
        with pytest.raises(UsageError, match="cannot go from"):
            worker._move(end)
        assert worker.state is start


def test_what_is_left_at_the_stop_is_delivered() -> None:
    """Readings that a device yields after stop() cross before the bridge ends."""
    device = ScriptedDevice(limit=3, left_over=7)
    with WorkerPool({"d": device}) as pool:
        worker = pool.workers[0]
        bridge: ThreadBridge[Any] = ThreadBridge("test", capacity=100)
        worker.arm({"d": context()}, bridge)
        worker.begin()
        worker.stop()
        crossed = []
        while items := bridge.take_nowait(100):
            crossed += items
        assert sum(isinstance(item, Reading) for item in crossed) == 10
        assert bridge.closed


def test_a_device_that_breaks_says_so_last() -> None:
    """The error of a stream crosses as its end, after all that was read before."""
    device = ScriptedDevice(limit=9, fails_after=4)
    with WorkerPool({"d": device}) as pool:
        crossed = run_once(pool.workers[0])
    assert sum(isinstance(item, Reading) for item in crossed) == 4
    assert isinstance(crossed[-1], StreamEnded)
    assert isinstance(crossed[-1].error, RuntimeError)


class TestCommands:
    """Commands to a pool between runs."""

    def test_an_idle_pool_obeys(self) -> None:
        """No run, no sequence: the command reaches the device all the same."""
        device = ScriptedDevice()
        with WorkerPool({"d": device}) as pool:
            command = Command(name="echo", arguments={"value": 7}, confirmed_by="me")
            result = PoolDispatcher(pool).dispatch("d", command).result(10)
            assert (result.status, result.value, result.command_id) == ("done", 7, command.command_id)
            with pytest.raises(NotFound, match="no device of that name"):
                PoolDispatcher(pool).dispatch("x", command)

    def test_a_cancelled_caller_cuts_nothing(self) -> None:
        """A slow command whose caller gives up completes, and the next one gets its own answer."""
        device = ScriptedDevice()
        with WorkerPool({"d": device}) as pool:
            worker = pool.workers[0]
            slow = worker.dispatch("d", Command(name="slow", arguments={"seconds": 60.0}, confirmed_by="me"))
            next_one = Command(name="echo", arguments={"value": 1}, confirmed_by="me")
            assert slow.cancel()
            waiting = worker.dispatch("d", next_one)
            device.let_go.set()
            result = waiting.result(60)
            assert (result.status, result.value) == (CommandStatus.DONE, 1)
            with pytest.raises(CancelledError):
                slow.result(0)
            assert device.completed == ["slow", "echo 1"]
            assert not worker._inflight

    def test_refusals_are_answers(self) -> None:
        """No authorisation, an unknown command, wrong arguments: refused, never raised."""
        device = ScriptedDevice()
        with WorkerPool({"d": device}) as pool:
            worker = pool.workers[0]
            for command, words in (
                (Command(name="echo", arguments={"value": 1}), "stands behind"),
                (Command(name="fly", confirmed_by="me"), "it knows: break, echo, slow"),
                (Command(name="echo", arguments={"volume": 1}, confirmed_by="me"), "echo"),
            ):
                result = worker.dispatch("d", command).result(10)
                assert result.status is CommandStatus.REFUSED
                assert not result.accepted
                assert words in result.message
            assert device.completed == []

    def test_a_broken_device_is_a_failure_with_words(self) -> None:
        """What a device raises is the command's answer."""
        with WorkerPool({"d": ScriptedDevice()}) as pool:
            result = pool.workers[0].dispatch("d", Command(name="break", confirmed_by="me")).result(10)
            assert (result.status, result.accepted) == (CommandStatus.FAILED, True)
            assert "the wire is cut" in result.message

    def test_a_closed_worker_refuses(self) -> None:
        """A command to a pool that is not open is refused."""
        pool = WorkerPool({"d": ScriptedDevice()})
        result = pool.workers[0].dispatch("d", Command(name="echo", confirmed_by="me")).result(1)
        assert result.status is CommandStatus.REFUSED
        assert "closed" in result.message
