"""The guard: a recorder killed without warning leaves its heater off, and the recovered sequence says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.acquire.heater import Heater, HeaterConfig, HeaterServer, config_of, off

import gapless
from gapless.acquire.clock import HostClock
from gapless.acquire.guard import Guard
from gapless.acquire.guard_main import take_order
from gapless.errors import PreflightFailed
from gapless.store.late_events import GUARD_LOCK, LATE_EVENTS
from gapless.store.platform import PLATFORM

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 90.0


@pytest.fixture
def heater() -> Iterator[HeaterServer]:
    """A heater that is on."""
    with HeaterServer() as server:
        yield server


@dataclass
class Entry:
    """A device as a rig has it."""

    name: str
    config: HeaterConfig
    adapter_class: type[Any] = Heater


@contextmanager
def recorder(
    store: Path, server: HeaterServer, *words: str
) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """Start a recorder of its own session; yields it with the pids of its guard and of its forked copy."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.acquire.guarded_recorder", str(store), str(server.port), *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    pids: list[int] = []
    try:
        pids = [int(word) for word in process.stdout.readline().split()]
        yield process, pids[0], pids[1]
    finally:
        for pid in [process.pid, *filter(None, pids)]:
            end(pid)
        process.wait(WAIT_S)
        process.stdin.close()
        process.stdout.close()


def end(pid: int) -> None:
    """Kill a process that may be gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""
    give_up_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_s, what
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def events_of(store: Path) -> list[dict[str, Any]]:
    """Recover the run and return its events."""
    with gapless.connect(store) as client:
        manifest = client.recover("run")
        assert manifest["record"]["outcome"] == "interrupted"
        rows: list[dict[str, Any]] = client.sequence_handler("run").topic("_events").to_arrow().to_pylist()
    return rows


# -- a recorder that dies -------------------------------------------------------------------------


def test_sigkill_leaves_the_heater_off_and_the_sequence_says_so(tmp_path: Path, heater: HeaterServer) -> None:
    """The whole process group is killed; the guard is in none of it, and recovery waits for its report."""
    heater.exclusive = True
    with recorder(tmp_path, heater) as (process, guard, _):
        os.killpg(process.pid, signal.SIGKILL)
        assert heater.wait_for(0.0)
        rows = events_of(tmp_path)
        until(lambda: is_gone(guard), "the guard stayed")
    assert [(row["kind"], row["severity"]) for row in rows] == [("began", "info"), ("safe_state", "info")]
    report = json.loads(rows[1]["data"])
    assert [(o["device"], o["status"], o["via"]) for o in report["outcomes"]] == [("h", "safe", "guard")]
    assert rows[1]["timestamp_ns"] >= rows[0]["timestamp_ns"]
    assert heater.sets == [("SET", 0.0)]


def test_a_forked_copy_of_the_recorder_does_not_keep_the_guard_waiting(
    tmp_path: Path, heater: HeaterServer
) -> None:
    """The copy inherits descriptors and lives on; it is not the recorder."""
    with recorder(tmp_path, heater, "fork") as (process, _, copy):
        os.kill(process.pid, signal.SIGKILL)
        assert heater.wait_for(0.0)
        assert not is_gone(copy)


def test_a_device_that_the_guard_cannot_reach_is_told_as_unsafe(tmp_path: Path, heater: HeaterServer) -> None:
    """The guard gives up at the program's deadline."""
    with recorder(tmp_path, heater, "slow") as (process, guard, _):
        heater.silent = set(range(100))
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: is_gone(guard), "the guard stayed")
        rows = events_of(tmp_path)
    assert [(r["kind"], r["severity"], r["source"]) for r in rows[1:]] == [
        ("device_unsafe", "error", "h"),
        ("safe_state", "error", "guard"),
    ]
    assert "not within 1 s" in rows[1]["message"]
    assert heater.power == 100.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_that_end_a_run_do_not_end_its_guard(
    tmp_path: Path, heater: HeaterServer, number: signal.Signals
) -> None:
    """Sent to the guard itself, as a service manager does: it stays until the recorder is gone."""
    with recorder(tmp_path, heater) as (process, guard, _):
        for _ in range(3):
            os.kill(guard, number)
        os.kill(process.pid, signal.SIGKILL)
        assert heater.wait_for(0.0)


def test_a_run_that_ends_by_itself_needs_no_guard(tmp_path: Path, heater: HeaterServer) -> None:
    """Disarmed, it goes without touching the heater or the sequence."""
    with recorder(tmp_path, heater) as (process, guard, _):
        process.communicate("\n", timeout=WAIT_S)
        assert process.returncode == 0
        until(lambda: is_gone(guard), "the guard stayed")
    assert (heater.power, heater.connections) == (100.0, 1)
    with gapless.connect(tmp_path) as client:
        handler = client.sequence_handler("run")
        assert handler.outcome == "completed"
        assert handler.topic("_events").rows == 1
        assert not (handler.path / "journal").exists()


# -- inside one process ---------------------------------------------------------------------------


@contextmanager
def guarding(folder: Path, *entries: Entry) -> Iterator[Guard]:
    """Start a guard over a bundle with an empty journal; at the end it is disarmed."""
    (folder / "journal").mkdir()
    guard = Guard(entries, folder, HostClock())
    try:
        guard.start(WAIT_S)
        yield guard
    finally:
        guard.disarm(WAIT_S)


def test_a_guard_that_dies_is_told_and_started_again_once(tmp_path: Path, heater: HeaterServer) -> None:
    """The second one guards too; after its death nobody does, which is told."""
    with guarding(tmp_path, Entry("h", config_of(heater, off()))) as guard:
        assert guard.poll() == []
        first = guard.pid
        assert first is not None
        end(first)
        until(lambda: not guard.is_alive, "the guard lives on")
        (lost,) = guard.poll()
        assert (lost.kind, lost.severity, lost.ends_run) == ("guard_lost", "warning", False)
        until(lambda: guard.is_alive, "no second guard")
        second = guard.pid
        assert second not in (None, first)
        assert guard.poll() == []
        assert second is not None
        end(second)
        until(lambda: not guard.is_alive, "the guard lives on")
        (lost_again,) = guard.poll()
        assert "nobody" in lost_again.message
        assert (guard.poll(), guard.pid) == ([], None)
    assert heater.connections == 0


def test_a_guard_holds_its_lock_while_it_may_report(tmp_path: Path, heater: HeaterServer) -> None:
    """Recovery can tell that a report may still come."""
    lock = tmp_path / "journal" / GUARD_LOCK
    with guarding(tmp_path, Entry("h", config_of(heater, off()))):
        assert PLATFORM.is_locked(lock)
    assert not PLATFORM.is_locked(lock)
    assert not (tmp_path / "journal" / LATE_EVENTS).exists()


def test_without_a_program_there_is_no_guard(tmp_path: Path, heater: HeaterServer) -> None:
    """No process is started for a rig that has nothing to make safe."""
    with guarding(tmp_path, Entry("h", config_of(heater, None))) as guard:
        assert (guard.is_needed, guard.pid, guard.poll()) == (False, None, [])


def test_a_device_that_the_guard_cannot_make_is_told(tmp_path: Path, heater: HeaterServer) -> None:
    """A class inside a function has no place to be imported from; the other device is guarded all the same."""

    class Local(Heater):
        pass

    config = config_of(heater, off())
    with guarding(tmp_path, Entry("a", config, Local), Entry("b", config)) as guard:
        (cannot,) = guard.poll()
        assert (cannot.kind, cannot.severity, cannot.source) == ("guard_cannot", "warning", "a")
        assert guard.poll() == []
        assert guard.is_alive


def test_a_guard_that_cannot_start_is_a_failed_preflight(tmp_path: Path, heater: HeaterServer) -> None:
    """There is no journal to lock: the run must not begin without saying so."""
    guard = Guard([Entry("h", config_of(heater, off()))], tmp_path / "nowhere", HostClock())
    with pytest.raises(PreflightFailed, match="guard"):
        guard.start(WAIT_S)
    assert guard.pid is None


def test_a_guard_acts_though_nobody_reads_its_answer(tmp_path: Path, heater: HeaterServer) -> None:
    """The recorder died between the order and the answer: its ends of all pipes are closed."""
    (tmp_path / "journal").mkdir()
    order = Guard([Entry("h", config_of(heater, off()))], tmp_path, HostClock())._order
    process = start_guard()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    process.stdin.write(json.dumps(order).encode() + b"\n")
    process.stdin.close()
    assert process.wait(WAIT_S) == 0
    assert heater.power == 0.0
    assert len((tmp_path / "journal" / LATE_EVENTS).read_bytes().splitlines()) == 1


@pytest.mark.parametrize("order", [b"", b'{"bundle": "/tm'])
def test_a_guard_without_a_whole_order_ends(order: bytes) -> None:
    """The recorder died before it had opened anything worth guarding."""
    process = start_guard()
    assert process.communicate(order, WAIT_S)[0] == b""
    assert process.returncode == 0


def start_guard() -> subprocess.Popen[bytes]:
    """Start the guard process by itself."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "gapless.acquire.guard_main"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_an_order_survives_its_way(heater: HeaterServer) -> None:
    """The guard makes the same device that the rig has."""
    config = config_of(heater, off(("valve", 0.5), deadline_s=3.0))
    order = Guard([Entry("h", config)], Path("x"), HostClock())._order
    (ward,), problems = take_order(json.loads(json.dumps(order))["devices"])
    device = ward.make()
    assert problems == {}
    assert isinstance(device, Heater)
    assert (device.name, device.config, ward.safe) == ("h", config, config.safe_state)
