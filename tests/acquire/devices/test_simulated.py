"""Simulated devices: the same run again is the same data, and every fault is told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

import gapless
from gapless.acquire.adapter import StartContext
from gapless.acquire.clock import HostClock
from gapless.acquire.command import Command, CommandResult, CommandStatus
from gapless.acquire.devices.simulated import SimulatedConfig, SimulatedDevice
from gapless.acquire.emission import SampleStatus
from gapless.acquire.ending import RunResult
from gapless.acquire.rig import Rig
from gapless.acquire.run import Run, run_rig
from gapless.acquire.ui import UIMirror
from gapless.errors import NotFound
from gapless.model.outcome import Outcome

FIELDS = [
    {"name": "sp", "unit": "degC", "signal": {"kind": "step", "at_s": 0.5, "before": 20.0, "after": 80.0}},
    {"name": "pv", "unit": "degC", "signal": {"kind": "follow", "field": "sp", "start": 20.0}},
    {"name": "hum", "unit": "V", "signal": {"kind": "noise", "deviation": 0.1}},
]


def rig(clock: str = "simulated", devices: int = 1, **settings: Any) -> Rig:
    """Return a rig of simulated heaters."""
    names = [f"oven{n}" for n in range(devices)]
    config = {"adapter": "simulated", "rate_hz": 1000, "fields": FIELDS, **settings}
    channels = [
        {"name": f"{name}_pv", "device": name, "field": "pv", "unit": "degC",
         "calibration": {"kind": "linear", "gain": 1.01, "offset": 0.1}, "keep_raw": True,
         "uncertainty": {"kind": "absolute", "magnitude": 0.5, "coverage_factor": 2}}
        for name in names
    ]  # fmt: skip
    return Rig.of(
        {
            "name": "sim",
            "run": {"clock": clock},
            "devices": dict.fromkeys(names, config),
            "channels": channels,
        }
    )


def rows(store: Path, topic: str) -> list[dict[str, Any]]:
    """Return the rows of a topic of sequence ``x``; none where there is no such topic."""
    with gapless.connect(store) as client:
        try:
            found: list[dict[str, Any]] = (
                client.sequence_handler("x").reader.topic(topic).to_arrow().to_pylist()
            )
        except NotFound:
            return []
        return found


def watched(the_rig: Rig, store: Path, *, slow: bool) -> RunResult:
    """Record with watchers: one that draws, and one that never reads."""
    with gapless.connect(store) as client:
        run = Run(the_rig, client, name="x")
        mirrors = []
        make = run._make_conductor

        def make_watched() -> Any:
            run.conductor = make()
            run.feed(capacity=4)
            if not slow:
                mirrors.append(UIMirror(run.feed(4096)))
                mirrors[0].start()
            return run.conductor

        run._make_conductor = make_watched  # type: ignore[method-assign]
        run.start()
        result = run.wait(60)
        for mirror in mirrors:
            mirror.close()
    assert result is not None
    return result


def test_headless_and_watched_runs_are_the_same(tmp_path: Path) -> None:
    """With simulated time the content digest is the same: twice headless, watched, and watched badly."""
    settings: dict[str, Any] = {"samples": 3000, "jitter_s": 0.0002, "drop_every": 100, "devices": 2}
    digests = [
        run_rig(rig(**settings), tmp_path / "a", name="x").content_digest,
        run_rig(rig(**settings), tmp_path / "b", name="x").content_digest,
        watched(rig(**settings), tmp_path / "c", slow=False).content_digest,
        watched(rig(**settings), tmp_path / "d", slow=True).content_digest,
    ]
    assert digests[0] is not None
    assert len(set(digests)) == 1
    assert run_rig(rig(**settings, seed=1), tmp_path / "e", name="x").content_digest != digests[0]


def test_the_plant_follows_its_setpoint(tmp_path: Path) -> None:
    """A first-order system: still at the start, 63 % of the way one time constant after the step."""
    run_rig(rig(samples=2000), tmp_path, name="x")
    values = {round(row["timestamp_ns"] / 1e6) % 10**6: row["pv"] for row in rows(tmp_path, "device/oven0")}
    assert values[499] == 20.0
    assert values[1500] == pytest.approx(20 + 60 * 0.632, abs=0.2)


def test_what_the_device_drops_is_a_counted_gap(tmp_path: Path) -> None:
    """Every tenth record is lost: the ledgers of both topics say so."""
    run_rig(rig(samples=1000, drop_every=10), tmp_path, name="x")
    with gapless.connect(tmp_path) as client:
        for name in ("device/oven0", "channels/oven0"):
            ledger = client.sequence_handler("x").reader.topics[name].ledger
            assert (ledger["produced"], ledger["written"], ledger["gapped"]) == (1000, 900, 100)
    assert {row["cause"] for row in rows(tmp_path, "_gaps")} == {"device_dropped"}


@pytest.mark.parametrize(
    ("fault", "outcome", "kind"),
    [
        ({"die_after_s": 0.2}, Outcome.CRASHED, "device_failed"),
        ({"hang_after_s": 0.2, "silence_deadline_s": 0.5}, Outcome.CRASHED, "device_silent"),
    ],
)
def test_a_device_that_dies_or_hangs_ends_the_run(
    tmp_path: Path, fault: dict[str, Any], outcome: Outcome, kind: str
) -> None:
    """Sealed, balanced, and told in the events."""
    result = run_rig(rig(clock="host", **fault), tmp_path, name="x", length_s=30.0)
    assert (result.outcome, result.sealed) == (outcome, True)
    assert kind in [row["kind"] for row in rows(tmp_path, "_events")]
    assert len(rows(tmp_path, "channels/oven0")) >= 100


@pytest.mark.parametrize("fault", [{"burst": 50}, {"drift_ppm": 200_000.0}, {"jitter_s": 0.005}])
def test_bursts_drift_and_jitter_lose_nothing(tmp_path: Path, fault: dict[str, Any]) -> None:
    """However unevenly the records come, all of them are there in order."""
    run_rig(rig(clock="host", samples=500, **fault), tmp_path, name="x")
    records = rows(tmp_path, "device/oven0")
    assert [row["record"] for row in records] == list(range(500))
    stamps = [row["timestamp_ns"] for row in records]
    assert stamps == sorted(stamps)


def test_garbage_is_flagged_and_the_rest_is_not(tmp_path: Path) -> None:
    """Every fifth record holds no number: its samples say so, and no other does."""
    run_rig(rig(samples=100, garbage_every=5), tmp_path, name="x")
    samples = rows(tmp_path, "channels/oven0")
    bad = [row for row in samples if row["oven0_pv_status"]]
    assert [row["source_record"] for row in bad] == list(range(4, 100, 5))
    flags = SampleStatus.DEVICE_INVALID | SampleStatus.NOT_FINITE | SampleStatus.ABOVE_RANGE
    assert all(row["oven0_pv_status"] & flags for row in bad)
    assert len({row["oven0_pv_status"] for row in bad}) > 1


def test_a_device_that_hangs_answers_no_command() -> None:
    """The command ends by its own deadline; in the next run the device is well again."""

    async def scenario() -> list[CommandResult]:
        config = SimulatedConfig.model_validate({"adapter": "simulated", "fields": FIELDS})
        oven = SimulatedDevice("oven", config)
        await oven.open()
        await oven.start(StartContext(HostClock(), "run", recording_enabled=False))
        order = Command(name="set", arguments={"field": "sp", "value": 5.0}, confirmed_by="test")
        results = [await oven.command(order), await oven.command(Command(name="hang", confirmed_by="test"))]
        results.append(await oven.command(msgspec.structs.replace(order, timeout_s=0.05)))
        await oven.stop()
        await oven.start(StartContext(HostClock(), "run", recording_enabled=False))
        results.append(await oven.command(order))
        await oven.stop()
        await oven.close()
        return results

    results = asyncio.run(asyncio.wait_for(scenario(), 60))
    done, failed = CommandStatus.DONE, CommandStatus.FAILED
    assert [result.status for result in results] == [done, done, failed, done]
