"""Small environments for tests: one with every kind of space, one with physics, one that gives pictures."""

from __future__ import annotations

from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces

BALL = """
<mujoco>
  <option timestep="0.002"/>
  <worldbody>
    <geom type="plane" size="1 1 .1"/>
    <body pos="0 0 .2"><freejoint/><geom type="box" size=".05 .03 .04"/></body>
  </worldbody>
</mujoco>
"""


class Everything(gymnasium.Env[Any, Any]):
    """A space of each kind, nested; the arrays it returns are its own and change with every step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as gymnasium wants it
    length = 5
    size = (4, 6)

    def __init__(self, render_mode: str | None = None) -> None:
        height, width = self.size
        self.render_mode = render_mode
        self.observation_space = spaces.Dict(
            {
                "eye": spaces.Box(0, 255, (height, width, 3), np.uint8),
                "arm": spaces.Dict({"joints": spaces.Box(-9, 9, (2, 2), np.float32)}),
                "pair": spaces.Tuple((spaces.Discrete(5, start=-2), spaces.MultiBinary(3))),
                "ram": spaces.Box(0, 255, (600,), np.uint8),
                "speed": spaces.Box(-9, 9, (), np.float64),
            }
        )
        self.action_space = spaces.Tuple((spaces.MultiDiscrete([3, 4]), spaces.Box(-1, 1, (1,), np.float32)))
        self.steps = 0
        self._joints = np.zeros((2, 2), np.float32)
        self._eye = np.zeros((height, width, 3), np.uint8)
        self.fail_at = -1
        self.info: dict[str, Any] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begin at step 0."""
        super().reset(seed=seed)
        self.steps = 0
        return self._observation(), {}

    def step(self, action: Any) -> Any:
        """Count."""
        self.steps += 1
        if self.steps == self.fail_at:
            raise RuntimeError("the arm fell off")
        return self._observation(), self.steps / 4, self.steps == self.length, False, self.info

    def render(self) -> Any:
        """Return a picture of the number of steps."""
        return np.full((8, 10, 3), self.steps, np.uint8)

    def _observation(self) -> dict[str, Any]:
        self._joints[:] = [[self.steps, 1], [2, 3]]
        self._eye[:] = self.steps * 10
        return {
            "eye": self._eye,
            "arm": {"joints": self._joints},
            "pair": (np.int64(self.steps % 5 - 2), np.array([1, 0, self.steps % 2], np.int8)),
            "ram": np.full(600, self.steps, np.uint8),
            "speed": self.steps / 3,
        }


class FallingBox(gymnasium.Env[Any, Any]):
    """A box that falls and tumbles; the seed turns it, the action pushes it."""

    metadata = {"render_modes": [], "render_fps": 25}  # noqa: RUF012 - as gymnasium wants it

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (13,), np.float64)
        self.action_space = spaces.Box(-1, 1, (3,), np.float32)
        self._model = mujoco.MjModel.from_xml_string(BALL)
        self._data = mujoco.MjData(self._model)
        self.dt = 0.04

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Turn the box by chance."""
        super().reset(seed=seed)
        mujoco.mj_resetData(self._model, self._data)
        self._data.qvel[3:6] = self.np_random.normal(size=3) * 5
        return self._observation(), {}

    def step(self, action: Any) -> Any:
        """Push, and let 40 ms pass."""
        self._data.xfrc_applied[1, :3] = action
        mujoco.mj_step(self._model, self._data, 20)
        return self._observation(), float(-self._data.qpos[2]), False, False, {"is_success": np.True_}

    def _observation(self) -> Any:
        return np.concatenate([self._data.qpos, self._data.qvel])
