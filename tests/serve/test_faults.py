"""What goes wrong between a client and its server, or with either: nothing accepted is lost, nothing is doubled."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import flight
from tests.client.remote.write_server import (
    NUMBERS,
    TEXTS,
    ServerProcess,
    assert_counted,
    server,
    stored,
    uplink_threads,
    wait_for,
)
from tests.serve.mosaico.caller import Caller, readings
from tests.serve.native.raw_writer import DEADLINE_S, SCHEMA, RawWriter, rows

import gapless
from gapless import OnErrorPolicy
from gapless.catalog.catalog import SequenceRow
from gapless.client.remote.remote_client import RemoteClient
from gapless.errors import (
    GaplessError,
    KeyRefused,
    NameTaken,
    RecordingFailed,
    RecordTooLarge,
    SchemaRefused,
    StateError,
    Unreachable,
    ValueRefused,
)
from gapless.serve.keys import make_key, revoke_key
from gapless.serve.limits import Limits
from gapless.serve.rights import Right
from gapless.serve.server import Server
from gapless.store.platform import PLATFORM, Platform
from gapless.testing.faults import FaultyPlatform
from gapless.testing.network import Link

WRITERS: Final = 100
YEAR_NS: Final = 365 * 86_400 * 10**9
LEASE_S: Final = 0.5


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the server's store is."""
    return tmp_path / "store"


@pytest.fixture
def served(root: Path) -> Iterator[Server]:
    """A server of both native doors in this process."""
    with server(root) as running:
        yield running


@pytest.fixture
def whole(root: Path, leases: threading.Event) -> Iterator[Server]:
    """A server of every door with small limits."""
    with Server(root, port=0, limits=Limits(max_batch_bytes=1 << 20, lease_s=LEASE_S)) as running:
        yield running


# -- the network -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_network_that_changes_all_the_time_loses_and_doubles_nothing(
    served: Server, root: Path, seed: int
) -> None:
    """Cut, refused, held, late and slow in turn, while two topics are pushed."""
    dice = random.Random(seed)
    with Link(("127.0.0.1", served.port)) as link:
        url = f"grpc://127.0.0.1:{link.port}"
        with gapless.connect(url, flush_ms=5, deadline_s=60) as client, client.sequence_create("run") as seq:
            numbers = seq.topic_create("numbers", schema=NUMBERS)
            texts = seq.topic_create("texts", schema=TEXTS)
            for n in range(20_000):
                numbers.push_row(n, 0.0, n)
                if n % 20 == 0:
                    texts.push_row(n, str(n // 20))
                if n % 1_000 == 999:
                    change(link, dice)
            link.delay_s, link.bytes_per_s = 0.0, None
            link.mend()
    assert_counted(stored(root, "run", "numbers"), 20_000)
    assert stored(root, "run", "texts")["s"].to_pylist() == [str(n) for n in range(1_000)]
    with gapless.connect(root) as local:
        assert local.sequence_handler("run").outcome == "completed"
        assert local.verify("run", deep=True) == []
    assert uplink_threads() == []


def change(link: Link, dice: random.Random) -> None:
    """Make the network better or worse for a moment."""
    link.mend()
    link.delay_s = dice.choice([0.0, 0.0, 0.02])
    link.bytes_per_s = dice.choice([None, None, 5e6])
    dice.choice([link.cut, lambda: link.cut(refuse=False), link.hold, link.mend])()
    time.sleep(dice.uniform(0.0, 0.05))


def test_a_client_that_falls_silent_is_let_go_of(whole: Server, root: Path, leases: threading.Event) -> None:
    """Its connection breaks: after the lease the journal has no owner, nothing is sealed, every row comes back."""
    with Link(("127.0.0.1", whole.port)) as link, RawWriter(f"grpc://127.0.0.1:{link.port}") as writer:
        writer.open()
        writer.topic()
        lane = writer.lane()
        lane.push(0, 500)
        lane.sync(500)
        link.cut()
        leases.set()
        with gapless.connect(whole.url) as client:
            wait_for(lambda: not row(client).owner_alive, "the server lets go")
            assert client.sequence_handler("run").state == "open"
            assert client.recover("run")["record"]["outcome"] == "interrupted"
        lane.cut()
    assert stored(root, "run", "t")["n"].to_pylist() == list(range(500))


def row(client: gapless.Client) -> SequenceRow:
    """Return what the server's catalog knows of the sequence ``run``."""
    assert isinstance(client, RemoteClient)
    return client.sequence_row("run")


def test_a_reader_is_cut_in_the_middle_and_reads_again(whole: Server) -> None:
    """The stream that was cut is an error and not an end; the next one has every row."""
    write(whole.url, "run", 200_000)
    with (
        Link(("127.0.0.1", whole.port)) as link,
        gapless.connect(f"grpc://127.0.0.1:{link.port}") as client,
    ):
        batches = client.sequence_handler("run").topic("t").scan(batch_rows=1_000)
        next(batches)
        link.cut(refuse=False)
        with pytest.raises(GaplessError):
            list(batches)
        wait_for(lambda: answers(client), "the client connects again")
        table = pa.Table.from_batches(list(client.sequence_handler("run").topic("t").scan()))
    assert_counted(table, 200_000)


def answers(client: gapless.Client) -> bool:
    """Tell whether a server can be reached; the first request after a cut may still meet the old connection."""
    try:
        client.list_sequences()
    except Unreachable:
        return False
    return True


def write(url: str, name: str, count: int) -> None:
    """Write a sequence of one topic that counts."""
    with gapless.connect(url) as client, client.sequence_create(name) as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        numbers = np.arange(count)
        topic.push_columns(numbers, {"x": numbers * 0.5, "n": numbers})


# -- many ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_hundred_recordings_of_one_client_at_one_time(root: Path) -> None:
    """Few connections carry all of them; each is sealed with its own rows."""
    with (
        ServerProcess(root) as child,
        gapless.connect(child.url, max_connections=4, deadline_s=120) as client,
        ThreadPoolExecutor(WRITERS) as pool,
    ):
        entered = [client.sequence_create(f"run{n}") for n in range(WRITERS)]
        list(pool.map(lambda seq: seq.__enter__(), entered))
        assert len(client.list_sequences()) == WRITERS
        list(pool.map(fill_and_leave, entered, range(WRITERS)))
    with gapless.connect(root) as local:
        for n in range(WRITERS):
            handler = local.sequence_handler(f"run{n}")
            assert handler.outcome == "completed"
            assert_counted(handler.topic("t").to_arrow(), 100 + n)
    assert uplink_threads() == []


def fill_and_leave(seq: gapless.SequenceWriter, n: int) -> None:
    """Push rows into a sequence that was entered, and end it."""
    topic = seq.topic_create("t", schema=NUMBERS)
    for k in range(100 + n):
        topic.push_row(k, 0.0, k)
    seq.__exit__(None, None, None)


# -- rows ------------------------------------------------------------------------------------------


def test_no_rows_are_no_rows(whole: Server, root: Path) -> None:
    """Batches without rows are taken and leave nothing; a topic without any is read as one."""
    with gapless.connect(whole.url) as client, client.sequence_create("ours") as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        topic.push_batch(topic.schema.empty_table())
        topic.push_columns(np.array([], np.int64), {"x": np.array([]), "n": np.array([], np.int64)})
        topic.push_row(1, 0.0, 0)
        topic.push_batch(topic.schema.empty_table())
        seq.topic_create("empty", schema=TEXTS)
    with RawWriter(whole.url, "raw") as writer:
        writer.open()
        writer.topic()
        lane = writer.lane()
        for first in (0, 0, 1, 1):
            lane.push(first, 1)
        lane.send(rows(1, 1), first_seq=1)
        assert lane.finish() == 1
        writer.end({"t": 1})
    caller = Caller(whole)
    caller.write("theirs", readings(), readings(1), readings())
    assert [batch.num_rows for batch in caller.batches("theirs/t")] == [1]
    caller.close()
    assert_counted(stored(root, "ours", "t"), 1)
    assert stored(root, "ours", "empty").num_rows == 0
    assert stored(root, "raw", "t").num_rows == 1


def test_unsorted_times_are_kept_and_read_in_order(whole: Server, root: Path) -> None:
    """Whatever the order of arrival, reading is in the order of time, and equal times keep theirs."""
    times = [5, 3, 3, 9, -1, 2**62, 5]
    with gapless.connect(whole.url) as client:
        with client.sequence_create("ours") as seq:
            topic = seq.topic_create("t", schema=NUMBERS)
            for n, time_ns in enumerate(times):
                topic.push_row(time_ns, 0.0, n)
                topic.flush()
        found = client.sequence_handler("ours").topic("t").to_arrow()
    order = sorted(range(len(times)), key=lambda n: (times[n], n))
    assert found["n"].to_pylist() == order
    caller = Caller(whole)
    caller.write("theirs", *[readings(time_ns) for time_ns in times])
    assert caller.times("theirs/t") == sorted(times)
    caller.close()
    with gapless.connect(root) as local:
        assert local.verify("ours", deep=True) == local.verify("theirs", deep=True) == []


def test_a_batch_above_the_limit_is_refused_and_what_came_before_stays(whole: Server, root: Path) -> None:
    """Our own client sends it in pieces; one row that is too large is refused where it is pushed."""
    with gapless.connect(whole.url) as client, client.sequence_create("ours") as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        numbers = np.arange(300_000)
        topic.push_columns(numbers, {"x": numbers * 0.5, "n": numbers})
        texts = seq.topic_create("texts", schema=TEXTS)
        with pytest.raises(RecordTooLarge):
            texts.push_row(1, "x" * (2 << 20))
        texts.push_row(1, "x")
    assert_counted(stored(root, "ours", "t"), 300_000)
    caller = Caller(whole)
    session = caller.open("theirs")
    uuid = caller.topic(session, "theirs/t")
    with pytest.raises((flight.FlightServerError, pa.ArrowInvalid)):
        caller.put("theirs/t", uuid, readings(1), readings(*range(200_000)))
    caller.close()
    with RawWriter(whole.url, "raw") as writer:
        writer.open()
        writer.topic()
        lane = writer.lane()
        lane.push(0, 10)
        lane.push(10, 100_010)
        assert isinstance(lane.refused(), RecordTooLarge)
        lane = writer.lane()
        assert lane.next_seq == 10
        lane.push(10, 20)
        lane.finish()
        writer.end({"t": 20})


def test_rows_of_another_schema_and_topics_twice_are_refused(whole: Server, root: Path) -> None:
    """Each refusal names what it is about and leaves the recording as it was."""
    with gapless.connect(whole.url) as client, client.sequence_create("run") as seq:
        topic = seq.topic_create("t", schema=NUMBERS)
        for name in ("t", "T"):
            with pytest.raises(NameTaken):
                seq.topic_create(name, schema=NUMBERS)
        with pytest.raises(ValueRefused):
            topic.push_row(1, "text", 0)
        with pytest.raises((SchemaRefused, ValueRefused)):
            topic.push_batch(pa.table({"timestamp_ns": [1], "y": [1.0]}))
        topic.push_row(1, 0.0, 0)
    assert_counted(stored(root, "run", "t"), 1)
    with RawWriter(whole.url, "raw") as writer:
        writer.open()
        writer.topic()
        with pytest.raises(SchemaRefused):
            writer.topic(schema=SCHEMA.remove(1))
        with pytest.raises(NameTaken):
            writer.topic("T")
        other = pa.schema([*SCHEMA, pa.field("more", pa.int8())])
        lane = writer.lane(schema=other)
        batch = pa.RecordBatch.from_arrays([*rows(0, 1).columns, pa.array([1], pa.int8())], schema=other)
        lane.send(batch, first_seq=0)
        assert isinstance(lane.refused(), SchemaRefused)
        writer.end({"t": 0})


def test_a_topic_is_declared_when_its_declaration_is_durable(served: Server) -> None:
    """Also one without rows outlives its server, and no end that names another topic is taken."""
    disk = FaultyPlatform()
    served.served.client._store.platform = disk
    with RawWriter(served.url) as writer, ThreadPoolExecutor(1) as pool:
        writer.open()
        disk.hang_syncs()
        declared = pool.submit(writer.topic)
        assert disk.hanging.wait(DEADLINE_S)
        assert not declared.done()
        disk.release()
        assert declared.result(DEADLINE_S) == 0
        with pytest.raises(StateError):
            writer.end({"t": 0, "other": 0})
        assert set(writer.end({"t": 0})["manifest"]["content"]["topics"]) == {"t"}


@pytest.mark.parametrize("mode", ["sparse", "dense"])
def test_types_that_arrow_cannot_look_at_are_refused(whole: Server, mode: str) -> None:
    """A union without rows, instead of rows or of a file: the exchange ends and the server stays."""
    columns = pa.schema([pa.field("u", pa.union([pa.field("a", pa.int8())], mode))])
    batch = pa.RecordBatch.from_arrays([pa.nulls(0, columns.field(0).type)], schema=columns)
    with RawWriter(whole.url) as writer:
        writer.open()
        writer.topic()
        lane = writer.lane(schema=columns)
        lane.send(batch, first_seq=0)
        assert isinstance(lane.refused(), SchemaRefused)
        words = {"gapless": "artifact", "name": writer.name, "uid": writer.uid, "artifact": "a", "n": 0}
        command = json.dumps(words | {"media_type": "text/plain", "sha256": "0" * 64})
        stream, _ = writer.client.do_put(flight.FlightDescriptor.for_command(command), columns)
        stream.write_batch(batch)
        with pytest.raises(flight.FlightServerError):
            stream.close()
        writer.end({"t": 0})


# -- keys, clocks, disks ---------------------------------------------------------------------------


def test_a_key_that_is_revoked_while_rows_travel_ends_the_recording(
    whole: Server, root: Path, leases: threading.Event
) -> None:
    """What was accepted stays; the caller hears about the key, and nothing is sealed."""
    database = whole.served.audit._database
    key, token = make_key(database, Right.WRITE)
    other = make_key(database, Right.MANAGE)[1]
    with gapless.connect(whole.url, api_key=token, flush_ms=5, deadline_s=60) as client:
        seq = client.sequence_create("run")
        with pytest.raises(RecordingFailed) as caught:
            push_on(seq, NUMBERS, lambda: revoke_key(database, key.key_id))
        assert isinstance(caught.value.__cause__, KeyRefused) or "E971" in str(caught.value)
    leases.set()
    with gapless.connect(whole.url, api_key=other) as client:
        wait_for(lambda: not row(client).owner_alive, "the server lets go")
        assert client.sequence_handler("run").state == "open"
        client.recover("run")
        found = client.sequence_handler("run").topic("t").to_arrow()
        assert_counted(found, found.num_rows)
        assert found.num_rows >= 1


def push_on(seq: gapless.SequenceWriter, schema: pa.Schema, then: Callable[[], object]) -> None:
    """Push one accepted row, do something, and push on until an error comes."""
    with seq:
        topic = seq.topic_create("t", schema=schema)
        topic.push_row(0, *((0.0, 0) if schema is NUMBERS else ("0 ",)))
        seq.flush()
        then()
        for n in range(1, 10**6):
            topic.push_row(n, *((0.0, n) if schema is NUMBERS else (f"{n} " + "x" * 200,)))
            if schema is NUMBERS:
                time.sleep(0.001)


@pytest.mark.parametrize("off_ns", [-50 * YEAR_NS, 50 * YEAR_NS])
def test_a_clock_that_is_years_off_changes_times_alone(
    root: Path, off_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client stamps its rows by its own clock; the server lists, leases and seals by its own."""
    with ServerProcess(root) as child:
        write(child.url, "before", 10)
        real = PLATFORM.wall_ns()
        monkeypatch.setattr(Platform, "wall_ns", lambda _: time.time_ns() + off_ns)
        with gapless.connect(child.url, flush_ms=5) as client:
            with client.sequence_create("run") as seq:
                topic = seq.topic_create("t", schema=NUMBERS)
                for n in range(1_000):
                    topic.push_row(None, 0.0, n)
                child.kill()
                child.start()
                for n in range(1_000, 2_000):
                    topic.push_row(None, 0.0, n)
            assert client.list_sequences() == ["before", "run"]
            found = row(client)
            assert abs(found.created_ns - real) < YEAR_NS
            assert found.start_ns is not None
            assert abs(found.start_ns - real - off_ns) < YEAR_NS
            table = client.sequence_handler("run").topic("t").to_arrow()
        monkeypatch.undo()
    assert_counted(table, 2_000)
    with gapless.connect(root) as local:
        assert local.verify("run", deep=True) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 12 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs needs root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(path)], check=False).returncode:
        pytest.skip("this system does not let us mount a tmpfs")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_a_full_disk_of_the_server_fails_loudly_and_keeps_what_was_accepted(small_disk: Path) -> None:
    """The client hears of it; with room again the same server writes, and the accepted rows are there."""
    root = small_disk / "store"
    filler = small_disk / "filler"
    with ServerProcess(root) as child, gapless.connect(child.url, flush_ms=5, deadline_s=60) as client:
        seq = client.sequence_create("run", on_error=OnErrorPolicy.Report)
        with pytest.raises(RecordingFailed):
            push_on(seq, TEXTS, lambda: filler.write_bytes(bytes(6 << 20)))
        accepted = seq._topics["t"].accepted_rows
        assert accepted > 0
        filler.unlink()
        write(child.url, "after", 100)
        child.kill()
        with gapless.connect(root) as local:
            assert_counted(local.sequence_handler("after").topic("t").to_arrow(), 100)
            state = local.sequence_handler("run").state
            assert state in ("open", "pending")
            (local.recover if state == "open" else local.seal)("run")
            texts = local.sequence_handler("run").topic("t").to_arrow()["s"].to_pylist()
            assert len(texts) >= accepted
            assert [text.split()[0] for text in texts] == [str(n) for n in range(len(texts))]
            assert local.sequence_handler("run").outcome != "completed"
