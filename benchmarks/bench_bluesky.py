"""Documents of a Bluesky RunEngine until durable, and what a RunEngine pays, beside the live TiledWriter."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import ROOT, Bench, in_child, main

sys.path.append(str(ROOT))
from tests.bluesky.tiled_server import TiledServer  # the tests' helper starts the peer's server

_CHILD = Path(__file__).with_name("bluesky_child.py")
Figures = Mapping[str, float]


def run(bench: Bench) -> None:
    """Measure both writers in turn, each time in a process of its own; the peer's server runs meanwhile."""
    with TiledServer(bench.folder("server"), readable=bench.work) as server:
        _documents(bench, server.url)
        _visible(bench)
        _engine(bench, server.url)
        _frames(bench, server.url)
        _dead_server(bench, server)


def _child(bench: Bench, what: str, writer: str, count: int, url: str = "-") -> Figures:
    found: Figures = in_child(_CHILD, what, writer, str(count), str(bench.folder(what)), url)
    return found


def _interleave(bench: Bench, what: str, counts: Mapping[str, int], url: str) -> dict[str, list[Figures]]:
    jobs: dict[str, Callable[[], Figures]] = {
        writer: lambda writer=writer, count=count: _child(bench, what, writer, count, url)
        for writer, count in counts.items()
    }
    return bench.interleave(jobs, rounds=bench.size(3, 1))


def _documents(bench: Bench, url: str) -> None:
    """Single events of five numbers, as fast as they can be handed over."""
    counts = {"gapless": bench.size(120_000, 400), "tiled-10000": bench.size(10_000, 40)}
    if not bench.quick:
        counts |= {"tiled-100": 1_000, "tiled-1": 60}
    found = _interleave(bench, "feed", counts, url)
    ours = _per(found["gapless"], counts["gapless"], "durable_s")
    cpu = sum(_per(found["gapless"], counts["gapless"], "cpu_s")) / len(ours)
    what = "single events of 5 keys until durable"
    bench.limit(what, "µs/document", ours, 1e6 / 60_000, note=f"{cpu:.1f} µs of CPU, all threads")
    for peer in [name for name in counts if name != "gapless"]:
        theirs = _per(found[peer], counts[peer], "ended_s")
        size = peer.removeprefix("tiled-")
        bench.compare(what, "µs/document", ours, f"TiledWriter, batch {size}", theirs, at_least=12)


def _per(found: Sequence[Figures], count: int, key: str) -> list[float]:
    """Return microseconds per document."""
    return [1e6 * figures[key] / count for figures in found]


def _visible(bench: Bench) -> None:
    """How old an event is when a reader in another process has it."""
    count = bench.size(100_000, 2_000)
    found = [_child(bench, "visible", "gapless", count) for _ in range(bench.size(3, 1))]
    rates = min(figures["per_s"] for figures in found)
    typical = sorted(figures["p50_ms"] for figures in found)[len(found) // 2]
    bench.limit(
        "seen by a reader in another process",
        "ms, p99 of ages",
        [figures["p99_ms"] for figures in found],
        250,
        note=f"{rates:,.0f} events/s were handed over; typical age {typical:.0f} ms, oldest "
        f"{max(figures['max_ms'] for figures in found):.0f} ms",
    )


def _engine(bench: Bench, url: str) -> None:
    """What the callback of each event takes of a real RunEngine that reads five devices."""
    counts = {"gapless": bench.size(2_000, 20), "empty": bench.size(2_000, 20)}
    counts |= {"tiled-10000": bench.size(2_000, 20)}
    if not bench.quick:
        counts |= {"tiled-100": 1_000, "tiled-1": 60}
    found = _interleave(bench, "engine", counts, url)
    alone = _child(bench, "engine-alone", "none", bench.size(2_000, 20))
    rates = {name: min(r["ran_s"] for r in runs) * 1e6 / counts[name] for name, runs in found.items()}
    note = f"the RunEngine takes {alone['ran_s'] * 1e6 / bench.size(2_000, 20):,.0f} µs an event without a callback"
    empty = min(figures["p50_us"] for figures in found["empty"])
    ours = {key: [figures[key] for figures in found["gapless"]] for key in ("p50_us", "p99_us")}
    beyond = [value - empty for value in ours["p50_us"]]
    bench.limit(
        "callback of an event, p50", "µs", beyond, 20, note=f"{note}; {rates['gapless']:,.0f} with ours"
    )
    beyond = [value - empty for value in ours["p99_us"]]
    bench.limit(
        "callback of an event, p99", "µs", beyond, 100, note=f"beyond an empty callback: {empty:.1f} µs"
    )
    for peer in [name for name in counts if name.startswith("tiled")]:
        size = peer.removeprefix("tiled-")
        for quantile in ("p50_us", "p99_us"):
            bench.compare(
                f"callback of an event, {quantile[:3]}",
                "µs",
                ours[quantile],
                f"TiledWriter, batch {size}",
                [figures[quantile] for figures in found[peer]],
            )


def _frames(bench: Bench, url: str) -> None:
    """One reference for each frame of a live detector that writes TIFF files."""
    count, theirs = bench.size(600, 20), bench.size(60, 5)
    found = _interleave(bench, "frames", {"gapless": count, "tiled-1": theirs}, url)
    what = f"{count} live TIFF frames"
    growth = max(r["second_s"] / r["first_s"] for r in found["gapless"])
    peer_growth = max(r["second_s"] / r["first_s"] for r in found["tiled-1"])
    bench.limit(
        what,
        "s in the callback",
        [figures["total_s"] for figures in found["gapless"]],
        0.5,
        note=f"the second half takes {growth:.2f} times the first; TiledWriter's {peer_growth:.2f} with {theirs}",
    )
    bench.compare(
        what,
        "µs/frame in the callback",
        [1e6 * figures["total_s"] / count for figures in found["gapless"]],
        f"TiledWriter, batch 1, of {theirs}",
        [1e6 * figures["total_s"] / theirs for figures in found["tiled-1"]],
    )
    bench.limit(f"{what} until durable", "s", [figures["durable_s"] for figures in found["gapless"]], None)


def _dead_server(bench: Bench, server: TiledServer) -> None:
    """The server is killed in the middle of a run: what the next events cost the RunEngine."""
    ours = _killed(bench, server, "gapless-tiled", bench.size(1_000, 20))
    what = "an event while the server is dead"
    bench.limit(f"{what}, longest", "µs", [ours["max_us"]], None)
    if bench.quick:
        bench.skip(what, "TiledWriter", "its first event takes more than a minute: not with --quick")
        return
    server.start()
    theirs = _killed(bench, server, "tiled-1", 1)
    bench.compare(f"{what}, longest", "µs", [ours["max_us"]], "TiledWriter, batch 1", [theirs["max_us"]])


def _killed(bench: Bench, server: TiledServer, writer: str, count: int) -> dict[str, Any]:
    """Kill the server between the descriptor and the first event of a run."""
    folder = bench.folder("dead")
    words = [sys.executable, str(_CHILD), "dead", writer, str(count), str(folder), server.url]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as child:
        assert child.stdout is not None
        begun = child.stdout.readline()
        server.kill()
        answer, troubles = child.communicate("killed\n", timeout=600)
        if begun != "begun\n" or child.returncode:
            raise RuntimeError(f"{writer} failed:\n{troubles[-2000:]}")
    found: dict[str, Any] = json.loads(answer.strip().splitlines()[-1])
    return found


if __name__ == "__main__":
    sys.exit(main(run))
