"""What a server must do for the unmodified SDK; runs where mosaicolabs 0.7.0 is installed and nothing else.

``python checks.py HOST PORT`` runs every check and prints one JSON object, check name to null or what failed.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
from mosaicolabs import (  # type: ignore[import-not-found]
    GPS,
    IMU,
    Message,
    MosaicoClient,
    Point3d,
    Query,
    QueryOntologyCatalog,
    QuerySequence,
    QueryTopic,
    Temperature,
    Vector3d,
)
from mosaicolabs.enum import (  # type: ignore[import-not-found]
    GRPCCompressionAlgorithm,
    SerializationFormat,
    SessionLevelErrorPolicy,
    SessionStatus,
    TopicLevelErrorPolicy,
    TopicWriterStatus,
)
from mosaicolabs.ml import DataFrameExtractor, SyncHold, SyncTransformer  # type: ignore[import-not-found]
from mosaicolabs.models.core import make_unmodeled_ontology_class  # type: ignore[import-not-found]
from mosaicolabs.query import TimestampRange  # type: ignore[import-not-found]

HOST, PORT = sys.argv[1], int(sys.argv[2])
ROWS = 10_000
START = 1_700_000_000_000_000_000
STEP = 1_000_000
MISSION = "mission"
METADATA = {"vehicle": {"id": "veh-1", "doors": 4}, "tags": ["night", "rain"], "speed": 1.5, "empty": None}


def imu(number: int) -> IMU:
    """Return a reading that depends on its number in every field it has."""
    return IMU(
        acceleration=Vector3d(x=float(number), y=0.5 * number, z=9.81),
        angular_velocity=Vector3d(x=0.0, y=0.1, z=0.2, covariance=[1.0, 2.0], covariance_type=1),
    )


def gps(number: int) -> GPS:
    """Return a position that depends on its number."""
    return GPS(position=Point3d(x=45.0, y=7.0, z=float(number)))


def write(client: MosaicoClient, name: str, rows: int = 50, **metadata: Any) -> None:
    """Write a small sequence with one IMU topic."""
    with client.sequence_create(name, metadata) as sequence:
        topic = sequence.topic_create("sensors/imu", {"role": "main"}, IMU)
        assert topic is not None
        for number in range(rows):
            topic.push(Message(timestamp_ns=START + number * STEP, data=imu(number)))


def raises(kind: type[BaseException], work: Callable[[], object], words: str = "") -> BaseException:
    """Return the error of exactly this class that the work raises; its text holds the words."""
    try:
        work()
    except kind as error:
        if type(error) is kind and words in str(error):
            return error
        raise
    raise AssertionError(f"nothing raised where {kind.__name__} is due")


# -- the checks, in the order in which they run ----------------------------------------------------


def check_connecting_tells_version_and_limits(client: MosaicoClient) -> None:
    """The SDK asks for them before anything else."""
    info = client.info()
    assert info.version.startswith("0.7.0")
    assert info.config.grpc_max_decode_message_size >= 4 << 20


def check_two_topics_of_ten_thousand_messages_are_written(client: MosaicoClient) -> None:
    """Two types, pushed in turns, committed when the block ends."""
    with client.sequence_create(MISSION, METADATA) as sequence:
        first = sequence.topic_create("front/imu", {"vendor": "a", "bus": {"rate": 100}}, IMU)
        second = sequence.topic_create("gps", {"vendor": "b"}, GPS)
        assert first is not None
        assert second is not None
        assert sequence.topic_create("front/imu", {}, IMU) is None
        for number in range(ROWS):
            first.push(Message(timestamp_ns=START + number * STEP, data=imu(number)))
            second.push(Message(timestamp_ns=START + number * STEP + STEP // 2, data=gps(number)))
        assert sequence.session_status == SessionStatus.Pending
    assert sequence.session_status == SessionStatus.Finalized


def check_the_sequence_is_listed(client: MosaicoClient) -> None:
    """By its name, and nothing else is."""
    assert client.list_sequences() == [MISSION]
    assert client.sequence_exists(MISSION)
    assert not client.sequence_exists("nothing")


def check_a_second_sequence_of_the_name_is_refused(client: MosaicoClient) -> None:
    """Before its block is entered."""

    def again() -> None:
        with client.sequence_create(MISSION, {}):
            raise AssertionError("the block was entered")

    error = raises(pa.ArrowInvalid, again)
    assert MISSION in str(error)


def check_sequence_handler(client: MosaicoClient) -> None:
    """Topics, metadata, times, sizes and its one session."""
    handler = client.sequence_handler(MISSION)
    assert handler is not None
    assert handler.topics == ["/front/imu", "/gps"]
    assert handler.user_metadata == METADATA
    assert handler.timestamp_ns_min == START
    assert handler.timestamp_ns_max == START + (ROWS - 1) * STEP + STEP // 2
    assert handler.total_size_bytes > 0
    [session] = handler.sessions
    assert session.locked
    assert session.topics == ["/front/imu", "/gps"]
    assert session.completed_timestamp >= session.created_timestamp == handler.created_timestamp
    assert client.sequence_handler("nothing") is None


def check_topic_handler(client: MosaicoClient) -> None:
    """With the schema that was sent, field metadata included."""
    handler = client.topic_handler(MISSION, "front/imu")
    assert handler is not None
    assert (handler.name, handler.sequence_name, handler.ontology_tag) == ("/front/imu", MISSION, "IMU")
    assert handler.user_metadata == {"vendor": "a", "bus": {"rate": 100}}
    assert handler.locked
    assert handler.chunks_number == 1
    assert handler.ontology_schema.equals(IMU.__msco_pyarrow_struct__, check_metadata=True)
    assert client.topic_exists(MISSION, "gps")
    assert not client.topic_exists(MISSION, "no")
    assert client.topic_handler(MISSION, "no") is None


def check_merged_read_is_ordered_and_complete(client: MosaicoClient) -> None:
    """Every message of both topics, in order of time, with the values that were pushed."""
    stream = client.sequence_handler(MISSION).get_data_streamer()
    assert stream.msg_count == 2 * ROWS
    times: list[int] = []
    count = {"/front/imu": 0, "/gps": 0}
    for topic, message in stream:
        number = count[topic]
        count[topic] += 1
        times.append(message.timestamp_ns)
        if number % 1000 == 0:
            assert message.data == (imu(number) if topic == "/front/imu" else gps(number))
    assert times == sorted(times)
    assert count == {"/front/imu": ROWS, "/gps": ROWS}


def check_windows_are_half_open_and_counted_exactly(client: MosaicoClient) -> None:
    """The start belongs to the window, the end does not."""
    handler = client.topic_handler(MISSION, "front/imu")
    stream = handler.get_data_streamer(START + 1000 * STEP, START + 2000 * STEP)
    assert stream.msg_count == 1000
    assert stream.timestamp_ns_min == START + 1000 * STEP
    assert stream.timestamp_ns_max == START + 1999 * STEP
    assert [m.timestamp_ns for m in stream] == [START + n * STEP for n in range(1000, 2000)]
    both = client.sequence_handler(MISSION).get_data_streamer(start_timestamp_ns=START + (ROWS - 1) * STEP)
    assert [topic for topic, _ in both] == ["/front/imu", "/gps"]
    assert sum(1 for _ in handler.get_data_streamer(None, START + 5)) == 1
    raises(RuntimeError, lambda: client.sequence_handler(MISSION).get_data_streamer([], 5, 6))
    raises(ConnectionError, lambda: handler.get_data_streamer(START, START), "window")


def check_metadata_queries(client: MosaicoClient) -> None:
    """Every operator that the SDK has for metadata."""

    def found(**tests: Any) -> bool:
        query = QuerySequence()
        for key, test in tests.items():
            query = query.with_user_metadata(key.replace("__", "."), **test)
        return [item.sequence.name for item in client.query(query)] == [MISSION]

    assert found(vehicle__id={"eq": "veh-1"})
    assert found(vehicle__id={"match": "veh-?"})
    assert found(vehicle__id={"match": "veh-#"})
    assert not found(vehicle__id={"match": "veh"})
    assert found(vehicle__doors={"between": [4, 5]})
    assert not found(vehicle__doors={"outside": [4, 5]})
    assert found(speed={"lt": 2}, vehicle__doors={"in_": [3, 4]})
    assert found(tags={"eq": "rain"})
    assert found(vehicle__doors={"ex": True})
    assert found(absent={"ex": False})
    assert not found(absent={"neq": 3})
    assert found(vehicle__doors={"neq": 3})


def check_name_tag_and_time_queries(client: MosaicoClient) -> None:
    """Names of topics begin with a slash."""
    assert len(client.query(QuerySequence().with_name(MISSION))) == 1
    assert len(client.query(QuerySequence().with_name_match("miss*"))) == 1
    assert len(client.query(QuerySequence().with_created_timestamp(time_start=1))) == 1
    assert len(client.query(QuerySequence().with_created_timestamp(time_end=1))) == 0
    for pattern in ("/front/imu", "/front/*", "*imu", "*/imu", "/*/???", "*"):
        [item] = client.query(QueryTopic().with_name_match(pattern))
        assert "/front/imu" in [topic.name for topic in item.topics], pattern
    assert len(client.query(QueryTopic().with_name_match("/front"))) == 0
    [item] = client.query(QueryTopic().with_name("/gps"))
    assert [(t.name, t.ontology_tag, t.locator) for t in item.topics] == [("/gps", "GPS", "mission/gps")]
    [item] = client.query(QueryTopic().with_ontology_tag("IMU").with_user_metadata("bus.rate", geq=100))
    assert [topic.name for topic in item.topics] == ["/front/imu"]
    assert len(client.query(QueryTopic().with_ontology_tag("IMU").with_name("/gps"))) == 0


def check_row_queries(client: MosaicoClient) -> None:
    """Conditions of one type hold in one row; all types' conditions hold in the sequence."""

    def topics(*expressions: Any, **more: Any) -> list[str]:
        response = client.query(QueryOntologyCatalog(*expressions), *more.values())
        return [topic.name for item in response for topic in item.topics]

    assert topics(IMU.Q.acceleration.x.gt(9_998.5)) == ["/front/imu"]
    assert topics(IMU.Q.acceleration.x.gt(9_999)) == []
    assert topics(IMU.Q.acceleration.x.eq(10), IMU.Q.acceleration.y.eq(5)) == ["/front/imu"]
    assert topics(IMU.Q.acceleration.x.eq(10), IMU.Q.acceleration.y.eq(6)) == []  # not in one row
    assert topics(IMU.Q.acceleration.x.lt(5), GPS.Q.position.z.lt(5)) == ["/front/imu", "/gps"]
    assert topics(IMU.Q.acceleration.x.lt(5), GPS.Q.position.z.lt(-5)) == []
    assert topics(IMU.Q.timestamp_ns.between([START, START + 1])) == ["/front/imu"]
    assert topics(IMU.Q.acceleration.x.in_([-1, 7])) == ["/front/imu"]
    assert topics(IMU.Q.acceleration.x.outside([0, 9_999])) == []
    assert topics(Temperature.Q.value.gt(0)) == []
    assert topics(IMU.Q.acceleration.x.gt(5), one=QuerySequence().with_name("other")) == []
    [item] = client.query(query=Query(QueryOntologyCatalog(IMU.Q.acceleration.x.gt(5)), QuerySequence()))
    again = client.query(client.query(QuerySequence().with_name(MISSION)).to_query_sequence())
    assert [it.sequence.name for it in again] == [item.sequence.name]


def check_a_bad_pattern_is_a_bad_argument(client: MosaicoClient) -> None:
    """The SDK documents the class."""
    raises(pa.ArrowInvalid, lambda: client.query(QuerySequence().with_name_match("")))


def check_compression(client: MosaicoClient) -> None:
    """Both directions, with the same values."""
    with MosaicoClient.connect(HOST, PORT, compression=GRPCCompressionAlgorithm.Gzip) as packed:
        with packed.sequence_create("packed", {}) as sequence:
            topic = sequence.topic_create("imu", {}, IMU)
            for number in range(500):
                topic.push(Message(timestamp_ns=number, data=imu(number)))
        found = [message.data for message in packed.topic_handler("packed", "imu").get_data_streamer()]
        assert found == [imu(number) for number in range(500)]
        packed.sequence_delete("packed")


def check_clusterize(client: MosaicoClient) -> None:
    """One cluster without a gap, else one for each run of times, also within a range."""
    query = QueryOntologyCatalog(IMU.Q.acceleration.x.outside([100, 9_899]))
    [item] = client.query(query)
    [topic] = item.topics
    last = START + (ROWS - 1) * STEP

    def spans(*words: Any) -> list[tuple[int, int]]:
        return [(cluster.timerange.start, cluster.timerange.end) for cluster in topic.clusterize(*words)]

    assert spans() == [(START, last)]
    assert spans(STEP) == [(START, START + 99 * STEP), (START + 9_900 * STEP, last)]
    assert len(spans(STEP - 1)) == 200
    assert spans(STEP, TimestampRange(START, START + 5 * STEP)) == [(START, START + 5 * STEP)]
    assert spans(STEP, TimestampRange(1, 2)) == []
    assert [cluster.id for cluster in topic.clusterize(STEP)] == [0, 1]
    assert list(item.clusterize_all(override_clustering_dt_ns=STEP)) == ["/front/imu"]


def check_intersect(client: MosaicoClient) -> None:
    """The times at which the conditions of both topics hold."""
    query = QueryOntologyCatalog(
        IMU.Q.acceleration.x.between([100, 200]), GPS.Q.position.z.between([150, 300])
    )
    [item] = client.query(query)

    def spans(**words: Any) -> list[tuple[int, int]]:
        return [(c.timerange.start, c.timerange.end) for c in item.intersect(**words)]

    shared = (START + 150 * STEP + STEP // 2, START + 200 * STEP)
    assert spans() == [shared]
    assert spans(override_clustering_dt_ns=STEP) == [shared]
    apart = QueryOntologyCatalog(IMU.Q.acceleration.x.lt(10), GPS.Q.position.z.between([20, 30]))
    [item] = client.query(apart)
    assert spans() == []
    assert len(spans(intersect_dt_ns=20 * STEP)) == 1


def check_data_frames_and_sync(client: MosaicoClient) -> None:
    """The SDK's machine learning tools over two topics."""
    handler = client.sequence_handler(MISSION)
    extractor = DataFrameExtractor(handler)
    sync = SyncTransformer(target_fps=50, policy=SyncHold())
    rows = synced = 0
    for chunk in extractor.to_pandas_chunks(["/front/imu", "/gps"], window_sec=2.0):
        rows += len(chunk)
        assert chunk["/front/imu.IMU.acceleration.x"].notna().any()
        synced += len(sync.transform(chunk))
    assert rows == 2 * ROWS
    assert synced >= 450


def check_an_update_is_a_second_session(client: MosaicoClient) -> None:
    """Its topic joins those of the sequence; one that is there is refused."""
    with client.sequence_update(MISSION) as update:
        topic = update.topic_create("late/temperature", {"made": "afterwards"}, Temperature)
        assert topic is not None
        topic.push(Message(timestamp_ns=START + 5, data=Temperature.from_celsius(value=20.0)))
        assert update.topic_create("gps", {}, GPS) is None  # the sequence has it already
    client.clear_sequence_handlers_cache()
    handler = client.sequence_handler(MISSION)
    assert handler.topics == ["/front/imu", "/gps", "/late/temperature"]
    assert [session.locked for session in handler.sessions] == [True, True]
    [message] = list(client.topic_handler(MISSION, "late/temperature").get_data_streamer())
    assert message.data.to_celsius() == 20.0
    assert [t.name for t in client.query(QueryOntologyCatalog(Temperature.Q.value.gt(0)))[0].topics] == [
        "/late/temperature"
    ]


def check_a_session_is_deleted(client: MosaicoClient) -> None:
    """The later one alone; the first only when no other builds upon it."""
    locator = client.sequence_handler(MISSION).sessions[1].locator
    raises(fl.FlightServerError, lambda: client.session_delete(f"{MISSION}:base"), "later sessions")
    client.session_delete(locator)
    client.clear_sequence_handlers_cache()
    assert client.sequence_handler(MISSION).topics == ["/front/imu", "/gps"]
    raises(fl.FlightServerError, lambda: client.session_delete(locator))
    raises(pa.ArrowInvalid, lambda: client.session_delete("no session"))


def check_the_delete_policy_leaves_nothing(client: MosaicoClient) -> None:
    """And the user's own exception goes on."""

    def fail() -> None:
        with client.sequence_create("given-up", {}, SessionLevelErrorPolicy.Delete) as sequence:
            topic = sequence.topic_create("imu", {}, IMU)
            topic.push(Message(timestamp_ns=START, data=imu(0)))
            raise KeyError("mine")

    raises(KeyError, fail, "mine")
    assert not client.sequence_exists("given-up")
    write(client, "given-up")  # the name is free again
    client.sequence_delete("given-up")


def check_the_delete_policy_of_an_update_leaves_the_sequence(client: MosaicoClient) -> None:
    """As it was before."""

    def fail() -> None:
        with client.sequence_update(MISSION, SessionLevelErrorPolicy.Delete) as update:
            update.topic_create("half", {}, IMU).push(Message(timestamp_ns=START, data=imu(0)))
            raise KeyError("mine")

    raises(KeyError, fail, "mine")
    client.clear_sequence_handlers_cache()
    assert client.sequence_handler(MISSION).topics == ["/front/imu", "/gps"]
    assert len(client.sequence_handler(MISSION).sessions) == 1


def check_the_report_policy_keeps_what_arrived_and_never_completes(client: MosaicoClient) -> None:
    """Rows, notifications and queries work; nothing is locked."""

    def fail() -> None:
        with client.sequence_create("reported", {"a": 1}) as sequence:
            topic = sequence.topic_create("imu", {}, IMU)
            for number in range(10):
                topic.push(Message(timestamp_ns=START + number, data=imu(number)))
            topic._wrstate._write_current_batch()  # what the SDK has not sent it throws away
            raise KeyError("mine")

    raises(KeyError, fail, "mine")
    client.clear_sequence_handlers_cache()
    handler = client.sequence_handler("reported")
    [session] = handler.sessions
    assert not session.locked
    assert session.completed_timestamp is None
    assert [m.data for _, m in handler.get_data_streamer()] == [imu(n) for n in range(10)]
    [notification] = client.list_sequence_notifications("reported")
    assert "mine" in notification.message
    assert notification.sequence_name == "reported"
    [of_topic] = client.list_topic_notifications("reported", "imu")
    assert of_topic.topic_name == "/imu"
    assert (
        len(
            client.query(
                QueryOntologyCatalog(IMU.Q.acceleration.x.eq(7)), QuerySequence().with_name("reported")
            )
        )
        == 1
    )


def check_notifications_are_purged(client: MosaicoClient) -> None:
    """Those of the sequence and those of a topic, each by itself."""
    client.clear_sequence_notifications("reported")
    assert client.list_sequence_notifications("reported") == []
    assert len(client.list_topic_notifications("reported", "imu")) == 1
    client.clear_topic_notifications("reported", "imu")
    assert client.list_topic_notifications("reported", "imu") == []
    assert client.list_sequence_notifications(MISSION) == []
    raises(fl.FlightServerError, lambda: client.list_sequence_notifications("nothing"))
    client.sequence_delete("reported")
    raises(fl.FlightServerError, lambda: client.list_sequence_notifications("reported"))


def check_a_reported_update_leaves_the_sequence_as_it_was(client: MosaicoClient) -> None:
    """Its session is listed, not locked and without topics; the first one stays complete."""

    def fail() -> None:
        with client.sequence_update(MISSION) as update:
            update.topic_create("half", {}, IMU).push(Message(timestamp_ns=START, data=imu(0)))
            raise KeyError("mine")

    raises(KeyError, fail, "mine")
    client.clear_sequence_handlers_cache()
    first, second = client.sequence_handler(MISSION).sessions
    assert (first.locked, second.locked) == (True, False)
    assert second.topics == []
    client.session_delete(second.locator)
    client.clear_sequence_handlers_cache()
    assert len(client.sequence_handler(MISSION).sessions) == 1


def check_topic_policies(client: MosaicoClient) -> None:
    """Ignore goes on, Finalize ends the topic, Raise ends nothing but the push."""
    policies = TopicLevelErrorPolicy
    with client.sequence_create("policies", {}) as sequence:
        ignore = sequence.topic_create("ignore", {}, IMU, on_error=policies.Ignore)
        final = sequence.topic_create("final", {}, IMU, on_error=policies.Finalize)
        strict = sequence.topic_create("strict", {}, IMU, on_error=policies.Raise)
        for number, topic in enumerate((ignore, final, strict)):
            topic.push(Message(timestamp_ns=START + number, data=imu(number)))
            topic._wrstate._write_current_batch()

        def fail_in(topic: Any, words: str) -> None:
            with topic:
                raise KeyError(words)

        fail_in(ignore, "ignored")
        fail_in(final, "ended")
        raises(KeyError, lambda: fail_in(strict, "raised"), "raised")
        assert ignore.status == TopicWriterStatus.IgnoredLastError
        assert final.status == TopicWriterStatus.FinalizedWithError
        assert strict.status == TopicWriterStatus.RaisedException
        ignore.push(Message(timestamp_ns=START + 9, data=imu(9)))
    handler = client.sequence_handler("policies")
    assert handler.sessions[0].locked
    assert sorted(m.timestamp_ns - START for _, m in handler.get_data_streamer()) == [0, 1, 2, 9]
    assert "ignored" in client.list_topic_notifications("policies", "ignore")[0].message
    assert "ended" in client.list_topic_notifications("policies", "final")[0].message
    assert client.list_topic_notifications("policies", "strict") == []


def check_a_type_of_ones_own_comes_back_exactly(client: MosaicoClient) -> None:
    """Structs, lists of structs, maps, nulls, schema and format."""
    inner = pa.struct([pa.field("x", pa.float32(), nullable=False), pa.field("unit", pa.string())])
    kind = pa.struct(
        [
            pa.field("gyro", inner, metadata={"description": "rate"}),
            pa.field("raw", pa.list_(pa.struct([pa.field("n", pa.int16())])), nullable=False),
            pa.field("words", pa.map_(pa.string(), pa.float64())),
        ]
    )
    own = make_unmodeled_ontology_class("GyroRaw", "gyro_raw", SerializationFormat.Ragged, kind)
    rows = [
        {"gyro": {"x": 1.5, "unit": "deg"}, "raw": [{"n": 1}, {"n": None}], "words": {"a": 1.0}},
        {"gyro": None, "raw": [], "words": None},
    ]
    with client.sequence_create("custom", {}) as sequence:
        topic = sequence.topic_create("gyro", {}, own)
        for number, row in enumerate(rows):
            topic.push(Message(timestamp_ns=number, data=own(raw_data=row)))
    handler = client.topic_handler("custom", "gyro")
    assert handler.ontology_tag == "gyro_raw"
    assert handler.serialization_format == SerializationFormat.Ragged
    assert handler.ontology_schema.equals(kind, check_metadata=True)
    found = list(handler.get_data_streamer())
    assert [type(message.data) for message in found] == [own, own]
    assert [message.data.raw_data for message in found] == rows
    [item] = client.query(QueryOntologyCatalog(own.Q.gyro.x.gt(1)))
    assert [topic.locator for topic in item.topics] == ["custom/gyro"]
    assert len(client.query(QueryOntologyCatalog(own.Q.gyro.x.gt(2)))) == 0


def check_an_empty_topic_has_a_schema_and_no_stream(client: MosaicoClient) -> None:
    """The SDK refuses to stream it, and finds it."""
    with client.sequence_create("hollow", {}) as sequence:
        sequence.topic_create("imu", {}, IMU)
    handler = client.topic_handler("hollow", "imu")
    assert handler.ontology_schema.equals(IMU.__msco_pyarrow_struct__)
    assert handler.timestamp_ns_min is None
    raises(ValueError, handler.get_data_streamer)


def check_unsorted_times_are_read_in_order(client: MosaicoClient) -> None:
    """Rows of one time in the order in which they were pushed."""
    times = [5, 3, 9, 3, 1]
    with client.sequence_create("unsorted", {}) as sequence:
        topic = sequence.topic_create("t", {}, Temperature)
        for number, time_ns in enumerate(times):
            topic.push(Message(timestamp_ns=time_ns, data=Temperature(value=float(number))))
    found = [
        (m.timestamp_ns, m.data.value) for m in client.topic_handler("unsorted", "t").get_data_streamer()
    ]
    assert found == [(1, 4.0), (3, 1.0), (3, 3.0), (5, 0.0), (9, 2.0)]


def check_metadata_keys_are_refused_by_name(client: MosaicoClient) -> None:
    """With the whole path of the key."""

    def create(metadata: dict[str, Any]) -> None:
        with client.sequence_create("bad-keys", metadata):
            raise AssertionError("the block was entered")

    raises(pa.ArrowInvalid, lambda: create({"a": {"b.c": 1}}), "a.b.c")
    raises(pa.ArrowInvalid, lambda: create({"a--b": 1}), "a--b")
    raises(pa.ArrowInvalid, lambda: create({"": 1}), "key")
    assert not client.sequence_exists("bad-keys")


def check_a_sequence_in_the_making_is_open(client: MosaicoClient) -> None:
    """What has arrived can be read; a second session has to wait."""
    with client.sequence_create("making", {}) as sequence:
        topic = sequence.topic_create("imu", {}, IMU)
        topic.push(Message(timestamp_ns=START, data=imu(1)))
        topic._wrstate._write_current_batch()
        handler = client.sequence_handler("making")
        assert not handler.sessions[0].locked
        with_update = client.sequence_update("making")
        raises(fl.FlightServerError, with_update.__enter__)
    client.clear_sequence_handlers_cache()
    assert client.sequence_handler("making").sessions[0].locked


def check_deleting(client: MosaicoClient) -> None:
    """What is gone already counts as deleted, what never was does not."""
    for name in ("making", "unsorted", "hollow", "custom", "policies"):
        client.sequence_delete(name)
        assert not client.sequence_exists(name)
    client.sequence_delete("making")  # what is gone is deleted
    raises(fl.FlightServerError, lambda: client.sequence_delete("never-there"))
    assert client.list_sequences() == [MISSION]


def checks() -> Iterator[tuple[str, Callable[[MosaicoClient], None]]]:
    """Yield the checks in the order in which they are written."""
    for name, value in list(globals().items()):
        if name.startswith("check_"):
            yield name, value


def main() -> dict[str, str | None]:
    """Run the checks against the server; return what failed."""
    results: dict[str, str | None] = {}
    for name, check in checks():
        with MosaicoClient.connect(HOST, PORT) as client:
            try:
                check(client)
                results[name] = None
            except Exception:  # noqa: BLE001 - what failed is the result
                results[name] = traceback.format_exc()[-3000:]
    return results


if __name__ == "__main__":
    print(json.dumps(main()))
