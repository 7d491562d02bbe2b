"""The writing workflow as its document describes it, with the names and keyword forms it uses."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import gapless
from gapless import GPS, IMU, Message, OnErrorPolicy, Sequence, Topic, Vector3d
from gapless.errors import NotFound, UsageError
from gapless.model.outcome import TopicStatus

METADATA = {
    "vehicle": {
        "vehicle_id": "veh_sim_042",
        "powertrain": "EV",
        "software_stack": {"perception": "perception-5.14.0", "planning": "plan-4.1.7"},
    },
    "driver": {"driver_id": "drv_sim_017", "role": "validation"},
}


def record_mission(client: gapless.Client) -> None:
    """Write the document's two topics with its keyword arguments."""
    with client.sequence_create(
        sequence_name="mission_log_042", metadata=METADATA, on_error=OnErrorPolicy.Delete
    ) as seq_writer:
        imu_writer = seq_writer.topic_create(
            topic_name="sensors/imu", metadata={"vendor": "inertix-dynamics"}, ontology_type=IMU
        )
        gps_writer = seq_writer.topic_create(
            topic_name="sensors/gps",
            metadata={"interface": {"type": "UART", "baudrate": 115200}},
            ontology_type=GPS,
        )
        imu_writer.push(
            message=Message(timestamp_ns=1700000000000, data=IMU(acceleration=Vector3d(x=0, y=0, z=9.81)))
        )
        gps_writer.push(
            message=Message(
                timestamp_ns=1700000000100, data=GPS(position=Vector3d(x=44.0123, y=10.12345, z=0))
            )
        )
        assert seq_writer.list_topic_writers() == ["sensors/imu", "sensors/gps"]
        assert seq_writer.topic_writer_exists("sensors/imu")
        assert seq_writer.get_topic_writer("sensors/gps") is gps_writer
        assert imu_writer.status is TopicStatus.ACTIVE
        assert imu_writer.last_error is None


def test_the_documents_blocks_run_joined(tmp_path: Path) -> None:
    """A recording made with the document's calls reads back as the same objects."""
    with gapless.connect(tmp_path) as client:
        record_mission(client)
        handler = client.sequence_handler("mission_log_042")
        messages = list(handler.topic("sensors/imu"))
    assert handler.outcome == "completed"
    assert messages == [Message(1700000000000, IMU(acceleration=Vector3d(0.0, 0.0, 9.81)))]


@pytest.mark.parametrize(
    ("expression", "hit"),
    [
        (Sequence.Q.user_metadata["vehicle.software_stack.planning"].match("plan-4.*"), True),
        (Sequence.Q.user_metadata["vehicle.software_stack.planning"].match("plan-5.*"), False),
        (Topic.Q.user_metadata["interface.type"].eq("UART"), True),
        (Topic.Q.user_metadata["interface.type"].eq("CAN"), False),
        (IMU.Q.acceleration.z.gt(9.8), True),
        (IMU.Q.acceleration.z.gt(9.82), False),
    ],
)
def test_the_documents_queries_find_it_and_their_negatives_do_not(
    tmp_path: Path, expression: object, hit: bool
) -> None:
    """Metadata of the sequence, of a topic, and the rows' content each decide."""
    with gapless.connect(tmp_path) as client:
        record_mission(client)
        assert len(client.query(expression)) == int(hit)


def test_delete_is_the_default_policy() -> None:
    """As in the document, an error discards the sequence unless the caller says otherwise."""
    signature = inspect.signature(gapless.Client.sequence_create)
    assert signature.parameters["on_error"].default is OnErrorPolicy.Delete


def test_a_writer_outside_a_with_block_raises_at_the_first_call(tmp_path: Path) -> None:
    """Without the block nobody would seal the sequence, so nothing is recorded and no name is taken."""
    client = gapless.connect(tmp_path)
    writer = client.sequence_create("loose")
    with pytest.raises(UsageError, match="with-block"):
        writer.topic_create("sensors/imu", ontology_type=IMU)
    with pytest.raises(UsageError, match="with-block"):
        writer.log("a", 1)
    assert client.list_sequences() == []


def test_an_unknown_topic_writer_is_a_typed_error(tmp_path: Path) -> None:
    """A name that was never created is NotFound, not None."""
    with gapless.connect(tmp_path).sequence_create("s") as seq:
        assert not seq.topic_writer_exists("nope")
        with pytest.raises(NotFound):
            seq.get_topic_writer("nope")
