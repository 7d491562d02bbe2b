"""How much a server takes: calls, connections, requests and batches above the bounds are refused by type."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from gapless.client.local_recording import LocalRecording
from gapless.client.remote import protocol
from gapless.errors import LimitReached, RecordTooLarge, StorageFailed, UsageError, ValueRefused
from gapless.serve.limits import Limits
from gapless.serve.mosaico.door import Mosaico
from gapless.serve.native.writing import NativeWriting
from gapless.serve.server import Server

from .conftest import Serve
from .mosaico.caller import Caller
from .native.raw_writer import RawWriter
from .trial_door import DEADLINE_S, caller, descriptor


def limit_of(ask: Any) -> LimitReached:
    """Return the error that a request above a bound ends with."""
    with pytest.raises(flight.FlightUnavailableError) as caught:
        ask()
    error = protocol.decode_error(caught.value.extra_info)
    assert isinstance(error, LimitReached)
    return error


@pytest.mark.parametrize("words", [{"max_calls": 0}, {"lease_s": -1.0}, {"max_batch_bytes": True}])
def test_a_limit_is_above_zero(words: dict[str, Any]) -> None:
    """Anything else is a mistake of the call."""
    with pytest.raises(UsageError, match=next(iter(words))):
        Limits(**words)


def test_calls_above_the_bound_are_refused(serve: Serve) -> None:
    """What goes on is not touched, and room that is given back is taken again."""
    server, door = serve(limits=Limits(max_calls=2))
    asking = [threading.Thread(target=caller(server.url).action, args=("trial.wait",)) for _ in range(2)]
    for thread in asking:
        thread.start()
    while server.traffic.calls < 2:
        assert door.begun.wait(DEADLINE_S)
    assert "as many calls" in limit_of(lambda: caller(server.url).action("trial.echo")).message
    door.go_on.set()
    for thread in asking:
        thread.join(DEADLINE_S)
    assert server.traffic.wait_idle(DEADLINE_S)
    assert caller(server.url).action("trial.echo")


def test_connections_above_the_bound_are_refused(serve: Serve) -> None:
    """Two calls of one connection count as one; another connection is refused until it ends."""
    server, _ = serve(limits=Limits(max_connections=1))
    first = caller(server.url)
    reader = first.get(batches=-1)
    reader.read_chunk()
    assert first.action("trial.echo")
    own = [("grpc.use_local_subchannel_pool", 1)]
    second = caller(server.url, generic_options=own)
    assert "as many connections" in limit_of(lambda: second.action("trial.echo")).message
    reader.cancel()
    assert server.traffic.wait_idle(DEADLINE_S)
    assert second.action("trial.echo")
    assert server.traffic.wait_idle(DEADLINE_S)
    assert server.traffic.connections == 0


def test_sequences_above_the_bound_are_refused_by_whichever_door(root: Path) -> None:
    """The doors count together, and an end at either makes room at both."""
    server = Server(root, port=0, doors=[Mosaico, NativeWriting], limits=Limits(max_writers=2))
    server.start()
    sdk = Caller(server)
    with RawWriter(server.url, "a") as first, RawWriter(server.url, "b") as second:
        first.open()
        session = sdk.open("s")
        with pytest.raises(LimitReached, match="as many sequences"):
            second.open()
        with pytest.raises(flight.FlightUnavailableError, match="as many sequences"):
            sdk.open("t")
        sdk.ask("session_finalize", session_uuid=session)
        second.open()
        first.end({})
        assert sdk.open("t")
        with pytest.raises(LimitReached):
            first.action(protocol.OPEN, name="c", uid="0" * 32)
    sdk.close()
    assert server.stop(0.2)


def test_one_that_is_being_begun_has_its_place(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk makes the first, a second is refused; what the disk refuses has no place any more."""
    begin, begun, go_on = LocalRecording.begin, threading.Event(), threading.Event()

    def slow(client: Any, name: str, *words: Any) -> LocalRecording:
        if name == "slow":
            begun.set()
            assert go_on.wait(DEADLINE_S)
            raise StorageFailed("the disk refused")
        return begin(client, name, *words)

    monkeypatch.setattr(LocalRecording, "begin", slow)
    server = Server(root, port=0, doors=[NativeWriting], limits=Limits(max_writers=1))
    server.start()
    with RawWriter(server.url, "slow") as first, RawWriter(server.url, "b") as second:
        with ThreadPoolExecutor(1) as pool:
            opening = pool.submit(first.open)
            assert begun.wait(DEADLINE_S)
            with pytest.raises(LimitReached):
                second.open()
            go_on.set()
            with pytest.raises(StorageFailed):
                opening.result(DEADLINE_S)
        assert second.open()["state"] == "open"
    assert server.stop(0.2)


def test_requests_above_the_bound_are_refused(serve: Serve) -> None:
    """Bodies, commands and tickets have a bound of their own."""
    server, _ = serve(limits=Limits(max_request_bytes=1000))
    client = caller(server.url)
    assert client.action("trial.echo", b"x" * 1000)[0] == b"x" * 1000
    limit_of(lambda: client.action("trial.echo", b"x" * 1001))
    limit_of(lambda: client.client.get_flight_info(descriptor(x="x" * 1001)))
    limit_of(lambda: client.get(batches=1, x="x" * 1001).read_all())
    limit_of(lambda: list(client.client.list_flights(b"x" * 1001)))


def test_a_batch_above_the_bound_is_refused() -> None:
    """Its size is what its values take, and the text says both."""
    limits = Limits(max_batch_bytes=800)
    limits.check_batch(pa.record_batch({"a": pa.array(range(100))}))
    with pytest.raises(RecordTooLarge, match="808 bytes"):
        limits.check_batch(pa.record_batch({"a": pa.array(range(101))}))


def test_a_batch_whose_buffers_lie_is_refused() -> None:
    """Offsets beyond the data, text that is no UTF-8: typed, with the place, and never read."""
    offsets = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 9_000_000, 4)))
    wild = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"abcd")])
    no_text = pa.Array.from_buffers(
        pa.string(),
        1,
        [None, pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 2))), pa.py_buffer(b"\xff\xfe")],
    )
    for column in (wild, no_text):
        damaged = pa.RecordBatch.from_arrays([column], ["a"])
        with pytest.raises(ValueRefused, match="'walking', topic 'imu'"):
            Limits().check_batch(damaged, sequence="walking", topic="imu")
