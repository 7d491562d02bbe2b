"""Records a short drive with an IMU and a GPS receiver, seals it, and finds it again by what it says.

Run it with a folder to keep the store: `python examples/01_mission_log.py ./gapless-data`. Without one it
works in a temporary folder. Nothing else is needed: no server, no account.
"""

from __future__ import annotations

import math
import sys
import tempfile

import gapless
from gapless import GPS, IMU, Message, OnErrorPolicy, Sequence, Topic, Vector3d

NAME = "mission_log_042"
START_NS = 1_700_000_000_000_000_000
IMU_PERIOD_NS = 10_000_000  # 100 Hz
GPS_PERIOD_NS = 200_000_000  # 5 Hz
SECONDS = 10


def imu_at(t_s: float) -> IMU:
    """Return what the inertial unit feels at a moment of the drive: a bend, a bump, and the road's tremor."""
    bump = 3.0 if 4.0 <= t_s < 4.2 else 0.0
    tremor = 0.05 * math.sin(2 * math.pi * 12.0 * t_s)
    return IMU(
        acceleration=Vector3d(
            x=0.4 * math.sin(0.6 * t_s), y=1.2 * math.cos(0.3 * t_s), z=9.81 + bump + tremor
        ),
        angular_velocity=Vector3d(x=0.0, y=0.0, z=0.1 * math.sin(0.3 * t_s)),
    )


def gps_at(t_s: float) -> GPS:
    """Return where the vehicle is: north-east from the yard at ten metres per second."""
    return GPS(position=Vector3d(x=44.0123 + 6.4e-5 * t_s, y=10.12345 + 8.8e-5 * t_s, z=52.0 + 0.1 * t_s))


def record(client: gapless.Client) -> None:
    """Record the drive: leaving the block flushes every topic and seals the sequence."""
    with client.sequence_create(
        sequence_name=NAME,
        metadata={
            "vehicle": {
                "vehicle_id": "veh_sim_042",
                "powertrain": "EV",
                "sensor_rig_version": "v3.2.1",
                "software_stack": {
                    "perception": "perception-5.14.0",
                    "localization": "loc-2.9.3",
                    "planning": "plan-4.1.7",
                },
            },
            "driver": {
                "driver_id": "drv_sim_017",
                "role": "validation",
                "experience_level": "senior",
            },
        },
        on_error=OnErrorPolicy.Delete,
    ) as seq_writer:
        imu_writer = seq_writer.topic_create(
            topic_name="sensors/imu",
            metadata={
                "vendor": "inertix-dynamics",
                "model": "ixd-f100",
                "firmware_version": "1.2.0",
                "serial_number": "IMUF-9A31D72X",
                "calibrated": "false",
            },
            ontology_type=IMU,
        )
        gps_writer = seq_writer.topic_create(
            topic_name="sensors/gps",
            metadata={
                "role": "primary_gps",
                "vendor": "satnavics",
                "model": "snx-g500",
                "firmware_version": "3.2.0",
                "serial_number": "GPS-7C1F4A9B",
                "interface": {"type": "UART", "baudrate": 115200, "protocol": "NMEA"},
            },
            ontology_type=GPS,
        )
        for elapsed_ns in range(0, SECONDS * 1_000_000_000, IMU_PERIOD_NS):
            timestamp_ns, t_s = START_NS + elapsed_ns, elapsed_ns / 1e9
            imu_writer.push(message=Message(timestamp_ns=timestamp_ns, data=imu_at(t_s)))
            if elapsed_ns % GPS_PERIOD_NS == 0:
                gps_writer.push(message=Message(timestamp_ns=timestamp_ns, data=gps_at(t_s)))


def find(client: gapless.Client) -> None:
    """Ask by metadata of the sequence, by metadata of a topic, and by content; negatives find nothing."""
    planning = Sequence.Q.user_metadata["vehicle.software_stack.planning"]
    interface = Topic.Q.user_metadata["interface.type"]
    questions = [
        ("planning stack matches plan-4.*", planning.match("plan-4.*"), True),
        ("planning stack matches plan-5.*", planning.match("plan-5.*"), False),
        ("a topic on a UART", interface.eq("UART"), True),
        ("a topic on a CAN bus", interface.eq("CAN"), False),
        ("a bump: z above 12 m/s^2", IMU.Q.acceleration.z.gt(12.0), True),
        ("free fall: z below 1 m/s^2", IMU.Q.acceleration.z.lt(1.0), False),
        (
            "a bump, on plan-4.*, senior driver",
            planning.match("plan-4.*") & IMU.Q.acceleration.z.gt(12.0),
            True,
        ),
    ]
    for text, expression, expected in questions:
        answer = client.query(expression)
        names = [item.sequence for item in answer]
        print(f"{text:<36} -> {names or 'nothing'}")
        if (NAME in names) is not expected:
            raise SystemExit(f"wrong answer to: {text}")
    for item in client.query(IMU.Q.acceleration.z.gt(12.0)):
        for topic in item.topics:
            for start_ns, end_ns in topic.spans:
                begin_s, end_s = (start_ns - START_NS) / 1e9, (end_ns - START_NS) / 1e9
                print(f"  {topic.name}: {begin_s:.2f} s to {end_s:.2f} s")


def read(client: gapless.Client) -> None:
    """Read the sealed sequence back: state, ledger, a window of rows as Arrow."""
    handler = client.sequence_handler(NAME)
    print(f"{handler.name}: {handler.state}, {handler.outcome}, topics {', '.join(handler.topics)}")
    for name in handler.topics:
        print(f"  {name}: {handler.topic(name).rows} rows")
    window = handler.topic("sensors/imu").to_arrow(
        columns=["acceleration.z"], start_ns=START_NS + 4_000_000_000, end_ns=START_NS + 4_050_000_000
    )
    print(window.to_pydict())


def main() -> None:
    """Record, find and read in the folder of the first argument or in a temporary one."""
    with tempfile.TemporaryDirectory() as temporary:
        url = sys.argv[1] if len(sys.argv) > 1 else temporary
        with gapless.connect(url) as client:
            record(client)
            find(client)
            read(client)


if __name__ == "__main__":
    main()
