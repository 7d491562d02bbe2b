"""The child of `gapless demo --kill`: records rows that can be made again, and reports what is durable.

Each line on stdout holds, for the motion topic and the note topic, how many rows were offered and how many
the recorder had called durable before the line was written. It records until it is killed.
"""

from __future__ import annotations

import os
import random
import sys
import time
from typing import TYPE_CHECKING

from gapless.cli import options
from gapless.cli.imu_source import PERIOD_NS, ImuSource

if TYPE_CHECKING:
    import pyarrow as pa

MOTION, NOTES = "sensors/motion", "notes"
NOTE_EVERY = 50
_NAMES = ("acceleration.x", "acceleration.y", "acceleration.z", "rotation.x", "rotation.y", "rotation.z")


def motion_schema() -> pa.Schema:
    """Return the schema of the motion topic."""
    import pyarrow as pa

    fields = [
        pa.field(n, pa.float64(), metadata={"unit": "m/s^2" if n.startswith("a") else "rad/s"})
        for n in _NAMES
    ]
    return pa.schema([pa.field("timestamp_ns", pa.int64(), nullable=False), *fields])


def note_schema() -> pa.Schema:
    """Return the schema of the note topic."""
    import pyarrow as pa

    return pa.schema([pa.field("timestamp_ns", pa.int64(), nullable=False), pa.field("text", pa.string())])


def note(k: int) -> str:
    """Return the text of note ``k``: its length varies, so that frames do."""
    return f"note {k} " + "abcdefghij" * (k * 7 % 23)


def record(store: str, name: str, seed: int, start_ns: int) -> None:
    """Record in bursts of random size until killed."""
    from pathlib import Path

    from gapless.model.outcome import OnErrorPolicy

    source, dice = ImuSource(seed), random.Random(seed)
    with (
        options.connect(Path(store)) as client,
        client.sequence_create(
            name, group="demo", metadata={"seed": seed}, on_error=OnErrorPolicy.Report
        ) as seq,
    ):
        motion = seq.topic_create(MOTION, schema=motion_schema())
        notes = seq.topic_create(NOTES, schema=note_schema())
        rows = noted = 0
        while True:
            for _ in range(dice.randint(1, 400)):
                motion.push_row(start_ns + rows * PERIOD_NS, *source.row(rows))
                if rows % NOTE_EVERY == 0:
                    notes.push_row(start_ns + rows * PERIOD_NS, note(noted))
                    noted += 1
                rows += 1
            if dice.random() < 0.05:
                seq.flush()
            line = f"{rows} {motion.durable_rows} {noted} {notes.durable_rows}\n"
            os.write(1, line.encode())
            time.sleep(dice.random() * 0.004)


if __name__ == "__main__":
    record(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
