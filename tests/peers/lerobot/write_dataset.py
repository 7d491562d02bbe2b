"""Write a dataset with the real LeRobot: ``write_dataset.py DATASET EXPECTED.npz VCODEC``.

Three episodes, two cameras, one video file for each camera. EXPECTED gets the states and actions.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # type: ignore[import-not-found]

LENGTHS = (13, 8, 15)
NAMES = ["shoulder.pos", "elbow.pos"]
CAMERAS = ("observation.images.front", "observation.images.wrist")
SHAPE = (96, 128, 3)


def main() -> None:
    """Write both files."""
    root, expected, codec = sys.argv[1:4]
    vector = {"dtype": "float32", "shape": (len(NAMES),), "names": NAMES}
    camera = {"dtype": "video", "shape": SHAPE, "names": ["height", "width", "channels"]}
    features = {"observation.state": vector, "action": vector, **dict.fromkeys(CAMERAS, camera)}
    data = LeRobotDataset.create(
        "local/set",
        fps=30,
        features=features,
        root=root,
        robot_type="arm",
        vcodec=codec,
        image_writer_threads=2,
    )
    random = np.random.default_rng(3)
    arrays: dict[str, Any] = {}
    for episode, length in enumerate(LENGTHS):
        state = random.normal(size=(length, 2)).astype(np.float32)
        action = random.normal(size=(length, 2)).astype(np.float32)
        for row in range(length):
            frame = {"observation.state": state[row], "action": action[row], "task": f"task {episode % 2}"}
            for number, key in enumerate(CAMERAS):
                picture = np.full(SHAPE, (60 * episode, 90 * number, 40), np.uint8)
                picture[:, 8 * row : 8 * row + 8] = 250
                frame[key] = picture
            data.add_frame(frame)
        data.save_episode()
        arrays |= {
            f"state_{episode}": state,
            f"action_{episode}": action,
            f"task_{episode}": f"task {episode % 2}",
        }
    data.finalize()
    np.savez(expected, **arrays)


if __name__ == "__main__":
    main()
