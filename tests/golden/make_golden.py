"""Writes the golden bundles of the present format: ``python make_golden.py FOLDER``.

Run once for each format version; what it wrote is kept for ever and never written again. The rows come from
the sample topics and the clock stands still, so that the content digest is the same whenever it is run with
the same library versions.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import pyarrow as pa

import gapless
from gapless.testing.clock import ManualClock
from gapless.testing.sample import COUNTS, IMAGES, MOTION, NOTES, START_NS

ROWS = {MOTION: 300, COUNTS: 40, NOTES: 10, IMAGES: 5}
NUMBERED = pa.schema([pa.field("n", pa.int64(), metadata={"unit": "counts", "description": "the number"})])


def record(client: gapless.Client, name: str, artifact: Path) -> gapless.SequenceWriter:
    """Begin a sequence that uses everything the format has, and return its writer, still open."""
    seq = client.sequence_create(
        name, metadata={"vehicle": {"id": "ü-1"}, "runs": [1, 2.5, None]}, group="golden"
    )
    seq.__enter__()
    for topic, rows in ROWS.items():
        writer = seq.topic_create(topic.name, {"vendor": "x"}, schema=topic.schema)
        for k in range(rows):
            writer.push_row(*topic.row(k))
    numbered = seq.topic_create("numbered", schema=NUMBERED, producer_seq=True)
    for k, n in enumerate([1, 2, 5, 4, 9]):
        numbered.push_row(START_NS + k, n, n)
    imu = seq.topic_create("imu", ontology_type=gapless.IMU)
    imu.push(gapless.Message(START_NS, gapless.IMU(acceleration=gapless.Vector3d(0.0, 0.5, 9.81))))
    imu.gap(3, "overrun", start_ns=START_NS, end_ns=START_NS + 1)
    seq.event("warning", "alarm", "too hot", data={"t": 250}, timestamp_ns=START_NS)
    seq.add_artifact(artifact, name="config.toml", media_type="application/toml")
    seq.flush()
    return seq


def main() -> None:
    """Write ``sealed`` (with a layer and a label) and ``journal`` (of a recording whose owner died)."""
    target = Path(sys.argv[1])
    folder = Path(tempfile.mkdtemp())
    artifact = folder / "config.toml"
    artifact.write_text("a = 1\n")
    with gapless.connect(folder / "store", platform=ManualClock()) as client:
        seq = record(client, "golden", artifact)
        seq.__exit__(None, None, None)
        with client.sequence_update("golden", "later") as layer:
            layer.log("verdict", "good", timestamp_ns=START_NS + 5)
        client.annotate("golden", START_NS, START_NS + 9, "start", author="a person")
        seq = record(client, "left behind", artifact)
        shutil.copytree(folder / "store" / "sequences" / "golden", target / "sealed")
        shutil.copytree(folder / "store" / "sequences" / "left%20behind", target / "journal")
        seq.__exit__(None, None, None)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
