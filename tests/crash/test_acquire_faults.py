"""Whatever breaks under a run: a defined outcome, a row that says so, a sequence that seals and balances."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.acquire.scripted import ScriptedDevice
from tests.acquire.small_rig import SmallRig

import gapless
from gapless.acquire.conductor import Conductor
from gapless.acquire.ending import RunResult
from gapless.acquire.run import Run, run_rig
from gapless.client.client import Client
from gapless.errors import NotFound, PreflightFailed, StateError
from gapless.model.outcome import Outcome
from gapless.store.writer import BundleWriter
from gapless.testing.faults import Fault, FaultyPlatform
from gapless.testing.modbus_server import ModbusServer


def record(
    client: Client, device: ScriptedDevice, during: Callable[[Run], None], **settings: Any
) -> RunResult:
    """Record a device into ``x``, break something, and return how it ended."""
    run = Run(SmallRig([device], **settings), client, name="x")  # type: ignore[arg-type]
    run.start()
    during(run)
    result = run.wait(90)
    assert result is not None, "the run did not end"
    return result


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    deadline_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


def check_balanced(client: Client, device: ScriptedDevice | None = None) -> None:
    """Every topic's ledger balances; with a device, it counts what the device offered or says it cannot."""
    assert [finding for finding in client.verify("x") if finding.severity == "error"] == []
    for topic in client.sequence_handler("x").reader.topics.values():
        ledger = topic.ledger
        assert ledger["produced"] == ledger["written"] + ledger["dropped"] + ledger["gapped"]
        if device is not None:
            assert ledger["produced"] == device.offered


def mend(client: Client) -> None:
    """Seal what the failed run left, as the error's next step says."""
    try:
        client.recover("x")
    except StateError:  # kept as pending, with the error as a notification
        client.seal("x")


def told(client: Client) -> list[str]:
    """Return what tells of a fault: kinds and messages of events, and what notifications say."""
    handler = client.sequence_handler("x")
    try:
        events = handler.reader.topic("_events").to_arrow().to_pylist()
    except NotFound:
        events = []
    words = [word for row in events for word in (row["kind"], row["message"])]
    return words + [str(note) for note in handler.notifications()]


@pytest.mark.parametrize(
    ("fault", "words"),
    [(Fault("data_sync"), "refused a write or a sync"), (Fault("write"), "refused a write or a sync")],
)
def test_a_disk_that_refuses(tmp_path: Path, fault: Fault, words: str) -> None:
    """EIO of a write or a sync: the run fails loudly, and what was durable is sealed by recovery."""
    platform = FaultyPlatform()
    client = gapless.connect(tmp_path, platform=platform, deadline_s=20)
    device = ScriptedDevice(limit=10**9)

    def break_it(run: Run) -> None:
        while run.recorder.rows < 2000:
            time.sleep(0.01)
        platform.plan(fault)

    result = record(client, device, break_it)
    assert (result.outcome, result.sealed, result.exit_code) == (Outcome.FAILED, False, 1)
    assert words in str(result.cause)
    platform.heal()
    mend(client)
    check_balanced(client)
    assert any(words in line for line in told(client))


def test_a_full_disk(tmp_path: Path) -> None:
    """A real tmpfs of 16 MiB that runs full: failed, told, and sealed once there is room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("this machine may not mount a tmpfs")
    try:
        client = gapless.connect(disk, deadline_s=20)
        filler = disk / "filler"

        def fill(run: Run) -> None:
            while run.recorder.rows < 2000:
                time.sleep(0.01)
            with filler.open("wb", buffering=0) as file:
                file.write(bytes(16 << 20))  # takes what there is

        result = record(client, ScriptedDevice(limit=10**9), fill)
        assert result.outcome is Outcome.FAILED
        assert not result.sealed
        filler.unlink()
        mend(client)
        check_balanced(client)
        assert any("No space" in line for line in told(client))
        client.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_dead_writer_thread(tmp_path: Path) -> None:
    """The writer thread ends by an error of its own: the run fails, and recovery seals what was durable."""
    client = gapless.connect(tmp_path, deadline_s=20)

    def kill(run: Run) -> None:
        while run.recorder.rows < 2000:
            time.sleep(0.01)
        writer = run.sequence._writer
        assert isinstance(writer, BundleWriter)
        writer.hand_over.queue.put("poison")  # type: ignore[arg-type]

    result = record(client, ScriptedDevice(limit=10**9), kill)
    assert (result.outcome, result.sealed) == (Outcome.FAILED, False)
    mend(client)
    check_balanced(client)
    assert any("writer thread" in line for line in told(client))


def test_a_procedure_that_raises(tmp_path: Path) -> None:
    """An exception of a step crashes the run; everything before it is sealed."""
    client = gapless.connect(tmp_path, deadline_s=20)
    device = ScriptedDevice(limit=300)

    run = Run(SmallRig([device]), client, name="x")  # type: ignore[arg-type]
    original = run._make_conductor

    def make() -> Conductor:
        conductor = original()

        async def step(conductor: Conductor) -> None:
            while run.recorder.rows < 300:
                await asyncio.sleep(0.01)
            raise RuntimeError("the step broke")

        conductor._procedure = step
        return conductor

    run._make_conductor = make  # type: ignore[method-assign]
    run.start()
    result = run.wait(60)
    assert result is not None
    assert (result.outcome, result.sealed, result.exit_code) == (Outcome.CRASHED, True, 1)
    check_balanced(client, device)
    assert "run_crashed" in told(client)


def test_the_host_clock_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall clock that jumps an hour back moves no stamp; the jump is in _health."""
    client = gapless.connect(tmp_path, deadline_s=20)
    device = ScriptedDevice(limit=200, ends=True, waits=True)
    real = time.time_ns

    def step(run: Run) -> None:
        monkeypatch.setattr(time, "time_ns", lambda: real() - 3_600_000_000_000)
        device.go.set()

    result = record(client, device, step)
    assert result.outcome is Outcome.COMPLETED
    stamps = [r["timestamp_ns"] for r in rows(client, "channels/d")]
    assert stamps == sorted(stamps)
    assert stamps[-1] - stamps[0] < 60_000_000_000
    health = rows(client, "_health")
    offsets = [row["wall_ns"] - row["boot_ns"] for row in health]
    assert max(offsets) - min(offsets) > 3_000_000_000_000
    check_balanced(client, device)


def rows(client: Client, topic: str) -> list[dict[str, Any]]:
    """Return the rows of a topic."""
    found: list[dict[str, Any]] = client.sequence_handler("x").reader.topic(topic).to_arrow().to_pylist()
    return found


# -- the command line --------------------------------------------------------------------------

RIG = """
name = "rig"
{more}

[run]
saturation_deadline_s = {deadline}
drain_deadline_s = {drain}
seal_deadline_s = {seal}
max_unsynced_bytes = 65536

[devices.heater]
adapter = "modbus"
host = "127.0.0.1"
port = "{port}"
rate_hz = {rate}
silence_deadline_s = 2
read_timeout_s = 0.5
on_failure = "{on_failure}"
points = [
    {{ name = "reading", register = 0, dtype = "uint16" }},
    {{ name = "sp", register = 1, dtype = "uint16", writable = true }},
]

[devices.heater.safe_state]
program = [{{ command = "write", arguments = {{ point = "sp", value = 0 }} }}]
second_connection = true

[[channels]]
name = "reading"
device = "heater"
field = "reading"
unit = "1"
"""

_HANG_S = 30.0  # of a frozen disk, at least
DEFAULTS = {"deadline": 10, "drain": 30, "seal": 60, "rate": 100, "on_failure": "crash", "more": ""}


class Recorder:
    """A recorder of one heater as a user starts it."""

    def __init__(self, folder: Path, heater: ModbusServer, store: Path, **settings: Any) -> None:
        known = DEFAULTS | {"port": heater.port} | settings
        rig = folder / "rig.toml"
        rig.write_text(RIG.format(**known), encoding="utf-8")
        self.store = store
        arguments = [str(rig), "--name", "x", "--store", str(store), "--json"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gapless.cli.main", "record", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline_s = time.monotonic() + 60
        while len(heater.values_served(0)) < 50:
            assert time.monotonic() < deadline_s, "nothing was read"
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)

    def end(self, timeout_s: float = 90) -> tuple[int, dict[str, Any]]:
        """Wait for the end; return the exit code and what was printed."""
        try:
            out, err = self.process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode, json.loads(out) if out else {"err": err}


@pytest.fixture
def heater() -> Iterator[ModbusServer]:
    """A heater that is on, and numbers its answers."""
    with ModbusServer() as server:
        server.count_at(0)
        server.set(1, 600)
        yield server


def test_sigterm_seals_and_makes_safe(tmp_path: Path, heater: ModbusServer) -> None:
    """SIGTERM: the heater is off, the sequence is sealed as aborted, exit code 130."""
    recorder = Recorder(tmp_path, heater, tmp_path / "store")
    recorder.process.send_signal(signal.SIGTERM)
    code, known = recorder.end()
    assert (code, known["outcome"], known["state"]) == (130, "aborted", "sealed")
    assert heater.get(1) == 0


def test_ctrl_c_twice(tmp_path: Path, heater: ModbusServer) -> None:
    """The second Ctrl-C ends at once; the guard switches the heater off, and recovery seals the rows."""
    recorder = Recorder(tmp_path, heater, tmp_path / "store", rate=20)
    heater.faults.delay_s = 0.4  # the first stop takes a moment, so that the second comes in time
    recorder.process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    recorder.process.send_signal(signal.SIGINT)
    code, _ = recorder.end()
    heater.faults.delay_s = 0.0
    assert code == 130
    assert heater.wait_for(0, 1, timeout_s=20)
    with gapless.connect(tmp_path / "store") as client:
        client.recover("x")
        assert str(client.sequence_handler("x").outcome) in ("interrupted", "aborted")
        check_balanced(client)


def test_an_unplugged_device_ends_the_run(tmp_path: Path, heater: ModbusServer) -> None:
    """No answer beyond the silence deadline: crashed, reported unsafe as nobody can reach it, exit code 7."""
    recorder = Recorder(tmp_path, heater, tmp_path / "store")
    heater.stop()
    code, known = recorder.end()
    assert (code, known["outcome"], known["state"]) == (7, "crashed", "sealed")
    assert known["unsafe_devices"] == ["heater"]
    with gapless.connect(tmp_path / "store") as client:
        assert {"device_lost", "device_silent", "device_unsafe", "run_crashed"} <= set(told(client))
        check_balanced(client)
        assert [row["cause"] for row in rows(client, "_gaps") if "device" in row["cause"]]


@pytest.mark.parametrize("fault", ["garbage", "half", "silent"])
def test_a_device_that_answers_badly_and_recovers(tmp_path: Path, heater: ModbusServer, fault: str) -> None:
    """Garbage, half a frame, silence: no wrong value, one gap with its count, and the run goes on."""
    recorder = Recorder(tmp_path, heater, tmp_path / "store", on_failure="warn")
    setattr(heater.faults, fault, True)
    asked = len(heater.requests)
    until(lambda: len(heater.requests) >= asked + 4, "it is not asked again")  # so the first of them failed
    setattr(heater.faults, fault, False)
    before = len(heater.values_served(0))
    until(lambda: len(heater.values_served(0)) >= before + 50, "it does not recover")
    recorder.process.send_signal(signal.SIGINT)
    code, known = recorder.end()
    assert (code, known["outcome"]) == (130, "aborted")
    with gapless.connect(tmp_path / "store") as client:
        got = [int(row["reading"]) for row in rows(client, "channels/heater")]
        served = heater.values_served(0)
        assert set(got) <= set(served)
        assert got == sorted(got)
        assert {"device_lost", "device_back"} <= set(told(client))
        gaps = [row for row in rows(client, "_gaps") if row["topic"] == "channels/heater"]
        assert len(gaps) >= 1
        assert all(gap["count"] >= 1 for gap in gaps)
        check_balanced(client)


@pytest.fixture
def frozen_disk(tmp_path: Path) -> Iterator[Path]:
    """A real ext4 of its own, which `fsfreeze` can hang: writes and syncs then wait in the kernel."""
    image, mount = tmp_path / "disk.img", tmp_path / "disk"
    mount.mkdir()
    if shutil.which("fsfreeze") is None or shutil.which("mkfs.ext4") is None or os.geteuid() != 0:
        pytest.skip("hanging a real disk needs root, mkfs.ext4 and fsfreeze")
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-qF", str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=False).returncode:
        pytest.skip("this machine has no loop devices")
    yield mount
    subprocess.run(["fsfreeze", "-u", str(mount)], check=False, stderr=subprocess.DEVNULL)
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_disk_that_hangs(tmp_path: Path, heater: ModbusServer, frozen_disk: Path) -> None:
    """A sync that blocks in the kernel: safe within the deadline, sealed when the disk is back, exit code 6."""
    recorder = Recorder(tmp_path, heater, frozen_disk / "store", deadline=3, rate=500)
    subprocess.run(["fsfreeze", "-f", str(frozen_disk)], check=True)
    began_s = time.monotonic()
    assert heater.wait_for(0, 1, timeout_s=80), "the heater stayed on while the disk hung"
    time.sleep(max(2.0, began_s + _HANG_S - time.monotonic()))
    assert recorder.process.poll() is None
    subprocess.run(["fsfreeze", "-u", str(frozen_disk)], check=True)
    code, known = recorder.end()
    assert (code, known["outcome"], known["state"]) == (6, "crashed_but_sealed", "sealed")
    with gapless.connect(frozen_disk / "store") as client:
        assert {"safe_state", "saturation_deadline", "run_crashed_but_sealed"} <= set(told(client))
        got = [int(row["reading"]) for row in rows(client, "channels/heater")]
        served = heater.values_served(0)
        at = served.index(got[0])
        assert got == served[at : at + len(got)]
        check_balanced(client)


BLOCKING = """
import time

from gapless.acquire.analyzer import analyzer


@analyzer(["reading"])
def never_returns(sample):
    if sample.value > 100:
        time.sleep(1e9)
"""


def test_an_analyzer_that_never_returns(
    tmp_path: Path, heater: ModbusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heater is off, the sequence is sealed and says what blocked, and the process ends with 6."""
    (tmp_path / "blocking.py").write_text(BLOCKING, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*sys.path, str(tmp_path)]))
    recorder = Recorder(
        tmp_path,
        heater,
        tmp_path / "store",
        more='analyzers = ["blocking:never_returns"]',
        deadline=2,
        drain=1,
    )
    code, known = recorder.end()
    assert (code, known["outcome"], known["state"]) == (6, "crashed_but_sealed", "sealed")
    assert "never_returns (blocking.py:" in known["cause"]
    assert heater.get(1) == 0
    with gapless.connect(tmp_path / "store") as client:
        assert {"safe_state", "saturation_deadline", "conductor_blocked"} <= set(told(client))
        got = [int(row["reading"]) for row in rows(client, "channels/heater")]
        served = heater.values_served(0)
        at = served.index(got[0])
        assert got == served[at : at + len(got)]
        lost = [row for row in rows(client, "_gaps") if row["topic"] == "channels/heater"]
        assert {row["cause"] for row in lost} == {"conductor_blocked"}
        assert sum(row["count"] for row in lost) > 0
        check_balanced(client)


def test_a_disk_that_hangs_at_the_start(tmp_path: Path, heater: ModbusServer, frozen_disk: Path) -> None:
    """A disk that takes no new sequence: told in time, exit code 5, and the device was never started."""
    store = frozen_disk / "store"
    gapless.connect(store).close()
    rig = tmp_path / "rig.toml"
    rig.write_text(RIG.format(**DEFAULTS | {"port": heater.port, "seal": 2}), encoding="utf-8")
    subprocess.run(["fsfreeze", "-f", str(frozen_disk)], check=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "gapless.cli.main", "record", str(rig), "--name", "x", "--store", str(store)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    told_of = ""
    try:
        while "E703" not in told_of:  # the disk is still frozen
            line = process.stderr.readline()
            assert line, f"it ended without a word: {told_of}"
            told_of += line
    finally:
        subprocess.run(["fsfreeze", "-u", str(frozen_disk)], check=True)
        process.communicate(timeout=60)
    assert "did not take the new sequence in time" in told_of
    assert process.returncode == 5
    assert len(heater.values_served(0)) <= 1, "the device was sampled"  # one answer shows that it is there
    with gapless.connect(store) as client:
        if client.sequence_exists("x"):  # what the disk took when it was back
            client.recover("x")
            check_balanced(client)


def test_a_store_on_a_disk_that_hangs(frozen_disk: Path) -> None:
    """A disk on which not even a new store can be made: told in time, and no device was opened."""
    device = ScriptedDevice()
    subprocess.run(["fsfreeze", "-f", str(frozen_disk)], check=True)
    with pytest.raises(PreflightFailed, match="did not open the store in time"):
        run_rig(SmallRig([device], seal_deadline_s=0.5), frozen_disk / "store")  # type: ignore[arg-type]
    assert device.opened == 0
