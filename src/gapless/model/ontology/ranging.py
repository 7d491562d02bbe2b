"""Sensors of many distances: laser, lidar, radar, depth cameras, point clouds."""

from __future__ import annotations

from gapless.model.ontology.declaration import Ontology, field
from gapless.model.ontology.leaf import Float32, LargeBytes, UInt8, UInt16, UInt32, Values


class _Scan(Ontology, abstract=True):
    """One sweep of a laser in a plane."""

    angle_min: Float32 = field(unit="rad")
    angle_max: Float32 = field(unit="rad")
    angle_increment: Float32 = field(unit="rad")
    time_increment: Float32 = field(unit="s")
    scan_time: Float32 = field(unit="s")
    range_min: Float32 = field(unit="m")
    range_max: Float32 = field(unit="m")


class LaserScan(_Scan):
    """One sweep, one echo per direction."""

    ranges: Values[Float32] = field(unit="m")
    intensities: Values[Float32] | None = None


class MultiEchoLaserScan(_Scan):
    """One sweep, several echoes per direction."""

    ranges: Values[Values[Float32]] = field(unit="m")
    intensities: Values[Values[Float32]] | None = None


class Lidar(Ontology):
    """A point cloud of a lidar; the lists have one item per point."""

    x: Values[Float32] = field(unit="m")
    y: Values[Float32] = field(unit="m")
    z: Values[Float32] = field(unit="m")
    intensity: Values[Float32] | None = None
    reflectivity: Values[UInt16] | None = None
    beam_id: Values[UInt16] | None = None
    range: Values[Float32] | None = field(default=None, unit="m")
    near_ir: Values[Float32] | None = None
    azimuth: Values[Float32] | None = field(default=None, unit="rad")
    elevation: Values[Float32] | None = field(default=None, unit="rad")
    confidence: Values[UInt8] | None = None
    return_type: Values[UInt8] | None = None
    point_timestamp: Values[float] | None = field(
        default=None, unit="s", description="time since the scan began"
    )


class Radar(Ontology):
    """Detections of a radar; the lists have one item per detection."""

    x: Values[Float32] = field(unit="m")
    y: Values[Float32] = field(unit="m")
    z: Values[Float32] = field(unit="m")
    range: Values[Float32] | None = field(default=None, unit="m")
    azimuth: Values[Float32] | None = field(default=None, unit="rad")
    elevation: Values[Float32] | None = field(default=None, unit="rad")
    rcs: Values[Float32] | None = field(default=None, unit="dBm", description="radar cross section")
    snr: Values[Float32] | None = field(default=None, unit="dB", description="signal to noise")
    doppler_velocity: Values[Float32] | None = field(default=None, unit="m/s")
    vx: Values[Float32] | None = field(default=None, unit="m/s")
    vy: Values[Float32] | None = field(default=None, unit="m/s")
    vx_comp: Values[Float32] | None = field(default=None, unit="m/s", description="own motion taken out")
    vy_comp: Values[Float32] | None = field(default=None, unit="m/s", description="own motion taken out")
    ax: Values[Float32] | None = field(default=None, unit="m/s^2")
    ay: Values[Float32] | None = field(default=None, unit="m/s^2")
    radial_speed: Values[Float32] | None = field(default=None, unit="m/s")


class _Depth(Ontology, abstract=True):
    """Points seen by a depth camera; the lists have one item per point."""

    x: Values[Float32] = field(unit="m")
    y: Values[Float32] = field(unit="m")
    z: Values[Float32] = field(unit="m", description="along the optical axis")
    rgb: Values[Float32] | None = field(default=None, description="packed colour")
    intensity: Values[Float32] | None = None


class RGBDCamera(_Depth):
    """Depth and colour."""


class ToFCamera(_Depth):
    """Depth by time of flight."""

    noise: Values[Float32] | None = None
    grayscale: Values[Float32] | None = None


class StereoCamera(_Depth):
    """Depth by stereo."""

    luma: Values[UInt8] | None = None
    cost: Values[UInt8] | None = field(default=None, description="matching cost, 0 for high confidence")


class PointField(Ontology):
    """One member of the points of a PointCloud2."""

    name: str
    offset: UInt32 = field(unit="byte")
    datatype: UInt8 = field(
        description="1 int8, 2 uint8, 3 int16, 4 uint16, 5 int32, 6 uint32, 7 float32, 8 float64"
    )
    count: UInt32


class PointCloud2(Ontology):
    """Points as packed bytes, with the layout that reads them."""

    height: UInt32
    width: UInt32
    fields: Values[PointField]
    is_bigendian: bool
    point_step: UInt32 = field(unit="byte")
    row_step: UInt32 = field(unit="byte")
    data: LargeBytes = field(description="row_step times height bytes")
    is_dense: bool = field(description="whether all points are valid")
