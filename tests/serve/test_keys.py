"""API keys: what is kept of them, who gets in, and how soon a revoked one is out."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from gapless.catalog.state_database import StateDatabase
from gapless.client.remote import protocol
from gapless.errors import IntegrityError, KeyRefused, NotFound, UsageError
from gapless.serve import keys
from gapless.serve.key_ring import KeyRing
from gapless.serve.keys import list_keys, make_key, revoke_key
from gapless.serve.rights import Right
from gapless.serve.server import Server
from gapless.store.folder import FolderStore

from .conftest import Serve
from .trial_door import DEADLINE_S, Caller, batch, caller, descriptor, new_key


@pytest.fixture
def store(root: Path) -> Path:
    """Return the folder of an empty store."""
    FolderStore(root)
    return root


def refused(client: Caller) -> KeyRefused:
    """Return the error that a call without a counting key ends with."""
    with pytest.raises(flight.FlightUnauthenticatedError) as caught:
        client.action("trial.echo")
    error = protocol.decode_error(caught.value.extra_info)
    assert isinstance(error, KeyRefused)
    return error


def test_a_key_is_kept_as_its_hash(store: Path) -> None:
    """Neither the key nor its secret is in any file of the store; what is listed names rights and groups."""
    with StateDatabase(store) as database:
        made, token = make_key(
            database, Right.WRITE, groups=["lab", "air", "lab"], label="robot 7", expires_days=2
        )
    assert re.fullmatch(r"gapless_[0-9a-f]{8}_[0-9a-f]{64}", token)
    secret = token.rpartition("_")[2].encode()
    for path in store.rglob("*"):
        assert path.is_dir() or secret not in path.read_bytes()
    (listed,) = list_keys(store)
    assert listed == made
    assert (listed.right, listed.groups, listed.label) == (Right.WRITE, frozenset(["lab", "air"]), "robot 7")
    assert listed.expires_ns is not None
    assert listed.counts(listed.expires_ns - 1)
    assert not listed.counts(listed.expires_ns)


def test_two_keys_have_nothing_in_common(store: Path) -> None:
    """Ids and secrets are random."""
    tokens = [new_key(store, Right.READ) for _ in range(20)]
    assert len({token.split("_")[1] for token in tokens}) == 20
    assert len({token.split("_")[2] for token in tokens}) == 20
    assert len(list_keys(store)) == 20


@pytest.mark.parametrize("words", [{"groups": [""]}, {"expires_days": 0}, {"expires_days": float("nan")}])
def test_a_key_that_means_nothing_is_refused(store: Path, words: dict[str, Any]) -> None:
    """An empty group and an end that is no time are mistakes; nothing is kept."""
    with StateDatabase(store) as database, pytest.raises(UsageError):
        make_key(database, Right.READ, **words)
    assert list_keys(store) == []


def test_a_revoked_key_never_counts_again(store: Path) -> None:
    """It stays in the list; revoking again changes nothing; an unknown id is said."""
    new_key(store, Right.READ)
    (made,) = list_keys(store)
    with StateDatabase(store) as database:
        revoke_key(database, made.key_id)
        (first,) = list_keys(store)
        revoke_key(database, made.key_id)
        assert list_keys(store) == [first]
        assert not first.counts(0)
        with pytest.raises(NotFound):
            revoke_key(database, "00000000")


def test_a_store_with_a_key_asks_everyone(serve: Serve, store: Path) -> None:
    """Both headers carry it; none, a wrong, a cut, a foreign and a doubled one are Unauthenticated."""
    token = new_key(store, Right.READ)
    server, _ = serve()
    (made,) = list_keys(store)
    for client in (caller(server.url, token), caller(server.url, token, bearer=True)):
        assert client.action("trial.echo")[2] == made.key_id.encode()
    other = f"gapless_{made.key_id}_{'0' * 64}"
    for wrong in (None, "", other, token[:-1], token.upper(), f"{token} ", "msco_abc_12345678", "x" * 5000):
        assert "key" in refused(caller(server.url, wrong)).message
    assert refused(caller(server.url, other, bearer=True)).exit_code == 5
    client = caller(server.url)
    client.options = flight.FlightCallOptions(
        headers=[(b"mosaico-api-key-token", token.encode()), (b"authorization", f"Bearer {other}".encode())]
    )
    assert "two" in refused(client).message
    client.options = flight.FlightCallOptions(headers=[(b"authorization", b"Basic dTpw")])
    assert refused(client).found == "Basic"


def test_every_method_asks_for_the_key(serve: Serve, store: Path) -> None:
    """No request of any kind is answered without one, and no door hears of it."""
    new_key(store, Right.READ)
    server, door = serve()
    client = caller(server.url)
    asked: list[Callable[[], Any]] = [
        lambda: list(client.client.list_actions()),
        lambda: list(client.client.list_flights()),
        lambda: client.client.get_flight_info(descriptor()),
        lambda: client.get(batches=1).read_all(),
        lambda: client.put().close(),
        lambda: list(client.exchanged(batch())),
        lambda: client.action(protocol.INFO),
    ]
    for ask in asked:
        with pytest.raises(flight.FlightUnauthenticatedError):
            ask()
    with pytest.raises(OSError, match="Unauthenticated"):  # as which pyarrow's client raises it here
        client.client.get_schema(descriptor())
    assert not door.begun.is_set()
    assert server.traffic.calls == 0


def until_refused(client: Caller) -> None:
    """Call until the server refuses the key."""
    until_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < until_s:
        try:
            client.action("trial.echo")
        except flight.FlightUnauthenticatedError:
            return
    pytest.fail("the key was never refused")


def test_a_running_server_follows(serve: Serve, store: Path) -> None:
    """It learns of a new key and of a revoked one; revoking the last key does not open the door again."""
    server, _ = serve()
    anyone = caller(server.url)
    assert anyone.action("trial.echo")
    token = new_key(store, Right.READ)
    assert caller(server.url, token).action("trial.echo")
    until_refused(anyone)
    with_key = caller(server.url, token)
    assert with_key.action("trial.echo")
    with StateDatabase(store) as database:
        revoke_key(database, list_keys(store)[0].key_id)
    until_refused(with_key)
    refused(anyone)


def test_streams_of_a_revoked_key_are_cut(serve: Serve, store: Path) -> None:
    """What it had open ends on both sides; the streams of another key go on."""
    revoked, other = new_key(store, Right.READ), new_key(store, Right.READ)
    server, door = serve()
    own = [("grpc.use_local_subchannel_pool", 1)]
    cut = caller(server.url, revoked, generic_options=own).get(batches=-1)
    kept = caller(server.url, other, generic_options=own).get(batches=2_000)
    assert cut.read_chunk().data.num_rows == kept.read_chunk().data.num_rows
    with StateDatabase(store) as database:
        revoke_key(database, revoked.split("_")[1])
    with pytest.raises((flight.FlightError, pa.ArrowException)):
        deque(cut, maxlen=0)
    assert door.closed.wait(DEADLINE_S)
    until_s = time.monotonic() + DEADLINE_S
    while server.traffic.calls > 1:
        assert time.monotonic() < until_s
    assert kept.read_chunk().data["a"][0].as_py() == 1
    kept.cancel()


def test_streams_without_a_key_are_cut_when_one_is_asked_for(serve: Serve, store: Path) -> None:
    """What began before the store had a key does not go on without one."""
    server, door = serve()
    stream = caller(server.url).get(batches=-1)
    stream.read_chunk()
    new_key(store, Right.READ)
    with pytest.raises((flight.FlightError, pa.ArrowException)):
        deque(stream, maxlen=0)
    assert door.closed.wait(DEADLINE_S)


def test_a_key_that_has_ended_is_out(serve: Serve, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of its end is looked at in each call."""
    token = new_key(store, Right.READ, expires_days=1)
    server, _ = serve()
    assert caller(server.url, token).action("trial.echo")
    later_ns = time.time_ns() + 2 * 86_400_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later_ns)
    refused(caller(server.url, token))


def test_losing_state_db_does_not_open_the_door(serve: Serve, store: Path) -> None:
    """Once a server has seen a key, a state.db that vanished lets nobody in who has none."""
    new_key(store, Right.READ)
    server, _ = serve()
    for path in store.glob("state.db*"):
        path.unlink()
    ring: KeyRing = server._keys
    assert ring._read() is None
    refused(caller(server.url))


def test_keys_that_cannot_be_read_lock_the_door(store: Path) -> None:
    """A damaged state.db lets nobody in for longer than some seconds, and a server does not start with it."""
    token = new_key(store, Right.READ)
    with StateDatabase(store) as database:
        ring = KeyRing(store, database, open_door=True)
    assert ring.access(token).right is Right.READ
    for path in store.glob("state.db*"):
        path.write_bytes(b"no database " * 1000)
    assert ring.access(token).right is Right.READ
    ring._read_s -= 60.0
    with pytest.raises(KeyRefused, match="cannot read"):
        ring.access(token)
    with pytest.raises(IntegrityError):
        Server(store, "127.0.0.1", 0, doors=[]).start()


def test_last_use_is_kept(serve: Serve, store: Path) -> None:
    """A server that stops has noted when each key was used last."""
    used, unused = new_key(store, Right.READ), new_key(store, Right.READ)
    before_ns = time.time_ns()
    server, _ = serve()
    caller(server.url, used).action("trial.echo")
    server.stop(1.0)
    known = {key.key_id: key.used_ns for key in list_keys(store)}
    assert known[unused.split("_")[1]] is None
    found_ns = known[used.split("_")[1]]
    assert found_ns is not None
    assert found_ns >= before_ns


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_are_served_with_keys_only(store: Path, host: str) -> None:
    """A host beyond this machine wants a key in the store, or to be told that it is insecure."""
    with pytest.raises(UsageError, match="--insecure"):
        Server(store, host, 0, doors=[]).start()
    with Server(store, host, 0, doors=[], insecure=True) as server:
        assert not server.asks_for_keys
        assert caller(server.url).action(protocol.INFO)
    token = new_key(store, Right.READ)
    for insecure in (False, True):
        with Server(store, host, 0, doors=[], insecure=insecure) as server:
            assert server.asks_for_keys
            with pytest.raises(flight.FlightUnauthenticatedError):
                caller(server.url).action(protocol.INFO)
            (body,) = caller(server.url, token).action(protocol.INFO)
            assert json.loads(body)["key"]["right"] == "read"


def test_secrets_are_compared_in_constant_time(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every token, of a known id or not, goes through one comparison of whole digests."""
    token = new_key(store, Right.READ)
    compared: list[tuple[str, str]] = []
    real = keys.digest_of

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr("gapless.serve.key_ring.hmac.compare_digest", compare)
    with StateDatabase(store) as database:
        ring = KeyRing(store, database, open_door=False)
        ring.access(token)
        for wrong in (f"{token[:-1]}g", "gapless_00000000_" + "0" * 64, "nonsense"):
            with pytest.raises(KeyRefused):
                ring.access(wrong)
    assert [one for one, _ in compared] == [
        real(t) for t in (token, f"{token[:-1]}g", "gapless_00000000_" + "0" * 64, "nonsense")
    ]
    assert {len(other) for _, other in compared} == {64}
