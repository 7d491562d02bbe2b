"""A whole run over real workers and a real store: order of the fan-out, endings, commands, watchers."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gapless
from gapless.acquire.analyzer import analyzer
from gapless.acquire.command import Command, CommandStatus
from gapless.acquire.conductor import Conductor
from gapless.acquire.emission import ChannelSample, DeviceEvent
from gapless.acquire.ending import OutcomeLatch, RunResult
from gapless.acquire.pool import WorkerPool
from gapless.acquire.run import Run
from gapless.client.client import Client
from gapless.errors import ControlFailed, NotFound, PreflightFailed, StorageFailed
from gapless.flow.policy import BackpressurePolicy
from gapless.model.outcome import Outcome

from .scripted import ScriptedDevice
from .small_rig import SmallRig, channel

LIMIT = 500


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A client whose waits for the disk are bounded generously."""
    return gapless.connect(tmp_path, deadline_s=60)


def record(
    client: Client, *devices: ScriptedDevice, during: Callable[[Run], None] | None = None, **settings: Any
) -> tuple[Run, RunResult]:
    """Record the devices into sequence ``x`` to the end; ``during`` is called while it runs."""
    keywords = {key: settings.pop(key) for key in ("preflight", "length_s", "pool") if key in settings}
    run = Run(SmallRig(devices, **settings), client, name="x", **keywords)  # type: ignore[arg-type]
    run.start()
    if during is not None:
        during(run)
    result = run.wait(60)
    assert result is not None, "the run did not end"
    return run, result


def rows(client: Client, topic: str) -> list[dict[str, Any]]:
    """Return the rows of a topic of the sealed sequence."""
    found: list[dict[str, Any]] = client.sequence_handler("x").reader.topic(topic).to_arrow().to_pylist()
    return found


def events(client: Client) -> list[dict[str, Any]]:
    """Return the events of the sealed sequence."""
    try:
        return rows(client, "_events")
    except NotFound:
        return []


def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait until something is so."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it never was so"
        time.sleep(0.002)


class TestFanOut:
    """From the bridge to disk, bus and watchers."""

    def test_every_reading_is_on_disk_in_order(self, client: Client) -> None:
        """Native records and calibrated samples join totally, in the order in which the device gave them."""
        _, result = record(client, ScriptedDevice(limit=LIMIT, ends=True))
        assert (result.outcome, result.sealed, result.exit_code) == (Outcome.COMPLETED, True, 0)
        records, samples = rows(client, "device/d"), rows(client, "channels/d")
        assert [row["value"] for row in records] == [float(n) for n in range(LIMIT)]
        assert [row["record"] for row in records] == list(range(LIMIT))
        assert [row["source_record"] for row in samples] == list(range(LIMIT))
        assert [row["timestamp_ns"] for row in samples] == [row["timestamp_ns"] for row in records]
        assert client.verify("x") == []
        assert events(client) == []  # a run without incident adds nothing to its content

    def test_what_the_writer_refuses_nobody_sees(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A reading that the hand-over does not take reaches neither the bus nor a watcher; the run fails."""
        seen: list[float] = []

        def refuse(run: Run) -> None:
            accept = run.recorder.accept
            feed = run.feed(capacity=LIMIT * 2)

            def accept_some(reading: Any) -> None:
                if reading.record.n >= 100:
                    raise StorageFailed("the disk refused a write")
                accept(reading)

            monkeypatch.setattr(run.recorder, "accept", accept_some)
            device.go.set()
            run.wait(60)
            while items := feed.take_nowait(1024):
                seen.extend(item.record.n for item in items if hasattr(item, "record"))

        device = ScriptedDevice(limit=LIMIT, ends=True, waits=True)
        run, result = record(client, device, during=refuse)
        assert seen == list(range(100))
        last = run.conductor.bus.last_value("d_value")
        assert last is not None
        assert last.value == 99.0
        assert result.outcome is Outcome.FAILED
        assert "refused a write" in str(result.cause)

    def test_the_plan_filters_the_disk_only(self, client: Client) -> None:
        """A channel that is left out is on the bus and seen by watchers; native records stay whole."""
        device = ScriptedDevice(limit=50, ends=True, waits=True)
        got: list[Any] = []

        def watch(run: Run) -> None:
            feed = run.feed(capacity=1000)
            device.go.set()
            run.wait(60)
            while items := feed.take_nowait(1024):
                got.extend(items)

        run, _ = record(client, device, during=watch, leave_out="d_value")
        assert "channels/d" not in client.sequence_handler("x").reader.topics
        assert len(rows(client, "device/d")) == 50
        assert [item.samples[0].value for item in got if hasattr(item, "samples")] == list(range(50))
        assert run.conductor.bus.last_value("d_value") is not None

    def test_a_dead_watcher_changes_nothing(self, client: Client) -> None:
        """A feed that nobody reads drops its oldest; one that was closed is forgotten."""
        device = ScriptedDevice(limit=LIMIT, ends=True, waits=True)
        feeds: list[Any] = []

        def watch(run: Run) -> None:
            feeds.extend([run.feed(capacity=8), run.feed(capacity=8)])
            feeds[1].close()
            device.go.set()

        _, result = record(client, device, during=watch)
        assert result.outcome is Outcome.COMPLETED
        assert len(rows(client, "channels/d")) == LIMIT
        metrics = feeds[0].metrics()
        assert (metrics.put, metrics.dropped + metrics.depth) == (LIMIT, LIMIT)

    def test_the_stop_loses_nothing_that_was_queued(self, client: Client) -> None:
        """Twenty stops in the middle of a flood: what the device offered is what is written."""
        device = ScriptedDevice(limit=10**9, left_over=25)
        with WorkerPool({"d": device}) as pool:
            for number in range(20):
                run = Run(SmallRig([device]), client, name=f"x{number}", pool=pool)  # type: ignore[arg-type]
                run.start()
                until(lambda run=run: run.recorder.rows > 200)  # type: ignore[misc]
                run.stop("enough", by="me")
                result = run.wait(60)
                assert result is not None
                assert (result.outcome, result.sealed, result.exit_code) == (Outcome.ABORTED, True, 130)
                topics = client.sequence_handler(f"x{number}").reader.topics
                counts = {name: topic.to_arrow().num_rows for name, topic in topics.items()}
                assert counts["channels/d"] == counts["device/d"] == device.offered

    def test_blocks_and_derived_channels(self, client: Client) -> None:
        """A channel derived from two devices is made on the bus and stored with the id of its source."""
        devices = [ScriptedDevice(name, limit=100, ends=True) for name in ("a", "b")]
        derived = {
            "name": "sum",
            "derived": {"function": "sum", "inputs": ["a_value", "b_value"], "max_age_s": 60.0},
            "unit": "V",
        }
        record(client, *devices, extra_channels=[derived])
        made = rows(client, "channels/derived")
        assert [row["source_record_id"] for row in made] == [f"scripted:a:{n}" for n in range(100)]
        assert all(row["sum"] is not None or row["sum_status"] for row in made)


class TestEndings:
    """Every transition to an outcome, and which of two wins."""

    def test_length(self, client: Client) -> None:
        """A run with a length completes when it is over."""
        _, result = record(client, ScriptedDevice(), length_s=0.2)
        assert result.outcome is Outcome.COMPLETED

    def test_a_breaking_device_crashes_the_run(self, client: Client) -> None:
        """What was read before is sealed, and an event names the device."""
        _, result = record(client, ScriptedDevice(limit=100, fails_after=40))
        assert (result.outcome, result.sealed, result.exit_code) == (Outcome.CRASHED, True, 1)
        assert len(rows(client, "channels/d")) == 40
        kinds = [event["kind"] for event in events(client)]
        assert "device_failed" in kinds
        assert "run_crashed" in kinds
        assert client.verify("x") == []

    def test_a_tolerated_device_may_break(self, client: Client) -> None:
        """With on_failure = warn the others go on; the event is there all the same."""
        broken = ScriptedDevice("a", limit=100, fails_after=40, on_failure="warn")
        _, result = record(client, broken, ScriptedDevice("b", limit=LIMIT, ends=True))
        assert result.outcome is Outcome.COMPLETED
        assert len(rows(client, "channels/b")) == LIMIT
        assert [event["kind"] for event in events(client)] == ["device_failed"]

    def test_a_preflight_that_waits_for_a_sample_succeeds(self, client: Client) -> None:
        """The drains run before the preflight, so that it sees samples."""

        async def check(conductor: Conductor) -> None:
            while conductor.bus.last_value("d_value") is None:
                await asyncio.sleep(0.005)

        _, result = record(client, ScriptedDevice(limit=10), preflight=[check], length_s=0.1)
        assert result.outcome is Outcome.COMPLETED

    def test_a_failed_preflight_is_raised_and_sealed(self, client: Client) -> None:
        """The start raises the very object; the run never was running and ends as crashed, exit code 5."""
        problem = PreflightFailed("the door is open")

        async def check(conductor: Conductor) -> None:
            raise problem

        run = Run(SmallRig([ScriptedDevice()]), client, name="x", preflight=[check])  # type: ignore[arg-type]
        with pytest.raises(PreflightFailed) as raised:
            run.start()
        assert raised.value is problem
        assert run.result is not None
        assert (run.result.outcome, run.result.exit_code) == (Outcome.CRASHED, 5)
        assert [event["kind"] for event in events(client)] == ["run_crashed"]

    def test_a_reader_that_must_keep_up_and_does_not(self, client: Client) -> None:
        """Under ABORT_RUN the run ends as crashed; nothing accepted is lost."""

        def subscribe(run: Run) -> None:
            async def listen() -> None:
                run.conductor.bus.subscribe_channel(
                    "d_value", capacity=4, policy=BackpressurePolicy.ABORT_RUN, abort_after_s=0.2
                )

            asyncio.run_coroutine_threadsafe(listen(), run.conductor.loop).result(60)
            device.go.set()

        device = ScriptedDevice(limit=LIMIT, waits=True)
        _, result = record(client, device, during=subscribe)
        assert result.outcome is Outcome.CRASHED
        assert len(rows(client, "channels/d")) == device.offered > 4

    def test_a_reader_that_stops_reading_saturates(self, client: Client) -> None:
        """A BLOCK reader that never reads holds the run; after the deadline it ends sealed, nothing lost."""

        def subscribe(run: Run) -> None:
            async def listen() -> None:
                run.conductor.bus.subscribe_channel("d_value", capacity=4, policy=BackpressurePolicy.BLOCK)

            asyncio.run_coroutine_threadsafe(listen(), run.conductor.loop).result(60)
            device.go.set()

        device = ScriptedDevice(limit=LIMIT, waits=True)
        _, result = record(client, device, during=subscribe, saturation_deadline_s=1.0, drain_deadline_s=1.0)
        assert (result.outcome, result.exit_code) == (Outcome.CRASHED_BUT_SEALED, 6)
        assert "saturation_deadline" in [event["kind"] for event in events(client)]
        ledger = client.sequence_handler("x").reader.topic("channels/d").ledger
        assert ledger["produced"] == device.offered
        assert ledger["produced"] == ledger["written"] + ledger["dropped"] + ledger["gapped"]

    def test_a_stop_before_the_start_of_sampling_is_honoured(self, client: Client) -> None:
        """The first reason counts, however often and early it is asked to stop."""

        def stop(run: Run) -> None:
            run.stop("first", by="me")
            run.stop("second", by="you")

        _, result = record(client, ScriptedDevice(), during=stop)
        assert (result.outcome, result.cause) == (Outcome.ABORTED, "first")

    @pytest.mark.parametrize(
        ("proposals", "wins"),
        [
            ([Outcome.COMPLETED], Outcome.COMPLETED),
            ([Outcome.ABORTED, Outcome.COMPLETED], Outcome.ABORTED),
            ([Outcome.COMPLETED, Outcome.ABORTED], Outcome.COMPLETED),
            ([Outcome.COMPLETED, Outcome.CRASHED], Outcome.CRASHED),
            ([Outcome.ABORTED, Outcome.CRASHED_BUT_SEALED], Outcome.CRASHED_BUT_SEALED),
            ([Outcome.CRASHED, Outcome.CRASHED_BUT_SEALED], Outcome.CRASHED),
            ([Outcome.CRASHED_BUT_SEALED, Outcome.CRASHED], Outcome.CRASHED_BUT_SEALED),
            ([Outcome.FAILED, Outcome.ABORTED, Outcome.CRASHED], Outcome.FAILED),
            ([], Outcome.COMPLETED),
        ],
    )
    def test_precedence(self, proposals: list[Outcome], wins: Outcome) -> None:
        """Completed and aborted are provisional; among faults the first wins; after the seal nothing changes."""
        latch = OutcomeLatch()
        for outcome in proposals:
            latch.propose(outcome, str(outcome))
        assert latch.freeze()[0] is wins
        assert not latch.propose(Outcome.CRASHED, "too late")
        assert latch.outcome is wins


class TestCommands:
    """Commands to an armed run."""

    def test_the_intent_is_durable_before_the_device_sees_it(self, client: Client) -> None:
        """At the moment the device obeys, the event can be read back from the disk."""
        device = ScriptedDevice()
        found: list[str] = []

        def look() -> None:
            reader = gapless.connect(client.path).sequence_handler("x").reader
            found.extend(row["kind"] for row in reader.topic("_events").to_arrow().to_pylist())

        device.on_command = look

        def command(run: Run) -> None:
            order = Command(name="echo", arguments={"value": 3}, confirmed_by="me", issued_by="me")
            result = run.dispatch("d", order).result(30)
            assert (result.status, result.value) == (CommandStatus.DONE, 3)
            run.stop("enough", by="me")

        record(client, device, during=command)
        assert found == ["command_issued"]
        told = [event for event in events(client) if event["kind"].startswith("command")]
        assert [event["kind"] for event in told] == ["command_issued", "command_done"]
        first, second = (json.loads(event["data"]) for event in told)
        assert first["command_id"] == second["command_id"]
        assert first["confirmed_by"] == "me"

    def test_an_unauthorised_command_is_refused_and_recorded(self, client: Client) -> None:
        """Nothing reaches the device; the refusal has a row."""
        device = ScriptedDevice()

        def command(run: Run) -> None:
            result = run.dispatch("d", Command(name="echo", arguments={"value": 3})).result(30)
            assert not result.accepted
            run.stop("enough", by="me")

        record(client, device, during=command)
        assert device.completed == []
        assert "command_refused" in [event["kind"] for event in events(client)]

    def test_a_cancelled_caller_leaves_a_whole_transaction(self, client: Client) -> None:
        """A command whose caller gives up completes and its end is recorded; the next has its own reply."""
        device = ScriptedDevice()

        def command(run: Run) -> None:
            slow = run.dispatch("d", Command(name="slow", arguments={"seconds": 0.2}, confirmed_by="me"))
            until(lambda: device.seen > 0)
            slow.cancel()
            order = Command(name="echo", arguments={"value": 1}, confirmed_by="me")
            assert run.dispatch("d", order).result(30).value == 1
            run.stop("enough", by="me")

        record(client, device, during=command)
        assert device.completed == ["slow", "echo 1"]
        kinds = [event["kind"] for event in events(client) if event["kind"].startswith("command")]
        assert kinds.count("command_done") == 2

    def test_refused_while_draining(self, client: Client) -> None:
        """A command that comes when the run has ended is refused."""

        def command(run: Run) -> None:
            run.stop("enough", by="me")
            until(lambda: str(run.conductor.state) not in ("preparing", "running"))
            order = Command(name="echo", arguments={"value": 1}, confirmed_by="me")
            assert not run.dispatch("d", order).result(30).accepted

        device = ScriptedDevice()
        record(client, device, during=command)
        assert device.completed == []


class TestAnalyzers:
    """A user's code on the bus."""

    def test_what_it_makes_is_stored_and_published(self, client: Client) -> None:
        """Derived samples of a declared channel are on disk, its events too."""
        declared = {"name": "double", "analyzer": f"{__name__}:doubled", "unit": "V"}
        record(
            client,
            ScriptedDevice(limit=100, ends=True),
            analyzers=(f"{__name__}:doubled",),
            extra_channels=[declared],
        )
        made = [row["double"] for row in rows(client, "channels/derived")]
        assert made == [2.0 * n for n in range(100)]
        assert [event["kind"] for event in events(client)] == ["fifty"]

    def test_its_failure_is_its_own(self, client: Client) -> None:
        """An analyzer that raises becomes an event; the recording is whole."""
        _, result = record(client, ScriptedDevice(limit=100, ends=True), analyzers=(f"{__name__}:breaking",))
        assert result.outcome is Outcome.COMPLETED
        assert len(rows(client, "channels/d")) == 100
        assert [event["kind"] for event in events(client)] == ["analyzer_failed"]


@analyzer(["d_value"])
def doubled(sample: ChannelSample) -> list[ChannelSample | DeviceEvent]:
    """Return twice the value, and an event at fifty."""
    assert isinstance(sample.value, float)
    made: list[ChannelSample | DeviceEvent] = [
        ChannelSample("double", sample.timestamp_ns, 2.0 * sample.value, "V", sample.source_record_id)
    ]
    if sample.value == 50.0:
        made.append(DeviceEvent("d", sample.timestamp_ns, "info", "fifty", "fifty is here"))
    return made


@analyzer(["d_value"])
def breaking(sample: ChannelSample) -> None:
    """Break."""
    raise RuntimeError("no")


def test_a_run_ends_its_threads(client: Client) -> None:
    """After the end nothing of the run is left running."""
    before = set(threading.enumerate())
    record(client, ScriptedDevice(limit=10, ends=True))
    until(lambda: not (set(threading.enumerate()) - before))


def test_health_tells_the_hops(client: Client) -> None:
    """The figures of every hop are rows of _health."""
    record(client, ScriptedDevice(limit=10, ends=True))
    last = rows(client, "_health")[-1]
    hops = json.loads(last["hops"])
    assert hops["bridge:d"]["taken"] == 11  # ten readings and the end of the stream
    assert hops["bridge:d"]["dropped"] == 0


def test_channel_names_of_the_small_rig() -> None:
    """The rig of these tests gives each device one channel."""
    assert channel("d")["name"] == "d_value"


def test_a_start_that_fails_leaves_nothing_behind(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the control socket cannot be opened: raised, sealed as crashed, devices closed, threads ended."""
    from gapless.acquire.control.server import ControlServer

    def refuse(_server: ControlServer) -> None:
        raise ControlFailed("the control socket cannot be opened")

    monkeypatch.setattr(ControlServer, "start", refuse)
    before = set(threading.enumerate())
    device = ScriptedDevice()
    run = Run(SmallRig([device]), client, name="x")  # type: ignore[arg-type]
    with pytest.raises(ControlFailed):
        run.start()
    assert device.closed == 1
    assert [event["kind"] for event in events(client)] == ["run_crashed"]
    until(lambda: not (set(threading.enumerate()) - before))
