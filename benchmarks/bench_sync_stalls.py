"""200,000 rows/s into a disk whose every sync takes 50 ms more: how long one push can take, and what is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from harness import Bench, main
from motion import NAMES, SCHEMA, Recording, times, values

from gapless.testing.faults import FaultyPlatform

_ROWS_PER_S = 200_000
_STALL_S = 0.05
_BURST = 200  # rows a millisecond, pushed one by one


@dataclass
class Paced:
    """What a paced producer saw."""

    longest_ms: float
    p9999_us: float
    late_ms: float  # how far it fell behind its pace at worst
    lost_rows: int = 0
    syncs: int = 0


def run(bench: Bench) -> None:
    count = bench.size(1_000_000, 10_000)
    rows = values()[:10_000]
    found = bench.interleave(
        {
            "off": lambda: _gapless(bench, count, rows, background_seal=False),
            "on": lambda: _gapless(bench, count, rows, background_seal=True),
            "nobody": lambda: _nobody(count, rows),
        }
    )
    idle = f"{max(p.longest_ms for p in found['nobody']):.2f} ms for a push that does nothing, in the same rounds"
    for name, words in (("off", "sealing off"), ("on", "sealing on")):
        runs = found[name]
        bench.limit(
            f"longest push_row of {count:,}, {words}", "wall ms", [r.longest_ms for r in runs], 5,
            note=f"{idle}; p99.99 {max(r.p9999_us for r in runs):.0f} µs; {runs[0].syncs} syncs of 50 ms;"
            f" at worst {max(r.late_ms for r in runs):.1f} ms behind the pace",
        )  # fmt: skip
        bench.limit(f"rows lost, {words}", "rows", [r.lost_rows for r in runs], 0)


def _gapless(bench: Bench, count: int, rows: list[tuple[float, ...]], *, background_seal: bool) -> Paced:
    platform = FaultyPlatform(slow_sync_s=_STALL_S)
    with Recording(bench.folder("store"), background_seal=background_seal, platform=platform) as sequence:
        topic = sequence.topic_create("imu", schema=SCHEMA)
        topic.push_row(times(1)[0] - 1, *[0.0] * len(NAMES))
        paced = _paced(topic.push_row, count, rows)
        topic.flush()
        ledger = topic.ledger
        paced.lost_rows = ledger.dropped + ledger.gapped + (count + 1 - topic.durable_rows)
    paced.syncs = platform.count("data_sync", ".seg")
    return paced


def _nobody(count: int, rows: list[tuple[float, ...]]) -> Paced:
    def nothing(t: int, *row: float) -> None:
        pass

    return _paced(nothing, count, rows)


def _paced(push_row: Callable[..., None], count: int, rows: list[tuple[float, ...]]) -> Paced:
    clock = time.perf_counter_ns
    stamps = times(count)
    spent = [0] * count
    began = clock()
    late = 0
    for first in range(0, count, _BURST):
        due = began + first * 1_000_000_000 // _ROWS_PER_S
        wait = due - clock()
        if wait > 0:
            time.sleep(wait / 1e9)
        else:
            late = max(late, -wait)
        for k in range(first, first + _BURST):
            before = clock()
            push_row(stamps[k], *rows[k % 10_000])
            spent[k] = clock() - before
    spent.sort()
    return Paced(spent[-1] / 1e6, spent[int(count * 0.9999)] / 1e3, late / 1e6)


if __name__ == "__main__":
    raise SystemExit(main(run))
