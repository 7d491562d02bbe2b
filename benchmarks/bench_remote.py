"""Rows, objects and frames until a server has them durably, beside plain Flight, the Mosaico SDK and Tiled."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mosaico_sdk
from harness import ROOT, Bench, in_child, main
from motion import ROW_BYTES
from remote_server import SEES_MEMORY, ServerProcess

from gapless.testing.network import Link

sys.path.append(str(ROOT))
from tests.bluesky.tiled_server import TiledServer  # the tests' helper starts the peer's server

_CHILD = Path(__file__).with_name("remote_child.py")
_SDK_CHILD = Path(__file__).with_name("mosaico_remote_child.py")
_NOTHING, _FILE = "Flight DoPut into nothing", "Flight DoPut into a file"
_SLOW_BYTES_PER_S = 1e6
Figures = Mapping[str, float]


def run(bench: Bench) -> None:
    """Measure against one server of ours, in a process of its own as every client is."""
    with ServerProcess("gapless", bench.folder("store")) as server:
        _blocks(bench, server)
        _objects(bench, server)
        _lanes(bench, server)
        _frames(bench, server)


def _child(what: str, *words: object) -> Figures:
    found: Figures = in_child(_CHILD, what, *map(str, words))
    return found


def _column(found: Sequence[Figures], key: str) -> list[float]:
    return [figures[key] for figures in found]


# -- blocks of rows -----------------------------------------------------------------------------------


def _blocks(bench: Bench, server: ServerProcess) -> None:
    """Columns in small and in large blocks; the peers get the same ones."""
    with (
        ServerProcess("discard", bench.folder("discard")) as nothing,
        ServerProcess("file", bench.folder("file")) as file,
    ):
        peers = {_NOTHING: nothing, _FILE: file}
        for block in (1_000, 8_192):
            _compare_blocks(bench, block, server, peers)
    _tiled(bench, server)


def _compare_blocks(
    bench: Bench, block: int, server: ServerProcess, peers: Mapping[str, ServerProcess]
) -> None:
    rows = bench.size(1_600_000, 20_000) // block * block
    jobs: dict[str, Callable[[], dict[str, float]]] = {
        name: lambda where=where: _with_server(where, rows, "put", rows, block)
        for name, where in peers.items()
    }
    found = bench.interleave(jobs | {"ours": lambda: _with_server(server, rows, "ingest", rows, block)})
    ours = found.pop("ours")
    what = f"push_columns of {block:,} rows until accepted"
    rate = ROW_BYTES * 1e3 / statistics.median(_column(ours, "wall_ns"))
    for peer, most in ((_NOTHING, 2.5), (_FILE, None)):
        bench.compare(
            what, "wall ns/row", _column(ours, "wall_ns"), peer, _column(found[peer], "wall_ns"), at_most=most,
            note=f"ours {rate:,.0f} MB/s with {block:,} rows in a block",
        )  # fmt: skip
    for key, process in (("cpu_ns", "client"), ("server_ns", "server")):
        bench.compare(
            what, f"CPU ns/row, {process}", _column(ours, key), _NOTHING, _column(found[_NOTHING], key),
            note="ours holds checksums, many syncs, and sealing" if process == "server" else "",
        )  # fmt: skip


def _with_server(server: ServerProcess, count: int, what: str, *words: object) -> dict[str, float]:
    """Run a child and add what the server's process spent on each of the rows."""
    before = server.figures()["cpu_ns"]
    found = dict(_child(what, server.url, *words))
    found["server_ns"] = (server.figures()["cpu_ns"] - before) / count
    return found


def _tiled(bench: Bench, server: ServerProcess) -> None:
    """Append to a table: each call of the peer's client is one request."""
    peer, block = "Tiled, append_partition", 1_000
    what = f"push_columns of {block:,} rows until accepted"
    if find_spec("tiled") is None:
        bench.skip(what, peer, "tiled is not installed: pip install 'gapless[bluesky]'")
        return
    rows, few = bench.size(1_600_000, 20_000), bench.size(40_000, 2_000)
    with TiledServer(bench.folder("tiled")) as tiled:
        found = bench.interleave(
            {
                "ours": lambda: _child("ingest", server.url, rows, block),
                "tiled": lambda: _child("tiled", tiled.url, few, block),
            },
            rounds=min(bench.rounds, 3),
        )
    bench.compare(
        what, "wall ns/row", _column(found["ours"], "wall_ns"), peer, _column(found["tiled"], "wall_ns"), at_least=20,
        note="its table is in SQLite, on this machine too",
    )  # fmt: skip


# -- objects ------------------------------------------------------------------------------------------


def _objects(bench: Bench, server: ServerProcess) -> None:
    """The same IMU messages, to the same server, each with its own client."""
    what = "push(Message(IMU(...))) until accepted"
    count, few = bench.size(200_000, 2_000), bench.size(20_000, 500)
    jobs = {"ours": lambda: _child("objects", server.url, count)}
    python = mosaico_sdk.find_python(bench.options)
    if python is not None:
        jobs["sdk"] = lambda: in_child(_SDK_CHILD, str(server.port), str(few), python=python)
    found = bench.interleave(jobs)
    for figure, key in (("wall ns/message", "wall_ns"), ("CPU ns/message, client", "cpu_ns")):
        ours = _column(found["ours"], key)
        if python is None:
            bench.limit(what, figure, ours, None)
            continue
        bench.compare(
            what, figure, ours, mosaico_sdk.NAME, _column(found["sdk"], key),
            at_least=30, note="six values; both build the objects, push them and wait until they are durable there",
        )  # fmt: skip
    if python is None:
        bench.skip(what, mosaico_sdk.NAME, mosaico_sdk.ABSENT)


# -- lanes --------------------------------------------------------------------------------------------


def _lanes(bench: Bench, server: ServerProcess) -> None:
    """Two topics at 1 kHz beside one of 4 MB/s, whose connection lets everything through, or 1 MB/s."""
    seconds = bench.size(10, 1)
    with Link(("127.0.0.1", server.port)) as link:

        def measure(bytes_per_s: float | None) -> Figures:
            link.bytes_per_s = bytes_per_s
            return _child("lanes", server.url, f"grpc://127.0.0.1:{link.port}", seconds)

        found = bench.interleave({"slow": lambda: measure(_SLOW_BYTES_PER_S), "free": lambda: measure(None)})
    shares = [figures["dropped"] / figures["offered"] for figures in found["slow"]]
    note = (
        f"two topics at 1 kHz each; the third is offered 4 MB/s and gives up {min(shares):.0%} to {max(shares):.0%} of"
        " it while it is throttled to 1 MB/s, by its policy drop_oldest and counted"
    )
    for key, most in (("p50_us", None), ("p99_us", 1.2)):
        bench.compare(
            "push_row beside a throttled lane", f"µs, {key[:3]}", _column(found["slow"], key),
            "the same lane not throttled", _column(found["free"], key), at_most=most, note=note,
        )  # fmt: skip


# -- large frames -------------------------------------------------------------------------------------


def _frames(bench: Bench, server: ServerProcess) -> None:
    """What does not fit any buffer for long: the memory must not grow while it lasts."""
    size_bytes, seconds = bench.size(24_000_000, 500_000), bench.size(60, 3)
    what = f"frames of {size_bytes / 1e6:g} MB at 10 per second for {seconds} s"
    if not SEES_MEMORY:
        bench.skip(what, "", "memory is read from /proc, which this system does not have")
        return
    server.figures()  # the memory's samples begin here
    client = _child("frames", server.url, seconds, size_bytes)
    note = (
        f"{client['frames']:.0f} frames were accepted, {client['fps']:.1f} per second;"
        " growth is that of the typical size from one half of the time to the other; two frames are allowed"
    )
    sides: Mapping[str, Mapping[str, Any]] = {"client": client, "server": server.figures()}
    for side, figures in sides.items():
        growth = (figures["late_bytes"] - figures["early_bytes"]) / 1e6
        bench.limit(what, f"MB of growth, {side}", [max(0.0, growth)], 2 * size_bytes / 1e6, note=note)
        bench.limit(what, f"peak RSS MB, {side}", [figures["peak_bytes"] / 1e6], None)


if __name__ == "__main__":
    raise SystemExit(main(run, options=mosaico_sdk.add_options))
