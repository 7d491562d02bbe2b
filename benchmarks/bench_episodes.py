"""Episodes of a simulation, state alone and with two cameras, encoded but not rendered, beside LeRobot's writer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from harness import ROOT, Bench, in_child, main, peak_rss_bytes
from pictures import HEIGHT, WIDTH, scene

_LEROBOT = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gapless-bench" / "lerobot-0.4.4"
_JOINTS = 14
_HZ = 30


def run(bench: Bench) -> None:
    """Record the same rows and pictures with both writers in turn."""
    script = Path(__file__)
    state = bench.size(9_000, 60)
    video = bench.size(300, 20)
    peer = _lerobot_python(bench)
    jobs: dict[str, Any] = {
        "state": lambda: in_child(script, "--state", str(state), str(bench.folder("state"))),
        "video": lambda: in_child(script, "--video", str(video), str(bench.folder("video"))),
    }
    if peer is not None:
        for how, rows in (("state", state), ("png", video), ("streaming", video)):
            jobs[f"lerobot {how}"] = lambda how=how, rows=rows: _lerobot(
                peer, how, rows, bench.folder("lerobot")
            )
    found = bench.interleave(jobs, rounds=bench.size(3, 1))
    ours = {name: [_ms_per_row(result) for result in results] for name, results in found.items()}
    what = "an episode row"
    bench.limit(
        f"{what} with two cameras {WIDTH}×{HEIGHT}",
        "CPU ms/row",
        ours["video"],
        1000 / 150,
        note=f"pictures lost: {sum(r['lost'] for r in found['video']):.0f}; "
        f"peak RSS {max(r['peak_rss_bytes'] for r in found['video']) / 1e6:.0f} MB",
    )
    if peer is None:
        bench.skip(what, "LeRobot 0.4.4", "its environment is not there: give --lerobot-venv")
    else:
        for how, words in (("png", "images, then video"), ("streaming", "streaming h264")):
            lost = sum(r["lost"] for r in found[f"lerobot {how}"])
            bench.compare(
                f"{what} with two cameras",
                "CPU ms/row",
                ours["video"],
                f"LeRobot, {words}",
                ours[f"lerobot {how}"],
                at_least=3.5 if how == "streaming" else 16,
                note=f"LeRobot, {words}: pictures lost: {lost:.0f}",
            )
        bench.compare(
            f"{what} of {2 * _JOINTS} numbers",
            "CPU ms/row",
            ours["state"],
            "LeRobot",
            ours["lerobot state"],
        )
    bench.limit(f"{what} of {2 * _JOINTS} numbers", "CPU ms/row", ours["state"], None)
    _growth(bench, script)


def _growth(bench: Bench, script: Path) -> None:
    """Compare the memory late in a long episode with that after a tenth of it.

    By then segments of the journal have become Parquet: what that takes once is no growth. While a segment
    becomes Parquet, some tens of MB are resident and then given back, so that one look shows where in this
    cycle it fell: medians over two segments are compared, and the note has the largest looks.
    """
    rows = bench.size(30_000, 20)
    found = in_child(script, "--growth", str(rows), str(bench.folder("growth")))
    growth = (found["late_rss_bytes"] - found["early_rss_bytes"]) / 1e6
    note = (
        f"resident after {rows:,} rows: {found['early_rss_bytes'] / 1e6:.0f} MB; "
        f"largest before and then: {found['early_peak_bytes'] / 1e6:.0f} and {found['late_peak_bytes'] / 1e6:.0f} MB"
    )
    bench.limit("an episode ten times as long, two cameras", "more RSS, MB", [growth], 10, note=note)


def _ms_per_row(result: dict[str, float]) -> float:
    return 1e3 * result["cpu_s"] / result["rows"]


# -- in a process of its own: ours -------------------------------------------------------------


class _Arm:
    """A table of joints and actions."""

    def __init__(self) -> None:
        from gapless.observe import TableSpec

        names = [f"{kind}.j{j}" for kind in ("position", "action") for j in range(_JOINTS)]
        fields = [pa.field(name, pa.float64(), nullable=False, metadata={"unit": "rad"}) for name in names]
        self.spec = TableSpec(
            "arm", pa.schema(fields), roles={"state": names[:_JOINTS], "action": names[_JOINTS:]}
        )
        self.values = np.zeros(2 * _JOINTS)
        self.row: list[float] = [0.0] * (2 * _JOINTS)

    def read(self, context: Any) -> None:
        self.values += 0.001
        self.row[:] = self.values.tolist()


class _Camera:
    """A camera whose pictures were drawn before."""

    def __init__(self, name: str, seed: int) -> None:
        from gapless.observe import CameraSpec

        self.spec = CameraSpec(name, HEIGHT, WIDTH)
        self.pictures = scene(seed)
        self.picture = self.pictures[0].copy()

    def read(self, context: Any) -> None:
        np.copyto(self.picture, self.pictures[context.step % len(self.pictures)])


class _Noise:
    """A small camera whose pictures do not compress: many bytes for little work."""

    def __init__(self, name: str) -> None:
        from gapless.observe import CameraSpec

        self.spec = CameraSpec(name, 64, 96)
        self.pictures = np.random.default_rng(0).integers(0, 256, (7, 64, 96, 3), np.uint8)
        self.picture = self.pictures[0].copy()

    def read(self, context: Any) -> None:
        np.copyto(self.picture, self.pictures[context.step % len(self.pictures)])


class _Recorder:
    """An arm and cameras."""

    name = "bench"

    def __init__(self, cameras: Sequence[Any]) -> None:
        self.tables = [_Arm()]
        self.cameras = list(cameras)

    def begin(self) -> None:
        """Nothing to forget."""

    def artifacts(self) -> dict[str, bytes]:
        return {}


def _record(rows: int, store: Path, cameras: int) -> dict[str, float]:
    import gapless
    from gapless.observe import Observer

    recorder = _Recorder([_Camera(f"camera{n}", n) for n in range(cameras)])
    with gapless.connect(store) as client, Observer(client, [recorder], data_hz=_HZ) as observer:
        observer.start_session("bench")
        observer.tick()
        cpu = time.process_time()
        observer.begin_episode()
        for step in range(rows):
            observer.observe(step, step * 10**9 // _HZ + 1)
        name = observer.end_episode(success=True)
        cpu = time.process_time() - cpu
        handler = client.sequence_handler(name)
        counts = [handler.topic(topic).rows for topic in ("arm", *(f"camera{n}" for n in range(cameras)))]
    lost = sum(rows - count for count in counts)
    return {"cpu_s": cpu, "rows": rows, "lost": lost, "peak_rss_bytes": peak_rss_bytes()}


def _grow(rows: int, store: Path) -> dict[str, float]:
    """Record ten times as many rows; look at the memory on the way to the first mark and to the last."""
    import gapless
    from gapless.observe import Observer

    recorder = _Recorder([_Noise("left"), _Noise("right")])
    with gapless.connect(store) as client, Observer(client, [recorder], data_hz=_HZ) as observer:
        observer.start_session("bench")
        observer.tick()
        observer.begin_episode()
        looks = []
        for end in (rows, 10 * rows):
            _observe(observer, end - rows // 2)
            looks.append(_resident(observer, end))
        observer.end_episode(success=True)
    (early, early_peak), (late, late_peak) = looks
    return {
        "early_rss_bytes": early,
        "late_rss_bytes": late,
        "early_peak_bytes": early_peak,
        "late_peak_bytes": late_peak,
    }


def _observe(observer: Any, end: int) -> None:
    for step in range(observer.rows, end):
        observer.observe(step, step * 10**9 // _HZ + 1)


def _resident(observer: Any, end: int) -> tuple[float, float]:
    """Return the median and the largest resident size on the way to row ``end``, looked at 60 times."""
    process = psutil.Process()
    looks = []
    for row in np.linspace(observer.rows, end, 61, dtype=int)[1:]:
        _observe(observer, int(row))
        looks.append(process.memory_info().rss)
    return float(np.median(looks)), float(max(looks))


# -- in an environment of its own: LeRobot's writer --------------------------------------------


def _lerobot(python: Path, how: str, rows: int, folder: Path) -> dict[str, float]:
    script = Path(__file__).with_name("lerobot_child.py")
    surroundings = os.environ | {
        "PYTHONPATH": str(ROOT / "tests" / "peers" / "lerobot"),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "hf"),
    }
    done = subprocess.run(
        [python, script, how, str(rows), folder / "set"],
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _lerobot_python(bench: Bench) -> Path | None:
    """Return the environment's Python, None where LeRobot is not in it."""
    python: Path = bench.options.lerobot_venv / "bin" / "python"
    if bench.quick or not python.exists():
        return None
    probe = subprocess.run(
        [python, "-c", "import importlib.metadata as m; m.version('lerobot')"],
        capture_output=True,
        check=False,
    )
    return python if probe.returncode == 0 else None


def _options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--lerobot-venv", type=Path, default=_LEROBOT, metavar="DIR", help="environment of LeRobot 0.4.4"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--growth"]:
        print(json.dumps(_grow(int(sys.argv[2]), Path(sys.argv[3]))))
    elif sys.argv[1:2] in (["--state"], ["--video"]):
        print(json.dumps(_record(int(sys.argv[2]), Path(sys.argv[3]), 2 if sys.argv[1] == "--video" else 0)))
    else:
        raise SystemExit(main(run, options=_options))
