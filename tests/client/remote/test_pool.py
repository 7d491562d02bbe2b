"""Connections are few, shared evenly, and replaced when they broke."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.client.remote.write_server import NUMBERS, assert_counted, server, stored, uplink_threads

import gapless
from gapless.client.remote.connection import Endpoint
from gapless.client.remote.connection_pool import ConnectionPool
from gapless.errors import Unreachable, UsageError, WriterClosed
from gapless.testing.network import Link


def test_the_least_used_connection_is_lent() -> None:
    """A new one only while there may be more."""
    pool = ConnectionPool(Endpoint.of("grpc://127.0.0.1:9"), max_connections=2)
    first, second, third = pool.lend(), pool.lend(), pool.lend()
    assert first is not second
    assert third in (first, second)
    assert len(pool) == 2
    pool.give_back(first)
    pool.give_back(third)
    assert pool.lend() in (first, second)
    pool.close()
    with pytest.raises(WriterClosed):
        pool.lend()


def test_a_broken_connection_is_lent_no_more() -> None:
    """The next use gets a fresh one."""
    pool = ConnectionPool(Endpoint.of("grpc://127.0.0.1:9"), max_connections=1)
    with pytest.raises(Unreachable), pool.connection() as broken:
        broken.action("gapless.info", timeout_s=5)
    with pool.connection() as fresh:
        assert fresh is not broken
    assert len(pool) == 1
    pool.close()


@pytest.mark.parametrize("count", [0, -1, True, 1.5, "2"])
def test_a_pool_without_connections_is_refused(count: object) -> None:
    """As is half a connection."""
    with pytest.raises(UsageError):
        gapless.connect("grpc://127.0.0.1:9", max_connections=count)  # type: ignore[arg-type]


def test_many_topics_share_few_connections(tmp_path: Path) -> None:
    """Streams of their own on three sockets."""
    root = tmp_path / "store"
    with server(root) as running, Link(("127.0.0.1", running.port)) as link:
        url = f"grpc://127.0.0.1:{link.port}"
        with (
            gapless.connect(url, max_connections=3, flush_ms=20) as client,
            client.sequence_create("many") as seq,
        ):
            topics = [seq.topic_create(f"t{i}", schema=NUMBERS) for i in range(24)]
            for n in range(2_000):
                for topic in topics:
                    topic.push_row(n, 0.0, n)
            seq.flush()
            assert link.connections <= 3
    for i in range(24):
        assert_counted(stored(root, "many", f"t{i}"), 2_000)
    assert uplink_threads() == []


def test_many_writers_at_one_time(tmp_path: Path) -> None:
    """Each from a thread, all through one client."""
    root = tmp_path / "store"
    errors: list[BaseException] = []

    with server(root) as running, gapless.connect(running.url) as client:

        def write(index: int) -> None:
            try:
                with client.sequence_create(f"s{index}") as seq:
                    topic = seq.topic_create("t", schema=NUMBERS)
                    for n in range(500):
                        topic.push_row(n, 0.0, n)
            except BaseException as error:  # noqa: BLE001 - raised by the test's thread
                errors.append(error)

        threads = [threading.Thread(target=write, args=(i,)) for i in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    for i in range(24):
        assert_counted(stored(root, f"s{i}", "t"), 500)
