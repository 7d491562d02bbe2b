"""Robots: joints, paths, coordinate frames, operator input."""

from __future__ import annotations

from gapless.model.ontology.declaration import Ontology, field
from gapless.model.ontology.geometry import Pose, Transform
from gapless.model.ontology.leaf import Float32, Int32, Values


class RobotJoint(Ontology):
    """The state of all joints; the lists have one item per joint."""

    names: Values[str]
    positions: Values[float] = field(description="rad for turning joints, m for sliding ones")
    velocities: Values[float] = field(description="rad/s for turning joints, m/s for sliding ones")
    efforts: Values[float] = field(description="N.m for turning joints, N for sliding ones")


class RobotPath(Ontology):
    """Poses to be passed in order."""

    poses: Values[Pose]


class FrameTransform(Ontology):
    """A set of transforms between coordinate frames."""

    transforms: Values[Transform]


class Joy(Ontology):
    """A joystick or game controller."""

    axes: Values[Float32]
    buttons: Values[Int32]
