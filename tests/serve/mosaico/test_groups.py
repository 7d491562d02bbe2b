"""What is of another group does not exist for a caller, and what is of another key is not taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

import gapless
from gapless.catalog.state_database import StateDatabase
from gapless.serve.audit import audit_rows
from gapless.serve.keys import make_key
from gapless.serve.rights import Right

from .caller import Caller, readings
from .conftest import Serve

Ask = Callable[[Caller, str], Any]

_ASKED: dict[str, Ask] = {
    "session_create": lambda c, name: c.ask("session_create", locator=name),
    "session_delete": lambda c, name: c.ask("session_delete", locator=f"{name}:base"),
    "sequence_delete": lambda c, name: c.ask("sequence_delete", locator=name),
    "topic_delete": lambda c, name: c.ask("topic_delete", locator=f"{name}/t"),
    "sequence_notification_create": lambda c, name: c.ask(
        "sequence_notification_create", locator=name, notification_type="error", msg="x"
    ),
    "sequence_notification_list": lambda c, name: c.ask("sequence_notification_list", locator=name),
    "sequence_notification_purge": lambda c, name: c.ask("sequence_notification_purge", locator=name),
    "topic_notification_list": lambda c, name: c.ask("topic_notification_list", locator=f"{name}/t"),
    "topic_filter_clusterize": lambda c, name: c.ask(
        "topic_filter_clusterize", locator=f"{name}/t", clustering_dt_ns=0, ontology={}, timestamp_range=None
    ),
    "get_flight_info": lambda c, name: c.info(name),
    "get_flight_info of a topic": lambda c, name: c.info(f"{name}/t"),
}


@pytest.fixture
def caller(root: Path, serve: Serve) -> Callable[[Right], Caller]:
    """Return a function that gives a caller of group A with a right; group B has a sequence and a discarded one."""
    with gapless.connect(root) as client:
        for name in ("kept", "gone"):
            with client.sequence_create(name, group="B") as sequence:
                sequence.log("t", 1.0)
        client.discard("gone")
    server = serve().server

    def of(right: Right) -> Caller:
        with StateDatabase(root) as database:
            token = make_key(database, right, groups=["A"])[1]
        return Caller(server, token)

    return of


@pytest.mark.parametrize("right", [Right.READ, Right.WRITE, Right.DELETE])
@pytest.mark.parametrize("name", ["kept", "gone"])
@pytest.mark.parametrize("asked", _ASKED)
def test_foreign_is_as_absent(
    caller: Callable[[Right], Caller], root: Path, asked: str, name: str, right: Right
) -> None:
    """The same error, word for word but for the name, and without a path of the server."""
    ours = caller(right)
    try:
        foreign, absent = _refusal(ours, asked, name), _refusal(ours, asked, "none")
    finally:
        ours.close()
    assert foreign == absent
    assert str(root) not in foreign[1]


def _refusal(caller: Caller, asked: str, name: str) -> tuple[type[Exception], str]:
    with pytest.raises((flight.FlightError, pa.ArrowInvalid)) as caught:
        _ASKED[asked](caller, name)
    text = str(caught.value).split("gRPC client debug context")[0]
    return type(caught.value), text.replace(name, "NAME")


@pytest.fixture
def writers(root: Path, serve: Serve) -> Iterator[tuple[Caller, Caller]]:
    """Return two callers, each with a key of its own that may write and no more."""
    server = serve().server
    with StateDatabase(root) as database:
        tokens = [make_key(database, Right.WRITE)[1] for _ in range(2)]
    callers = Caller(server, tokens[0]), Caller(server, tokens[1])
    yield callers
    for caller in callers:
        caller.close()


def test_a_topic_of_another_key_is_not_taken_away(root: Path, writers: tuple[Caller, Caller]) -> None:
    """Its rows would have nowhere to go, and the sequence would be complete without them."""
    owner, other = writers
    session = owner.open("s")
    uuid = owner.topic(session, "s/t")
    owner.topic(session, "s/mistaken")
    with pytest.raises(flight.FlightUnauthorizedError):
        other.ask("topic_delete", locator="s/t")
    owner.ask("topic_delete", locator="s/mistaken")
    owner.put("s/t", uuid, readings(1, 2))
    owner.ask("session_finalize", session_uuid=session)
    assert owner.times("s/t") == [1, 2]
    deleted = [(row.what, row.outcome) for row in audit_rows(root) if row.verb == "delete"]
    assert deleted == [("s/mistaken", "done")]


def test_the_first_session_is_for_the_key_that_created_the_sequence(
    writers: tuple[Caller, Caller],
) -> None:
    """Another one that asks a moment sooner does not get it."""
    owner, other = writers
    owner.ask("sequence_create", locator="s", user_metadata={})
    with pytest.raises(flight.FlightServerError, match="still open"):
        other.session("s")
    owner.ask("session_finalize", session_uuid=owner.session("s"))
    assert other.session("s"), "a later one is for anyone who may write"


def test_what_is_reported_of_a_sealed_sequence_is_audited(root: Path, writers: tuple[Caller, Caller]) -> None:
    """It is kept in the store, as other writes are."""
    owner, other = writers
    owner.write("s", readings(1))
    words = {"notification_type": "error", "msg": "odd"}
    other.ask("sequence_notification_create", locator="s", **words)
    other.ask("topic_notification_create", locator="s/t", **words)
    told = [(row.what, row.outcome) for row in audit_rows(root) if "notification" in row.what]
    assert told == [("a notification of s", "done"), ("a notification of s/t", "done")]


def test_the_tombstone_of_a_layer_is_seen_by_those_of_its_group(root: Path, serve: Serve) -> None:
    """Of one that was sealed, and of one that its own client took back."""
    server = serve().server
    with StateDatabase(root) as database:
        token = make_key(database, Right.DELETE, groups=["A"])[1]
    caller = Caller(server, token)
    caller.write("s", readings(1))
    caller.ask("session_finalize", session_uuid=caller.session("s"))
    caller.session("s")
    for number in (1, 2):
        caller.ask("session_delete", locator=f"s:{number:05d}-session")
    caller.close()
    with gapless.connect(root) as client:
        stones = [(stone["layer"], stone["group"]) for stone in client.list_discarded()]
    assert stones == [("00001-session", "A"), ("00002-session", "A")]


def test_only_its_own_client_makes_a_session_incomplete(root: Path, serve: Serve) -> None:
    """What another key reports is a notification, and the session is committed all the same."""
    server = serve().server
    with StateDatabase(root) as database:
        tokens = [make_key(database, Right.WRITE, groups=["A"])[1] for _ in range(2)]
    owner, other = (Caller(server, token) for token in tokens)
    session = owner.open("s")
    other.ask("sequence_notification_create", locator="s", notification_type="error", msg="s:base is odd")
    owner.ask("session_finalize", session_uuid=session)
    with gapless.connect(root) as client:
        handler = client.sequence_handler("s")
        assert (handler.outcome, [n.message for n in handler.notifications()]) == (
            "completed",
            ["s:base is odd"],
        )
    owner.close()
    other.close()
