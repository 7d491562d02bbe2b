"""Sensors of one or few values: motion, position, field, pressure, temperature, distance, charge."""

from __future__ import annotations

from gapless.model.ontology.declaration import Ontology, field
from gapless.model.ontology.geometry import Quaternion, Vector3d
from gapless.model.ontology.leaf import Float32, Int8, UInt8, UInt16, Values


class IMU(Ontology):
    """An inertial measurement unit."""

    acceleration: Vector3d = field(unit="m/s^2", description="linear acceleration, gravity included")
    angular_velocity: Vector3d | None = field(default=None, unit="rad/s", description="rate of rotation")
    orientation: Quaternion | None = field(default=None, description="attitude as estimated by the device")


class GPSStatus(Ontology):
    """What a satellite receiver says of its fix."""

    status: Int8 = field(description="kind of fix; negative without one")
    service: UInt16 = field(description="bits of the satellite systems in use")
    satellites: Int8 | None = field(default=None, description="number of satellites")
    hdop: float | None = field(default=None, description="horizontal dilution of precision")
    vdop: float | None = field(default=None, description="vertical dilution of precision")


class GPS(Ontology):
    """A position by satellite: latitude and longitude in degrees, altitude in metres (WGS 84)."""

    position: Vector3d = field(
        description="x latitude in degrees, y longitude in degrees, z altitude in metres"
    )
    velocity: Vector3d | None = field(default=None, unit="m/s", description="north, east, up")
    status: GPSStatus | None = None


class Magnetometer(Ontology):
    """The magnetic field."""

    magnetic_field: Vector3d = field(unit="uT")


class Pressure(Ontology):
    """An absolute pressure."""

    value: float = field(unit="Pa")


class Temperature(Ontology):
    """A temperature."""

    value: float = field(unit="K")


class Range(Ontology):
    """The distance to the nearest thing in a cone."""

    radiation_type: UInt8 = field(description="0 ultrasound, 1 infrared")
    field_of_view: Float32 = field(unit="rad")
    min_range: Float32 = field(unit="m")
    max_range: Float32 = field(unit="m")
    range: Float32 = field(unit="m")


class BatteryState(Ontology):
    """A battery; NaN or None where the device does not know."""

    voltage: Float32 = field(unit="V")
    percentage: Float32 = field(description="charge over capacity, 0 to 1")
    power_supply_status: UInt8 = field(
        description="0 unknown, 1 charging, 2 discharging, 3 not charging, 4 full"
    )
    power_supply_health: UInt8 = field(description="0 unknown, 1 good, above: a fault")
    power_supply_technology: UInt8 = field(description="chemistry")
    present: bool
    location: str = field(description="slot")
    serial_number: str
    temperature: Float32 | None = field(default=None, unit="degC")
    current: Float32 | None = field(default=None, unit="A", description="negative while discharging")
    charge: Float32 | None = field(default=None, unit="A.h")
    capacity: Float32 | None = field(default=None, unit="A.h", description="last full charge")
    design_capacity: Float32 | None = field(default=None, unit="A.h")
    cell_voltage: Values[Float32] | None = field(default=None, unit="V")
    cell_temperature: Values[Float32] | None = field(default=None, unit="degC")
