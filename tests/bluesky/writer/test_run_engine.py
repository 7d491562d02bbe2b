"""The callback on a real RunEngine with simulated devices: what its other subscribers saw is recorded."""

from __future__ import annotations

import copy
import importlib
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.bluesky.writer.runs import values

from gapless.bluesky.writer import Writer
from gapless.client.client import connect

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("bluesky")
    from bluesky import RunEngine
    from ophyd.sim import SynAxis, SynGauss

bp: Any = importlib.import_module("bluesky.plans")
bps: Any = importlib.import_module("bluesky.plan_stubs")
bpp: Any = importlib.import_module("bluesky.preprocessors")
Plan = Callable[[Any, Any], Iterator[Any]]


@pytest.fixture(scope="module")
def engine() -> RunEngine:
    """Return the one RunEngine of these tests."""
    logging.getLogger("bluesky").setLevel(logging.CRITICAL)
    return RunEngine(context_managers=[])


def count(detector: Any, _motor: Any) -> Iterator[Any]:
    """Read one detector twenty times."""
    yield from bp.count([detector], num=20)


def grid_scan_with_baseline(detector: Any, motor: Any) -> Iterator[Any]:
    """Scan a grid, with a second stream before and after."""
    other = SynAxis(name="other", value=0.0)
    plan = bp.grid_scan([detector], motor, -1, 1, 3, other, 0, 1, 4)
    yield from bpp.baseline_wrapper(plan, [motor])


def in_run(plan: Iterator[Any], key: str) -> Iterator[Any]:
    """Return the plan in a run of its own, which may be inside another."""
    return iter(bpp.set_run_key_wrapper(bpp.run_wrapper(plan, md={"which": key}), key))


def nested_runs(detector: Any, motor: Any) -> Iterator[Any]:
    """Begin and end a run inside another."""

    def outer() -> Iterator[Any]:
        yield from bps.trigger_and_read([detector])
        yield from in_run(bps.trigger_and_read([motor]), "inner")
        yield from bps.trigger_and_read([detector])

    yield from in_run(outer(), "outer")


def failing(detector: Any, motor: Any) -> Iterator[Any]:
    """Raise an error after the first event."""

    def body() -> Iterator[Any]:
        yield from bps.trigger_and_read([detector, motor])
        raise RuntimeError("the beam is gone")

    yield from in_run(body(), "failing")


@pytest.mark.parametrize("plan", [count, grid_scan_with_baseline, nested_runs, failing])
def test_every_run_is_recorded_as_the_engine_emitted_it(engine: Any, tmp_path: Path, plan: Plan) -> None:
    """Every run is recorded as the engine emitted it."""
    motor = SynAxis(name="motor", value=0.0)
    detector = SynGauss("det", motor, "motor", center=0, Imax=1, sigma=1)
    seen: list[tuple[str, dict[str, Any]]] = []
    writer = Writer(tmp_path)
    tokens = [
        engine.subscribe(writer),
        engine.subscribe(lambda name, doc: seen.append((name, copy.deepcopy(doc)))),
    ]
    try:
        engine(plan(detector, motor))
    except RuntimeError:
        assert plan is failing
    finally:
        for token in tokens:
            engine.unsubscribe(token)
    writer.close()
    assert writer.errors == []
    descriptors = {doc["uid"]: doc for name, doc in seen if name == "descriptor"}
    with connect(tmp_path) as client:
        for start in (doc for name, doc in seen if name == "start"):
            handler = client.sequence_handler(start["uid"])
            (stop,) = (doc for name, doc in seen if name == "stop" and doc["run_start"] == start["uid"])
            assert handler.outcome == ("completed" if stop["exit_status"] == "success" else "failed")
            ours = [doc for doc in descriptors.values() if doc["run_start"] == start["uid"]]
            for stream in {doc["name"] for doc in ours}:
                uids = {doc["uid"] for doc in ours if doc["name"] == stream}
                events = [doc for name, doc in seen if name == "event" and doc["descriptor"] in uids]
                for key in events[0]["data"]:
                    assert values(client, start["uid"], key, stream) == [doc["data"][key] for doc in events]


def test_an_error_of_the_writer_does_not_end_the_plan(engine: Any, tmp_path: Path) -> None:
    """An error of the writer does not end the plan."""

    def patch(doc: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("a broken patch")

    writer = Writer(tmp_path, patches={"event": patch})
    token = engine.subscribe(writer)
    try:
        engine(bp.count([SynAxis(name="motor", value=0.0)], num=3))
    finally:
        engine.unsubscribe(token)
    writer.close()
    assert [type(error.__cause__) for error in writer.errors] == [ValueError] * 3
    assert len(list(writer.spool.glob("*.jsonl"))) == 1
