"""The same plans into a folder and to a server give the same runs; the callback costs the same."""

from __future__ import annotations

import importlib
import itertools
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.bluesky.network.served_store import ServedStore
from tests.bluesky.writer.runs import run_of

import gapless
from gapless.bluesky import StoredRun, Writer, documents

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


def scan_with_baseline(detector: Any, motor: Any) -> Iterator[Any]:
    """Scan, with a second stream before and after."""
    yield from bpp.baseline_wrapper(bp.scan([detector], motor, -1, 1, 11), [motor])


def in_run(plan: Iterator[Any], key: str) -> Iterator[Any]:
    """Return the plan in a run of its own, which may be inside another."""
    return iter(bpp.set_run_key_wrapper(bpp.run_wrapper(plan, md={"which": key}), key))


def nested(detector: Any, motor: Any) -> Iterator[Any]:
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


def same(one: Any, other: Any) -> bool:
    """Compare two documents, NaN being equal to itself."""
    return repr(one) == repr(other)


@pytest.mark.parametrize("plan", [count, scan_with_baseline, nested, failing])
def test_a_plan_gives_the_same_runs_on_a_server_as_in_a_folder(
    engine: Any, served: ServedStore, here: Path, tmp_path: Path, plan: Plan
) -> None:
    """A plan gives the same documents, topics and metadata on a server as in a folder."""
    served.start()
    motor = SynAxis(name="motor", value=0.0)
    detector = SynGauss("det", motor, "motor", center=0, Imax=1, sigma=1)
    writers = [Writer(tmp_path / "folder"), Writer(served.url)]
    tokens = [engine.subscribe(writer) for writer in writers]
    try:
        engine(plan(detector, motor))
    except RuntimeError:
        assert plan is failing
    finally:
        for token in tokens:
            engine.unsubscribe(token)
    for writer in writers:
        writer.close()
        assert writer.errors == []
    assert not list(here.glob("spool/*"))
    with gapless.connect(tmp_path / "folder") as folder, gapless.connect(served.url) as client:
        names = folder.list_sequences()
        assert sorted(client.list_sequences()) == sorted(names)
        for name in names:
            local, there = folder.sequence_handler(name), client.sequence_handler(name)
            assert same(list(documents(there)), list(documents(local)))
            assert same(list(documents(there, pages=True)), list(documents(local, pages=True)))
            assert list(there.topics) == list(local.topics)
            for topic in local.topics:
                assert there.topic(topic).to_arrow().equals(local.topic(topic).to_arrow())
                assert there.topic(topic).metadata == local.topic(topic).metadata
            assert (there.outcome, there.metadata, there.group) == (
                local.outcome,
                local.metadata,
                local.group,
            )
            assert StoredRun(client, name)["primary"].read().equals(StoredRun(folder, name)["primary"].read())
            assert [f for f in client.verify(name, deep=True) if f.severity == "error"] == []


@pytest.mark.filterwarnings("ignore::gapless.bluesky.delivery_warning.DeliveryWarning")
@pytest.mark.parametrize("state", ["folder", "server", "absent"])
def test_the_cost_of_a_call_is_told(
    served: ServedStore, here: Path, tmp_path: Path, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No call waits, whatever the target; what one costs is printed."""
    if state == "server":
        served.start()
    writer = Writer(tmp_path / "folder" if state == "folder" else served.url)
    costs = []
    for name, doc in itertools.chain.from_iterable(run_of(5_000) for _ in range(2)):
        before = time.perf_counter()
        writer(name, doc)
        costs.append(time.perf_counter() - before)
        if len(costs) % 10 == 0:
            time.sleep(0.001)
    writer.flush(120)
    assert writer.blocked == 0
    assert not list(here.glob("spool/*.jsonl"))
    ordered = sorted(costs)
    with capsys.disabled():
        print(
            f"\na call, {state}: p50 {1e6 * statistics.median(ordered):.1f} µs, "
            f"p99 {1e6 * ordered[len(ordered) * 99 // 100]:.0f} µs, max {1e3 * ordered[-1]:.1f} ms"
        )
    writer.close(120)
