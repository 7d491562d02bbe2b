"""Writing to a server as one writes to a folder: rows, notes, files, ends and refusals."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.client.remote.write_server import (
    NUMBERS,
    TEXTS,
    assert_counted,
    stored,
    uplink_threads,
    wait_for,
)

import gapless
from gapless import IMU, Image, Message, OnErrorPolicy, TopicErrorPolicy, Vector3d
from gapless.cli.main import main
from gapless.errors import (
    NameTaken,
    NotFound,
    RecordingFailed,
    RecordTooLarge,
    SchemaRefused,
    StateError,
    Unreachable,
    UsageError,
    WriterClosed,
    WrongProcess,
    WrongThread,
)
from gapless.serve.server import Server


def test_rows_of_every_kind_arrive_once_and_in_order(served: Server, root: Path) -> None:
    """Single rows, text, blocks and the producer's own numbers, from several topics at one time."""
    with gapless.connect(served.url, flush_ms=20) as client:
        with client.sequence_create("lab/walk", {"subject": 7}) as seq:
            numbers = seq.topic_create("numbers", {"rate": 100}, schema=NUMBERS)
            texts = seq.topic_create("texts", schema=TEXTS)
            counted = seq.topic_create("counted", schema=NUMBERS, producer_seq=True)
            for n in range(20_000):
                numbers.push_row(n, n / 2, n)
                if n % 100 == 0:
                    texts.push_row(n, f"row {n}")
            numbers.push_columns(
                np.arange(20_000, 90_000), {"x": np.zeros(70_000), "n": np.arange(20_000, 90_000)}
            )
            counted.push_row(1, 5, 0.0, 0)
            counted.push_row(2, 7, 0.0, 1)
            seq.flush()
            assert numbers.durable_rows == numbers.accepted_rows == 90_000
            assert seq.progress.idle
        digest = seq.content_digest
    with gapless.connect(root) as local:
        handler = local.sequence_handler("lab/walk")
        assert handler.state == "sealed"
        assert handler.outcome == "completed"
        assert handler.metadata == {"subject": 7}
        assert handler.topic("numbers").metadata == {"rate": 100}
        assert handler.content_digest == digest
        assert handler.topic("counted").ledger["gapped"] == 1
        assert local.verify("lab/walk", deep=True) == []
    assert_counted(stored(root, "lab/walk", "numbers"), 90_000)
    assert stored(root, "lab/walk", "texts")["s"].to_pylist()[:2] == ["row 0", "row 100"]
    assert uplink_threads() == []


def test_the_same_rows_have_the_same_identity_as_in_a_folder(
    served: Server, root: Path, tmp_path: Path
) -> None:
    """The way a recording took is not part of what it is."""
    digests = []
    for url in (served.url, tmp_path / "here"):
        with gapless.connect(url) as client, client.sequence_create("same", {"a": 1}) as seq:
            topic = seq.topic_create("imu", ontology_type=IMU)
            for n in range(2_000):
                imu = IMU(acceleration=Vector3d(x=n, y=0.0, z=9.8), angular_velocity=Vector3d(x=0, y=0, z=n))
                topic.push(Message(timestamp_ns=n, data=imu))
        digests.append(seq.content_digest)
    assert digests[0] == digests[1]
    assert digests[0] is not None


def test_pushed_arrays_may_be_changed_at_once(served: Server, root: Path) -> None:
    """What was pushed is the recorder's, though it travels later."""
    with gapless.connect(served.url) as client, client.sequence_create("arrays") as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        values = np.arange(1_000)
        batch = pa.record_batch(
            [pa.array(np.arange(1_000, 2_000)), pa.array(np.zeros(1_000)), pa.array(values)],
            names=["timestamp_ns", "x", "n"],
        )
        topic.push_batch(batch)
        values[:] = -1
    assert_counted(stored(root, "arrays", "t"), 1_000)


def test_gaps_events_and_refused_rows_travel(served: Server, root: Path) -> None:
    """Everything that explains a hole is where the rows are."""
    with gapless.connect(served.url) as client, client.sequence_create("notes") as seq:
        topic = seq.topic_create("t", schema=NUMBERS, on_error=TopicErrorPolicy.Quarantine)
        topic.push_row(1, 0.0, 0)
        topic.push_row(2, "no number", 1)
        topic.gap(3, "cable", start_ns=5, end_ns=9)
        seq.event("info", "began", "it began", data={"k": 1})
        seq.notify("look at this", topic="t")
        ledger = topic.ledger
    assert (ledger.written, ledger.dropped, ledger.gapped) == (1, 1, 3)
    with gapless.connect(root) as local:
        handler = local.sequence_handler("notes")
        assert handler.topic("t").ledger == {"produced": 5, "written": 1, "dropped": 1, "gapped": 3}
        assert [n.message for n in handler.notifications()] == ["look at this"]


def test_artifacts_are_uploaded_and_noted_once(served: Server, root: Path, tmp_path: Path) -> None:
    """A file travels with its digest, an address as it is; a path that could only grow here is refused."""
    file = tmp_path / "plan.bin"
    file.write_bytes(os.urandom(3_000_000))
    with gapless.connect(served.url) as client, client.sequence_create("files") as seq:
        assert seq.add_artifact(file, media_type="application/x-plan") == "plan.bin"
        assert seq.add_artifact("https://example.org/video.mp4") == "video.mp4"
        with pytest.raises(NameTaken):
            seq.add_artifact(file)
        with pytest.raises(NotFound):
            seq.add_artifact(tmp_path / "nothing")
        with pytest.raises(UsageError, match="add_artifact"):
            seq.growing_artifact("video.raw")
    with gapless.connect(root) as local:
        handler = local.sequence_handler("files")
        assert set(handler.artifacts) == {"plan.bin", "video.mp4"}
        kept = handler.artifact_path("plan.bin").read_bytes()
    assert hashlib.sha256(kept).digest() == hashlib.sha256(file.read_bytes()).digest()


def test_pictures_are_encoded_here_and_stored_there(served: Server, root: Path) -> None:
    """The encoder's thread feeds the lane as it does in a folder."""
    pixels = np.arange(3 * 32 * 48, dtype=np.uint8).reshape(32, 48, 3)
    with gapless.connect(served.url) as client, client.sequence_create("film") as seq:
        camera = seq.topic_create("camera", ontology_type=Image, media="png")
        for n in range(12):
            assert camera.push_image(n, pixels + n)
        camera.flush()
        assert camera.accepted_rows == 12
    with gapless.connect(root) as local:
        frames = list(local.sequence_handler("film").topic("camera").frames())
    assert len(frames) == 12


def test_layers_are_written_to_sealed_sequences_only(served: Server, root: Path) -> None:
    """And a topic of the base keeps the base's columns."""
    with gapless.connect(served.url) as client:
        with client.sequence_create("base") as seq:
            seq.topic_create("t", schema=NUMBERS).push_row(1, 0.0, 0)
            with pytest.raises(StateError):
                client.sequence_update("base")
        with client.sequence_update("base", "labels", metadata={"by": "me"}) as layer:
            with pytest.raises(SchemaRefused):
                layer.topic_create("t", schema=TEXTS)
            layer.topic_create("more", schema=TEXTS).push_row(2, "two")
    assert stored(root, "base", "more")["s"].to_pylist() == ["two"]
    with gapless.connect(root) as local:
        assert local.sequence_handler("base").layers == ["labels"]


@pytest.mark.parametrize("is_remote", [True, False])
@pytest.mark.parametrize("is_sealed", [True, False])
def test_layers_agree_on_the_columns_of_a_topic(
    served: Server, root: Path, is_remote: bool, is_sealed: bool
) -> None:
    """A server refuses what a folder refuses: a topic that could not be read, whether its layer is sealed or open.

    Of an open layer a client of a server knows nothing: the refusal is the end of its recording.
    """
    with gapless.connect(served.url if is_remote else root) as client:
        with client.sequence_create("base") as seq:
            seq.topic_create("t", schema=NUMBERS).push_row(1, 0.0, 0)
        with client.sequence_update("base", "ada") as one:
            one.topic_create("note", schema=NUMBERS).push_row(1, 0.0, 0)
            one.flush()
            if not is_sealed:
                assert_refused(client, told_late=is_remote)
        if is_sealed:
            assert_refused(client, told_late=False)
        with client.sequence_update("base", "cid") as three:
            three.topic_create("note", schema=NUMBERS).push_row(2, 0.0, 1)
    assert_counted(stored(root, "base", "note"), 2)


def assert_refused(client: gapless.Client, *, told_late: bool) -> None:
    """Record layers with a topic of other columns, and of a name in another case."""
    for name, refusal in (("note", SchemaRefused), ("Note", NameTaken)):
        with pytest.raises(RecordingFailed if told_late else refusal, match="the base has") as caught:
            record_layer(client, name)
        assert isinstance(caught.value.__cause__ if told_late else caught.value, refusal)


def record_layer(client: gapless.Client, topic: str) -> None:
    """Add a layer of one text."""
    with client.sequence_update("base", "bob") as layer:
        layer.topic_create(topic, schema=TEXTS).push_row(2, "two")
        layer.flush()


def test_on_error_keeps_or_discards_and_the_users_exception_goes_on(served: Server, root: Path) -> None:
    """Report leaves a pending sequence, Delete a tombstone, Ctrl-C an aborted one."""

    def record(name: str, policy: OnErrorPolicy, error: BaseException) -> None:
        with client.sequence_create(name, on_error=policy) as seq:
            seq.topic_create("t", schema=NUMBERS).push_row(1, 0.0, 0)
            raise error

    with gapless.connect(served.url) as client:
        for name, policy in (("kept", OnErrorPolicy.Report), ("gone", OnErrorPolicy.Delete)):
            with pytest.raises(ZeroDivisionError):
                record(name, policy, ZeroDivisionError("the user's own"))
        with pytest.raises(KeyboardInterrupt):
            record("stopped", OnErrorPolicy.Delete, KeyboardInterrupt())
        with client.sequence_create("dropped") as seq:
            seq.topic_create("t", schema=NUMBERS).push_row(1, 0.0, 0)
            seq.discard("not needed")
    with gapless.connect(root) as local:
        assert local.sequence_handler("kept").state == "pending"
        assert "the user's own" in local.sequence_handler("kept").notifications()[0].message
        assert not local.sequence_exists("gone")
        assert {t["name"] for t in local.list_discarded()} == {"gone", "dropped"}
        assert local.sequence_handler("stopped").outcome == "aborted"
    assert uplink_threads() == []


def test_a_recorder_that_knows_its_end_says_so(served: Server, root: Path) -> None:
    """Outcome and metadata of the end are in the manifest."""
    with gapless.connect(served.url) as client, client.sequence_create("run", {"a": 1}) as seq:
        seq.topic_create("t", schema=NUMBERS).push_row(1, 0.0, 0)
        seq.end(gapless.Outcome.FAILED, "the pump stopped", metadata={"rows": 1})
        with pytest.raises(WriterClosed):
            seq.topic_create("u", schema=NUMBERS)
    with gapless.connect(root) as local:
        handler = local.sequence_handler("run")
        assert (handler.outcome, handler.metadata) == ("failed", {"a": 1, "rows": 1})


def test_names_are_refused_when_the_block_is_entered(served: Server, root: Path) -> None:
    """The server knows which are taken."""
    with gapless.connect(served.url) as client, client.sequence_create("one") as seq:
        with pytest.raises(NameTaken):
            client.sequence_create("one").__enter__()
        with pytest.raises(NameTaken):
            seq.topic_create("t", schema=NUMBERS) and seq.topic_create("T", schema=NUMBERS)
    assert uplink_threads() == []


def test_a_second_thread_needs_a_lane_of_its_own(served: Server, root: Path) -> None:
    """With one each, all rows of all threads arrive."""
    with gapless.connect(served.url) as client, client.sequence_create("threads") as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        topic.push_row(0, 0.0, 0)
        refused: list[BaseException] = []

        def push() -> None:
            try:
                topic.push_row(1, 0.0, 1)
            except WrongThread as error:
                refused.append(error)
            lane = topic.lane()
            for n in range(5_000):
                lane.push_row(n, 0.0, n)

        threads = [threading.Thread(target=push) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refused) == 3
    values = np.sort(stored(root, "threads", "t")["n"].to_numpy())
    np.testing.assert_array_equal(values, np.sort(np.r_[0, np.tile(np.arange(5_000), 3)]))


def test_a_forked_child_is_refused_and_ends(served: Server, root: Path) -> None:
    """It touches neither the rows nor the connections of its parent, which goes on."""
    with gapless.connect(served.url) as client, client.sequence_create("forked") as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        topic.push_row(0, 0.0, 0)
        seq.flush()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            words = b"nothing was refused"
            try:
                topic.push_row(1, 0.0, 1)
            except WrongProcess:
                try:
                    client.list_sequences()
                except WrongProcess:
                    words = b"refused twice"
            os.write(writing, words)
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reading, 100) == b"refused twice"
        os.close(reading)
        os.close(writing)
        topic.push_row(1, 0.0, 1)
    assert_counted(stored(root, "forked", "t"), 2)


def test_a_record_that_the_server_would_not_take_is_refused_at_the_push(served: Server, root: Path) -> None:
    """Not when it has travelled: the recording would be over then."""
    schema = pa.schema([pa.field("data", pa.large_binary())])
    too_large = b"x" * (served.served.limits.max_batch_bytes + 1)
    with gapless.connect(served.url) as client, client.sequence_create("large") as seq:
        topic = seq.topic_create("t", schema=schema)
        with pytest.raises(RecordTooLarge):
            topic.push_row(1, too_large)
        topic.push_row(2, b"small")
    assert stored(root, "large", "t").num_rows == 1


def test_durability_callbacks_hear_what_is_accepted(served: Server, root: Path) -> None:
    """One that raises is called no more, and the recording goes on."""
    heard: list[int] = []

    def fail(_rows: int) -> None:
        raise ZeroDivisionError

    with gapless.connect(served.url, flush_ms=10) as client, client.sequence_create("told") as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        topic.on_durable(heard.append)
        topic.on_durable(fail)
        for n in range(100):
            topic.push_row(n, 0.0, n)
        seq.flush()
        wait_for(lambda: heard and heard[-1] == 100, "the callback heard all rows")
        assert isinstance(topic.callback_error, ZeroDivisionError)
    assert heard == sorted(heard)


def test_without_a_server_entering_says_unreachable(tmp_path: Path) -> None:
    """Nothing was recorded, so the caller hears it at once."""
    with gapless.connect("grpc://127.0.0.1:9") as client, pytest.raises(Unreachable):
        client.sequence_create("nowhere").__enter__()
    assert uplink_threads() == []


@pytest.mark.parametrize("url", ["grpc://", "grpc://host:x", "grpc://host/path", "grpc+tls://u:p@host"])
def test_addresses_that_mean_nothing_are_refused(url: str) -> None:
    """Before anything is connected."""
    with pytest.raises(UsageError):
        gapless.connect(url)


def test_an_address_without_its_scheme_is_not_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other programs name a server so; a whole run would be recorded where nobody looks. ``./`` means a folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="grpc://localhost:6726"):
        gapless.connect("localhost:6726")
    with pytest.raises(Unreachable), gapless.connect("GRPC://127.0.0.1:9") as away:
        away.list_sequences()
    with gapless.connect("./localhost:6726") as client, client.sequence_create("s") as seq:
        seq.log("x", 1.0)
    with gapless.connect("localhost:6726") as client:  # there is a folder of that name now
        assert client.sequence_handler("s").topic("x").to_arrow().num_rows == 1
    assert main(["ls", "--store", "localhost:6727"]) == 2


@pytest.mark.parametrize("option", [{"api_key": "k"}, {"spool": "s"}, {"tls_roots": "r"}, {"cache": "c"}])
def test_a_folder_takes_no_options_of_a_server(tmp_path: Path, option: dict[str, str]) -> None:
    """A forgotten scheme does not record into a folder named like a host."""
    with pytest.raises(UsageError, match="is for a server"):
        gapless.connect(tmp_path, **option)  # type: ignore[arg-type] # one of the options


@pytest.mark.parametrize("ending", ["leave", "discard"])
def test_a_client_closed_early_does_not_end_what_is_recorded(served: Server, root: Path, ending: str) -> None:
    """The sequence ends with its own block, as in a folder; nothing else begins."""
    client = gapless.connect(served.url)
    with client.sequence_create("outlives") as seq:
        seq.log("x", 1.0)
        seq.flush()
        client.close()
        seq.log("x", 2.0)
        seq.log("late", 3.0)
        if ending == "discard":
            seq.discard("not wanted")
    with pytest.raises(WriterClosed):
        client.sequence_create("never").__enter__()
    with gapless.connect(root) as local:
        if ending == "discard":
            assert local.was_discarded("outlives")
        else:
            assert local.sequence_handler("outlives").outcome == "completed"
            assert stored(root, "outlives", "x")["value"].to_pylist() == [1.0, 2.0]
    assert uplink_threads() == []
