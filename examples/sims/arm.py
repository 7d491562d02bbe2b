"""A simulated arm that picks a cube up: six hinges, a gripper and two cameras; `gapless observe` runs it.

It needs `pip install 'gapless[sim,video]'`. The pictures are drawn without a screen, by Mesa on the processor:
`apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri`, or MUJOCO_GL=glfw on a machine with a screen.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is imported

import numpy as np

from gapless.errors import MissingExtra
from gapless.observe.sources import CameraSource, RobotSource

NEEDED = "pip install 'gapless[sim,video]'; apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri"

try:
    import mujoco
except (ImportError, AttributeError) as error:  # AttributeError: PyOpenGL without libEGL
    raise MissingExtra("the arm needs MuJoCo and EGL", found=str(error), next_step=NEEDED) from error

JOINTS = ["yaw", "shoulder", "elbow", "roll", "wrist", "flange"]
HOME = np.array([0.0, 0.2, 1.5, 0.0, np.pi - 1.7, 0.0])
OPEN, CLOSED = 0.035, 0.0  # of a finger, in metres from the middle
HEIGHT, WIDTH = 480, 640
STEPS = 2500  # states of one episode: 5 s
LIFTED_M = 0.05


class Arm:
    """Picks the cube up from where the seed put it, by waypoints computed from measured poses."""

    robot_type = "gapless-arm"
    tasks = ("Pick the cube up.",)

    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_path(str(Path(__file__).with_name("arm.xml")))
        self.data = mujoco.MjData(self.model)
        self.dt_ns = round(self.model.opt.timestep * 1e9)
        self._eyes: mujoco.Renderer | None = None

    # -- stepping ------------------------------------------------------------------------------

    def reset(self, seed: int) -> None:
        self._open_eyes()
        random = np.random.default_rng(seed)
        radius, angle, turn = random.uniform((0.28, -0.6, -0.7), (0.40, 0.6, 0.7))
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:6], self.data.qpos[6:8] = HOME, OPEN
        self.data.ctrl[:6], self.data.ctrl[6] = HOME, OPEN
        self.data.joint("cube").qpos[:] = (
            radius * np.cos(angle), radius * np.sin(angle), 0.02,
            np.cos(turn / 2), 0, 0, np.sin(turn / 2),
        )  # fmt: skip
        mujoco.mj_forward(self.model, self.data)
        self._steps = 0
        self._start_m = self.cube[2]
        self._plan(self.cube, turn)

    def step(self) -> bool:
        if self._steps + 1 == STEPS:
            return False
        self._steps += 1
        self.data.ctrl[:] = self._wanted(self.data.time)
        mujoco.mj_step(self.model, self.data)
        return True

    @property
    def cube(self) -> np.ndarray:
        """The measured place of the cube, in metres."""
        return self.data.body("cube").xpos.copy()

    @property
    def success(self) -> bool:
        """Whether the cube is higher than where it stood."""
        return bool(self.cube[2] - self._start_m > LIFTED_M)

    # -- the script ----------------------------------------------------------------------------

    def _plan(self, cube: np.ndarray, turn: float) -> None:
        """Lay waypoints over, around and above the cube: time in s, six joints, gripper."""
        above = self._reach(cube + np.array([0, 0, 0.10]), turn, HOME)
        around = self._reach(cube, turn, above)
        lifted = self._reach(cube + np.array([0, 0, 0.13]), turn, above)
        self._waypoints = [
            (0.0, np.append(HOME, OPEN)),
            (1.2, np.append(above, OPEN)),
            (2.0, np.append(around, OPEN)),
            (2.6, np.append(around, CLOSED)),
            (3.8, np.append(lifted, CLOSED)),
            (5.0, np.append(lifted, CLOSED)),
        ]

    def _wanted(self, time_s: float) -> np.ndarray:
        """Return the set points of this time, on a curve without jerk between two waypoints."""
        ends = next(i for i, (end_s, _) in enumerate(self._waypoints) if time_s < end_s)
        (from_s, start), (to_s, end) = self._waypoints[ends - 1 : ends + 1]
        part = (time_s - from_s) / (to_s - from_s)
        return start + (end - start) * part**3 * (10 - 15 * part + 6 * part**2)

    def _reach(self, target: np.ndarray, turn: float, near: np.ndarray) -> np.ndarray:
        """Return joint angles that hold the tool at a place, pointing down: damped least squares."""
        trial = mujoco.MjData(self.model)
        trial.qpos[:6] = near
        c, s = np.cos(turn), np.sin(turn)
        wanted = np.array([[c, s, 0], [s, -c, 0], [0, 0, -1]])  # columns: the tool's axes
        jacobian = np.zeros((6, self.model.nv))
        tool = self.model.site("tool").id
        for _ in range(100):
            mujoco.mj_kinematics(self.model, trial)
            mujoco.mj_comPos(self.model, trial)
            axes = trial.site_xmat[tool].reshape(3, 3)
            error = np.append(target - trial.site_xpos[tool], np.cross(axes.T, wanted.T).sum(axis=0) / 2)
            if np.abs(error).max() < 1e-6:
                break
            mujoco.mj_jacSite(self.model, trial, jacobian[:3], jacobian[3:], tool)
            arm = jacobian[:, :6]
            trial.qpos[:6] += arm.T @ np.linalg.solve(arm @ arm.T + 1e-4 * np.eye(6), error)
        return trial.qpos[:6].copy()

    # -- what is recorded ----------------------------------------------------------------------

    def sources(self) -> dict[str, RobotSource | CameraSource]:
        return {
            "robot": RobotSource(
                joints=[*JOINTS, "gripper"],
                position=lambda: self.data.qpos[:7],
                velocity=lambda: self.data.qvel[:7],
                action=lambda: self.data.ctrl,
                action_kind="position",
                units={"gripper": "m"},
            ),
            "front": CameraSource(lambda: self._picture("front"), HEIGHT, WIDTH),
            "wrist": CameraSource(lambda: self._picture("wrist"), HEIGHT, WIDTH),
        }

    def _open_eyes(self) -> None:
        """Make the renderer on the thread that steps: its context belongs to that thread."""
        if self._eyes is None:
            try:
                self._eyes = mujoco.Renderer(self.model, HEIGHT, WIDTH)
            except (ImportError, RuntimeError, mujoco.FatalError) as error:
                raise MissingExtra("nothing draws here", found=str(error), next_step=NEEDED) from error

    def _picture(self, camera: str) -> np.ndarray:
        assert self._eyes is not None
        self._eyes.update_scene(self.data, camera)
        return self._eyes.render()

    def close(self) -> None:
        if self._eyes is not None:
            self._eyes.close()
            self._eyes = None


def make(seed: int) -> Arm:
    """Return the arm; where the cube stands is drawn from the seed of each episode."""
    del seed
    return Arm()
