"""The recorder of a robot: one table, one column for each joint and quantity."""

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
from gapless.observe.sources import CommandKind, Read, RobotSource

VERSION = 1
_EFFORT = {"rad": "N*m", "deg": "N*m", "m": "N"}
_MEANING = {
    "position": "measured position of the joint",
    "velocity": "measured velocity of the joint",
    "effort": "measured torque or force of the joint",
}


class RobotRecorder:
    """Makes the table ``name`` with ``position.<joint>``, ``action.<name>`` and what else the source gives.

    Role state: the positions of the joints; role action: the commands.
    """

    def __init__(self, name: str, source: RobotSource) -> None:
        self.name = name
        parts = list(_Columns(source).parts())
        roles = {role: [c.name for p in parts if p.name == part for c in p.columns] for role, part in _ROLES}
        self.tables: Sequence[Table] = [NumberTable(name, parts, version=VERSION, roles=roles)]
        self.cameras: Sequence[Camera] = []

    def begin(self) -> None:
        """Do nothing: each row stands for itself."""

    def artifacts(self) -> Mapping[str, bytes]:
        """Return no files."""
        return {}


_ROLES = (("state", "position"), ("action", "action"))


class _Columns:
    """The parts of a robot's table."""

    def __init__(self, source: RobotSource) -> None:
        self._source = source
        self._joints = names_of(source.joints, "joints")
        self._units = source.units
        if source.action_kind not in (None, *_MEANING):
            raise UsageError(
                "a command is a position, a velocity or an effort",
                field="action_kind",
                found=repr(source.action_kind),
            )

    def parts(self) -> Iterator[Part]:
        """Yield them in the order of their columns."""
        parts = list(self._all())
        check_units(self._units, [*self._joints, *(c.name for part in parts for c in part.columns)])
        yield from parts

    def _all(self) -> Iterator[Part]:
        source = self._source
        yield self._of_joints("position", source.position)
        if source.velocity is not None:
            yield self._of_joints("velocity", source.velocity)
        if source.effort is not None:
            yield self._of_joints("effort", source.effort)
        if source.end_effector is not None:
            yield pose_part("end_effector", source.end_effector, "end_effector.", "the end effector")
        if source.contacts is not None:
            names = names_of(source.contact_names, "contact_names")
            yield self._part("contact", source.contacts, names, "N", "contact force")
        if source.action is not None:
            yield self._actions(source.action)

    def _of_joints(self, quantity: CommandKind, read: Read) -> Part:
        columns = [self._column(f"{quantity}.{joint}", self._unit(joint, quantity), _MEANING[quantity])
                   for joint in self._joints]  # fmt: skip
        return Part(quantity, read, columns)

    def _actions(self, read: Read) -> Part:
        kind = self._source.action_kind
        named = self._source.action_names
        names = self._joints if named is None else names_of(named, "action_names")
        meaning = f"commanded {kind}" if kind else "command"
        units = [None if kind is None else self._unit(name, kind) for name in names]
        return Part("action", read, [
            self._column(f"action.{name}", unit, meaning) for name, unit in zip(names, units, strict=True)
        ])  # fmt: skip

    def _part(self, prefix: str, read: Read, names: Sequence[str], unit: str, meaning: str) -> Part:
        return Part(prefix, read, [self._column(f"{prefix}.{name}", unit, meaning) for name in names])

    def _column(self, name: str, unit: str | None, meaning: str) -> Column:
        return Column(name, self._units.get(name, unit), meaning)

    def _unit(self, joint: str, quantity: CommandKind) -> str | None:
        """Return the unit of a joint's quantity, which follows from that of its position."""
        position = self._units.get(joint, "rad")
        return {"position": position, "velocity": f"{position}/s", "effort": _EFFORT.get(position)}[quantity]
