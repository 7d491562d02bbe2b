"""Every plan of bluesky.plans once, and what a run can be beyond them: each a function of the bench."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
from cycler import cycler
from ophyd_async.core import TriggerInfo
from tests.bluesky.plans.bench import Bench, PagingFlyer

Plan = Iterator[Any]
ADAPTIVE: dict[str, Any] = {"min_step": 0.1, "max_step": 0.5, "target_delta": 0.2, "backstep": True}
_list_scan: Any = bp.list_scan  # its types say that motor and positions come in pairs
# The wrappers of bluesky have no types.
_in_run: Any = bpp.run_wrapper
_with_key: Any = bpp.set_run_key_wrapper
_staged: Any = bpp.stage_wrapper
_with_baseline: Any = bpp.baseline_wrapper
_monitored: Any = bpp.monitor_during_wrapper

# By the name of the plan in bluesky.plans.
OF_BLUESKY: dict[str, Callable[[Bench], Plan]] = {
    "count": lambda b: bp.count([b.peak, b.tick], 5),
    "scan": lambda b: bp.scan([b.peak], b.x, -1, 1, 7),
    "rel_scan": lambda b: bp.rel_scan([b.peak], b.x, -1, 1, 5, md={"sample": {"name": "Cu", "n": [1, 2]}}),
    "list_scan": lambda b: _list_scan([b.peak], b.x, [0.5, 1, 4]),
    "rel_list_scan": lambda b: bp.rel_list_scan([b.peak], b.x, [0.5, 1, 4], b.y, [1, 2, 3]),
    "grid_scan": lambda b: bp.grid_scan([b.spot], b.x, -1, 1, 3, b.y, 0, 1, 4, snake_axes=True),
    "rel_grid_scan": lambda b: bp.rel_grid_scan([b.spot], b.x, -1, 1, 3, b.y, 0, 1, 2),
    "list_grid_scan": lambda b: bp.list_grid_scan([b.spot], b.x, [1, 2, 4], b.y, [0, 7]),
    "rel_list_grid_scan": lambda b: bp.rel_list_grid_scan([b.spot], b.x, [1, 2], b.y, [0, 7]),
    "log_scan": lambda b: bp.log_scan([b.peak], b.x, 0.01, 1, 5),
    "rel_log_scan": lambda b: bp.rel_log_scan([b.peak], b.x, 0.01, 1, 5),
    "adaptive_scan": lambda b: bp.adaptive_scan([b.peak], "peak", b.x, -2, 2, **ADAPTIVE),
    "rel_adaptive_scan": lambda b: bp.rel_adaptive_scan([b.peak], "peak", b.x, -2, 2, **ADAPTIVE),
    "tune_centroid": lambda b: bp.tune_centroid([b.peak], "peak", b.x, -1, 1.5, 0.1, num=5),
    "scan_nd": lambda b: bp.scan_nd([b.spot], cycler(b.x, [1, 2]) * cycler(b.y, [3, 4])),
    "inner_product_scan": lambda b: bp.inner_product_scan([b.spot], 4, b.x, -1, 1, b.y, 0, 3),
    "relative_inner_product_scan": lambda b: bp.relative_inner_product_scan([b.spot], 4, b.x, -1, 1),
    "tweak": lambda b: bp.tweak(b.peak, "peak", b.x, 0.5),
    "spiral_fermat": lambda b: bp.spiral_fermat([b.spot], b.x, b.y, 0, 0, 1, 1, 0.3, 1),
    "rel_spiral_fermat": lambda b: bp.rel_spiral_fermat([b.spot], b.x, b.y, 1, 1, 0.3, 1),
    "spiral": lambda b: bp.spiral([b.spot], b.x, b.y, 0, 0, 1, 1, 0.3, 4),
    "rel_spiral": lambda b: bp.rel_spiral([b.spot], b.x, b.y, 1, 1, 0.3, 4),
    "spiral_square": lambda b: bp.spiral_square([b.spot], b.x, b.y, 0, 0, 1, 1, 3, 3),
    "rel_spiral_square": lambda b: bp.rel_spiral_square([b.spot], b.x, b.y, 1, 1, 3, 3),
    "ramp_plan": lambda b: bp.ramp_plan(
        bps.abs_set(b.x, 1), b.switch, lambda: bps.trigger_and_read([b.peak]), timeout=10
    ),
    "fly": lambda b: bp.fly([b.flyer]),
    "x2x_scan": lambda b: bp.x2x_scan([b.spot], b.x, b.y, -1, 1, 5),
}


def fly_camera(bench: Bench, frames: int = 12) -> Plan:
    """Let the camera run by itself; a stream without events."""

    def inner() -> Plan:
        exposure = TriggerInfo(number_of_events=frames, livetime=0.001, deadtime=0.001)
        yield from bps.prepare(bench.camera, exposure, wait=True)
        yield from bps.declare_stream(bench.camera, name="primary", collect=True)
        yield from bps.kickoff(bench.camera, wait=True)
        yield from bps.complete(bench.camera, wait=False, group="flight")
        over = False
        while not over:
            over = yield from bps.wait("flight", timeout=0.02, error_on_timeout=False)
            yield from bps.collect(bench.camera, name="primary", return_payload=False)

    yield from _staged(_in_run(inner(), md={"plan_name": "fly_camera"}), [bench.camera])


def nested(bench: Bench) -> Plan:
    """Runs inside of a run."""

    def outer() -> Plan:
        for _ in range(3):
            yield from bps.trigger_and_read([bench.peak])
            inner = _in_run(bps.trigger_and_read([bench.peak]), md={"plan_name": "inner"})
            yield from _with_key(inner, "inner")

    yield from _with_key(_in_run(outer(), md={"plan_name": "outer"}), "outer")


def reconfigured(bench: Bench) -> Plan:
    """Change a device's configuration in the middle of a stream."""

    def inner() -> Plan:
        for sigma in (1, 2, 3):
            yield from bps.configure(bench.peak, {"sigma": sigma})
            yield from bps.trigger_and_read([bench.peak])
            yield from bps.trigger_and_read([bench.peak])

    yield from _in_run(inner(), md={"plan_name": "reconfigured"})


def two_streams(bench: Bench) -> Plan:
    """Interleave two streams, one with a name that is not a topic's."""

    def inner() -> Plan:
        for position in (0.0, 0.5, 1.0):
            yield from bps.mv(bench.x, position)
            yield from bps.trigger_and_read([bench.peak], name="_dark")
            yield from bps.trigger_and_read([bench.peak, bench.x])

    yield from _in_run(inner(), md={"plan_name": "two_streams", "data_session": "visit-1"})


def failing(bench: Bench) -> Plan:
    """End in an exception after two events."""

    def inner() -> Plan:
        yield from bps.trigger_and_read([bench.peak])
        yield from bps.trigger_and_read([bench.peak])
        raise RuntimeError("the shutter is stuck")

    yield from _in_run(inner(), md={"plan_name": "failing"})


def rewound(bench: Bench) -> Plan:
    """Pause once after an event that a resumed plan takes again."""

    def inner() -> Plan:
        for number, position in enumerate((0.0, 0.5, 1.0)):
            yield from bps.checkpoint()
            yield from bps.mv(bench.x, position)
            yield from bps.trigger_and_read([bench.peak, bench.x])
            if number == 1:
                yield from bps.pause()

    yield from _in_run(inner(), md={"plan_name": "rewound"})


def drifting(bench: Bench) -> Plan:
    """Read an axis that says integer and holds numbers."""

    def inner() -> Plan:
        for position in (0, 0.5, 2):
            yield from bps.mv(bench.drifting, position)
            yield from bps.trigger_and_read([bench.drifting])

    yield from _in_run(inner(), md={"plan_name": "drifting"})


def paged(bench: Bench) -> Plan:
    """Collect pages."""
    flyer: Any = PagingFlyer()

    def inner() -> Plan:
        yield from bps.kickoff(flyer, wait=True)
        yield from bps.complete(flyer, wait=True)
        yield from bps.collect(flyer)

    yield from _in_run(inner(), md={"plan_name": "paged"})


BEYOND: dict[str, Callable[[Bench], Plan]] = {
    "baseline": lambda b: _with_baseline(bp.count([b.peak], 2), [b.x, b.y, b.stage]),
    "monitored": lambda b: _monitored(bp.scan([b.peak], b.x, 0, 1, 3), [b.x]),
    "ophyd-async of every type": lambda b: bp.scan([b.everything], b.stage, 0, 1, 3),
    "ophyd-async points": lambda b: bp.count([b.points], 2),
    "ophyd-async camera in steps": lambda b: bp.scan([b.camera, b.peak], b.x, 0, 1, 3),
    "ophyd-async camera in flight": fly_camera,
    "picture in events": lambda b: bp.count([b.picture], 3),
    "resource and datum": lambda b: bp.count([b.filed, b.peak], 3),
    "two runs at once": nested,
    "reconfigured": reconfigured,
    "two streams": two_streams,
    "failing": failing,
    "rewound": rewound,
    "drifting": drifting,
    "paged": paged,
    "nothing": lambda b: _in_run(bps.null(), md={"plan_name": "nothing"}),
}

ALL = OF_BLUESKY | BEYOND
