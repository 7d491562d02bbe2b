"""What docs/query.md takes for granted: a store with one sequence that its first query finds."""

from __future__ import annotations

import gapless
from gapless import IMU

with (
    gapless.connect("store") as client,
    client.sequence_create("run-1", metadata={"vehicle": {"id": "x"}}) as seq,
):
    seq.topic_create("sensors/imu", ontology_type=IMU).push_columns(
        [1, 2, 3],
        {"acceleration.x": [0.0, 9.9, 0.0], "acceleration.y": [0.0] * 3, "acceleration.z": [9.81] * 3},
    )
