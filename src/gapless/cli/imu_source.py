"""A synthetic inertial sensor: gravity, a swing, a few knocks and noise; the same rows for the same seed."""

from __future__ import annotations

import math
import random

RATE_HZ = 200
PERIOD_NS = 1_000_000_000 // RATE_HZ
KNOCK_EVERY = 6 * RATE_HZ  # a knock each six seconds gives content queries something to find
KNOCK_ROWS = RATE_HZ // 5
KNOCK_THRESHOLD = 13.0  # m/s², above the swing and below the knocks


class ImuSource:
    """Row ``k`` depends on the seed and on ``k`` alone, so any row can be made again and compared."""

    def __init__(self, seed: int = 42) -> None:
        self._seed = seed

    def row(self, k: int) -> tuple[float, float, float, float, float, float]:
        """Return acceleration x, y, z in m/s² and angular velocity x, y, z in rad/s of row ``k``."""
        noise = random.Random(self._seed * 1_000_003 + k).gauss
        t_s = k / RATE_HZ
        swing = math.sin(2 * math.pi * 0.5 * t_s)
        turn = math.pi * math.cos(2 * math.pi * 0.5 * t_s)
        phase = k % KNOCK_EVERY - KNOCK_EVERY // 3
        knock = 8.0 * math.exp(-phase / 15) if 0 <= phase < KNOCK_ROWS else 0.0
        return (
            1.2 * swing + noise(0, 0.05),
            0.4 * math.sin(2 * math.pi * 1.3 * t_s) + noise(0, 0.05),
            9.81 + 0.6 * swing * swing + knock + noise(0, 0.05),
            0.1 * turn + noise(0, 0.005),
            noise(0, 0.005),
            0.05 * swing + noise(0, 0.005),
        )
