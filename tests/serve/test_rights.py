"""Rights and groups: what each key may do, what it sees, and what is noted about what it changed."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from pyarrow import flight

from gapless.client.remote import protocol
from gapless.errors import GaplessError, NotFound, RightMissing, StorageFailed, UsageError
from gapless.serve.audit import audit_rows
from gapless.serve.rights import ANYWHERE, Access, Right
from gapless.store.folder import FolderStore

from .conftest import Serve
from .trial_door import Caller, caller, new_key


@pytest.fixture
def store(root: Path) -> Path:
    """Return the folder of an empty store."""
    FolderStore(root)
    return root


def asked(client: Caller, **words: Any) -> type[GaplessError] | None:
    """Return the class that a request for a right ends with, None when it is granted."""
    try:
        client.action("trial.require", words)
    except flight.FlightUnauthorizedError as error:
        found = protocol.decode_error(error.extra_info)
        assert isinstance(found, RightMissing)
        return RightMissing
    except flight.FlightServerError as error:
        return type(protocol.decode_error(error.extra_info))  # type: ignore[return-value]
    return None


def test_each_right_includes_those_below(serve: Serve, store: Path) -> None:
    """A key may do what its right says and less, in every group and without one; never more."""
    callers = {right: new_key(store, right) for right in Right}
    server, _ = serve()
    for has, wants in itertools.product(Right, Right):
        client = caller(server.url, callers[has])
        for words in ({}, {"group": "lab"}, {"group": None}):
            expected = None if has >= wants else RightMissing
            assert asked(client, right=wants.word, **words) is expected


def test_a_key_of_groups_stays_in_them(serve: Serve, store: Path) -> None:
    """Its groups, no other, and not what has no group; an existing foreign sequence does not exist for it."""
    token = new_key(store, Right.WRITE, groups=["lab", "air"])
    server, _ = serve()
    client = caller(server.url, token)
    assert asked(client, right="write") is None
    for group in ("lab", "air"):
        assert asked(client, right="write", group=group) is None
        assert asked(client, right="write", group=group, reach=True) is None
    for foreign in ("Lab", "lab ", "", "sea", None):
        assert asked(client, right="write", group=foreign) is RightMissing
        assert asked(client, right="read", group=foreign, reach=True) is NotFound
    assert asked(client, right="delete", group="lab", reach=True) is RightMissing
    assert asked(client, right="delete", group="sea", reach=True) is RightMissing


def test_a_refusal_names_what_is_missing(serve: Serve, store: Path) -> None:
    """The text tells the key's right and the one that is wanted, or the groups."""
    token = new_key(store, Right.READ, groups=["lab", "air"])
    server, _ = serve()
    client = caller(server.url, token)
    with pytest.raises(
        flight.FlightUnauthorizedError, match=rf"{token.split('_')[1]} may read.*expected delete"
    ):
        client.action("trial.require", {"right": "delete"})
    with pytest.raises(flight.FlightUnauthorizedError, match=r"group 'sea'.*air, lab"):
        client.action("trial.require", {"right": "read", "group": "sea"})


def test_access_without_a_key_is_everything() -> None:
    """Where none is asked for, a caller may manage all groups."""
    access = Access(Right.MANAGE)
    assert all(access.may(right, group) for right in Right for group in (ANYWHERE, None, "lab"))


def test_a_word_that_is_no_right_is_refused() -> None:
    """Names are read whatever their case."""
    assert Right.named("Delete") is Right.DELETE
    with pytest.raises(UsageError, match="read, write, delete, manage"):
        Right.named("own")


def test_changes_are_noted_with_their_outcome(serve: Serve, store: Path) -> None:
    """A row for each act: who, from where, what, and how it ended."""
    token = new_key(store, Right.DELETE)
    server, _ = serve()
    client = caller(server.url, token)
    client.action("trial.change")
    with pytest.raises(flight.FlightServerError):
        client.action("trial.change", b"fail")
    client.action("trial.echo")
    done, failed = audit_rows(store)
    assert (done.key_id, done.verb, done.what, done.outcome) == (
        token.split("_")[1], "delete", "discard walking", "done",
    )  # fmt: skip
    assert done.peer.startswith("ipv4:127.0.0.1:")
    assert failed.outcome == NotFound.code
    assert failed.time_ns >= done.time_ns
    assert audit_rows(store, limit=1) == [failed]


def test_what_cannot_be_noted_does_not_happen(serve: Serve, store: Path) -> None:
    """When state.db takes no row, the act is refused before it begins."""
    server, _ = serve()
    database = server.served.audit._database
    for path in store.glob("state.db*"):
        path.unlink()
    (store / "state.db").mkdir()
    with pytest.raises(flight.FlightServerError) as caught:
        caller(server.url).action("trial.change")
    assert isinstance(protocol.decode_error(caught.value.extra_info), StorageFailed)
    database.close()
    (store / "state.db").rmdir()
    assert caller(server.url).action("trial.change") == [b"done"]
    assert [row.outcome for row in audit_rows(store)] == ["done"]


def test_texts_of_any_kind_are_noted(serve: Serve, store: Path) -> None:
    """Long names and characters that UTF-8 lacks are kept cut and escaped."""
    server, _ = serve()
    server.served.audit.add(None, "ipv4:127.0.0.1:1", "write", "\ud800" + "x" * 10_000)
    (row,) = audit_rows(store)
    assert row.what.startswith("\\ud800xxx")
    assert len(row.what) < 600
