"""Runs in an environment of its own with lerobot 0.4.4: writes one episode as fast as it takes it."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from pictures import HEIGHT, WIDTH, scene

_JOINTS = 14


def main(how: str, rows: int, root: Path) -> None:
    names = [f"j{j}" for j in range(_JOINTS)]
    features = {
        key: {"dtype": "float32", "shape": (_JOINTS,), "names": names}
        for key in ("observation.state", "action")
    }
    pictures = {} if how == "state" else {f"observation.images.camera{n}": scene(n) for n in range(2)}
    for key in pictures:
        features[key] = {
            "dtype": "video",
            "shape": (HEIGHT, WIDTH, 3),
            "names": ["height", "width", "channels"],
        }
    options = {"vcodec": "h264"} if pictures else {}
    if how == "streaming":
        options |= {"streaming_encoding": True, "encoder_queue_maxsize": rows + 1}
    elif how == "png":
        options |= {"image_writer_threads": 8}
    dataset = LeRobotDataset.create("local/bench", fps=30, features=features, root=root, **options)
    state = np.zeros(_JOINTS, np.float32)
    before = _cpu_s()
    for step in range(rows):
        state += 0.001
        frame = {"observation.state": state.copy(), "action": state.copy(), "task": "bench"}
        for key, scenes in pictures.items():
            frame[key] = scenes[step % len(scenes)].copy()
        dataset.add_frame(frame)
    dataset.save_episode()
    dataset.finalize()
    spent = _cpu_s() - before
    lost = sum(rows - _frames(path) for path in root.glob("videos/**/*.mp4"))
    print(json.dumps({"cpu_s": spent, "rows": rows, "lost": lost, "wall_s": time.monotonic()}))


def _cpu_s() -> float:
    """Return user and system time of this process and its children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usages)


def _frames(path: Path) -> int:
    import av

    with av.open(str(path)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
