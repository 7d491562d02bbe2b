"""What a simulation offers to be recorded: callables that read it, and what their numbers mean.

A source names the kind of recorder that records it; see :func:`gapless.observe.recorder_registry.recorder_for`.
Its callables run on the observer's thread, at one instant for all sources. What they return is copied
before they are called again, so an array of the simulation itself may be returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from gapless.observe.recorder import Every

if TYPE_CHECKING:
    import pyarrow as pa

Read = Callable[[], Any]
CommandKind = Literal["position", "velocity", "effort"]
PictureKind = Literal["rgb", "depth", "segmentation"]


@dataclass(frozen=True, eq=False)
class RobotSource:
    """A robot: its joints in their order, and what it was told to do.

    ``position``, ``velocity`` and ``effort`` return a number for each joint, ``action`` one for each of
    ``action_names`` (the joints, if there are none). ``end_effector`` returns x, y, z in metres and the
    quaternion w, x, y, z; ``contacts`` a force in newtons for each of ``contact_names``.

    A joint turns, in rad, rad/s and N*m, unless ``units`` says otherwise: ``{"gripper": "m"}`` makes it
    slide, in m, m/s and N. ``action_kind`` says which of the three a command is; without it commands have
    no unit. A column's own name, ``{"action.gripper": "1"}``, sets the unit of that column alone.
    """

    recorder = "robot"

    joints: Sequence[str]
    position: Read
    velocity: Read | None = None
    effort: Read | None = None
    action: Read | None = None
    action_names: Sequence[str] | None = None
    action_kind: CommandKind | None = None
    end_effector: Read | None = None
    contacts: Read | None = None
    contact_names: Sequence[str] = ()
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class MujocoSource:
    """A MuJoCo model and its data, recorded so that every physics step can be computed again, to the bit.

    ``every="step"``: a row for each physics step, so the hooks must be called after each ``mj_step``.
    ``every="tick"``: a row for each tick; ctrl and all other inputs must be held from one row to the next.
    Either way inputs are set before the step that they are for, and stay as they are until its row is read.

    The compiled model is kept with each episode; ``xml`` and ``assets`` too where they are given.
    At most ``contact_cap`` contacts are kept of a row.
    """

    recorder = "mujoco-full"

    model: Any
    data: Any
    every: Every = "step"
    contact_cap: int = 64
    xml: str | None = None
    assets: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class DroneSource:
    """A flying body: pose in the world, rotors, inertial measurements.

    ``pose`` returns x, y, z in metres and the quaternion w, x, y, z; ``velocity`` the body's velocity in the
    world, m/s. ``rotor_speed`` returns ``rotors`` numbers in rad/s, ``action`` one for each of
    ``action_names``, whose ``units`` may be named. ``acceleration`` (m/s^2, gravity included) and
    ``angular_velocity`` (rad/s) are what an IMU measures in its own axes; they make a table of their own,
    which may have a row for each step.
    """

    recorder = "drone"

    pose: Read
    velocity: Read | None = None
    rotors: int = 0
    rotor_speed: Read | None = None
    action: Read | None = None
    action_names: Sequence[str] = ()
    acceleration: Read | None = None
    angular_velocity: Read | None = None
    imu_every: Every = "tick"
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CameraSource:
    """A camera: ``render`` returns its picture, an array [height, width] or, in colour, [height, width, 3].

    ``rgb``: uint8. ``depth``: metres as floating point, where what is not above 0 or not finite is no
    measurement, or uint16 in units of ``depth_unit_m``. ``segmentation``: whole numbers from 0 to 65535.
    """

    recorder = "camera"

    render: Read
    height: int
    width: int
    kind: PictureKind = "rgb"
    depth_unit_m: float = 0.001


@dataclass(frozen=True)
class Field:
    """A column of a :class:`DataSource`. ``shape`` makes it a list of fixed size, in C order."""

    unit: str | None = None
    dtype: str | pa.DataType = "float64"
    description: str = ""
    shape: Sequence[int] = ()


@dataclass(frozen=True, eq=False)
class DataSource:
    """Any columns: ``read`` returns their values by name, or in the order of ``fields``.

    ``fields`` is a mapping of names, or an Arrow schema without the time. Other columns, units or roles
    need another ``version``. ``roles`` names the columns that are ``state`` and ``action``.
    """

    recorder = "data"

    fields: Mapping[str, Field] | pa.Schema
    read: Read
    every: Every = "tick"
    version: int = 1
    roles: Mapping[str, Sequence[str]] = field(default_factory=dict)
