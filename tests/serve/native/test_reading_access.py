"""Who sees and changes what: keys, rights and groups at the door for reading, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight
from tests.client.remote.parity_store import SPEED, fill, served

import gapless
from gapless.catalog.state_database import StateDatabase
from gapless.client.client import Client
from gapless.client.remote import protocol, reading
from gapless.errors import GaplessError, KeyRefused, NotFound, RightMissing, UsageError
from gapless.serve.audit import audit_rows
from gapless.serve.keys import make_key
from gapless.serve.native.reading import NativeReading
from gapless.serve.rights import Right
from gapless.serve.server import Server

ABOUT_ONE: dict[str, Callable[[Client, str], Any]] = {
    "open": lambda c, name: c.sequence_handler(name),
    "open a layer": lambda c, name: c.sequence_handler(name, layers=["late"]),
    "verify": lambda c, name: c.verify(name),
    "check": lambda c, name: c.check(name),
    "annotate": lambda c, name: c.annotate(name, 1, 2, "a"),
    "unlabel": lambda c, name: c.remove_annotation(name, "a"),
    "seal": lambda c, name: c.seal(name),
    "recover": lambda c, name: c.recover(name),
    "discard": lambda c, name: c.discard(name),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    """Return a server of a store with groups, and keys by name."""
    root = tmp_path_factory.mktemp("store")
    fill(root)
    keys, database = {}, StateDatabase(root)
    for name, right, groups in (
        ("reader", Right.READ, []),
        ("reader of g1", Right.READ, ["g1"]),
        ("master of g2", Right.MANAGE, ["g2"]),
        ("writer", Right.WRITE, []),
    ):
        keys[name] = make_key(database, right, groups=groups)[1]
    database.close()
    with Server(root, "127.0.0.1", 0, doors=[NativeReading]) as running:
        yield running, keys


@pytest.fixture
def connect(server: tuple[Server, dict[str, str]]) -> Callable[[str], Client]:
    """Return a function that connects with a key."""
    return lambda name: gapless.connect(server[0].url, api_key=server[1][name])


def test_no_key_is_no_answer(server: tuple[Server, dict[str, str]]) -> None:
    """Neither without a key nor with another one."""
    for key in (None, "gapless_00000000_" + "0" * 64):
        with gapless.connect(server[0].url, api_key=key) as client, pytest.raises(KeyRefused):
            client.list_sequences()


@pytest.mark.parametrize("name", ABOUT_ONE)
def test_a_foreign_group_is_no_different_from_nothing(connect: Callable[[str], Client], name: str) -> None:
    """Every question about one sequence gets the answer that one about a name nobody has gets."""
    with connect("master of g2") as client:
        texts = []
        for sequence in ("walk", "layered", "nope"):
            with pytest.raises(NotFound) as caught:
                ABOUT_ONE[name](client, sequence)
            texts.append(str(caught.value).replace(sequence, "NAME"))
        assert len(set(texts)) == 1


def test_lists_and_queries_hold_only_the_key_s_groups(connect: Callable[[str], Client]) -> None:
    """Names, tombstones, answers and references of other groups do not come, nor hints about them."""
    with connect("reader of g1") as g1, connect("master of g2") as g2, connect("reader") as everyone:
        assert [c.list_sequences() for c in (g1, g2, everyone)] == [
            ["walk"],
            [],
            ["walk", "layered", "kept"],
        ]
        assert [[s["name"] for s in c.list_discarded()] for c in (g1, g2, everyone)] == [[], ["old"], ["old"]]
        assert [c.was_discarded("old") for c in (g1, g2, everyone)] == [False, True, True]
        assert [c.sequence_exists("walk") for c in (g1, g2, everyone)] == [True, False, True]
        assert [c.query().names for c in (g1, g2, everyone)] == [["walk"], [], ["walk", "layered", "kept"]]
        assert g2.query(gapless.Field("mixed", "x").gt(0.5)).names == []
        assert g2.query("metadata.vehicle.ix == 'x'").warnings == []
        assert everyone.query("metadata.vehicle.ix == 'x'").warnings != []
        assert g1.sequence_row("@last").name == "walk"  # type: ignore[attr-defined]
        for ref in ("@last-1", "lay", "layered", "@first", ""):
            with pytest.raises(NotFound):
                g1.sequence_row(ref)  # type: ignore[attr-defined]


def test_what_a_key_may_see_reads_as_ever(connect: Callable[[str], Client]) -> None:
    """Rows, curves, features and artifacts of a sequence of the key's group."""
    with connect("reader of g1") as client:
        handler = client.sequence_handler("walk")
        assert handler.topic("imu").to_arrow().num_rows == 50
        assert handler.topic(SPEED).downsample("speed").maximum.max() == 2.5
        assert handler.artifact_path("notes.bin").stat().st_size == 256 * 9_000
        assert handler.annotations()[0].name == "gait"


@pytest.mark.parametrize("name", ["annotate", "unlabel", "seal", "recover", "discard"])
def test_a_reader_changes_nothing(connect: Callable[[str], Client], name: str) -> None:
    """A key with the right to read is refused by everything that changes the store."""
    with connect("reader") as client, pytest.raises(RightMissing):
        ABOUT_ONE[name](client, "walk")


def test_what_changes_the_store_is_noted(
    server: tuple[Server, dict[str, str]], connect: Callable[[str], Client]
) -> None:
    """An audit row tells key, act, sequence and how it ended; a writer does not discard."""
    with connect("writer") as client:
        client.annotate("layered", 1, 2, "a")
        with pytest.raises(RightMissing):
            client.discard("layered")
        with pytest.raises(NotFound):
            client.remove_annotation("layered", "nope")
    rows = [(row.verb, row.what, row.outcome) for row in audit_rows(server[0].served.root)]
    assert rows[-2:] == [("write", "label layered", "done"), ("write", "unlabel layered", "E201")]


BAD_ACTIONS: list[tuple[str, Any]] = [
    (reading.DESCRIBE, {}),
    (reading.DESCRIBE, {"name": 5}),
    (reading.DESCRIBE, {"name": "walk", "layers": "late"}),
    (reading.DESCRIBE, {"name": "walk", "layers": [5]}),
    (reading.DESCRIBE, {"name": "half \ud800"}),
    (reading.DESCRIBE, {"name": "../" * 40 + "etc"}),
    (reading.LIVE, {"name": "walk", "topic": []}),
    (reading.FEATURE, {"name": "walk", "topic": "features/../../x@1"}),
    (reading.FLOOR, {"name": "walk", "topic": "imu", "time_ns": True}),
    (reading.FLOOR, {"name": "walk", "topic": "imu", "time_ns": 1.5}),
    (reading.ROWS, {"limit": -1}),
    (reading.ROWS, {"limit": 2**80}),
    (reading.ROWS, {"order": "colour"}),
    (reading.ROW, {}),
    (reading.ROW, {"ref": "@last-99999999999999999999"}),
    (reading.ROW, {"ref": "@last-" + "9" * 5_000}),
    (reading.QUERY, {"expression": 5}),
    (reading.QUERY, {"expression": {"and": "x"}}),
    (reading.QUERY, {"cursor": "NQ=="}),
    (reading.QUERY, {"limit": 0}),
    (reading.LABEL, {"name": "walk", "start_ns": None, "end_ns": 5, "label": "x"}),
    (reading.LABEL, {"name": "walk", "start_ns": 1, "end_ns": 5, "label": "x", "confidence": 10**40}),
    (reading.UNLABEL, {"name": "walk", "id": 5}),
]
BAD_TICKETS: list[dict[str, Any]] = [
    {"gapless": "scan"},
    {"gapless": "scan", "name": "walk", "topic": "nope"},
    {"gapless": "scan", "name": "walk", "topic": "mixed", "columns": "x"},
    {"gapless": "scan", "name": "walk", "topic": "mixed", "batch_rows": 0},
    {"gapless": "scan", "name": "walk", "topic": "mixed", "start_ns": "now"},
    {"gapless": "scan", "name": "walk", "topic": "mixed", "with_seq": 1},
    {"gapless": "scan", "name": "walk", "topic": "mixed", "filter": "x > 3"},
    {"gapless": "scan", "name": "walk", "topic": "mixed", "filter": {"tree": ["value", 0], "values": "AAAA"}},
    {"gapless": "scan", "name": "walk", "topic": "mixed", "uid": "another"},
    {"gapless": "tail", "name": "walk", "topic": "mixed", "poll_s": "fast"},
    {"gapless": "tail", "name": "walk", "topic": "mixed", "timeout_s": float("nan")},
    {"gapless": "downsample", "name": "walk", "topic": "mixed", "field": "x", "points": 10**9},
    {"gapless": "downsample", "name": "walk", "topic": "mixed", "field": "s", "points": 10},
    {"gapless": "artifact", "name": "walk", "artifact": "../manifest.json"},
    {"gapless": "artifact", "name": "walk", "artifact": "model"},
    {"gapless": "nothing"},
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, flight.FlightClient]]:
    """Return a server without keys, and a client that says whatever it wants."""
    root = tmp_path_factory.mktemp("plain")
    fill(root)
    with served(root) as (running, _), flight.FlightClient(running.url) as client:
        yield running, client


def refusal(ask: Callable[[], object]) -> GaplessError:
    """Return the error that the server sends."""
    with pytest.raises(flight.FlightServerError) as caught:
        ask()
    error = protocol.decode_error(bytes(caught.value.extra_info))
    assert error is not None
    return error


@pytest.mark.parametrize(("name", "words"), BAD_ACTIONS, ids=lambda value: str(value)[:60])
def test_a_request_that_means_nothing_is_refused(
    plain: tuple[Server, flight.FlightClient], name: str, words: Any
) -> None:
    """With an error that says what is wrong, never as a fault of the server."""
    body = json.dumps(words).encode()
    found = refusal(lambda: list(plain[1].do_action(flight.Action(name, body))))
    assert isinstance(found, UsageError | NotFound)


@pytest.mark.parametrize("ticket", BAD_TICKETS, ids=str)
def test_a_ticket_that_means_nothing_is_refused(
    plain: tuple[Server, flight.FlightClient], ticket: dict[str, Any]
) -> None:
    """With an error that says what is wrong, never as a fault of the server."""
    found = refusal(lambda: plain[1].do_get(flight.Ticket(json.dumps(ticket).encode())).read_all())
    assert isinstance(found, UsageError | NotFound)


def nested(depth: int) -> dict[str, Any]:
    """Return a query that is nested so deeply."""
    expression: dict[str, Any] = {"target": "sequence", "path": "name", "op": "eq", "value": "x"}
    for _ in range(depth):
        expression = {"not": expression}
    return expression


@pytest.mark.parametrize("depth", [100, 400])
def test_a_deep_query_is_answered_or_refused(plain: tuple[Server, flight.FlightClient], depth: int) -> None:
    """The server's stack is never the client's to use up."""
    action = flight.Action(reading.QUERY, json.dumps({"expression": nested(depth)}).encode())
    try:
        found: Any = len(list(plain[1].do_action(action)))
    except flight.FlightServerError as error:
        found = protocol.decode_error(bytes(error.extra_info))
    assert found == 1 or isinstance(found, UsageError)


def test_an_empty_topic_is_a_stream_without_batches(plain: tuple[Server, flight.FlightClient]) -> None:
    """The schema comes, and no batch of no rows."""
    ticket = {"gapless": "scan", "name": "walk", "topic": "empty"}
    reader = plain[1].do_get(flight.Ticket(json.dumps(ticket).encode()))
    assert reader.schema.names == ["timestamp_ns", "v"]
    assert [chunk.data for chunk in reader] == []


def test_every_action_is_described(plain: tuple[Server, flight.FlightClient]) -> None:
    """list_actions says what each is for."""
    told = {action.type: action.description for action in plain[1].list_actions()}
    names = {value for key, value in vars(reading).items() if key.isupper() and isinstance(value, str)}
    assert names <= told.keys()
    assert all(told[name].endswith(".") for name in names)


def test_the_rows_of_the_catalog_travel_whole(
    plain: tuple[Server, flight.FlightClient], tmp_path: Path
) -> None:
    """What `ls` shows of a folder it shows of its server."""
    del tmp_path
    running = plain[0]
    local = running.served.client.catalog.sequences(order="-name")
    with gapless.connect(running.url) as client:
        rows = client.sequence_rows(order="-name")  # type: ignore[attr-defined]
        assert [row.name for row in client.sequence_rows(state="pending")] == ["kept"]  # type: ignore[attr-defined]
        assert len(client.sequence_rows(limit=2)) == 2  # type: ignore[attr-defined]
    for there, here in zip(rows, local, strict=True):
        known = {name: getattr(there, name) for name in reading.ROW_FIELDS}
        assert known == {name: getattr(here, name) for name in reading.ROW_FIELDS}


def test_no_value_of_a_filter_is_believed(plain: tuple[Server, flight.FlightClient]) -> None:
    """Bytes that are no Arrow batch, and batches that are not sound, are refused."""
    import base64

    schema = pa.schema([("", pa.string())])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array(["a", "b"])], schema=schema))
    for values in (b"", b"\0" * 64, bytes(sink.getvalue())):
        told = {"tree": ["value", 0], "values": base64.b64encode(values).decode()}
        ticket = {"gapless": "scan", "name": "walk", "topic": "mixed", "filter": told}
        found = refusal(lambda ticket=ticket: plain[1].do_get(flight.Ticket(json.dumps(ticket).encode())))  # type: ignore[misc]
        assert isinstance(found, UsageError)
