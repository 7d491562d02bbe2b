"""The row types of the Mosaico SDK 0.7.0 as Arrow structs, by tag.

Order, nullability and types are what the SDK derives its schema fingerprint from: a topic whose schema
differs in any of them reads back there as an unknown type.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

import pyarrow as pa

# One type a line: members in order, "?" nullable, "[]" list, "[n]" list of n, a capital letter another type.
# H, C and V stand for the members that the SDK's mixins add.
_TEXT = """
Acceleration = H C linear?:Vector3d angular?:Vector3d
BatteryState = H voltage:float32 temperature?:float32 current?:float32 charge?:float32 capacity?:float32
    design_capacity?:float32 percentage:float32 power_supply_status:uint8 power_supply_health:uint8
    power_supply_technology:uint8 present:bool location:string serial_number:string
    cell_voltage?:float32[] cell_temperature?:float32[]
Boolean = data:bool
CameraInfo = H height:uint32 width:uint32 distortion_model:string distortion_parameters:float64[]
    intrinsic_parameters:float64[9] rectification_parameters:float64[9] projection_parameters:float64[12]
    binning?:Vector2d roi?:ROI
CompressedImage = H data:binary format:string
Duration = seconds:int32 nanoseconds:uint32
Floating16 = data:float16
Floating32 = data:float32
Floating64 = data:float64
ForceTorque = H C force:Vector3d torque:Vector3d
FrameTransform = transforms:Transform[]
GPS = H position:Vector3d velocity?:Vector3d status?:GPSStatus
GPSStatus = status:int8 service:uint16 satellites?:int8 hdop?:float64 vdop?:float64
GridCells = H cell_width:float32 cell_height:float32 cells:Point3d[]
Header = timestamp?:Time frame_id?:string sample_counter?:uint64
IMU = H acceleration:Vector3d angular_velocity:Vector3d orientation?:Quaternion
Image = H data:binary format:string width:int32 height:int32 stride:int32 encoding:string
    is_bigendian?:bool
Inertia = H mass:float64 center_of_mass:Vector3d inertia:float64[6]
Integer16 = data:int16
Integer32 = data:int32
Integer64 = data:int64
Integer8 = data:int8
Joy = H axes:float32[] buttons:int32[]
LaserScan = H angle_min:float32 angle_max:float32 angle_increment:float32 time_increment:float32
    scan_time:float32 range_min:float32 range_max:float32 ranges:float32[] intensities?:float32[]
Lidar = H x:float32[] y:float32[] z:float32[] intensity?:float32[] reflectivity?:uint16[]
    beam_id?:uint16[] range?:float32[] near_ir?:float32[] azimuth?:float32[] elevation?:float32[]
    confidence?:uint8[] return_type?:uint8[] point_timestamp?:float64[]
Magnetometer = H magnetic_field:Vector3d
MapMetadata = map_load_time:Time resolution:float32 width:uint32 height:uint32 origin:Pose
MotionState = H C pose:Pose velocity:Velocity target_frame_id:string acceleration?:Acceleration
MultiEchoLaserScan = H angle_min:float32 angle_max:float32 angle_increment:float32 time_increment:float32
    scan_time:float32 range_min:float32 range_max:float32 ranges:float32[][] intensities?:float32[][]
NMEASentence = H sentence:string
OccupancyGrid = H info:MapMetadata data:int8[]
Point2d = H C x?:float64 y?:float64
Point3d = H C x?:float64 y?:float64 z?:float64
PointCloud2 = H height:uint32 width:uint32 fields:PointField[] is_bigendian:bool point_step:uint32
    row_step:uint32 data:binary is_dense:bool
PointField = name:string offset:uint32 datatype:int64 count:uint32
Polygon = H points:Point3d[]
Pose = H C position:Point3d orientation:Quaternion
Pressure = V H value:float64
Quaternion = H C x?:float64 y?:float64 z?:float64 w?:float64
RGBDCamera = H x:float32[] y:float32[] z:float32[] rgb?:float32[] intensity?:float32[]
ROI = offset:Vector2d height:uint32 width:uint32 do_rectify?:bool
Radar = H x:float32[] y:float32[] z:float32[] range?:float32[] azimuth?:float32[] elevation?:float32[]
    rcs?:float32[] snr?:float32[] doppler_velocity?:float32[] vx?:float32[] vy?:float32[]
    vx_comp?:float32[] vy_comp?:float32[] ax?:float32[] ay?:float32[] radial_speed?:float32[]
Range = V H radiation_type:uint8 field_of_view:float32 min_range:float32 max_range:float32 range:float32
RobotJoint = H names:string[] positions:float64[] velocities:float64[] efforts:float64[]
RobotPath = H poses:Pose[]
StereoCamera = H x:float32[] y:float32[] z:float32[] rgb?:float32[] intensity?:float32[] luma?:uint8[]
    cost?:uint8[]
String = data:string
Temperature = V H value:float64
Time = seconds:int32 nanoseconds:uint32
ToFCamera = H x:float32[] y:float32[] z:float32[] rgb?:float32[] intensity?:float32[] noise?:float32[]
    grayscale?:float32[]
Transform = H C translation:Vector3d rotation:Quaternion target_frame_id?:string
Unsigned16 = data:uint16
Unsigned32 = data:uint32
Unsigned64 = data:uint64
Unsigned8 = data:uint8
Vector2d = H C x?:float64 y?:float64
Vector3d = H C x?:float64 y?:float64 z?:float64
Vector4d = H C x?:float64 y?:float64 z?:float64 w?:float64
Velocity = H C linear?:Vector3d angular?:Vector3d
"""

_SHORT: Final = {
    "H": "header?:Header",
    "C": "covariance?:float64[] covariance_type?:int16",
    "V": "variance?:float64 variance_type?:int16",
}
_PICTURES: Final = frozenset({"Image", "CompressedImage"})
_SIZED = re.compile(r"(.+)\[(\d*)\]")
_ALIASES: Final = {"bool": "bool_"}


def _read(text: str) -> dict[str, str]:
    joined = text.strip().replace("\n    ", " ")
    return {tag: body for tag, _, body in (line.partition(" = ") for line in joined.split("\n"))}


_BODIES: Final = _read(_TEXT)
TAGS: Final = tuple(_BODIES)


@cache
def row_type(tag: str) -> pa.StructType | None:
    """Return the struct of a row under a tag, without the time and without field metadata; None if unknown."""
    body = _BODIES.get(tag)
    if body is None:
        return None
    return pa.struct([_member(word) for word in " ".join(_SHORT.get(w, w) for w in body.split()).split()])


def serialization_format(tag: str | None) -> str:
    """Return the SDK's name for how rows of a tag are laid out: ``default`` or ``image``."""
    return "image" if tag in _PICTURES else "default"


def _member(word: str) -> pa.Field:
    name, _, kind = word.partition(":")
    return pa.field(name.removesuffix("?"), _kind(kind), name.endswith("?"))


def _kind(text: str) -> pa.DataType:
    sized = _SIZED.fullmatch(text)
    if sized:
        return pa.list_(_kind(sized[1]), int(sized[2] or -1))
    if text[0].isupper():
        return row_type(text)
    return getattr(pa, _ALIASES.get(text, text))()
