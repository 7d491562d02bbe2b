"""Pictures as a camera gives them: a textured scene that moves, with noise; drawn before anything is measured."""

from __future__ import annotations

from typing import Any

import numpy as np

HEIGHT, WIDTH = 480, 640
_WIDER = 160
_STEP = 4  # pixels that the scene moves from one picture to the next


def scene(seed: int, count: int = 40) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Return so many uint8 ``[480, 640, 3]`` pictures, contiguous and read-only."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT, 0 : WIDTH + _WIDER]
    shades = [
        128 + 60 * np.sin(x / (17.0 + 7 * c)) * np.cos(y / (23.0 - 5 * c)) + 30 * ((x // 40 + y // 40) % 2)
        for c in range(3)
    ]
    wide = np.stack(shades, axis=-1)
    pictures = []
    for number in range(count):
        left = number * _STEP % _WIDER
        noisy = wide[:, left : left + WIDTH] + random.normal(0, 2, (HEIGHT, WIDTH, 3))
        picture = np.ascontiguousarray(noisy.clip(0, 255).astype(np.uint8))
        picture.setflags(write=False)
        pictures.append(picture)
    return pictures
