"""A store with really recorded data for the pages: every kind of thing that a page shows, small.

``python -m tests.page.recorded STORE`` goes on recording the sequence ``live/oven`` into a store until it is told
to stop: what an open sequence of another process looks like.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gapless.client.client import Client, connect
from gapless.client.media_writer import MediaTopicWriter
from gapless.client.sequence_writer import SequenceWriter
from gapless.model.ontology import GPS, IMU, Image
from gapless.model.outcome import OnErrorPolicy

START_NS = 1_700_000_000_000_000_000
S = 1_000_000_000
TIME = pa.field("timestamp_ns", pa.int64(), nullable=False)

FLIGHT = "flights/imu-01"  # IMU with one spike, GPS track, counters, uncertainty, events, a gap, a label, an artifact
SPIKE_ROW, SPIKE = 2_741, 42.0  # of sensors/imu acceleration.z, 200 rows in a second
DRIVE = "drive/camera-01"  # three cameras whose pictures say their number
PICTURES, PICTURES_IN_A_SECOND = 60, 10
LAYERED = "bench/layered"  # a base and a layer
FAILED = "bench/failed"  # sealed with outcome failed and a notification
PENDING = "bench/pending"  # left by an exception, not sealed yet
UNUSUAL = "site ä/run #7?"  # a name with every character that a URL must encode
SMALL = tuple(f"oven/run-{number:03d}" for number in range(24))
LIVE = "live/oven"  # open while the recorder of this file runs
BIG = 2**62 + 1  # no float64


def record_store(root: Path) -> None:
    """Record every sealed and pending sequence of the store; takes a few seconds."""
    with connect(root) as client:
        _flight(client)
        _drive(client)
        _layered(client)
        _failed(client)
        _pending(client)
        with client.sequence_create(UNUSUAL, metadata={"note": "<b>bold</b> & 'quoted'"}) as sequence:
            sequence.log("topic / ü", 1.5, unit="V", timestamp_ns=START_NS)
        for number, name in enumerate(SMALL):
            _small(client, name, number)


def _flight(client: Client) -> None:
    metadata = {"vehicle": {"name": "kestrel", "mass_kg": 1.4}, "pilot": "ada", "take": 1}
    with client.sequence_create(FLIGHT, metadata=metadata, group="flights") as sequence:
        _inertia(sequence)
        _track(sequence)
        _counters(sequence)
        _thermometer(sequence)
        sequence.event("info", "take-off", "the wheels left the ground", timestamp_ns=START_NS + 2 * S)
        sequence.event(
            "warning", "wind", "gusts above 8 m/s", timestamp_ns=START_NS + 9 * S, data={"speed": 8.4}
        )
        sequence.event("error", "battery", "cell 3 is low", timestamp_ns=START_NS + 18 * S)
        notes = client.path / "flight-notes.txt"
        notes.write_text("calm until the second turn\n", encoding="utf-8")
        sequence.add_artifact(notes, name="notes.txt", media_type="text/plain")
        notes.unlink()
    client.annotate(FLIGHT, START_NS + 2 * S, START_NS + 4 * S, "climb", kind="phase", author="ada")
    client.annotate(
        FLIGHT, START_NS + 13 * S, START_NS + 14 * S, "knock", kind="label", author="ada", confidence=0.9
    )


def _inertia(sequence: SequenceWriter) -> None:
    rows = 4_000
    topic = sequence.topic_create("sensors/imu", metadata={"vendor": "synthetic"}, ontology_type=IMU)
    lacking = (None,) * (len(IMU.leaves()) - 6)
    for row in range(rows):
        phase = row / 200
        height = SPIKE if row == SPIKE_ROW else 9.81 + 0.3 * float(np.sin(7 * phase))
        turn = (0.1 * float(np.sin(phase)), 0.1 * float(np.cos(phase)), 0.01)
        topic.push_row(
            START_NS + row * S // 200,
            float(np.sin(phase)),
            float(np.cos(phase)),
            height,
            *turn,
            *lacking,
        )


def _track(sequence: SequenceWriter) -> None:
    topic = sequence.topic_create("sensors/gps", ontology_type=GPS)
    lacking = (None,) * (len(GPS.leaves()) - 3)
    for row in range(200):
        angle = row / 200 * 2 * np.pi
        place = (
            46.5 + 0.001 * float(np.sin(angle)),
            6.6 + 0.002 * float(np.cos(angle)),
            400 + 20 * row / 200,
        )
        topic.push_row(START_NS + row * S // 10, *place, *lacking)
    topic.gap(7, "no_fix", start_ns=START_NS + 11 * S, end_ns=START_NS + 12 * S)


def _counters(sequence: SequenceWriter) -> None:
    """Integers that no float64 holds: what a page shows of them must not be rounded."""
    schema = pa.schema([TIME, pa.field("signed", pa.int64()), pa.field("unsigned", pa.uint64())])
    topic = sequence.topic_create("host/counters", schema=schema)
    rows = np.arange(200, dtype=np.int64)
    unsigned = rows.astype(np.uint64) + np.uint64(2**63 + 1)
    topic.push_columns(START_NS + rows * (S // 10), {"signed": rows + BIG, "unsigned": unsigned})


def _thermometer(sequence: SequenceWriter) -> None:
    schema = pa.schema(
        [
            TIME,
            pa.field(
                "value", pa.float64(), metadata={"unit": "degC", "uncertainty": "u", "description": "skin"}
            ),
            pa.field("u", pa.float64(), metadata={"unit": "degC"}),
            pa.field("state", pa.string()),
            pa.field("heating", pa.bool_()),
        ]
    )
    topic = sequence.topic_create("sensors/temperature", schema=schema)
    for row in range(100):
        topic.push_row(
            START_NS + row * S // 5, 20 + row / 50, 0.2 + row / 500, "hot" if row > 60 else "cold", row > 60
        )


def numbered(number: int, height: int = 96, width: int = 128) -> npt.NDArray[np.uint8]:
    """Return a colour picture that says a number in 12 blocks of black and white, which lossy codecs keep."""
    picture = np.full((height, width, 3), (40, 60, 90), np.uint8)
    high, wide = height // 3, width // 4
    for bit in range(12):
        top, left = high * (bit // 4), wide * (bit % 4)
        picture[top : top + high, left : left + wide] = 255 if number >> bit & 1 else 0
    return picture


def number_of(picture: npt.NDArray[Any]) -> int:
    """Return the number that a picture of any size says, ``[h, w]`` or ``[h, w, c]``."""
    high, wide = picture.shape[0] // 3, picture.shape[1] // 4
    middles = (
        picture[high * (bit // 4) + high // 2, wide * (bit % 4) + wide // 2].mean() for bit in range(12)
    )
    return sum(int(middle > 128) << bit for bit, middle in enumerate(middles))


def picture_of(data: bytes) -> npt.NDArray[np.uint8]:
    """Return the pixels of a PNG or JPEG file as RGB ``[h, w, 3]``."""
    import io

    with av.open(io.BytesIO(data), mode="r") as file:
        pixels: Any = next(file.decode(video=0)).to_ndarray(format="rgb24")
    found: npt.NDArray[np.uint8] = pixels
    return found


def _drive(client: Client) -> None:
    with client.sequence_create(
        DRIVE, metadata={"vehicle": {"name": "mule"}, "road": "wet"}, group="drive"
    ) as sequence:
        front = _camera(sequence, "camera/front", "mp4")
        rear = _camera(sequence, "camera/rear", "png")
        depth = _camera(sequence, "camera/depth", "png")
        speed = sequence.topic_create(
            "car/speed",
            schema=pa.schema([TIME, pa.field("value", pa.float64(), metadata={"unit": "m/s"})]),
        )
        slope = np.tile(np.arange(800, 1_440, 10, dtype=np.uint16), (48, 1))
        for number in range(PICTURES):
            time_ns = picture_time_ns(number)
            front.push_image(time_ns, numbered(number))
            rear.push_image(time_ns, numbered(number))
            depth.push_image(time_ns, slope + np.uint16(10 * number))
            speed.push_row(time_ns, float(number))


def picture_time_ns(number: int) -> int:
    """Return when the picture of that number was taken."""
    return START_NS + number * S // PICTURES_IN_A_SECOND


def _camera(sequence: SequenceWriter, name: str, media: Any) -> MediaTopicWriter:
    topic = sequence.topic_create(name, ontology_type=Image, media=media)
    assert isinstance(topic, MediaTopicWriter)
    return topic


def _layered(client: Client) -> None:
    with client.sequence_create(LAYERED, metadata={"bench": 4}, group="bench") as sequence:
        for row in range(50):
            sequence.log("press/force", 10.0 + row, unit="N", timestamp_ns=START_NS + row * S)
    with client.sequence_update(LAYERED, "inspection", metadata={"by": "lin"}) as layer:
        layer.log("inspection/score", 0.8, timestamp_ns=START_NS + 20 * S)


def _failed(client: Client) -> None:
    _broken(client, FAILED)
    client.seal(FAILED)


def _pending(client: Client) -> None:
    _broken(client, PENDING)


class _PumpStopped(Exception):
    """What ends a recording that is not to be complete."""


def _broken(client: Client, name: str) -> None:
    with (
        contextlib.suppress(_PumpStopped),
        client.sequence_create(name, group="bench", on_error=OnErrorPolicy.Report) as sequence,
    ):
        sequence.log("pump/pressure", 2.5, unit="bar", timestamp_ns=START_NS)
        sequence.notify("the pump stopped", topic="pump/pressure")
        raise _PumpStopped("the pump stopped")


def _small(client: Client, name: str, number: int) -> None:
    metadata = {"oven": {"program": ("dry", "bake", "fire")[number % 3], "number": number}}
    with client.sequence_create(name, metadata=metadata, group="oven") as sequence:
        for row in range(20):
            time_ns = START_NS + number * 3_600 * S + row * S
            sequence.log("oven/pv", 20.0 + number + row / 10, unit="degC", timestamp_ns=time_ns)


def record_live(root: Path, stop: threading.Event) -> None:
    """Record ``live/oven`` at 20 rows a second until the event is set, then seal it."""
    with (
        connect(root, flush_ms=100) as client,
        client.sequence_create(LIVE, metadata={"oven": {"program": "fire"}}, group="oven") as sequence,
    ):
        sequence.event("info", "start", "the oven is on")
        for row in _counted(stop):
            sequence.log("oven/pv", 20.0 + row / 100, unit="degC")
            sequence.log("oven/power", 1_000.0 + row % 7, unit="W")
            if row == 0:
                sequence.flush()
                print("recording", flush=True)


def _counted(stop: threading.Event) -> Iterator[int]:
    row = 0
    while not stop.is_set():
        yield row
        row += 1
        stop.wait(0.05)


def main() -> int:
    """Record the open sequence until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    record_live(Path(sys.argv[1]), stop)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
