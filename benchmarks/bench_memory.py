"""3.6 million rows through push_row, paced and not: the largest resident size, and how long the end takes."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from harness import Bench, in_child, main, peak_rss_bytes
from motion import ROW_BYTES, SCHEMA, Recording, push_all, times, values

from gapless.store.layout import SEGMENT_BYTES
from gapless.store.recover import recover

_BURST = 1_000  # a second of rows at 1 kHz at once
_PAUSE_S = 0.005  # so that the hour takes half a minute


def run(bench: Bench) -> None:
    count = bench.size(3_600_000, 20_000)
    two = bench.size(2 * SEGMENT_BYTES // ROW_BYTES, 20_000)
    script = Path(__file__)
    found = bench.interleave(
        {
            how: (lambda how=how, rows=rows: in_child(script, how, str(rows), str(bench.folder(how))))
            for how, rows in (("--unpaced", count), ("--paced", count), ("--two", two))
        },
        rounds=min(bench.rounds, 2),
    )
    for how, words in (("--paced", "bursts of 1,000 every 5 ms"), ("--unpaced", "as fast as possible")):
        runs = found[how]
        bench.limit(f"{count:,} rows, {words}", "peak RSS MB", [r["peak_rss_bytes"] / 1e6 for r in runs], 300)
        bench.compare(
            f"last push to sealed, {words}", "wall s", [r["end_s"] for r in runs],
            "sealing two segments", [r["end_s"] for r in found["--two"]], at_most=1,
            note=f"{runs[0]['backlog_bytes'] / SEGMENT_BYTES:.1f} segments waited when the last row was pushed;"
            f" peak RSS while pushing {max(r['pushing_rss_bytes'] for r in runs) / 1e6:.0f} MB",
        )  # fmt: skip


def _record(count: int, store: Path, *, paced: bool) -> dict[str, float]:
    rows = values()
    before = peak_rss_bytes()
    with Recording(store, background_seal=True) as sequence:
        topic = sequence.topic_create("imu", schema=SCHEMA)
        if paced:
            for start in range(0, count, _BURST):
                at = start % len(rows)
                push_all(topic.push_row, times(_BURST, start), rows[at : at + _BURST] or rows)
                time.sleep(_PAUSE_S)
        else:
            push_all(topic.push_row, times(count), rows)
        sealer = sequence._writer.sealer
        backlog = sealer.backlog_bytes if sealer is not None else 0
        pushing = peak_rss_bytes()
        ended = time.perf_counter()
    return {
        "end_s": time.perf_counter() - ended,
        "backlog_bytes": backlog,
        "imports_rss_bytes": before,
        "pushing_rss_bytes": pushing,
        "peak_rss_bytes": peak_rss_bytes(),
    }


def _seal_two(count: int, store: Path) -> dict[str, float]:
    with Recording(store, background_seal=False) as sequence:
        push_all(sequence.topic_create("imu", schema=SCHEMA).push_row, times(count), values())
    [bundle] = (store / "sequences").iterdir()
    began = time.perf_counter()
    recover(bundle)
    return {"end_s": time.perf_counter() - began}


if __name__ == "__main__":
    if sys.argv[1:2] in (["--paced"], ["--unpaced"]):
        print(json.dumps(_record(int(sys.argv[2]), Path(sys.argv[3]), paced=sys.argv[1] == "--paced")))
        raise SystemExit(0)
    if sys.argv[1:2] == ["--two"]:
        print(json.dumps(_seal_two(int(sys.argv[2]), Path(sys.argv[3]))))
        raise SystemExit(0)
    raise SystemExit(main(run))
