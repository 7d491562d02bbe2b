"""The door for writing, spoken to by plain Flight clients: what is accepted is there once, nothing else is sealed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight
from tests.crash.small_bundle import gap_rows
from tests.serve.native.raw_writer import SCHEMA, RawWriter, chunk, declaration, misnamed, rows, typed

from gapless.catalog.state_database import StateDatabase
from gapless.client.client import connect
from gapless.client.remote import protocol
from gapless.errors import (
    GaplessError,
    MetadataRefused,
    NameRefused,
    NameTaken,
    NotFound,
    RecordTooLarge,
    SchemaRefused,
    ServingFailed,
    StateError,
    UsageError,
    ValueRefused,
)
from gapless.model.outcome import Outcome
from gapless.serve.keys import make_key
from gapless.serve.limits import Limits
from gapless.serve.native import writing_exchange
from gapless.serve.native.writing import NativeWriting
from gapless.serve.rights import Right
from gapless.serve.server import Server
from gapless.store.handover import Command
from gapless.store.layout import Bundle
from gapless.store.reader import open_bundle
from gapless.store.reserved import EVENTS
from gapless.store.verify import verify


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of an empty store."""
    running = Server(tmp_path / "store", "127.0.0.1", 0, doors=[NativeWriting])
    running.start()
    yield running
    running.stop(0.1)


@pytest.fixture
def writer(server: Server) -> Iterator[RawWriter]:
    """A client that has opened a sequence and declared a topic."""
    with RawWriter(server.url) as found:
        found.open()
        found.topic()
        yield found


def bundle(server: Server, name: str = "run") -> Bundle:
    """Return the bundle of a sequence."""
    return Bundle(server.served.root / "sequences" / name)


def numbers(server: Server, name: str = "run", topic: str = "t") -> list[int]:
    """Return what identifies the stored rows, in order."""
    found: list[int] = open_bundle(bundle(server, name).path).topic(topic).to_arrow()["n"].to_pylist()
    return found


def test_rows_notes_and_files_are_stored_as_if_they_had_been_written_here(
    server: Server, tmp_path: Path
) -> None:
    """The same rows, gap and file give the same identity by the network and by the client of a folder."""
    data = b"calibration" * 1000
    with RawWriter(server.url, metadata={"m": 1}, group="g") as writer:
        assert writer.open(window_ms=20) == {"state": "open", "topics": {}, "notes": 0}
        assert writer.topic() == 0
        lane = writer.lane()
        assert lane.next_seq == 0
        lane.push(0, 100)
        lane.push(100, 1000)
        lane.say(first_seq=1000, drop=7, cause="drop_oldest")
        lane.push(1007, 1100)
        assert lane.finish() == 1100
        assert writer.note(0) == 1
        writer.upload("cal.txt", data, hashlib.sha256(data).hexdigest(), 1, chunk_bytes=1000)
        answer = writer.end({"t": 1100}, notes=2, metadata={"learned": True})
        again = writer.end({"t": 1100}, notes=2)
    assert answer == again
    assert answer["outcome"] == "completed"
    assert verify(bundle(server).path, deep=True) == []
    assert numbers(server) == [*range(1000), *range(1007, 1100)]
    source = tmp_path / "cal.txt"
    source.write_bytes(data)
    with connect(tmp_path / "local") as client:
        with client.sequence_create("run", {"m": 1}, group="g") as seq:
            topic = seq.topic_create("t", {"x": 1}, schema=SCHEMA)
            topic.push_batch(rows(0, 1000))
            topic._lane.drop(7, "drop_oldest")
            topic.push_batch(rows(1007, 1100))
            topic.gap(3, "pause", start_ns=5)
            seq.add_artifact(source, "cal.txt", "text/plain")
            seq.end(Outcome.COMPLETED, metadata={"learned": True})
        assert seq.content_digest == answer["content_digest"]


def test_accepted_is_told_without_being_asked_and_when_asked(writer: RawWriter) -> None:
    """After each sync, and at once when nothing waits for one."""
    lane = writer.lane()
    lane.push(0, 10)
    lane.wait(10)
    lane.push(10, 20)
    lane.sync(20)
    lane.say(sync=True)
    assert lane.finish() == 20


def test_rows_that_are_here_are_passed_over(server: Server, writer: RawWriter) -> None:
    """A client that sends again what was taken makes no duplicate, wherever the batches begin."""
    lane = writer.lane()
    lane.push(0, 50)
    lane.push(20, 70)
    lane.push(10, 30)
    lane.say(first_seq=65, drop=10, cause="drop_oldest")
    lane.push(60, 80)
    assert lane.finish() == 80
    writer.end({"t": 80})
    assert numbers(server) == [*range(70), *range(75, 80)]


def test_a_hole_is_refused_and_nothing_of_it_is_taken(server: Server, writer: RawWriter) -> None:
    """The exchange ends with StateError; the next one goes on at the row that is missing."""
    lane = writer.lane()
    lane.push(0, 5)
    lane.push(6, 9)
    assert isinstance(lane.refused(), StateError)
    lane = writer.lane()
    assert lane.next_seq == 5
    lane.push(5, 9)
    lane.finish()
    writer.end({"t": 9})
    assert numbers(server) == list(range(9))


def test_a_new_exchange_takes_the_topic_over(server: Server, writer: RawWriter) -> None:
    """The old one pushes nothing more, and each row is there once."""
    old = writer.lane()
    old.push(0, 10)
    old.sync(10)
    new = writer.lane()
    assert new.next_seq == 10
    old.push(10, 20)
    assert isinstance(old.refused(), StateError)
    new.push(10, 30)
    new.finish()
    writer.end({"t": 30})
    assert numbers(server) == list(range(30))


def test_a_client_that_is_cut_off_goes_on(server: Server, writer: RawWriter) -> None:
    """Another connection finds what was taken; open tells the same."""
    lane = writer.lane()
    lane.push(0, 10)
    lane.sync(10)
    lane.cut()
    writer.close()
    writer.connect(server.url)
    known = writer.open()
    assert known["state"] == "open"
    assert known["topics"]["t"]["next_seq"] == 10
    assert writer.topic() == 10
    lane = writer.lane()
    lane.push(10, 12)
    lane.finish()
    writer.end({"t": 12})
    assert numbers(server) == list(range(12))


def test_an_end_before_everything_is_here_seals_nothing(server: Server, writer: RawWriter) -> None:
    """Fewer rows, fewer notes, another topic: StateError, and the sequence stays open."""
    lane = writer.lane()
    lane.push(0, 10)
    lane.finish()
    for topics, notes in (({"t": 11}, 0), ({"t": 10, "u": 1}, 0), ({"t": 10}, 1), ({}, 0), ({"t": 9}, 0)):
        with pytest.raises(StateError):
            writer.end(topics, notes)
    assert not bundle(server).manifest.exists()
    assert writer.open()["state"] == "open"
    assert writer.end({"t": 10})["outcome"] == "completed"


def test_open_tells_what_became_of_a_recording(server: Server) -> None:
    """Sealed, pending and discarded acts are known by their uid; another uid finds the name taken or free."""
    with RawWriter(server.url, "sealed") as writer:
        writer.open()
        writer.topic()
        digest = writer.end({"t": 0})["content_digest"]
        known = writer.open()
        assert (known["state"], known["content_digest"]) == ("sealed", digest)
    with RawWriter(server.url, "kept") as writer:
        writer.open()
        note = {"severity": "error", "message": "boom", "timestamp_ns": 7, "source": ""}
        assert writer.action(protocol.KEEP, text="boom", notifications=[note]) == {"state": "pending"}
        assert writer.action(protocol.KEEP, text="boom")["state"] == "pending"
        assert writer.open()["state"] == "pending"
    with RawWriter(server.url, "gone") as writer:
        writer.open()
        words = {"error": "boom", "rows": {"t": 3}, "name": "other"}
        assert writer.action(protocol.DISCARD, tombstone=words) == {"state": "discarded"}
        assert writer.action(protocol.DISCARD, tombstone=words) == {"state": "discarded"}
        assert writer.open()["state"] == "discarded"
        (left,) = server.served.client.list_discarded()
        assert (left["name"], left["error"], left["uid"]) == ("gone", "boom", writer.uid)
    for name in ("sealed", "kept"):
        with RawWriter(server.url, name) as other, pytest.raises(NameTaken):
            other.open()
    with RawWriter(server.url, "gone") as other:
        assert other.open()["state"] == "open"


def test_two_writers_do_not_share_a_name(server: Server, writer: RawWriter) -> None:
    """Another uid is refused while the first one writes, and so is another case of the name."""
    for name in ("run", "Run"):
        with RawWriter(server.url, name) as other, pytest.raises(NameTaken):
            other.open()
    assert writer.open()["state"] == "open"


def test_notes_are_taken_exactly_once(server: Server, writer: RawWriter) -> None:
    """One that is here is passed over; a hole before it, or another note's number, is refused."""
    assert writer.note(0) == 1
    assert writer.note(0) == 1
    with pytest.raises(StateError):
        writer.note(2)
    with pytest.raises(StateError):
        writer.note(0, "another")
    assert writer.note(1) == 2
    uri = {"name": "f", "media_type": "a/b", "uri": "s3://b/f"}
    assert writer.action(protocol.NOTE, n=2, kind="artifact", document=uri)["notes"] == 3
    writer.end({"t": 0}, notes=3)
    assert [row["cause"] for row in gap_rows(open_bundle(bundle(server).path))] == ["pause", "pause"]


def test_reserved_topics_travel_as_topics(server: Server, writer: RawWriter) -> None:
    """Events are rows of ``_events`` with the columns that it has everywhere."""
    assert writer.topic("_events", schema=EVENTS) == 0
    lane = writer.lane("_events", EVENTS)
    words = [[5], ["info"], ["notification"], [""], ["hello"], [None]]
    batch = pa.record_batch(
        [pa.array(value, column.type) for value, column in zip(words, EVENTS, strict=True)], schema=EVENTS
    )
    lane.send(batch, first_seq=0)
    lane.finish()
    with pytest.raises(SchemaRefused):
        writer.topic("_quarantine", schema=SCHEMA)
    with pytest.raises(NameRefused):
        writer.topic("_health", schema=SCHEMA)
    writer.end({"t": 0, "_events": 1})
    assert open_bundle(bundle(server).path).topic("_events").to_arrow()["message"].to_pylist() == ["hello"]


def test_a_producer_may_number_its_rows(server: Server, writer: RawWriter) -> None:
    """``_seq`` travels last; its holes are gaps of the sealed sequence."""
    writer.topic("p", producer_seq=True)
    stored = SCHEMA.append(pa.field("_seq", pa.int64(), nullable=False))
    batch = rows(0, 4).append_column("_seq", pa.array([0, 1, 5, 6], pa.int64()))
    lane = writer.lane("p", stored)
    lane.send(pa.RecordBatch.from_arrays(batch.columns, schema=stored), first_seq=0)
    lane.finish()
    writer.end({"t": 0, "p": 4})
    (row,) = gap_rows(open_bundle(bundle(server).path))
    assert (row["topic"], row["first_seq"], row["count"], row["cause"]) == ("p", 2, 3, "producer_seq")


def test_large_batches_are_cut_into_frames(server: Server, writer: RawWriter) -> None:
    """A batch of many row groups arrives whole, in order."""
    lane = writer.lane()
    lane.push(0, 200_000)
    assert lane.finish() == 200_000
    writer.end({"t": 200_000})
    assert numbers(server) == list(range(200_000))


def test_a_layer_is_written_like_a_sequence(server: Server, writer: RawWriter) -> None:
    """On a sealed base, with the base's columns; found again by its uid."""
    with RawWriter(server.url, "more", layer_of="run") as early, pytest.raises(StateError):
        early.open()
    writer.end({"t": 0})
    with RawWriter(server.url, "more", layer_of="run") as layer:
        assert layer.open()["state"] == "open"
        with pytest.raises(SchemaRefused):
            layer.topic(schema=SCHEMA.remove(2))
        with pytest.raises(NameTaken):
            layer.topic("T")
        layer.topic()
        lane = layer.lane()
        lane.push(0, 3)
        lane.finish()
        layer.end({"t": 3})
        assert layer.open()["state"] == "sealed"
    found = server.served.client.sequence_handler("run").reader.topic("t").to_arrow()
    assert found["n"].to_pylist() == [0, 1, 2]
    with RawWriter(server.url, "gone", layer_of="run") as layer:
        layer.open()
        for _ in range(2):
            answer = layer.action(protocol.DISCARD, layer_of="run", tombstone={"error": "boom"})
            assert answer == {"state": "discarded"}
        assert layer.open()["state"] == "discarded"
    with RawWriter(server.url, "more", layer_of="none") as other, pytest.raises(NotFound):
        other.open()


@pytest.mark.parametrize("is_sealed", [True, False])
def test_a_topic_of_another_layer_takes_only_the_same_columns(
    server: Server, writer: RawWriter, is_sealed: bool
) -> None:
    """Also of one that began or ended since this one began, or was taken up again; what fits is taken."""
    writer.end({"t": 0})
    other = SCHEMA.remove(2)
    with (
        RawWriter(server.url, "bob", layer_of="run") as two,
        RawWriter(server.url, "ada", layer_of="run") as one,
    ):
        two.open()
        one.open()
        one.topic("note")
        lane = one.lane("note")
        lane.push(0, 2)
        assert lane.finish() == 2
        if is_sealed:
            one.end({"note": 2})
        for name, refusal in (("note", SchemaRefused), ("Note", NameTaken)):
            with pytest.raises(refusal):
                two.topic(name, schema=other)
        let_go_of(server, "bob")
        two.open()
        with pytest.raises(SchemaRefused):
            two.topic("note", schema=other)
        two.topic("note")
        two.end({"note": 0})
        if not is_sealed:
            one.end({"note": 2})
    found = server.served.client.sequence_handler("run").reader.topic("note").to_arrow()
    assert found["n"].to_pylist() == [0, 1]


def let_go_of(server: Server, name: str) -> None:
    """Let the server forget an open sequence, as after a minute without its client."""
    (table,) = [door._table for door in server._doors if isinstance(door, NativeWriting)]
    (found,) = [sequence for sequence in table._open.values() if sequence.name == name]
    table.forget(found)


def test_a_key_of_the_group_is_told_twice_that_its_layer_is_discarded(server: Server) -> None:
    """The tombstone of a layer belongs to the group of the sequence."""
    with StateDatabase(server.served.root) as database:
        _, token = make_key(database, Right.WRITE, groups=["g"])
    with RawWriter(server.url, token=token, group="g") as base:
        base.open()
        base.end({})
    with RawWriter(server.url, "gone", token=token, layer_of="run") as layer:
        layer.open()
        for _ in range(2):
            answer = layer.action(protocol.DISCARD, layer_of="run", tombstone={"error": "boom"})
            assert answer == {"state": "discarded"}
    assert [stone["group"] for stone in server.served.client.list_discarded()] == ["g"]


def test_asking_for_a_sync_costs_one_where_there_is_something_new(
    server: Server, writer: RawWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question is answered; the disk is asked once for the same rows."""
    asked: list[Command] = []

    def ask(kind: str) -> Command:
        asked.append(Command(kind))
        return asked[-1]

    monkeypatch.setattr(writing_exchange, "Command", ask)
    lane = writer.lane()
    for first in (0, 10):
        lane.push(first, first + 10)
        for _ in range(100):
            lane.sync(first + 10)
            lane.say(sync=True)
    assert lane.finish() == 20
    assert len(asked) == 2


# -- what is refused ---------------------------------------------------------------------------


def cases() -> Iterator[tuple[pa.RecordBatch, type[GaplessError]]]:
    """Yield batches that a topic does not take, and the error of each."""
    good = rows(0, 3)
    yield good.drop_columns(["text"]), SchemaRefused
    yield good.set_column(1, "n", pa.array([1, 2, 3], pa.int32())), SchemaRefused
    yield good.rename_columns(["timestamp_ns", "m", "text"]), SchemaRefused
    nulls = [pa.array([1, None, 3], pa.int64()), good["n"], good["text"]]
    yield pa.RecordBatch.from_arrays(nulls, schema=SCHEMA), ValueRefused
    least = [pa.array([-(2**63)] * 3, pa.int64()), good["n"], good["text"]]
    yield pa.RecordBatch.from_arrays(least, schema=SCHEMA), ValueRefused
    offsets = pa.py_buffer(pa.array([0, 5, 2, 9], pa.int32()).buffers()[1])
    torn = pa.StringArray.from_buffers(3, offsets, pa.py_buffer(b"abcdefghi"))
    yield pa.RecordBatch.from_arrays([good[0], good["n"], torn], schema=SCHEMA), ValueRefused


@pytest.mark.parametrize(("batch", "kind"), list(cases()))
def test_a_batch_that_does_not_fit_is_refused_whole(
    server: Server, writer: RawWriter, batch: pa.RecordBatch, kind: type[GaplessError]
) -> None:
    """A typed error ends the exchange; another writer and the rows before are unharmed."""
    with RawWriter(server.url, "other") as other:
        other.open()
        other.topic()
        beside = other.lane()
        beside.push(0, 5)
        lane = writer.lane()
        lane.push(0, 2)
        lane.sync(2)
        bad = writer.lane(schema=batch.schema)
        bad.send(batch, first_seq=2)
        assert isinstance(bad.refused(), kind)
        lane = writer.lane()
        assert lane.next_seq == 2
        lane.push(2, 4)
        lane.finish()
        beside.push(5, 9)
        beside.finish()
        other.end({"t": 9})
        writer.end({"t": 4})
    assert numbers(server) == list(range(4))
    assert numbers(server, "other") == list(range(9))


def test_nulls_inside_values_are_refused_where_they_may_not_be(server: Server, writer: RawWriter) -> None:
    """What would make the sequence unsealable is not taken."""
    kind = pa.list_(pa.field("item", pa.int64(), nullable=False))
    schema = pa.schema([SCHEMA.field(0), pa.field("x", kind)])
    writer.topic("lists", schema=schema)
    torn = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), pa.array([None], pa.int64()), type=kind)
    lane = writer.lane("lists", schema)
    lane.send(pa.record_batch([pa.array([1]), pa.array([[1]], kind)], schema=schema), first_seq=0)
    lane.send(pa.record_batch([pa.array([1]), torn], schema=schema), first_seq=1)
    assert isinstance(lane.refused(), ValueRefused)
    assert writer.end({"t": 0, "lists": 1})["outcome"] == "completed"


def test_a_batch_above_the_limit_is_refused(tmp_path: Path) -> None:
    """RecordTooLarge, whatever the topic."""
    limits = Limits(max_batch_bytes=1000)
    with (
        Server(tmp_path / "store", "127.0.0.1", 0, limits=limits, doors=[NativeWriting]) as running,
        RawWriter(running.url) as writer,
    ):
        writer.open()
        writer.topic()
        lane = writer.lane()
        lane.push(0, 5000)
        assert isinstance(lane.refused(), RecordTooLarge)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ({"drop": 3, "cause": "x"}, UsageError),
        ({"first_seq": 0, "drop": 0, "cause": "x"}, UsageError),
        ({"first_seq": 0, "drop": 2**40, "cause": "x"}, UsageError),
        ({"first_seq": 0, "drop": 1, "cause": "a\nb"}, UsageError),
        ({"first_seq": "a", "drop": 1, "cause": "x"}, UsageError),
        ({"first_seq": 1, "drop": 1, "cause": "x"}, StateError),
    ],
)
def test_words_that_mean_nothing_end_the_exchange(
    writer: RawWriter, words: dict[str, Any], kind: type[GaplessError]
) -> None:
    """A typed error, and the topic is as it was."""
    lane = writer.lane()
    lane.say(**words)
    assert isinstance(lane.refused(), kind)
    assert writer.lane().next_seq == 0


def test_requests_that_mean_nothing_are_refused(server: Server, writer: RawWriter) -> None:
    """Each with the error that says why; the sequence is as it was."""
    refused: list[tuple[str, dict[str, Any], type[GaplessError]]] = [
        (protocol.OPEN, {"uid": "../../x"}, UsageError),
        (protocol.OPEN, {"uid": 5}, UsageError),
        (protocol.OPEN, {"name": 5}, UsageError),
        (protocol.OPEN, {"name": "a\0b", "uid": "b" * 32}, NameRefused),
        (protocol.OPEN, {"name": "new", "uid": "b" * 32, "metadata": [1]}, MetadataRefused),
        (protocol.OPEN, {"name": "new", "uid": "b" * 32, "window_ms": 0}, UsageError),
        (protocol.OPEN, {"name": "new", "uid": "b" * 32, "group": 5}, UsageError),
        (protocol.OPEN, {"name": "other"}, NameTaken),
        (protocol.TOPIC, {"uid": "c" * 32, "declaration": declaration("u")}, ServingFailed),
        (protocol.TOPIC, {"declaration": None}, UsageError),
        (protocol.TOPIC, {"declaration": {}}, UsageError),
        (protocol.TOPIC, {"declaration": declaration("u") | {"schema": "AAAA"}}, UsageError),
        (protocol.TOPIC, {"declaration": declaration("u") | {"schema": 5}}, UsageError),
        (protocol.TOPIC, {"declaration": declaration("u") | {"name": 5}}, UsageError),
        (protocol.TOPIC, {"declaration": declaration("u") | {"metadata": 5}}, MetadataRefused),
        (protocol.TOPIC, {"declaration": declaration("_x")}, NameRefused),
        (protocol.TOPIC, {"declaration": declaration("T")}, NameTaken),
        (protocol.TOPIC, {"declaration": declaration("t", SCHEMA.remove(2))}, SchemaRefused),
        (protocol.NOTE, {"n": 0, "kind": "x", "document": {}}, UsageError),
        (protocol.NOTE, {"n": 0, "kind": "gap", "document": {"cause": "x"}}, UsageError),
        (protocol.NOTE, {"n": 0, "kind": "artifact", "document": {"name": "x", "path": "/etc"}}, UsageError),
        (protocol.END, {"outcome": "x", "topics": {"t": 0}, "notes": 0}, UsageError),
        (protocol.END, {"outcome": "completed", "topics": 5, "notes": 0}, UsageError),
        (protocol.END, {"uid": "c" * 32, "outcome": "completed"}, NameTaken),
        (protocol.END, {"name": "none", "uid": "c" * 32, "outcome": "completed"}, NotFound),
        (protocol.KEEP, {"text": 5}, UsageError),
        (protocol.KEEP, {"text": "x", "notifications": [5]}, MetadataRefused),
        (protocol.DISCARD, {"tombstone": 5}, MetadataRefused),
    ]
    for name, words, kind in refused:
        with pytest.raises(kind):
            writer.action(name, **words)
    assert writer.open() == {
        "state": "open",
        "topics": {"t": {"next_seq": 0, "declaration": declaration("t")}},
        "notes": 0,
    }
    assert sorted(p.name for p in (server.served.root / "sequences").iterdir()) == ["run"]


def test_a_lane_of_an_unknown_topic_is_refused(writer: RawWriter) -> None:
    """NotFound, and ServingFailed for a sequence that is not open here."""
    with pytest.raises(NotFound):
        writer.lane("u")
    writer.uid = "d" * 32
    with pytest.raises(ServingFailed):
        writer.lane("t")


# -- files -------------------------------------------------------------------------------------


def test_a_file_is_there_whole_or_not_at_all(server: Server, writer: RawWriter) -> None:
    """Other bytes, a cut connection, a name twice: nothing of it stays, and the number is free."""
    data = b"x" * 3_000_000
    digest = hashlib.sha256(data).hexdigest()
    with pytest.raises(ValueRefused):
        writer.upload("f", data[:-1], digest, 0)
    with pytest.raises(StateError):
        writer.upload("f", data, digest, 1)
    with pytest.raises(UsageError):
        writer.upload("f", data, "abc", 0)
    with RawWriter(server.url) as dying:
        dying.uid = writer.uid
        stream = dying.begin_upload("f", digest, 0)
        stream.write_batch(chunk(data[:1000]))
        del stream
    assert writer.note(0) == 1
    assert not [p for p in bundle(server).artifacts.iterdir() if not p.name.endswith(".upload")]
    writer.upload("f", data, digest, 1)
    writer.upload("f", data, digest, 1)
    with pytest.raises(NameTaken):
        writer.upload("F", data, digest, 2)
    with pytest.raises(StateError):
        writer.upload("g", data, digest, 1)
    manifest = writer.end({"t": 0}, notes=2)["manifest"]
    assert list(manifest["content"]["artifacts"]) == ["f"]
    assert (bundle(server).artifacts / "f").read_bytes() == data


@pytest.mark.parametrize("columns", [1, 2])
def test_a_column_whose_name_is_no_text_is_the_clients_fault(writer: RawWriter, columns: int) -> None:
    """It is refused as such, not told as a fault of the server."""
    names = [f"column{number}" for number in range(columns)]
    bad = misnamed(pa.record_batch([pa.array([b"x"])] * columns, names=names), "column0")
    stream = writer.begin_upload("f", hashlib.sha256(b"x").hexdigest(), 0, bad.schema)
    stream.write_batch(bad)
    with pytest.raises(flight.FlightServerError) as caught:
        stream.close()
    with pytest.raises(UsageError, match="one binary column"):
        raise typed(caught.value)


def test_a_file_never_leaves_its_folder(server: Server, writer: RawWriter) -> None:
    """A name that looks like a path is one file name."""
    data = b"x"
    digest = hashlib.sha256(data).hexdigest()
    writer.upload("../../evil", data, digest, 0)
    writer.end({"t": 0}, notes=1)
    outside = [p for p in server.served.root.rglob("*evil*") if p.parent != bundle(server).artifacts]
    assert outside == []
    assert (
        json.loads(bundle(server).manifest.read_bytes())["content"]["artifacts"]["../../evil"]["bytes"] == 1
    )


@pytest.mark.parametrize(
    "ontology",
    [{"tag": ["a"], "version": 1, "fingerprint": ""}, {"tag": None, "version": True, "fingerprint": ""},
     {"tag": "A", "version": 1, "fingerprint": 3}, [], None],
)  # fmt: skip
def test_a_type_that_no_catalog_could_keep_is_refused(
    server: Server, tmp_path: Path, ontology: object
) -> None:
    """Else the sequence could be sealed and never be found."""
    with RawWriter(server.url) as writer:
        writer.open()
        words = declaration("t") | {"ontology": ontology}
        with pytest.raises(SchemaRefused):
            writer.action(protocol.TOPIC, declaration=words, on_full="block")
        writer.topic()
        writer.end({"t": 0})
    with connect(tmp_path / "store") as client:
        assert client.list_sequences() == ["run"]
