"""Vectors, points, rotations, poses and how they move."""

from __future__ import annotations

from gapless.model.ontology.declaration import Ontology, field
from gapless.model.ontology.leaf import Values


class Vector2d(Ontology):
    """A vector in the plane."""

    x: float
    y: float


class Vector3d(Ontology):
    """A vector in space."""

    x: float
    y: float
    z: float


class Vector4d(Ontology):
    """A vector of four numbers."""

    x: float
    y: float
    z: float
    w: float


class Point2d(Ontology):
    """A point in the plane."""

    x: float
    y: float


class Point3d(Ontology):
    """A point in space."""

    x: float
    y: float
    z: float


class Quaternion(Ontology):
    """A rotation as a unit quaternion, the scalar last."""

    x: float
    y: float
    z: float
    w: float


class Transform(Ontology):
    """How one coordinate frame lies in another."""

    translation: Vector3d = field(unit="m")
    rotation: Quaternion
    target_frame_id: str | None = field(default=None, description="the frame that the transform leads to")


class Pose(Ontology):
    """Where something is and how it is turned."""

    position: Point3d = field(unit="m")
    orientation: Quaternion


class Polygon(Ontology):
    """A closed line through points."""

    points: Values[Point3d] = field(unit="m", description="corners in order")


class ForceTorque(Ontology):
    """Force and torque at one point."""

    force: Vector3d = field(unit="N")
    torque: Vector3d = field(unit="N.m")


class Inertia(Ontology):
    """How a body resists being moved."""

    mass: float = field(unit="kg")
    center_of_mass: Vector3d = field(unit="m")
    inertia: Values[float] = field(shape=(6,), unit="kg.m^2", description="ixx, ixy, ixz, iyy, iyz, izz")


class Velocity(Ontology):
    """How fast something moves and turns."""

    linear: Vector3d | None = field(default=None, unit="m/s")
    angular: Vector3d | None = field(default=None, unit="rad/s")


class Acceleration(Ontology):
    """How fast the motion changes."""

    linear: Vector3d | None = field(default=None, unit="m/s^2")
    angular: Vector3d | None = field(default=None, unit="rad/s^2")


class MotionState(Ontology):
    """Pose, velocity and acceleration of a body in a named frame."""

    pose: Pose
    velocity: Velocity
    target_frame_id: str = field(description="the frame of the body")
    acceleration: Acceleration | None = None


class ROI(Ontology):
    """A rectangle of an image."""

    offset: Vector2d = field(unit="px", description="left and top edge")
    height: int = field(dtype="uint32", unit="px")
    width: int = field(dtype="uint32", unit="px")
    do_rectify: bool | None = field(
        default=None, description="whether the rectangle was cut after rectification"
    )
