"""The door of the Mosaico protocol, asked by a plain Flight client: what it refuses, keeps and lets go of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

import gapless
from gapless.catalog.state_database import StateDatabase
from gapless.serve.keys import make_key
from gapless.serve.limits import Limits
from gapless.serve.mosaico.door import Mosaico
from gapless.serve.mosaico.outgoing import TARGET_BYTES
from gapless.serve.rights import Right
from gapless.store.folder import FolderStore
from gapless.store.layout import Bundle

from .caller import SCHEMA, Caller, readings
from .conftest import Serve

DEADLINE_S = 60.0
ACTIONS = (
    "sequence_create", "sequence_delete", "session_create", "session_finalize", "session_delete",
    "topic_create", "topic_delete", "sequence_notification_create", "sequence_notification_list",
    "sequence_notification_purge", "topic_notification_create", "topic_notification_list",
    "topic_notification_purge", "query", "topic_filter_clusterize", "topic_filter_intersect",
)  # fmt: skip
ODD_NAMES = (
    "..", "../x", "/../../x", "a/../../b", "a/../b", "a//b", "seq/_events", "a:b", "\x00", "a\n", "@last",
    "con\ud800", "x" * 5000, "%2e%2e/x", "C:\\x",
)  # fmt: skip


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    give_up = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.02)


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff", b"{}", b'{"locator": 5}', b'{"locator": null}'])
def test_a_body_that_is_no_request_is_a_bad_argument(serve: Serve, body: bytes) -> None:
    """Whatever the action; an empty query alone means something."""
    caller = serve()
    for name in ACTIONS:
        if name != "query" or body not in (b"", b"{}"):
            with pytest.raises(pa.ArrowInvalid):
                caller.raw(name, body)
    assert caller.ask("query") == [{"items": []}]


def test_no_name_leads_out_of_the_store(serve: Serve, root: Path, tmp_path: Path) -> None:
    """Names that are no names are refused or simply not there; beside the store nothing appears."""
    caller = serve()
    caller.write("seq", readings(1))
    before = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_dir())
    for name in ODD_NAMES:
        for action in ACTIONS:
            with pytest.raises((pa.ArrowInvalid, flight.FlightServerError)) as caught:
                caller.ask(action, locator=name, msg="x", ontology={}, clustering_dt_ns=0, user_metadata={},
                           session_uuid="no", sequence={"name": 5}, topics=[{"locator": name}] * 2,
                           intersect_dt_ns=0)  # fmt: skip
            assert type(caught.value) in (pa.ArrowInvalid, flight.FlightServerError)
        with pytest.raises((pa.ArrowInvalid, flight.FlightServerError)):
            caller.info(name)
        with pytest.raises((pa.ArrowInvalid, flight.FlightServerError)):
            caller.info(f"seq/{name}")
    after = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_dir())
    assert after == before
    assert caller.names() == ["seq"]


@pytest.mark.parametrize(
    "query",
    [
        {"rows": {}},
        {"sequence": []},
        {"sequence": {"color": {"$eq": 1}}},
        {"sequence": {"name": {}}},
        {"sequence": {"name": {"$like": "x"}}},
        {"sequence": {"name": {"$match": ""}}},
        {"sequence": {"name": {"$match": 5}}},
        {"sequence": {"created_at_ns": {"$between": [5, 1]}}},
        {"sequence": {"user_metadata": {"a": 5}}},
        {"sequence": {"user_metadata": {"": {"$eq": 1}}}},
        {"ontology": {"IMU": {"$eq": 1}}},
        {"ontology": {"IMU.x": {"$eq": [1]}}},
        {"ontology": {"IMU.x": {"$lt": True}}},
        {"ontology": {".x": {"$eq": 1}}},
    ],
)
def test_a_query_that_means_nothing_is_a_bad_argument(serve: Serve, query: dict[str, Any]) -> None:
    """It is refused, not answered with nothing."""
    with pytest.raises(pa.ArrowInvalid):
        serve().ask("query", **query)


@pytest.mark.parametrize("window", [(5, 5), (6, 5), (2**63, None), ("1", None), (1.5, None)])
def test_a_window_that_is_none_is_a_bad_argument(serve: Serve, window: tuple[Any, Any]) -> None:
    """It ends after it starts, in whole nanoseconds."""
    caller = serve()
    caller.write("s", readings(1))
    sides = dict(zip(("timestamp_ns_start", "timestamp_ns_end"), window, strict=True))
    with pytest.raises(pa.ArrowInvalid):
        caller.info("s/t", **sides)


# -- rows ------------------------------------------------------------------------------------------


def test_rows_come_sorted_in_batches_of_bounded_size_and_never_empty(serve: Serve) -> None:
    """Empty batches may be sent; one that is read would end the SDK's stream."""
    caller = serve()
    session = caller.open("s")
    kind = pa.schema([SCHEMA.field(0), pa.field("data", pa.binary(), nullable=False)])
    uuid = caller.topic(session, "s/t", "Blob")
    big = pa.RecordBatch.from_pylist(
        [{"timestamp_ns": -n, "data": bytes(700_000)} for n in range(20)], schema=kind
    )
    caller.put("s/t", uuid, big.slice(0, 0), big, big.slice(20))
    caller.ask("session_finalize", session_uuid=session)
    found = caller.batches("s/t")
    assert [t for batch in found for t in batch.column(0).to_pylist()] == list(range(-19, 1))
    assert all(0 < batch.nbytes <= TARGET_BYTES for batch in found)
    assert caller.batches("s/t", timestamp_ns_start=1) == []


def test_windows_are_counted_exactly_also_while_the_sequence_is_open(serve: Serve) -> None:
    """Start included, end not."""
    caller = serve()
    session = caller.open("s")
    caller.put("s/t", caller.topic(session, "s/t"), readings(5, 1, 9, 5))
    for _ in range(2):
        _, [topic] = caller.told("s", timestamp_ns_start=5, timestamp_ns_end=9)
        assert topic["time_window_info"] == {"interval": {"start_ns": 5, "end_ns": 5}, "row_count": 2}
        assert topic["data_info"]["interval"] == {"start_ns": 1, "end_ns": 9}
        assert topic["data_info"]["total_row_count"] == 4
        _, [topic] = caller.told("s/t", timestamp_ns_start=6, timestamp_ns_end=8)
        assert topic["time_window_info"] == {"interval": None, "row_count": 0}
        assert caller.told("s/t")[1][0]["time_window_info"] is None
        assert caller.times("s/t", timestamp_ns_end=9) == [1, 5, 5]
        if session:
            caller.ask("session_finalize", session_uuid=session)
            session = ""


def test_what_is_uploaded_is_durable_when_the_stream_ends(serve: Serve, root: Path) -> None:
    """Another process of the same machine reads it before anything is committed."""
    caller = serve()
    session = caller.open("s")
    caller.put("s/t", caller.topic(session, "s/t"), readings(1, 2))
    with gapless.connect(root) as client:
        handler = client.sequence_handler("s")
        assert (handler.state, handler.topic("t").rows) == ("open", 2)


def test_an_upload_needs_the_uuid_of_its_topic(serve: Serve) -> None:
    """The uuid, and the locator that belongs to it."""
    caller = serve()
    session = caller.open("s")
    uuid = caller.topic(session, "s/t")
    caller.topic(session, "s/other")
    with pytest.raises(flight.FlightServerError, match="uuid"):
        caller.put("s/t", "no", readings(1))
    with pytest.raises(pa.ArrowInvalid, match="uuid"):
        caller.put("s/other", uuid, readings(1))
    caller.put("s/t", uuid, readings(1))


def test_what_does_not_fit_is_refused_and_what_came_before_stays(serve: Serve, root: Path) -> None:
    """Another schema, a batch too large, a null where none may be; the session is never complete then."""
    caller = serve(limits=Limits(max_batch_bytes=100_000))
    session = caller.open("s")
    uuid = caller.topic(session, "s/t")
    caller.put("s/t", uuid, readings(1))
    other = pa.schema([SCHEMA.field(0), pa.field("value", pa.int8())])
    with pytest.raises(pa.ArrowInvalid, match="other columns"):
        caller.put("s/t", uuid, pa.RecordBatch.from_pylist([{"timestamp_ns": 1, "value": 1}], schema=other))
    with pytest.raises(pa.ArrowInvalid, match="larger"):
        caller.put("s/t", uuid, readings(2), readings(*range(100_000)))
    lacking = readings(3).set_column(4, SCHEMA.field("value"), pa.nulls(1, pa.float64()))
    with pytest.raises(pa.ArrowInvalid, match="value"):
        caller.put("s/t", uuid, lacking)
    lowest = readings(-(2**63))
    with pytest.raises(pa.ArrowInvalid, match="64 bits"):
        caller.put("s/t", uuid, lowest)
    until(lambda: caller.times("s/t") == [1, 2])
    caller.ask("session_finalize", session_uuid=session)
    told, _ = caller.told("s")
    assert not told["sessions"][0]["locked"]
    with gapless.connect(root) as client:
        assert client.sequence_handler("s").state == "pending"
        client.seal("s")
        assert client.sequence_handler("s").outcome == "failed"


def test_a_null_deep_inside_a_list_does_not_forbid_the_seal(serve: Serve, root: Path) -> None:
    """Parquet holds no null under a required name; what a client calls required may be null for all that."""
    caller = serve()
    session = caller.open("s")
    point = pa.struct([pa.field("x", pa.int8(), nullable=False)])
    schema = pa.schema([SCHEMA.field(0), pa.field("points", pa.list_(point))])
    rows = [{"timestamp_ns": 1, "points": [None, {"x": 1}]}, {"timestamp_ns": 2, "points": None}]
    batch = pa.RecordBatch.from_pylist(rows, schema=schema)
    caller.put("s/t", caller.topic(session, "s/t", "Own"), batch)
    caller.ask("session_finalize", session_uuid=session)
    [found] = caller.batches("s/t")
    assert found.schema.equals(schema)
    assert found.to_pylist() == rows


# -- sessions --------------------------------------------------------------------------------------


def test_a_session_is_committed_once_and_not_while_a_stream_is_open(serve: Serve) -> None:
    """What is still on its way would be missing."""
    caller = serve()
    session = caller.open("s")
    uuid = caller.topic(session, "s/t")
    writer = caller.stream("s/t", uuid)
    writer.write_batch(readings(1))
    until(lambda: caller.told("s")[0]["sessions"][0]["topics"])
    with pytest.raises(flight.FlightServerError, match="still open"):
        caller.ask("session_finalize", session_uuid=session)
    writer.done_writing()
    writer.close()
    caller.ask("session_finalize", session_uuid=session)
    with pytest.raises(flight.FlightServerError, match="no open session"):
        caller.ask("session_finalize", session_uuid=session)
    assert caller.times("s/t") == [1]


def test_a_stream_that_is_cut_forbids_to_call_the_session_complete(serve: Serve, root: Path) -> None:
    """A client that is gone ends its stream like one that is done; only the commit after it could lie."""
    caller = serve()
    session = caller.open("s")
    writer = caller.stream("s/t", caller.topic(session, "s/t"), timeout_s=8.0)
    writer.write_batch(readings(1, 2))
    until(lambda: [topic["data_info"]["total_row_count"] for topic in caller.told("s")[1]] == [2])

    def ended() -> bool:
        try:
            caller.ask("session_finalize", session_uuid=session)
        except flight.FlightServerError as error:
            return "still open" not in str(error)
        return True

    until(ended)
    with pytest.raises((flight.FlightTimedOutError, flight.FlightCancelledError)):
        writer.close()
    told, [topic] = caller.told("s")
    assert not told["sessions"][0]["locked"]
    assert not topic["locked"]
    assert caller.times("s/t") == [1, 2]
    with gapless.connect(root) as client:
        handler = client.sequence_handler("s")
        assert handler.state == "pending"
        assert any("was cut" in notification.message for notification in handler.notifications())


def test_a_server_that_stops_lets_go_of_what_is_open(serve: Serve, root: Path) -> None:
    """Nothing is committed, everything is there, and the next owner recovers it as interrupted."""
    caller = serve()
    session = caller.open("s")
    caller.put("s/t", caller.topic(session, "s/t"), readings(*range(1000)))
    assert caller.server.stop(0.5)
    with gapless.connect(root) as client:
        handler = client.sequence_handler("s")
        assert (handler.state, handler.owner_alive) == ("open", False)
        client.recover("s")
        handler.reload()
        assert (handler.outcome, handler.topic("t").rows) == ("interrupted", 1000)


def test_a_quiet_client_keeps_its_session_and_one_that_has_gone_does_not(
    serve: Serve, root: Path, leases: threading.Event
) -> None:
    """Only a stream that was cut tells that a client has gone: it cannot take up what was let go of."""
    caller = serve(limits=Limits(lease_s=0.2))
    quiet, gone = caller.open("quiet"), caller.open("gone")
    cut = caller.stream("gone/t", caller.topic(gone, "gone/t"), timeout_s=5.0)
    cut.write_batch(readings(1))
    leases.set()
    with gapless.connect(root) as client:
        until(lambda: not client.sequence_handler("gone").owner_alive)
    with pytest.raises((flight.FlightTimedOutError, flight.FlightCancelledError)):
        cut.close()
    caller.put("quiet/t", caller.topic(quiet, "quiet/t"), readings(1, 2))
    caller.ask("session_finalize", session_uuid=quiet)
    assert caller.times("quiet/t") == [1, 2]


def test_a_session_without_a_client_is_let_go_of_after_the_lease(
    serve: Serve, root: Path, leases: threading.Event
) -> None:
    """An upload that goes on keeps it, however long it says nothing."""
    caller = serve(limits=Limits(lease_s=0.2, session_lease_s=0.2))
    session = caller.open("s")
    writer = caller.stream("s/t", caller.topic(session, "s/t"))
    writer.write_batch(readings(1))
    caller.open("forgotten")
    leases.set()
    with gapless.connect(root) as client:
        until(lambda: not client.sequence_handler("forgotten").owner_alive)
        assert client.sequence_handler("s").owner_alive
        writer.write_batch(readings(2))
        writer.done_writing()
        writer.close()
        until(lambda: not client.sequence_handler("s").owner_alive)
        assert client.sequence_handler("s").state == "open"
    assert caller.times("s/t") == [1, 2]
    with pytest.raises(flight.FlightServerError, match="no open session"):
        caller.ask("session_finalize", session_uuid=session)


def test_a_second_server_of_the_store_leaves_the_first_ones_sessions_alone(serve: Serve) -> None:
    """Sequences belong to who holds their lock."""
    first, second = serve(), serve()
    session = first.open("s")
    with pytest.raises(flight.FlightServerError, match="another process"):
        second.session("s")
    with pytest.raises(flight.FlightServerError):
        second.ask("sequence_delete", locator="s")
    with pytest.raises(pa.ArrowInvalid, match="exists"):
        second.open("s")
    first.ask("session_finalize", session_uuid=session)
    assert second.session("s")


def test_later_sessions_are_layers_and_are_deleted_alone(serve: Serve, root: Path) -> None:
    """The base never changes; a topic has one session."""
    caller = serve()
    caller.write("s", readings(1))
    late = caller.session("s")
    with pytest.raises(pa.ArrowInvalid, match="of that name"):
        caller.topic(late, "s/t")
    caller.put("s/u", caller.topic(late, "s/u"), readings(2))
    told, _ = caller.told("s")
    assert [(s["locked"], s["topics"]) for s in told["sessions"]] == [(True, ["s/t"]), (False, [])]
    caller.ask("session_finalize", session_uuid=late)
    told, _ = caller.told("s")
    assert [(s["locked"], s["topics"]) for s in told["sessions"]] == [(True, ["s/t"]), (True, ["s/u"])]
    with pytest.raises(flight.FlightServerError, match="later sessions"):
        caller.ask("session_delete", locator="s:base")
    caller.ask("session_delete", locator=told["sessions"][1]["locator"])
    assert [topic["resource_locator"] for topic in caller.told("s")[1]] == ["s/t"]
    caller.ask("session_delete", locator="s:base")
    assert caller.names() == []
    with gapless.connect(root) as client:
        assert [stone.get("layer") for stone in client.list_discarded()] == ["00001-session", None]


def test_a_sequence_is_not_deleted_under_a_layer_that_somebody_else_records(serve: Serve, root: Path) -> None:
    """And the sessions that this server has open go on."""
    caller = serve()
    caller.write("s", readings(1))
    session = caller.session("s")
    with gapless.connect(root) as client, client.sequence_update("s", "late") as layer:
        layer.log("v", 1.0)
        with pytest.raises(flight.FlightServerError, match="a live process"):
            caller.ask("sequence_delete", locator="s")
        caller.put("s/u", caller.topic(session, "s/u"), readings(2))
    caller.ask("session_finalize", session_uuid=session)
    caller.ask("sequence_delete", locator="s")
    assert caller.names() == []


def test_two_layers_at_one_time_may_not_have_one_topic(serve: Serve) -> None:
    """The second to ask is refused, also before the first has sent a row."""
    caller = serve()
    caller.write("s", readings(1))
    first, second = caller.session("s"), caller.session("s")
    caller.topic(first, "s/new")
    with pytest.raises(pa.ArrowInvalid, match="of that name"):
        caller.topic(second, "s/NEW")
    caller.topic(second, "s/other")


def test_a_topic_alone_is_deleted_only_before_it_was_written(serve: Serve) -> None:
    """The SDK asks for it where its upload could not begin."""
    caller = serve()
    session = caller.open("s")
    caller.topic(session, "s/t")
    caller.ask("topic_delete", locator="s/t")
    caller.put("s/t", caller.topic(session, "s/t"), readings(1))
    with pytest.raises(flight.FlightServerError, match="not deleted alone"):
        caller.ask("topic_delete", locator="s/t")
    caller.ask("session_finalize", session_uuid=session)
    with pytest.raises(flight.FlightServerError, match="not deleted alone"):
        caller.ask("topic_delete", locator="s/t")
    assert caller.times("s/t") == [1]


def test_only_so_many_sessions_are_open_at_one_time(serve: Serve) -> None:
    """One more is refused until another has ended."""
    caller = serve(limits=Limits(max_writers=2))
    first = caller.open("a")
    caller.open("b")
    with pytest.raises(flight.FlightUnavailableError):
        caller.open("c")
    caller.ask("session_finalize", session_uuid=first)
    caller.open("c")


# -- finding ---------------------------------------------------------------------------------------


def test_sequences_of_our_own_clients_are_there_too(serve: Serve, root: Path) -> None:
    """Except those whose names a locator cannot hold; rows without a type come as Unmodeled."""
    caller = serve()
    with gapless.connect(root) as client:
        for name in ("plain", "with/slash"):
            with client.sequence_create(name, {"a": {"b": 1}}) as seq:
                topic = seq.topic_create("p/q", schema=pa.schema([("f.x", pa.float64()), ("n", pa.int8())]))
                topic.push_row(1, 2.5, 3)
    assert caller.names() == ["plain"]
    _, [topic_told] = caller.told("plain")
    assert topic_told["ontology_tag"] == "Unmodeled"
    [batch] = caller.batches("plain/p/q")
    assert batch.to_pylist() == [{"timestamp_ns": 1, "f": {"x": 2.5}, "n": 3}]
    found = caller.ask("query", ontology={"Unmodeled.f.x": {"$gt": 2}})
    assert found == [
        {"items": [{"sequence": "plain", "topics": [{"locator": "plain/p/q", "ontology_tag": "Unmodeled"}]}]}
    ]
    assert caller.ask("query", topic={"ontology_tag": {"$eq": "Unmodeled"}}) == found


def test_a_topic_that_a_layer_of_ours_goes_on_with_is_one_topic(serve: Serve, root: Path) -> None:
    """It is the first session's, with the rows of both."""
    caller = serve()
    with gapless.connect(root) as client:
        schema = pa.schema([("v", pa.int64())])
        with client.sequence_create("s") as seq:
            seq.topic_create("t", schema=schema).push_columns([1, 5], {"v": [1, 5]})
        with client.sequence_update("s", "late") as seq:
            seq.topic_create("t", schema=schema).push_columns([3], {"v": [3]})
            seq.topic_create("u", schema=schema).push_columns([4], {"v": [4]})
    told, _ = caller.told("s")
    assert [(s["locator"], s["topics"]) for s in told["sessions"]] == [
        ("s:base", ["s/t"]),
        ("s:00001-late", ["s/u"]),
    ]
    assert caller.times("s/t") == [1, 3, 5]


@pytest.mark.parametrize(
    ("path", "matches"),
    [("vehicle.id", True), ("*.id", True), ("**.id", True), ("**", True), ("*", False), ("*.x", False)],
)
def test_paths_of_metadata_may_have_stars(serve: Serve, path: str, *, matches: bool) -> None:
    """One star is one key, two are any number."""
    caller = serve()
    caller.write("s", readings(1), vehicle={"id": "v1"})
    [found] = caller.ask("query", sequence={"user_metadata": {path: {"$eq": "v1"}}})
    assert bool(found["items"]) is matches


def test_several_operators_on_one_key_all_hold(serve: Serve) -> None:
    """The SDK sends one, the protocol has room for more."""
    caller = serve()
    caller.write("s", readings(1, 5, 9))
    for low, high, rows in ((4, 6, 1), (6, 8, 0)):
        [found] = caller.ask("query", ontology={"Temperature.value": {"$gt": low, "$lt": high}})
        assert len(found["items"]) == rows


def test_reports_about_a_sealed_sequence_outlive_the_server_and_not_the_sequence(serve: Serve) -> None:
    """They are rows of state.db; a new sequence of the name starts without any."""
    first = serve()
    first.write("s", readings(1))
    first.ask("sequence_notification_create", locator="s", notification_type="error", msg="late")
    first.ask("topic_notification_create", locator="s/t", notification_type="error", msg="of t")
    second = serve()
    [[late]] = [answer["notifications"] for answer in second.ask("sequence_notification_list", locator="s")]
    assert (late["name"], late["msg"], late["notification_type"]) == ("s", "late", "error")
    [[of_topic]] = [a["notifications"] for a in second.ask("topic_notification_list", locator="s/t")]
    assert (of_topic["name"], of_topic["msg"]) == ("s/t", "of t")
    second.ask("sequence_delete", locator="s")
    second.write("s", readings(1))
    assert second.ask("sequence_notification_list", locator="s") == [{"notifications": []}]


# -- rights ----------------------------------------------------------------------------------------


def test_each_right_opens_its_actions_and_acts_are_audited(serve: Serve, root: Path) -> None:
    """A reader changes nothing; what is changed is written down with the key."""
    caller = serve()
    with StateDatabase(root) as database:
        tokens = {right: make_key(database, right)[1] for right in Right}
        until(lambda: caller.server.asks_for_keys)
        reader, writer, deleter = (
            Caller(caller.server, tokens[r]) for r in (Right.READ, Right.WRITE, Right.DELETE)
        )
        with pytest.raises(flight.FlightUnauthenticatedError):
            caller.names()
        with pytest.raises(flight.FlightUnauthorizedError):
            reader.open("s")
        session = writer.open("s")
        uuid = writer.topic(session, "s/t")
        with pytest.raises(flight.FlightUnauthorizedError):
            reader.put("s/t", uuid, readings(1))
        with pytest.raises(flight.FlightUnauthorizedError):
            reader.ask("session_finalize", session_uuid=session)
        writer.put("s/t", uuid, readings(1))
        writer.ask("session_finalize", session_uuid=session)
        assert reader.times("s/t") == [1]
        with pytest.raises(flight.FlightUnauthorizedError):
            writer.ask("sequence_delete", locator="s")
        deleter.ask("sequence_delete", locator="s")
        acts = database.rows("SELECT verb, what, outcome FROM audit ORDER BY row_id")
    assert ("write", "s", "E972") in acts
    assert ("write", "s:base", "done") in acts
    assert acts[-1] == ("delete", "s", "done")
    for one in (reader, writer, deleter):
        one.close()


def test_the_door_takes_commands_that_name_a_resource() -> None:
    """All others are of other doors."""
    assert Mosaico.takes(None, {"resource_locator": "s"})  # type: ignore[arg-type]
    assert not Mosaico.takes(None, {"gapless": "scan"})  # type: ignore[arg-type]


def test_a_disk_that_hangs_for_one_sequence_holds_up_no_other(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is begun takes a place, and the others go on."""
    caller = serve(limits=Limits(max_writers=2))
    reserve, hung, on = FolderStore.reserve, threading.Event(), threading.Event()

    def late(store: FolderStore, name: str) -> Bundle:
        if name == "slow":
            hung.set()
            assert on.wait(60)
        return reserve(store, name)

    monkeypatch.setattr(FolderStore, "reserve", late)
    other = Caller(caller.server)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(other.open, "slow")
        try:
            assert hung.wait(60)
            session = caller.open("quick")
            with pytest.raises(flight.FlightUnavailableError, match="found 2 open"):
                caller.open("third")
            caller.put("quick/t", caller.topic(session, "quick/t"), readings(1))
            caller.ask("session_finalize", session_uuid=session)
        finally:
            on.set()
        assert slow.result(60)
    other.close()
