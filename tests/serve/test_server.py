"""The frame of the server, met by real Flight clients: dispatch, errors, streams, draining."""

from __future__ import annotations

import json
import logging
import socket
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from gapless.client.remote import protocol
from gapless.errors import NameTaken, ServerFault, StateError, UsageError
from gapless.serve.server import Server

from .conftest import Serve
from .trial_door import BATCH_ROWS, DEADLINE_S, SCHEMA, TrialDoor, batch, caller, descriptor


def refusal(url: str, action: str, body: bytes | dict[str, Any] = b"") -> Any:
    """Return the error that an action ends with."""
    with pytest.raises((pa.ArrowException, flight.FlightError, ValueError)) as caught:
        caller(url).action(action, body)
    return caught.value


def test_it_tells_what_it_is_and_what_it_does(serve: Serve, root: Path) -> None:
    """gapless.info answers with release, store, limits and rights; every action is listed and described."""
    server, _ = serve()
    client = caller(server.url)
    (body,) = client.action(protocol.INFO)
    told = json.loads(body)
    assert told["store_uid"] == json.loads((root / "gapless.json").read_bytes())["uid"]
    assert told["limits"]["max_batch_bytes"] == 64 << 20
    assert told["key"] == {"id": None, "right": "manage", "groups": None}
    listed = {action.type: action.description for action in client.client.list_actions()}
    assert set(listed) == {protocol.INFO, *TrialDoor(server.served).actions()}
    assert listed["trial.echo"] == "Send the body back."


def test_requests_reach_their_door(serve: Serve) -> None:
    """Actions, information, schemas, streams both ways and exchanges are handed to the door that takes them."""
    server, door = serve()
    client = caller(server.url)
    body, peer, key = client.action("trial.echo", b"\x00abc")
    assert (body, key) == (b"\x00abc", b"None")
    assert peer.startswith(b"ipv4:127.0.0.1:")
    assert client.client.get_flight_info(descriptor()).schema == SCHEMA
    assert client.client.get_schema(descriptor()).schema == SCHEMA
    chunks = list(client.get(batches=3))
    assert [chunk.data["a"][0].as_py() for chunk in chunks] == [0, 1, 2]
    assert [chunk.app_metadata.to_pybytes() for chunk in chunks] == [b"0", b"1", b"2"]
    writer = client.put()
    writer.write_batch(batch(7))
    writer.close()
    assert door.put_ended == [(7, False)]
    assert [one.num_rows for one in client.exchanged(batch(5), batch(6))] == [5, 6]
    assert list(client.client.list_flights()) == []


def test_what_nobody_takes_is_named(serve: Serve) -> None:
    """An unknown action, command or ticket is refused by name, and says what there is."""
    server, _ = serve()
    client = caller(server.url).client
    error = refusal(server.url, "sequence_creat")
    assert isinstance(error, pa.ArrowInvalid)
    assert "'sequence_creat'" in str(error)
    assert "trial.echo" in str(error)
    error = refusal(server.url, "gapless.nothing")
    assert isinstance(protocol.decode_error(error.extra_info), UsageError)
    for command, text in ((b'{"locator":1}', "['locator']"), (b"", "[]")):
        with pytest.raises(pa.ArrowInvalid, match="no such command") as caught:
            client.get_flight_info(flight.FlightDescriptor.for_command(command))
        assert text in str(caught.value)
    for ticket in (b'{"gapless":"else"}', b"{", b"[]", b"\xff", b'{"gapless":[]}', b"[" * 100_000):
        with pytest.raises(flight.FlightServerError) as refused:
            client.do_get(flight.Ticket(ticket)).read_all()
        assert isinstance(protocol.decode_error(refused.value.extra_info), UsageError)
    with pytest.raises(pa.ArrowInvalid, match="command"):
        client.get_flight_info(flight.FlightDescriptor.for_path("walking"))


def test_errors_of_ours_arrive_as_they_are(serve: Serve) -> None:
    """A typed error is made again from what travels, with its place and evidence; the text is there for others."""
    server, _ = serve()
    error = refusal(server.url, "trial.fail", b"typed")
    assert isinstance(error, flight.FlightServerError)
    assert "the name is taken" in str(error)
    ours = protocol.decode_error(error.extra_info)
    assert isinstance(ours, NameTaken)
    assert (ours.sequence, ours.found, ours.expected) == ("walking", "it", "another")


def test_an_error_of_any_size_arrives(serve: Serve) -> None:
    """Texts far above what a header carries are cut, each time, and keep their class."""
    server, _ = serve()
    for _ in range(50):
        error = refusal(server.url, "trial.fail", b"large")
        assert isinstance(error, flight.FlightServerError)
        ours = protocol.decode_error(error.extra_info)
        assert isinstance(ours, NameTaken)
        assert ours.message.startswith("üü")


@pytest.mark.parametrize(
    ("kind", "expected", "text"),
    [
        ("memory", flight.FlightUnavailableError, "not enough memory"),
        ("disk", flight.FlightServerError, "No space left on device"),
        ("arrow", pa.ArrowInvalid, "a bad key: 'x-'"),
        ("arrow io", pa.ArrowInvalid, "no message"),
        ("flight", flight.FlightUnauthorizedError, "said by the door"),
        ("nothing", flight.FlightServerError, "nothing of this kind"),
    ],
)
def test_every_failure_has_its_class(serve: Serve, kind: str, expected: type[Exception], text: str) -> None:
    """What a handler raises arrives as the class that Flight has for it, without a traceback."""
    server, _ = serve()
    error = refusal(server.url, "trial.fail", kind.encode())
    assert type(error) is expected
    assert text in str(error)
    assert "Traceback" not in str(error)
    assert "File " not in str(error)


@pytest.mark.parametrize("kind", [b"unexpected", b"exit"])
def test_a_fault_of_the_server_stays_there(
    serve: Serve, caplog: pytest.LogCaptureFixture, kind: bytes
) -> None:
    """An unexpected error is a fault with a reference; the log has the traceback, the client nothing of it."""
    server, _ = serve()
    with caplog.at_level(logging.ERROR, "gapless.serve"):
        error = refusal(server.url, "trial.fail", kind)
    assert isinstance(error, flight.FlightInternalError)
    ours = protocol.decode_error(error.extra_info)
    assert isinstance(ours, ServerFault)
    reference = str(ours.found).split()[1]
    assert reference in caplog.text
    assert caplog.records[0].exc_info is not None
    assert "secret" not in str(error)
    assert caller(server.url).action("trial.echo", b"x")[0] == b"x"


def test_an_error_in_the_middle_of_a_stream_arrives(serve: Serve) -> None:
    """Answers before the error are there; the error is the door's."""
    server, door = serve()
    client = caller(server.url)
    results = client.client.do_action(flight.Action("trial.count", b"2"), options=client.options)
    assert [next(results).body.to_pybytes() for _ in range(2)] == [b"0", b"1"]
    with pytest.raises(flight.FlightServerError) as caught:
        next(results)
    assert isinstance(protocol.decode_error(caught.value.extra_info), NameTaken)
    reader = client.get(batches=2, fail=True)
    assert [reader.read_chunk().data["a"][0].as_py() for _ in range(2)] == [0, 1]
    with pytest.raises(flight.FlightServerError) as caught:
        reader.read_chunk()
    assert isinstance(protocol.decode_error(caught.value.extra_info), NameTaken)
    assert door.closed.wait(DEADLINE_S)


def test_every_error_of_a_schema_is_a_bad_argument(serve: Serve) -> None:
    """Arrow passes on no other class from GetSchema; the text is ours and there is no traceback."""
    server, _ = serve()
    with pytest.raises(pa.ArrowInvalid, match="there is no such thing") as caught:
        caller(server.url).client.get_schema(descriptor(fail=True))
    assert "File " not in str(caught.value)


def test_a_stream_that_is_left_is_closed(serve: Serve) -> None:
    """A reader that has seen enough ends the generator on the server, and the call is counted as over."""
    server, door = serve()
    reader = caller(server.url).get(batches=-1)
    assert reader.read_chunk().data.num_rows == BATCH_ROWS
    assert server.traffic.calls == 1
    reader.cancel()
    assert door.closed.wait(DEADLINE_S)
    assert server.traffic.wait_idle(DEADLINE_S)
    assert server.traffic.connections == 0


def test_a_slow_reader_gets_batches_as_it_takes_them(serve: Serve) -> None:
    """A stream runs ahead of its reader by what the transport holds; others are served meanwhile."""
    server, door = serve()
    reader = caller(server.url).get(batches=2_000)
    other = caller(server.url)
    for number in range(20):
        assert reader.read_chunk().data["a"][0].as_py() == number
        for _ in range(10):
            other.action("trial.echo")
    assert door.made < 100
    reader.cancel()


def test_stopping_lets_a_request_end(serve: Serve) -> None:
    """A request that goes on is waited for; new streams are refused meanwhile, actions are not."""
    server, door = serve()
    client = caller(server.url)
    answers: list[list[bytes]] = []
    asking = threading.Thread(target=lambda: answers.append(client.action("trial.wait")))
    asking.start()
    assert door.begun.wait(DEADLINE_S)
    stopping = threading.Thread(target=server.stop, args=(DEADLINE_S,))
    stopping.start()
    assert server.served.draining.wait(DEADLINE_S)
    with pytest.raises(flight.FlightUnavailableError, match="going down"):
        caller(server.url).get(batches=1).read_all()
    assert caller(server.url).action("trial.echo", b"still")[0] == b"still"
    door.go_on.set()
    stopping.join(DEADLINE_S)
    asking.join(DEADLINE_S)
    assert answers == [[b"done"]]
    assert door.stopped == [False]


def test_stopping_cuts_what_hangs(serve: Serve) -> None:
    """A client that holds its upload open does not hold the server: the door lets go, then it is cut."""
    server, door = serve()
    writer = caller(server.url).put()
    writer.write_batch(batch(3))
    assert door.begun.wait(DEADLINE_S)
    assert server.stop(0.1)
    assert door.stopped == [False]
    assert door.closed.is_set()
    assert door.put_ended == [(3, True)]
    with pytest.raises((flight.FlightError, pa.ArrowException)):
        writer.close()


def test_a_door_that_fails_to_stop_does_not_keep_the_rest(root: Path) -> None:
    """The others are stopped, the port is given up, and the error is raised in the end."""
    kept: list[TrialDoor] = []

    class Broken(TrialDoor):
        def stop(self, deadline_s: float) -> None:
            raise StateError("it does not stop")

    def whole(served: Any) -> TrialDoor:
        kept.append(TrialDoor(served))
        return kept[0]

    server = Server(root, "127.0.0.1", 0, doors=[Broken, whole])
    server.start()
    url = server.url
    with pytest.raises(StateError, match="does not stop"):
        server.stop(0.1)
    assert kept[0].stopped == [False]
    with pytest.raises(flight.FlightUnavailableError):
        caller(url).action("trial.echo")


def test_nothing_is_kept_of_a_server_that_did_not_start(root: Path) -> None:
    """When a door cannot be made, those before it are stopped, and the error is raised."""
    made: list[TrialDoor] = []

    def whole(served: Any) -> TrialDoor:
        made.append(TrialDoor(served))
        return made[0]

    def broken(served: Any) -> TrialDoor:
        raise StateError("no such door")

    before = {thread.name for thread in threading.enumerate()}
    server = Server(root, "127.0.0.1", 0, doors=[whole, broken])
    with pytest.raises(StateError, match="no such door"):
        server.start()
    assert made[0].stopped == [False]
    assert server.stop()
    assert {thread.name for thread in threading.enumerate()} - before == set()


def test_nothing_is_left_of_a_stopped_server(serve: Serve) -> None:
    """Its threads have ended, its port is free, and stopping again does nothing."""
    before = {thread.name for thread in threading.enumerate()}
    server, _ = serve()
    port = server.port
    caller(server.url).action("trial.echo")
    assert server.stop(1.0)
    assert {thread.name for thread in threading.enumerate()} - before == set()
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind(("127.0.0.1", port))
    assert server.stop(1.0)
    with pytest.raises(StateError):
        server.start()


def test_a_taken_port_is_a_typed_error(serve: Serve, tmp_path: Path) -> None:
    """The place that is in use is named."""
    server, _ = serve()
    with pytest.raises(StateError, match=str(server.port)):
        Server(tmp_path / "other", "127.0.0.1", server.port, doors=[]).start()


def test_a_host_that_is_none_is_a_typed_error(root: Path) -> None:
    """A name that does not resolve is a mistake of the call."""
    with pytest.raises(UsageError, match="host"):
        Server(root, "no such host", 0, doors=[]).start()


def test_requests_are_counted(serve: Serve) -> None:
    """The figures tell requests by method, actions by name and failures by code."""
    server, _ = serve()
    client = caller(server.url)
    client.action("trial.echo")
    client.action("trial.echo")
    client.get(batches=1).read_all()
    refusal(server.url, "trial.fail", b"typed")
    metrics = server.served.metrics
    assert metrics.value("gapless_requests_total", method="do_action") == 3
    assert metrics.value("gapless_requests_total", method="do_get") == 1
    assert metrics.value("gapless_actions_total", action="trial.echo") == 2
    assert metrics.value("gapless_requests_failed_total", code=NameTaken.code) == 1


def test_every_server_has_all_doors(root: Path) -> None:
    """The actions of gapless' own clients, for writing and reading, and those of the Mosaico SDK are there."""
    with Server(root, "127.0.0.1", 0) as server:
        names = {action.type for action in caller(server.url).client.list_actions()}
    assert {
        protocol.INFO,
        protocol.OPEN,
        protocol.END,
        "gapless.find.query",
        "sequence_create",
        "info",
    } <= names
