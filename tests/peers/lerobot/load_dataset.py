"""Load a dataset with the real LeRobotDataset and compare all of it: ``load_dataset.py DATASET EXPECTED.npz``.

Runs in an environment with LeRobot and without gapless. EXPECTED holds for each episode E ``state_E``,
``action_E`` (float32 ``[rows, n]``), ``task_E`` (text) and for each camera K ``pictures_E_K`` (uint8
``[rows, h, w, 3]``). Prints what was compared as JSON; any difference ends it with an AssertionError.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # type: ignore[import-not-found]

_BESIDE = 3
_ALIKE = 0.0003  # of 0..1: while nothing moves, one picture is as near as the next
MAX_MEAN_ERROR = 0.004  # of 0..1: other releases of FFmpeg turn YUV into RGB with other rounding


class Expected:
    """What the dataset must hold."""

    def __init__(self, path: str) -> None:
        self.arrays = dict(np.load(path))
        self.episodes = sum(name.startswith("state_") for name in self.arrays)
        self.cameras = sorted({name.split("_", 2)[2] for name in self.arrays if name.startswith("pictures_")})
        self.lengths = [len(self.arrays[f"state_{e}"]) for e in range(self.episodes)]

    def pictures(self, episode: int, camera: str) -> Any:
        """Return an episode's pictures, uint8."""
        return self.arrays[f"pictures_{episode}_{camera}"]


def compare_item(item: dict[str, Any], expected: Expected, episode: int, row: int, fps: int) -> int:
    """Compare one row of the loader with what it must be; return the number of pictures compared."""
    arrays = expected.arrays
    assert int(item["episode_index"]) == episode
    assert int(item["frame_index"]) == row
    assert int(item["index"]) == sum(expected.lengths[:episode]) + row
    assert abs(float(item["timestamp"]) - row / fps) < 1e-4
    assert item["task"] == str(arrays[f"task_{episode}"])
    assert np.array_equal(item["observation.state"].numpy(), arrays[f"state_{episode}"][row])
    assert np.array_equal(item["action"].numpy(), arrays[f"action_{episode}"][row])
    for camera in expected.cameras:
        compare_picture(item[camera].numpy().transpose(1, 2, 0), expected.pictures(episode, camera), row)
    return len(expected.cameras)


def compare_picture(found: Any, pictures: Any, row: int) -> None:
    """Compare a picture with its own, and see that none beside it in the episode is nearer."""
    first = max(0, row - _BESIDE)
    beside = pictures[first : row + _BESIDE + 1].astype(np.float32) / 255
    errors = np.abs(beside - found).mean((1, 2, 3))
    own = errors[row - first]
    assert own < MAX_MEAN_ERROR, f"picture {row} differs by {own:.4f}"
    nearest = first + int(errors.argmin())
    assert own - errors.min() < _ALIKE, f"picture {row} is picture {nearest}"


def compare_all(root: str, expected: Expected) -> dict[str, int]:
    """Compare every row."""
    data = LeRobotDataset("local/set", root=root, video_backend="pyav")
    assert data.num_episodes == expected.episodes
    assert len(data) == sum(expected.lengths)
    pictures, place = 0, 0
    for episode, length in enumerate(expected.lengths):
        for row in range(length):
            pictures += compare_item(data[place], expected, episode, row, data.fps)
            place += 1
    return {"rows": place, "pictures": pictures, "fps": data.fps}


def compare_windows(root: str, expected: Expected, fps: int) -> int:
    """Ask for the rows around each row; compare them, and the marks where an episode has none."""
    around = [-1 / fps, 0.0, 2 / fps]
    keys = ["action", *expected.cameras[:1]]
    data = LeRobotDataset(
        "local/set", root=root, video_backend="pyav", delta_timestamps=dict.fromkeys(keys, around)
    )
    place = 0
    for episode, length in enumerate(expected.lengths):
        for row in range(length):
            item = data[place]
            rows = [row - 1, row, row + 2]
            inside = [min(max(k, 0), length - 1) for k in rows]
            padded = [k != r for k, r in zip(inside, rows, strict=True)]
            for key in keys:
                assert item[f"{key}_is_pad"].tolist() == padded
            assert np.array_equal(item["action"].numpy(), expected.arrays[f"action_{episode}"][inside])
            for camera in keys[1:]:
                for k, picture in zip(inside, item[camera].numpy(), strict=True):
                    compare_picture(picture.transpose(1, 2, 0), expected.pictures(episode, camera), k)
            place += 1
    return place


def compare_shuffled(root: str, expected: Expected) -> int:
    """Go through a shuffled DataLoader; each row comes once, with its own state."""
    data = LeRobotDataset("local/set", root=root, video_backend="pyav")
    states = np.concatenate([expected.arrays[f"state_{e}"] for e in range(expected.episodes)])
    seen: list[int] = []
    torch.manual_seed(0)
    for batch in torch.utils.data.DataLoader(data, batch_size=8, shuffle=True):
        rows = batch["index"].tolist()
        assert np.array_equal(batch["observation.state"].numpy(), states[rows])
        seen += rows
    assert sorted(seen) == list(range(len(states)))
    assert seen != sorted(seen)
    return len(seen)


def compare_subset(root: str, expected: Expected) -> int:
    """Load some episodes only: the first and the last."""
    chosen = sorted({0, expected.episodes - 1})
    data = LeRobotDataset("local/set", root=root, video_backend="pyav", episodes=chosen)
    assert len(data) == sum(expected.lengths[e] for e in chosen)
    place = 0
    for episode in chosen:
        for row in range(expected.lengths[episode]):
            compare_item(data[place], expected, episode, row, data.fps)
            place += 1
    return place


def main() -> None:
    """Compare and print."""
    root, expected = sys.argv[1], Expected(sys.argv[2])
    told = compare_all(root, expected)
    told["windows"] = compare_windows(root, expected, told["fps"])
    told["shuffled"] = compare_shuffled(root, expected)
    told["subset"] = compare_subset(root, expected)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
