"""The recorder of a flying body: pose, rotors and commands in one table, the IMU in another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gapless.errors import UsageError
from gapless.observe.recorder import Camera, Table
from gapless.observe.recorders.number_table import (
    Column,
    NumberTable,
    Part,
    check_units,
    names_of,
    pose_part,
)
from gapless.observe.sources import DroneSource

VERSION = 1


class DroneRecorder:
    """Makes the table ``name`` and, where the source has one, ``name/imu``.

    Role state: everything that is measured; role action: the commands.
    """

    def __init__(self, name: str, source: DroneSource) -> None:
        self.name = name
        body, imu = list(_body(source)), list(_imu(source))
        check_units(source.units, _names(body))
        state = [column for part in body if part.name != "action" for column in _names([part])]
        action = [column for part in body if part.name == "action" for column in _names([part])]
        tables = [NumberTable(name, body, version=VERSION, roles={"state": state, "action": action})]
        if imu:
            roles = {"state": _names(imu), "action": []}
            tables.append(
                NumberTable(f"{name}/imu", imu, version=VERSION, roles=roles, every=source.imu_every)
            )
        self.tables: Sequence[Table] = tables
        self.cameras: Sequence[Camera] = []

    def begin(self) -> None:
        """Do nothing: each row stands for itself."""

    def artifacts(self) -> Mapping[str, bytes]:
        """Return no files."""
        return {}


def _names(parts: Sequence[Part]) -> list[str]:
    return [column.name for part in parts for column in part.columns]


def _body(source: DroneSource) -> Iterator[Part]:
    yield pose_part("pose", source.pose, "", "the body")
    if source.velocity is not None:
        columns = [Column(f"velocity.{a}", "m/s", "velocity of the body in the world") for a in "xyz"]
        yield Part("velocity", source.velocity, columns)
    if (source.rotor_speed is None) != (source.rotors == 0):
        raise UsageError("rotors and rotor_speed belong together", field="rotors", found=source.rotors)
    if source.rotor_speed is not None:
        columns = [Column(f"rotor.{i}", "rad/s", "speed of the rotor") for i in range(source.rotors)]
        yield Part("rotor", source.rotor_speed, columns)
    if source.action is not None:
        names = [f"action.{name}" for name in names_of(source.action_names, "action_names")]
        yield Part("action", source.action, [Column(n, source.units.get(n), "command") for n in names])


def _imu(source: DroneSource) -> Iterator[Part]:
    if source.acceleration is not None:
        meaning = "acceleration in the axes of the IMU, gravity included"
        columns = [Column(f"acceleration.{a}", "m/s^2", meaning) for a in "xyz"]
        yield Part("acceleration", source.acceleration, columns)
    if source.angular_velocity is not None:
        meaning = "rate of rotation about the axes of the IMU"
        columns = [Column(f"angular_velocity.{a}", "rad/s", meaning) for a in "xyz"]
        yield Part("angular_velocity", source.angular_velocity, columns)
