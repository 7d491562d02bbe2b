"""Ontology types: small classes that give topics their Arrow schema.

The types of this package are imported when first used, so that listing a store stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from gapless.model.ontology.shipped import MODULE_OF

if TYPE_CHECKING:
    from gapless.model.ontology.declaration import Ontology, OntologyMeta, field
    from gapless.model.ontology.geometry import (
        ROI,
        Acceleration,
        ForceTorque,
        Inertia,
        MotionState,
        Point2d,
        Point3d,
        Polygon,
        Pose,
        Quaternion,
        Transform,
        Vector2d,
        Vector3d,
        Vector4d,
        Velocity,
    )
    from gapless.model.ontology.images import CameraInfo, CompressedImage, Image
    from gapless.model.ontology.leaf import (
        Float16,
        Float32,
        Float64,
        Int8,
        Int16,
        Int32,
        Int64,
        LargeBytes,
        Leaf,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Values,
    )
    from gapless.model.ontology.maps import GridCells, MapMetadata, OccupancyGrid
    from gapless.model.ontology.mixins import CovarianceMixin, HeaderMixin, VarianceMixin
    from gapless.model.ontology.nmea import NMEASentence
    from gapless.model.ontology.ranging import (
        LaserScan,
        Lidar,
        MultiEchoLaserScan,
        PointCloud2,
        PointField,
        Radar,
        RGBDCamera,
        StereoCamera,
        ToFCamera,
    )
    from gapless.model.ontology.registry import OntologyRegistry
    from gapless.model.ontology.robots import FrameTransform, Joy, RobotJoint, RobotPath
    from gapless.model.ontology.rows import GenericType, Row, generic_type
    from gapless.model.ontology.scalars import (
        Boolean,
        Floating16,
        Floating32,
        Floating64,
        Integer8,
        Integer16,
        Integer32,
        Integer64,
        String,
        Unsigned8,
        Unsigned16,
        Unsigned32,
        Unsigned64,
    )
    from gapless.model.ontology.sensors import (
        GPS,
        IMU,
        BatteryState,
        GPSStatus,
        Magnetometer,
        Pressure,
        Range,
        Temperature,
    )
    from gapless.model.ontology.stamps import Duration, Header, Time

__all__ = [
    "GPS",
    "IMU",
    "ROI",
    "Acceleration",
    "BatteryState",
    "Boolean",
    "CameraInfo",
    "CompressedImage",
    "CovarianceMixin",
    "Duration",
    "Float16",
    "Float32",
    "Float64",
    "Floating16",
    "Floating32",
    "Floating64",
    "ForceTorque",
    "FrameTransform",
    "GPSStatus",
    "GenericType",
    "GridCells",
    "Header",
    "HeaderMixin",
    "Image",
    "Inertia",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Integer8",
    "Integer16",
    "Integer32",
    "Integer64",
    "Joy",
    "LargeBytes",
    "LaserScan",
    "Leaf",
    "Lidar",
    "Magnetometer",
    "MapMetadata",
    "MotionState",
    "MultiEchoLaserScan",
    "NMEASentence",
    "OccupancyGrid",
    "Ontology",
    "OntologyMeta",
    "OntologyRegistry",
    "Point2d",
    "Point3d",
    "PointCloud2",
    "PointField",
    "Polygon",
    "Pose",
    "Pressure",
    "Quaternion",
    "RGBDCamera",
    "Radar",
    "Range",
    "RobotJoint",
    "RobotPath",
    "Row",
    "StereoCamera",
    "String",
    "Temperature",
    "Time",
    "ToFCamera",
    "Transform",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "Unsigned8",
    "Unsigned16",
    "Unsigned32",
    "Unsigned64",
    "Values",
    "VarianceMixin",
    "Vector2d",
    "Vector3d",
    "Vector4d",
    "Velocity",
    "field",
    "generic_type",
]  # fmt: skip

_OWN = {
    "declaration": (
        "Ontology", "OntologyMeta", "field",
    ),
    "leaf": (
        "Float16", "Float32", "Float64", "Int8", "Int16", "Int32", "Int64", "LargeBytes", "Leaf", "UInt8",
        "UInt16", "UInt32", "UInt64", "Values",
    ),
    "mixins": (
        "CovarianceMixin", "HeaderMixin", "VarianceMixin",
    ),
    "registry": (
        "OntologyRegistry",
    ),
    "rows": (
        "GenericType", "Row", "generic_type",
    ),
}  # fmt: skip
_HOME = {**MODULE_OF, **{name: f"{__name__}.{module}" for module, names in _OWN.items() for name in names}}


def __getattr__(name: str) -> object:
    """Import the module that holds the name."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
