"""Reading over the network in bounded memory: little ahead of the reader, nothing after they leave."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import gapless
from gapless.client.remote.remote_client import RemoteClient
from gapless.errors import IntegrityError, NotFound, Unreachable, UsageError
from gapless.serve.call import Call
from gapless.serve.connections import close_connections
from gapless.serve.door import Outgoing
from gapless.serve.native.reading import NativeReading
from gapless.serve.served import Served
from gapless.serve.server import Server

BATCHES = 200
BATCH_ROWS = 10_000
AHEAD = 24  # batches of 1.6 MB that the buffers of two machines may hold


class CountedReading(NativeReading):
    """The door, counting what leaves it."""

    def __init__(self, served: Served) -> None:
        super().__init__(served)
        self.made = 0
        self.closed = 0

    def get(self, call: Call, ticket: Mapping[str, Any]) -> Outgoing:
        """Return the stream, counted."""
        found = super().get(call, ticket)
        return Outgoing(found.schema, self._counted(found.batches))

    def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        try:
            for batch in batches:
                self.made += 1
                yield batch
        finally:
            self.closed += 1


class Served200:
    """A server of a topic of 200 batches, its door, and a client."""

    def __init__(self, root: Path) -> None:
        with gapless.connect(root) as writer, writer.sequence_create("long") as seq:
            columns = {f"c{k}": pa.float64() for k in range(20)}
            topic = seq.topic_create("t", schema=pa.schema(list(columns.items())))
            rng = np.random.default_rng(7)
            for n in range(BATCHES):
                times = np.arange(n * BATCH_ROWS, (n + 1) * BATCH_ROWS)
                topic.push_columns(times, {name: rng.random(BATCH_ROWS) for name in columns})
        self.doors: list[CountedReading] = []
        self.server = Server(root, "127.0.0.1", 0, doors=[self._door])

    def _door(self, served: Served) -> CountedReading:
        self.doors.append(CountedReading(served))
        return self.doors[-1]

    @property
    def door(self) -> CountedReading:
        """The server's door."""
        return self.doors[-1]

    def requests(self) -> float:
        """Return how many requests were made of the server."""
        figures = self.server.served.metrics.snapshot()
        return sum(value for (name, _), value in figures.items() if name == "gapless_requests_total")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served200]:
    """Return the served store."""
    made = Served200(tmp_path_factory.mktemp("long"))
    with made.server:
        yield made


@pytest.fixture
def client(long: Served200) -> Iterator[RemoteClient]:
    """Return a client of the server."""
    with gapless.connect(long.server.url) as client:
        assert isinstance(client, RemoteClient)
        yield client


def soon(holds: Callable[[], bool]) -> bool:
    """Wait, generously, until something holds; return whether it does."""
    until_s = time.monotonic() + 30
    while not holds() and time.monotonic() < until_s:
        time.sleep(0.02)
    return holds()


def settled(count: Callable[[], int]) -> int:
    """Return a count when it has stopped to change."""
    last, same = count(), 0
    while same < 25:
        time.sleep(0.02)
        now = count()
        last, same = now, same + 1 if now == last else 0
    return last


def test_the_server_makes_few_batches_ahead_of_the_reader(long: Served200, client: RemoteClient) -> None:
    """A reader who stops after three batches has made the server read few more; leaving ends the stream."""
    made, closed = long.door.made, long.door.closed
    scan = client.sequence_handler("long").topic("t").scan(batch_rows=BATCH_ROWS)
    first = [next(scan).num_rows for _ in range(3)]
    assert first == [BATCH_ROWS] * 3
    assert settled(lambda: long.door.made) - made <= 3 + AHEAD
    scan.close()  # type: ignore[attr-defined]
    assert soon(lambda: long.door.closed == closed + 1)
    assert long.door.made - made <= 3 + 2 * AHEAD


def test_an_iterator_that_is_dropped_ends_its_stream(long: Served200, client: RemoteClient) -> None:
    """`break` in a for-loop is enough."""
    closed = long.door.closed
    for batch in client.sequence_handler("long").topic("t").scan(batch_rows=BATCH_ROWS):
        assert batch.num_rows
        break
    del batch
    assert soon(lambda: long.door.closed == closed + 1)


def test_a_slow_reader_holds_up_nobody(long: Served200, client: RemoteClient) -> None:
    """While one stream waits for its reader, another one of the same client runs to its end."""
    topic = client.sequence_handler("long").topic("t")
    slow = topic.scan(batch_rows=BATCH_ROWS)
    next(slow)
    settled(lambda: long.door.made)
    assert topic.to_arrow(["c0"]).num_rows == BATCHES * BATCH_ROWS
    assert sum(batch.num_rows for batch in slow) == (BATCHES - 1) * BATCH_ROWS


def test_opening_and_reading_are_two_requests(long: Served200, client: RemoteClient) -> None:
    """One for the sequence and all its topics, one for the rows."""
    before = long.requests()
    handler = client.sequence_handler("long")
    topic = handler.topic("t")
    shown = (
        handler.metadata,
        handler.topics,
        topic.rows,
        topic.schema,
        topic.ledger,
        handler.start_ns,
        repr(topic),
    )
    assert topic.to_arrow(["c3"], 0, 50).num_rows == 50
    assert long.requests() - before == 2
    assert shown[2] == BATCHES * BATCH_ROWS


def test_few_points_travel_for_a_curve(long: Served200, client: RemoteClient) -> None:
    """The server draws from the pyramid; one batch of points comes."""
    made = long.door.made
    curve = client.sequence_handler("long").topic("t").downsample("c0", 400)
    assert (len(curve) <= 200, int(curve.rows.sum()), long.door.made - made) == (
        True,
        BATCHES * BATCH_ROWS,
        1,
    )


def test_no_batch_is_larger_than_some_mib(long: Served200, client: RemoteClient) -> None:
    """Rows that are asked for in large batches come in pieces."""
    del long
    batches = client.sequence_handler("long").topic("t").scan(end_ns=200_000, batch_rows=200_000)
    sizes = [(batch.nbytes, batch.num_rows) for batch in batches]
    assert sum(rows for _, rows in sizes) == 200_000
    assert max(size for size, _ in sizes) <= 5 << 20


def test_a_filter_that_cannot_travel_is_refused(client: RemoteClient) -> None:
    """Nothing else than what was asked is ever evaluated."""
    topic = client.sequence_handler("long").topic("t")
    with pytest.raises(UsageError, match="cannot be sent to a server"):
        topic.scan(filter=pc.if_else(pc.field("c0") > 0.5, pc.field("c1"), 0.0) > 0.5)


def test_a_cut_in_the_middle_is_an_error(long: Served200, client: RemoteClient) -> None:
    """Rows that do not come are never taken for the end; the next scan connects again."""
    topic = client.sequence_handler("long").topic("t")
    scan = topic.scan(batch_rows=BATCH_ROWS)
    next(scan)
    settled(lambda: long.door.made)
    assert close_connections(long.server.port) >= 1
    with pytest.raises(Unreachable):
        list(scan)
    assert topic.to_arrow(["c0"], 0, 10).num_rows == 10


def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    """Every question raises Unreachable, exit code 5, and says where it looked."""
    with Server(tmp_path, "127.0.0.1", 0, doors=[NativeReading]) as server:
        url = server.url
    with gapless.connect(url, deadline_s=5) as client:
        for ask in (client.list_sequences, lambda: client.sequence_handler("a"), client.query):
            with pytest.raises(Unreachable, match=url) as caught:
                ask()
            assert caught.value.exit_code == 5


def test_another_recording_of_the_name_never_answers(tmp_path: Path) -> None:
    """A handler of a sequence that was discarded says that it is gone, also when its name is taken again."""
    with (
        gapless.connect(tmp_path) as local,
        Server(tmp_path, "127.0.0.1", 0, doors=[NativeReading]) as server,
    ):
        with local.sequence_create("run") as seq:
            seq.log("x", 1.0)
        with gapless.connect(server.url) as remote:
            handler = remote.sequence_handler("run")
            remote.discard("run")
            with local.sequence_create("run") as seq:
                seq.log("x", 2.0)
            with pytest.raises(NotFound, match="another one has its name"):
                handler.topic("x").to_arrow()
            handler.reload()
            assert handler.topic("x").to_arrow()["value"].to_pylist() == [2.0]


def test_artifacts_go_to_the_folder_that_is_named(tmp_path: Path) -> None:
    """Downloads land in cache=, once; without it in a folder that is gone with the client."""
    root, cache = tmp_path / "store", tmp_path / "cache"
    source = tmp_path / "a.bin"
    source.write_bytes(bytes(3 << 20) + b"end")
    with gapless.connect(root) as local, local.sequence_create("run") as seq:
        seq.add_artifact(source)
    with Server(root, "127.0.0.1", 0, doors=[NativeReading]) as server:
        with gapless.connect(server.url, cache=cache) as client:
            path = client.sequence_handler("run").artifact_path("a.bin")
            assert path.read_bytes() == source.read_bytes()
            assert (cache in path.parents, path.name) == (True, "a.bin")
            assert client.sequence_handler("run").artifact_path("a.bin") == path
        assert path.exists()
        with gapless.connect(server.url) as client:
            own = client.sequence_handler("run").artifact_path("a.bin")
            assert own.read_bytes() == source.read_bytes()
        assert not own.exists()
        (root / "sequences" / "run" / "artifacts" / "a.bin").write_bytes(bytes(3 << 20) + b"END")
        path.unlink()
        with gapless.connect(server.url, cache=cache) as client, pytest.raises(IntegrityError):
            client.sequence_handler("run").artifact_path("a.bin")
        assert [entry for entry in cache.rglob("*") if entry.is_file()] == []
