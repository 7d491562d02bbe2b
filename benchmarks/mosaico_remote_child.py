"""Runs in an environment of its own with mosaicolabs 0.7.0: builds IMU messages and pushes them to our server.

The SDK's own client with its default limits; a topic's end is the server's word that its rows are durable.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from harness import cost
from mosaicolabs import IMU, Message, MosaicoClient, Vector3d

START_NS = 1_700_000_000_000_000_000


def _push(topic: Any, count: int) -> None:
    with topic:
        for t in range(START_NS, START_NS + count * 1_000_000, 1_000_000):
            topic.push(
                message=Message(
                    timestamp_ns=t,
                    data=IMU(
                        acceleration=Vector3d(x=0.1, y=0.2, z=9.81),
                        angular_velocity=Vector3d(x=0.01, y=0.02, z=0.03),
                    ),
                )
            )


def main(port: int, count: int) -> None:
    """Push a few messages into one topic, and then as many as asked into another."""
    with (
        MosaicoClient.connect("127.0.0.1", port) as client,
        client.sequence_create(f"sdk-{os.getpid()}", {}) as sequence,
    ):
        _push(sequence.topic_create("begin", {}, IMU), 50)
        topic = sequence.topic_create("imu", {}, IMU)
        with cost() as spent:
            _push(topic, count)
    print(json.dumps({"wall_ns": spent.wall_ns / count, "cpu_ns": spent.cpu_ns / count}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
