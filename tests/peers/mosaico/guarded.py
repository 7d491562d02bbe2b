"""Keys and TLS for the SDK; runs where mosaicolabs 0.7.0 is installed and nothing else.

``guarded.py HOST PORT`` reads from stdin {"certificate": path, "keys": {right: token, "group": token}} and prints
one JSON object, check name to null or what failed.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
from mosaicolabs import (  # type: ignore[import-not-found]
    Message,
    MosaicoClient,
    QuerySequence,
    SessionLevelErrorPolicy,
    Temperature,
)

HOST, PORT = sys.argv[1], int(sys.argv[2])
GIVEN = json.load(sys.stdin)
KEYS: dict[str, str] = GIVEN["keys"]


def connect(key: str | None, *, tls: bool = True) -> MosaicoClient:
    """Connect with the key of a right."""
    words = {"tls_cert_path": GIVEN["certificate"]} if tls else {}
    token = None if key is None else KEYS.get(key, key)
    return MosaicoClient.connect(HOST, PORT, timeout=2, api_key=token, **words)


def raises(kind: type[BaseException], work: Callable[[], Any]) -> None:
    """Return when the work raises an error of exactly this class."""
    try:
        work()
    except kind as error:
        if type(error) is not kind:
            raise
        return
    raise AssertionError(f"nothing raised where {kind.__name__} is due")


def write(client: MosaicoClient, name: str, policy: Any = SessionLevelErrorPolicy.Report) -> None:
    """Write a sequence of one row."""
    with client.sequence_create(name, {}, policy) as sequence:
        sequence.topic_create("t", {}, Temperature).push(Message(timestamp_ns=1, data=Temperature(value=1.0)))


def check_nobody_gets_in_without_tls_or_key() -> None:
    """Connecting asks for the server's info, which needs a key too."""
    raises(ConnectionError, lambda: connect("write", tls=False))
    raises(ConnectionError, lambda: connect(None))
    raises(ConnectionError, lambda: connect("msco_wrong_12345678"))


def check_the_environment_names_key_and_certificate() -> None:
    """``from_env`` is how programs connect that are not to be changed."""
    os.environ["MOSAICO_TLS_CERT_FILE"] = GIVEN["certificate"]
    os.environ["MOSAICO_API_KEY"] = KEYS["read"]
    with MosaicoClient.from_env(HOST, PORT, timeout=2) as client:
        assert client.list_sequences() == []


def check_writing_needs_the_right() -> None:
    """A reader is told so with the class that the SDK documents."""
    with connect("read") as client:
        raises(fl.FlightUnauthorizedError, lambda: write(client, "no"))
        assert client.list_sequences() == []
    with connect("write") as client:
        write(client, "first")
        assert client.list_sequences() == ["first"]


def check_deleting_needs_the_right_but_giving_up_ones_own_does_not() -> None:
    """What was committed stays; what never was may be taken back by its writer."""

    def fail(client: MosaicoClient) -> None:
        with client.sequence_create("own", {}, SessionLevelErrorPolicy.Delete):
            raise KeyError("mine")

    with connect("write") as client:
        raises(fl.FlightUnauthorizedError, lambda: client.sequence_delete("first"))
        raises(fl.FlightUnauthorizedError, lambda: client.session_delete("first:base"))
        raises(fl.FlightUnauthorizedError, lambda: client.clear_sequence_notifications("first"))
        raises(KeyError, lambda: fail(client))
        assert client.list_sequences() == ["first"]
    with connect("delete") as client:
        client.sequence_delete("first")
        assert client.list_sequences() == []


def check_a_key_of_a_group_sees_that_group_only() -> None:
    """A foreign sequence is no different from one that does not exist."""
    with connect("manage") as client:
        write(client, "everyones")
    with connect("group") as client:
        write(client, "ours")
        assert client.list_sequences() == ["ours"]
        assert client.sequence_handler("everyones") is None
        assert client.topic_handler("everyones", "t") is None
        assert [item.sequence.name for item in client.query(QuerySequence())] == ["ours"]
        raises(fl.FlightServerError, lambda: client.sequence_delete("everyones"))
        raises(pa.ArrowInvalid, lambda: write(client, "everyones"))
        raises(fl.FlightServerError, client.sequence_update("everyones").__enter__)
        client.sequence_delete("ours")
    with connect("manage") as client:
        client.sequence_delete("everyones")


def main() -> dict[str, str | None]:
    """Run the checks in the order in which they are written; return what failed."""
    results: dict[str, str | None] = {}
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            try:
                check()
                results[name] = None
            except Exception:  # noqa: BLE001 - what failed is the result
                results[name] = traceback.format_exc()[-3000:]
    return results


if __name__ == "__main__":
    print(json.dumps(main()))
