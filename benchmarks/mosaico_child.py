"""Runs in an environment of its own with mosaicolabs 0.7.0: builds and pushes messages to nobody.

The SDK's own topic writer with its default limits; only the Flight stream behind it throws the data away,
so that neither a server nor a network is part of the figure.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from mosaicolabs.enum.topic_level_error_policy import TopicLevelErrorPolicy
from mosaicolabs.handlers.config import TopicWriterConfig
from mosaicolabs.handlers.topic_writer import TopicWriter
from mosaicolabs.models.core import Message
from mosaicolabs.models.data import Vector3d
from mosaicolabs.models.sensors import IMU


class _Discard:
    """Takes batches and forgets them."""

    def do_put(self, _descriptor: Any, _schema: Any) -> tuple[Any, None]:
        return self, None

    def write_batch(self, batch: Any) -> None:
        pass

    def write(self, batch: Any) -> None:
        pass

    def done_writing(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Connection:
    flight_client = _Discard()

    def default_max_batch_size_bytes(self) -> int:
        return int(0.9 * (50 << 20))  # the server's default


def main(count: int) -> None:
    topic = TopicWriter._create(
        sequence_name="run", topic_name="imu", topic_uuid="", connection=_Connection(),  # type: ignore[arg-type]
        ontology_type=IMU, config=TopicWriterConfig(on_error=TopicLevelErrorPolicy.Raise),
    )  # fmt: skip

    def push(stamps: range) -> None:
        for t in stamps:
            topic.push(
                message=Message(
                    timestamp_ns=t,
                    data=IMU(
                        acceleration=Vector3d(x=0.1, y=0.2, z=9.81),
                        angular_velocity=Vector3d(x=0.01, y=0.02, z=0.03),
                    ),
                )
            )

    push(range(50))
    began = time.process_time_ns()
    push(range(50, 50 + count))
    topic._wrstate._write_current_batch()
    spent = time.process_time_ns() - began
    print(json.dumps({"cpu_ns_per_row": spent / count}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
