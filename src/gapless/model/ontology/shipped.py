"""Which module holds each shipped type; nothing is imported before it is asked for."""

from __future__ import annotations

MODULES: dict[str, tuple[str, ...]] = {
    "geometry": (
        "Acceleration", "ForceTorque", "Inertia", "MotionState", "Point2d", "Point3d", "Polygon", "Pose",
        "Quaternion", "ROI", "Transform", "Vector2d", "Vector3d", "Vector4d", "Velocity",
    ),
    "images": ("CameraInfo", "CompressedImage", "Image"),
    "maps": ("GridCells", "MapMetadata", "OccupancyGrid"),
    "nmea": ("NMEASentence",),
    "ranging": (
        "Lidar", "LaserScan", "MultiEchoLaserScan", "PointCloud2", "PointField", "RGBDCamera", "Radar",
        "StereoCamera", "ToFCamera",
    ),
    "robots": ("FrameTransform", "Joy", "RobotJoint", "RobotPath"),
    "scalars": (
        "Boolean", "Floating16", "Floating32", "Floating64", "Integer8", "Integer16", "Integer32",
        "Integer64", "String", "Unsigned8", "Unsigned16", "Unsigned32", "Unsigned64",
    ),
    "sensors": (
        "BatteryState", "GPS", "GPSStatus", "IMU", "Magnetometer", "Pressure", "Range", "Temperature",
    ),
    "stamps": ("Duration", "Header", "Time"),
}  # fmt: skip
MODULE_OF: dict[str, str] = {
    name: f"gapless.model.ontology.{module}" for module, names in MODULES.items() for name in names
}
