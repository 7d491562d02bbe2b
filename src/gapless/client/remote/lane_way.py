"""The way of one topic's parcels to the server: one exchange, and the thread that hears what is accepted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import pyarrow as pa

from gapless.client.remote import protocol
from gapless.client.remote.connection_pool import ConnectionPool
from gapless.client.remote.lane_parcel import Parcel
from gapless.errors import GaplessError, ServerFault, Unreachable

_JOIN_S = 10.0


class Way(Protocol):
    """Where the parcels of a topic go at the moment. Its end is told by ``broken``, or by a call that raises it."""

    next_seq: int
    """The first row that the other end does not have."""
    broken: GaplessError | None
    """Why the way leads nowhere any more."""

    def send(self, parcel: Parcel) -> None:
        """Send a parcel; waits while the other end takes nothing."""

    def sync(self) -> None:
        """Ask that what was sent be made durable now, without waiting for it."""

    def finish(self, timeout_s: float) -> None:
        """End in order: nothing more comes."""

    def cut(self) -> None:
        """Break the way from any thread; whoever waits in it comes back."""

    def leave(self) -> None:
        """Give everything back after the end, or a break."""


class ServerWay:
    """An exchange with the server. Opening it supersedes an earlier one of the same topic.

    ``on_accepted(seq)`` is called from a thread of the way after each sync of the server, ``on_change()``
    when the way is broken.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        command: Mapping[str, Any],
        schema: pa.Schema,
        *,
        timeout_s: float,
        on_accepted: Callable[[int], None],
        on_change: Callable[[], None],
    ) -> None:
        self.next_seq = -1
        self.broken: GaplessError | None = None
        self._on_accepted = on_accepted
        self._on_change = on_change
        self._opened = threading.Event()
        self._finishing = False
        self._pool = pool
        self._connection = pool.lend()
        try:
            self._exchange = self._connection.exchange(command)
        except GaplessError:
            pool.give_back(self._connection, broken=True)
            raise
        self._listener = threading.Thread(
            target=self._listen, name=f"gapless-accepted-{command['topic']}", daemon=True
        )
        self._listener.start()
        try:
            self._exchange.begin(schema)
            self._await_opening(timeout_s)
        except GaplessError as error:
            self.cut()
            self.leave()
            raise self.broken or error from error

    def _await_opening(self, timeout_s: float) -> None:
        if not self._opened.wait(timeout_s) or self.broken is not None:
            raise self.broken or Unreachable(
                "the server did not say where to go on", expected=f"within {timeout_s:g} s"
            )

    def _listen(self) -> None:
        try:
            while (words := self._exchange.receive()) is not None:
                if "next_seq" in words:
                    self.next_seq = int(words["next_seq"])
                    self._opened.set()
                if "accepted" in words:
                    self._on_accepted(int(words["accepted"]))
                if "failed" in words:
                    self.broken = protocol.decode_error(protocol.encode(words["failed"]))
            if not self._finishing and self.broken is None:
                self.broken = Unreachable("the server ended the exchange before its time")
        except GaplessError as error:
            self.broken = self.broken or error
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: the sender raises it
            self.broken = ServerFault("an answer of the server means nothing", found=repr(error))
        finally:
            self._opened.set()
            self._on_change()

    def send(self, parcel: Parcel) -> None:
        """Send a parcel; waits while the server takes nothing."""
        self._exchange.send(parcel.words(), parcel.batch)

    def sync(self) -> None:
        """Ask for a sync now."""
        self._exchange.send({"sync": True})

    def finish(self, timeout_s: float) -> None:
        """End the exchange; the server's last words are heard before the return."""
        self._finishing = True
        self._exchange.done_sending()
        self._listener.join(timeout_s)
        if self._listener.is_alive():
            raise Unreachable("the server did not end the exchange", expected=f"within {timeout_s:g} s")
        if self.broken is not None:
            raise self.broken

    def cut(self) -> None:
        """Break the exchange."""
        self._exchange.cancel()

    def leave(self) -> None:
        """Wait for the listener and close the exchange; what it ended with is known already."""
        self._listener.join(_JOIN_S)
        ending = self._exchange.close()
        self.broken = self.broken or ending
        self._pool.give_back(self._connection, broken=isinstance(self.broken, Unreachable))


def place_words(header: dict[str, Any]) -> dict[str, Any]:
    """Return what names a recording to its server: the sequence or layer, and the recording act."""
    words = {"name": header["name"], "uid": header["uid"]}
    return words if header["base"] is None else words | {"layer_of": header["base"]["name"]}


def opening_words(header: dict[str, Any]) -> dict[str, Any]:
    """Return the request that begins a recording on a server, or takes it up again."""
    told = {name: header[name] for name in ("group", "metadata", "producer")}
    told["spooled"] = header.get("spooled") is True
    return place_words(header) | told | {"window_ms": header["durability"]["window_ms"]}


def topic_words(header: dict[str, Any], topic: str) -> dict[str, Any]:
    """Return the command of a stream into one topic."""
    return place_words(header) | {protocol.KIND: protocol.LANE, "topic": topic}
