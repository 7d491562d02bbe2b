"""A caller of one group cannot tell a foreign group's sequence from one that is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

import gapless
from gapless.catalog.state_database import StateDatabase
from gapless.serve.keys import make_key
from gapless.serve.rights import Right

from .caller import Caller
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
