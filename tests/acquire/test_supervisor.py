"""Safe state on every way out: by the worker, by a connection of its own, or told as unsafe."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.acquire.heater import Heater, HeaterConfig, HeaterServer, config_of, off

from gapless.acquire.adapter import Adapter, StartContext
from gapless.acquire.clock import HostClock
from gapless.acquire.device_config import SafeState
from gapless.acquire.finding import Finding
from gapless.acquire.pool import WorkerPool
from gapless.acquire.safe_state import SafeReport, SafeStatus, Via, run_program
from gapless.acquire.supervisor import Supervisor
from gapless.flow.bridge import ThreadBridge
from gapless.flow.policy import BackpressurePolicy
from gapless.model.outcome import Outcome

WAIT_S = 60.0


@pytest.fixture
def heater() -> Iterator[HeaterServer]:
    """A heater that is on."""
    with HeaterServer() as server:
        yield server


@dataclass
class Rig:
    """Open devices with their supervisor, and what it told."""

    pool: WorkerPool
    supervisor: Supervisor
    told: list[tuple[str, str, str, dict[str, Any]]] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        """The kinds of the events told, in order."""
        return [kind for _, kind, _, _ in self.told]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is not blocked on purpose gets all the time that a busy machine takes."""
    monkeypatch.setattr("gapless.acquire.supervisor.BEGIN_S", WAIT_S)


@contextmanager
def rig_of(
    configs: Mapping[str, HeaterConfig], reopen: Callable[[str], Adapter] | None = None
) -> Iterator[Rig]:
    """Open a pool of heaters under a supervisor."""
    pool = WorkerPool({name: Heater(name, config) for name, config in configs.items()})
    told: list[tuple[str, str, str, dict[str, Any]]] = []
    supervisor = Supervisor(
        pool,
        configs,
        reopen=reopen or (lambda name: Heater(name, configs[name])),
        tell=lambda *words: told.append(words),
    )
    with pool:
        yield Rig(pool, supervisor, told)
        supervisor.close()


@contextmanager
def blocked(rig: Rig, device: str) -> Iterator[None]:
    """Keep the loop of a device's worker from running anything."""
    worker = rig.pool.worker_for(device)
    began, free = threading.Event(), threading.Event()

    async def block() -> None:
        began.set()
        free.wait(WAIT_S)

    future = worker.submit(block())
    assert began.wait(WAIT_S)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gapless.acquire.supervisor.BEGIN_S", 3.0)
            yield
    finally:
        free.set()
        future.result(WAIT_S)


# -- one device -----------------------------------------------------------------------------------


def test_the_owning_worker_runs_the_program(heater: HeaterServer) -> None:
    """On the connection that is open, once."""
    with rig_of({"h": config_of(heater, off())}) as rig:
        report = rig.supervisor.make_safe("completed")
        assert [(o.device, o.status, o.via) for o in report.outcomes] == [("h", SafeStatus.SAFE, Via.WORKER)]
    assert (heater.power, heater.sets, heater.connections) == (0.0, [("SET", 0.0)], 1)
    assert rig.kinds == ["safe_state"]
    assert rig.told[0][0] == "info"
    assert SafeReport.from_json(rig.told[0][3]) == report
    assert report.unsafe_devices == []


def test_a_stuck_worker_is_gone_around(heater: HeaterServer) -> None:
    """Its loop runs nothing, so the program runs on a second connection; nothing runs twice afterwards."""
    with rig_of({"h": config_of(heater, off(second=True))}) as rig:
        with blocked(rig, "h"):
            report = rig.supervisor.make_safe("fault")
            assert heater.power == 0.0
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop_of(rig, "h")).result(WAIT_S)
        assert heater.sets == [("SET", 0.0)]
    (outcome,) = report.outcomes
    assert (outcome.status, outcome.via) == (SafeStatus.SAFE, Via.SECOND_CONNECTION)
    assert "did not begin" in outcome.message
    assert heater.connections == 2


def loop_of(rig: Rig, device: str) -> asyncio.AbstractEventLoop:
    """Return the loop of a device's worker."""

    async def ask() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    return rig.pool.worker_for(device).submit(ask()).result(WAIT_S)


def test_a_stuck_worker_without_a_second_connection_is_told_as_unsafe(heater: HeaterServer) -> None:
    """Nothing else is tried, and the device is named."""
    with rig_of({"h": config_of(heater, off(second=False))}) as rig, blocked(rig, "h"):
        report = rig.supervisor.make_safe("fault")
    assert report.unsafe_devices == ["h"]
    assert (heater.power, heater.connections) == (100.0, 1)
    assert rig.kinds == ["device_unsafe", "safe_state"]
    assert [severity for severity, *_ in rig.told] == ["error", "error"]


def test_a_program_that_does_not_end_is_tried_on_a_second_connection(heater: HeaterServer) -> None:
    """The first connection hangs in the middle of an order."""
    heater.silent = set(range(1, 100))
    config = config_of(heater, off(deadline_s=6.0, second=True))
    with rig_of({"h": config}, lambda name: answering(heater, name, config)) as rig:
        report = rig.supervisor.make_safe("fault")
    (outcome,) = report.outcomes
    assert (outcome.status, outcome.via, heater.power) == (SafeStatus.SAFE, Via.SECOND_CONNECTION, 0.0)


def answering(heater: HeaterServer, name: str, config: HeaterConfig) -> Heater:
    """Return a device for a second connection; the heater answers whoever comes from now on."""
    heater.silent = set(range(1, heater.connections + 1))
    return Heater(name, config)


@pytest.mark.parametrize("steps", [[("set", 0.0)], [("valve", 0.0), ("set", 0.0)]])
def test_a_program_reconnects_within_its_deadline(
    heater: HeaterServer, steps: list[tuple[str, float]]
) -> None:
    """A connection that hangs is dropped and made again, and what was tried on it is tried again."""
    heater.silent = {1}
    with rig_of({"h": config_of(heater, off(*steps, deadline_s=8.0))}) as rig:
        report = rig.supervisor.make_safe("fault")
    assert [(o.status, o.via) for o in report.outcomes] == [(SafeStatus.SAFE, Via.WORKER)]
    assert (heater.power, heater.connections) == (0.0, 2)


def test_a_second_connection_that_the_device_refuses_is_unsafe(
    heater: HeaterServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome tells both tries."""
    monkeypatch.setattr("gapless.acquire.supervisor._MARGIN_S", WAIT_S)  # the program's own words come
    heater.exclusive = True
    with rig_of({"h": config_of(heater, off(deadline_s=0.5, second=True))}) as rig, blocked(rig, "h"):
        report = rig.supervisor.make_safe("fault")
    (outcome,) = report.outcomes
    assert (outcome.status, outcome.via) == (SafeStatus.UNSAFE, Via.SECOND_CONNECTION)
    assert "did not begin" in outcome.message
    assert "not within 0.5 s" in outcome.message
    assert heater.power == 100.0


def test_a_lost_connection_is_made_anew(heater: HeaterServer) -> None:
    """The heater hung up; the worker opens it again and the program runs from its first step."""
    with rig_of({"h": config_of(heater, off(("valve", 0.0), ("set", 0.0)))}) as rig:
        heater.hang_up()
        report = rig.supervisor.make_safe("fault")
    (outcome,) = report.outcomes
    assert (outcome.status, outcome.via) == (SafeStatus.SAFE, Via.WORKER)
    assert (heater.power, heater.valve, heater.connections) == (0.0, 0.0, 2)


def test_a_closed_device_is_opened(heater: HeaterServer) -> None:
    """A device that was given up during the run is connected for its program."""
    with rig_of({"h": config_of(heater, off())}) as rig:
        rig.pool.worker_for("h").submit(rig.pool.adapters["h"].close()).result(WAIT_S)
        report = rig.supervisor.make_safe("fault")
    assert report.unsafe_devices == []
    assert (heater.power, heater.connections) == (0.0, 2)


def test_a_closed_pool_leaves_a_connection_of_its_own(heater: HeaterServer) -> None:
    """No worker holds the device, so a fresh one does not need leave for a second connection."""
    with rig_of({"h": config_of(heater, off(second=False))}) as rig:
        rig.pool.close()
        report = rig.supervisor.make_safe("late")
    (outcome,) = report.outcomes
    assert (outcome.status, heater.power) == (SafeStatus.SAFE, 0.0)


def test_a_device_that_says_no_is_asked_again(heater: HeaterServer) -> None:
    """A refusal of a moment does not leave the heater on."""
    heater.refusals = 2
    with rig_of({"h": config_of(heater, off())}) as rig:
        assert rig.supervisor.make_safe("fault").unsafe_devices == []
    assert heater.sets == [("SET", 0.0)]


@pytest.mark.parametrize(
    ("step", "words"), [("melt", "knows no command 'melt'"), ("break", "a defect of the adapter")]
)
def test_a_step_that_cannot_be_done_does_not_keep_the_others_from_it(
    heater: HeaterServer, step: str, words: str
) -> None:
    """The heater is off although the step before is unknown or breaks, and the device is called unsafe."""
    with rig_of({"h": config_of(heater, off((step, 0.0), ("set", 0.0), deadline_s=3.0))}) as rig:
        report = rig.supervisor.make_safe("fault")
    assert report.unsafe_devices == ["h"]
    assert words in report.outcomes[0].message
    assert heater.power == 0.0


def test_nobody_there_is_unsafe_at_the_deadline() -> None:
    """A device that cannot be reached at all."""
    with HeaterServer() as server:
        config = config_of(server, off(deadline_s=0.3))
    assert config.safe_state is not None
    outcome = asyncio.run(run_program(Heater("h", config), config.safe_state))
    assert outcome.status is SafeStatus.UNSAFE
    assert "open: DeviceUnreachable" in outcome.message


def test_a_cancelled_program_is_cancelled(heater: HeaterServer) -> None:
    """A cancellation is no trouble of the device: it goes through."""
    heater.silent = {1}
    config = config_of(heater, off(deadline_s=50.0))

    async def cancelled() -> bool:
        device = Heater("h", config)
        assert isinstance(config.safe_state, SafeState)
        task = asyncio.create_task(run_program(device, config.safe_state))
        while not device.is_open:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        await device.close()
        return task.cancelled()

    assert asyncio.run(cancelled())


# -- several devices, several callers -------------------------------------------------------------


def test_devices_do_not_wait_for_each_other(heater: HeaterServer) -> None:
    """One blocks its worker, one has no program, one blocks even its second connection; the fourth is safe."""
    free = threading.Event()

    class Wedge(Heater):
        async def connect(self) -> None:
            free.wait(WAIT_S)

    with ExitStack() as stack:
        others = [stack.enter_context(HeaterServer()) for _ in range(2)]
        configs = {
            "wedged": config_of(heater, off(deadline_s=0.3, second=True)),
            "stuck": config_of(others[0], off(deadline_s=5.0, second=True)),
            "fine": config_of(others[1], off()),
            "plain": config_of(others[1], None),
        }

        def reopen(name: str) -> Heater:
            return (Wedge if name == "wedged" else Heater)(name, configs[name])

        rig = stack.enter_context(rig_of(configs, reopen))
        with blocked(rig, "wedged"), blocked(rig, "stuck"):
            report = rig.supervisor.make_safe("fault")
            assert not free.is_set()
        free.set()
        found = {o.device: (o.status, o.via) for o in report.outcomes}
        assert found == {
            "wedged": (SafeStatus.UNSAFE, Via.SECOND_CONNECTION),
            "stuck": (SafeStatus.SAFE, Via.SECOND_CONNECTION),
            "fine": (SafeStatus.SAFE, Via.WORKER),
            "plain": (SafeStatus.NOT_DECLARED, None),
        }
        assert [server.power for server in others] == [0.0, 0.0]


def test_a_rig_without_programs_tells_nothing(heater: HeaterServer) -> None:
    """There is nothing to run and nothing to record."""
    with rig_of({"h": config_of(heater, None)}) as rig:
        report = rig.supervisor.make_safe("completed")
    assert [o.status for o in report.outcomes] == [SafeStatus.NOT_DECLARED]
    assert (rig.told, heater.sets) == ([], [])


def test_the_first_call_decides_and_an_emergency_may_ask_again(heater: HeaterServer) -> None:
    """Eight callers at once get one report; a later call gets it too, unless it wants the programs again."""
    with rig_of({"h": config_of(heater, off())}) as rig:
        gate = threading.Barrier(8)
        reports: list[SafeReport] = []

        def call(k: int) -> None:
            gate.wait(WAIT_S)
            reports.append(rig.supervisor.make_safe(f"reason {k}"))

        threads = [threading.Thread(target=call, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        assert len(reports) == 8
        assert all(report is reports[0] for report in reports)
        assert rig.supervisor.make_safe("later") is reports[0]
        assert heater.sets == [("SET", 0.0)]
        again = rig.supervisor.make_safe("emergency", again=True)
        assert (again.reason, rig.supervisor.report) == ("emergency", again)
    assert heater.sets == [("SET", 0.0)] * 2


def test_commands_are_barred_before_the_programs_run(heater: HeaterServer) -> None:
    """Nothing may switch the heater on behind its program; a bar that breaks keeps no program from running."""
    config = config_of(heater, off())
    told: list[str] = []
    barred: list[int] = []

    def bar() -> None:
        barred.append(len(heater.sets))
        raise ValueError("a defect of the run")

    with WorkerPool({"h": Heater("h", config)}) as pool:
        supervisor = Supervisor(
            pool,
            {"h": config},
            reopen=lambda name: Heater(name, config),
            tell=lambda severity, kind, message, data: told.append(kind),
            bar=bar,
        )
        supervisor.make_safe("a step of the method", final=False)
        assert (barred, len(heater.sets)) == ([], 1)
        assert supervisor.make_safe("fault").unsafe_devices == []
        supervisor.make_safe("later")
    assert (barred, len(heater.sets)) == ([1], 2)
    assert told == ["safe_state", "supervisor_failed", "safe_state"]


def test_a_step_of_the_method_does_not_stand_for_the_end(heater: HeaterServer) -> None:
    """The method may switch the heater on again behind it: the end of the run makes it safe once more."""
    with rig_of({"h": config_of(heater, off())}) as rig:
        rig.supervisor.make_safe("step", final=False)
        heater.power = 100.0
        report = rig.supervisor.make_safe("completed")
        assert (heater.power, report.reason) == (0.0, "completed")
        heater.power = 100.0
        assert rig.supervisor.make_safe("step", final=False) is report
        assert heater.power == 100.0


def test_the_program_runs_while_the_device_is_being_read(heater: HeaterServer) -> None:
    """Whole transactions in turn on one connection: the poll and the order each get their own answer."""
    with rig_of({"h": config_of(heater, off())}) as rig:
        worker, device = rig.pool.worker_for("h"), rig.pool.adapters["h"]
        assert isinstance(device, Heater)

        async def poll() -> list[float]:
            seen: list[float] = []
            while not seen or seen[-1] != 0.0:
                async with device.bus.lock:
                    seen += await device.read()
            return seen

        polling = worker.submit(poll())
        assert rig.supervisor.make_safe("fault").unsafe_devices == []
        assert set(polling.result(WAIT_S)) <= {100.0, 0.0}
    assert heater.connections == 1


def test_a_poll_that_hangs_does_not_keep_the_program_waiting(heater: HeaterServer) -> None:
    """The device hangs in the middle of a run's poll; the program gets its turn and a connection that answers."""
    heater.silent = {1}
    config = config_of(heater, off(deadline_s=8.0)).model_copy(update={"read_timeout_s": 0.3})
    bridge: ThreadBridge[Any] = ThreadBridge("b", capacity=8, policy=BackpressurePolicy.DROP_OLDEST)
    with rig_of({"h": config}) as rig:
        worker = rig.pool.worker_for("h")
        worker.arm({"h": StartContext(HostClock(), "run", recording_enabled=True)}, bridge)
        worker.begin()
        assert rig.supervisor.make_safe("fault").unsafe_devices == []
        assert heater.power == 0.0
        worker.stop()


# -- watching -------------------------------------------------------------------------------------


class Scripted:
    """A monitor that finds what it is given, once."""

    def __init__(self, *findings: Finding) -> None:
        self.findings = list(findings)
        self.threads: set[str] = set()
        self.polls = 0

    def poll(self) -> list[Finding]:
        """Return what is left."""
        self.threads.add(threading.current_thread().name)
        self.polls += 1
        found, self.findings = self.findings, []
        return found


class Broken:
    """A monitor with a defect."""

    def poll(self) -> list[Finding]:
        """Raise."""
        raise KeyError("gone")


def test_monitors_are_polled_and_their_findings_passed_on(heater: HeaterServer) -> None:
    """From one thread; a broken monitor and a broken callback are told and stop nobody."""
    alarm = Finding("error", "alarm", "too hot", outcome=Outcome.CRASHED)
    later = Finding("info", "alarm_cleared", "cool")
    monitor = Scripted(alarm)
    seen: list[Finding] = []
    enough = threading.Event()

    def on_trip(finding: Finding) -> None:
        seen.append(finding)
        if finding.kind == "alarm":
            monitor.findings.append(later)
            raise ValueError("a defect of the run")
        if finding is later:
            enough.set()

    with rig_of({"h": config_of(heater, off())}) as rig:
        rig.supervisor.watch([Broken(), monitor], on_trip)
        assert enough.wait(WAIT_S)
    assert [(f.kind, f.ends_run) for f in seen] == [
        ("supervisor_failed", True),
        ("alarm", True),
        ("alarm_cleared", False),
    ]
    assert monitor.threads == {"gapless-supervisor"}
    assert [(kind, words) for _, kind, words, _ in rig.told] == [
        ("supervisor_failed", "alarm was found and not acted upon: ValueError: a defect of the run")
    ]


def test_a_trip_may_make_safe_from_the_watching_thread(heater: HeaterServer) -> None:
    """The callback runs the programs itself: nothing that it waits for needs its thread."""
    done = threading.Event()
    with rig_of({"h": config_of(heater, off())}) as rig:

        def on_trip(finding: Finding) -> None:
            rig.supervisor.make_safe(finding.kind)
            done.set()

        rig.supervisor.watch([Scripted(Finding("error", "alarm", "too hot"))], on_trip)
        assert done.wait(WAIT_S)
        report = rig.supervisor.report
        assert report is not None
        assert (report.reason, heater.power) == ("alarm", 0.0)


def test_close_ends_the_watch(heater: HeaterServer) -> None:
    """No monitor is asked after it."""
    monitor = Scripted()
    with rig_of({"h": config_of(heater, off())}) as rig:
        rig.supervisor.watch([monitor], lambda finding: None)
        rig.supervisor.close()
        polls = monitor.polls
        assert [t.name for t in threading.enumerate() if t.name == "gapless-supervisor"] == []
        assert monitor.polls == polls
