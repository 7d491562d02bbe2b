"""A server of one store: started, serving on threads of its own, drained and stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pyarrow as pa

from gapless.catalog.state_database import StateDatabase
from gapless.client.client import connect
from gapless.client.remote import protocol
from gapless.errors import StateError, UsageError
from gapless.serve.address import Address
from gapless.serve.audit import Audit
from gapless.serve.connections import close_connections
from gapless.serve.door import Door
from gapless.serve.flight_server import FlightServer
from gapless.serve.gate import Gate
from gapless.serve.information import Information
from gapless.serve.key_ring import KeyRing
from gapless.serve.limits import Limits
from gapless.serve.rights import Access
from gapless.serve.served import Served
from gapless.serve.tls import Identity
from gapless.serve.traffic import Traffic
from gapless.store.folder import FolderStore

MakeDoor = Callable[[Served], Door]
DRAIN_S: Final = 5.0
_OWN: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
_FLUSH_S: Final = 0.5  # a request counts as over before its last bytes have left
_CUT_S: Final = 5.0  # for handlers whose connection is gone


class Server:
    """Serves the store at ``root``, made if it is absent, until :meth:`stop`.

    A store that ever had a key asks everyone for one. A store without any is served to this machine only,
    unless ``insecure`` says that whoever can connect may do everything. ``tls`` None: nothing is encrypted.
    """

    def __init__(
        self,
        root: Path,
        host: str = "127.0.0.1",
        port: int = protocol.PORT,
        *,
        insecure: bool = False,
        tls: Identity | None = None,
        limits: Limits | None = None,
        doors: Sequence[MakeDoor] | None = None,
    ) -> None:
        self._root = Path(root)
        self._address = Address(host, port)
        self._insecure = insecure
        self._tls = tls
        self._scheme = "grpc" if tls is None else "grpc+tls"
        self._limits = limits or Limits()
        self._make_doors = doors
        self._doors: list[Door] = []
        self._started = False
        self._serving = False

    def start(self) -> None:
        """Begin to serve. Raises UsageError for a host that needs keys, StateError for a port that is taken."""
        if self._started:
            raise StateError("a server is started once", next_step="make another Server")
        self._started = True
        self.local = self._address.is_loopback()  # only programs of this machine can connect
        store_uid = FolderStore(self._root).uid
        with ExitStack() as undo:
            database = undo.enter_context(StateDatabase(self._root))
            self._keys = KeyRing(self._root, database, open_door=self.local or self._insecure)
            self._check_host()
            client = undo.enter_context(connect(self._root))
            self.served = Served(client, store_uid, self._limits, Audit(database))
            self.traffic = Traffic(self._limits)
            makers = standing_doors() if self._make_doors is None else self._make_doors
            self._doors = [Information(self.served)]
            for make in makers:
                self._doors.append(make(self.served))
                undo.callback(self._doors[-1].stop, 1.0)
            self._flight = self._listening(Gate(self._keys, self.traffic, self.served.metrics))
            undo.pop_all()
        self._database = database
        self._keys.start(self._cut_ended)
        self._serving = True

    def _check_host(self) -> None:
        """Raise what forbids to listen there."""
        if not (self.local or self._insecure or self._keys.in_use):
            raise UsageError(
                "other machines are served with keys only, and the store has none",
                found=self._address.host,
                field="--host",
                next_step="`gapless keys make --right write` makes one; --insecure lets everyone do everything",
            )
        self._address.check_free()

    def _listening(self, gate: Gate) -> FlightServer:
        place = f"{self._scheme}://{self._address.shown_host}:{self._address.port}"
        certificates = [] if self._tls is None else [(self._tls.certificate, self._tls.key)]
        try:
            return FlightServer(place, self._doors, self.served, gate, certificates=certificates)
        except (pa.ArrowException, OSError) as error:
            raise StateError(
                "it is not possible to listen there",
                found=f"{place}: {error}",
                next_step="take another host or port",
            ) from error

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._flight.port)

    @property
    def place(self) -> str:
        """Where it listens, as a URL; a host such as 0.0.0.0 means every address of this machine."""
        return f"{self._scheme}://{self._address.shown_host}:{self.port}"

    @property
    def url(self) -> str:
        """What a client of this machine connects to."""
        host = _OWN.get(self._address.host, self._address.shown_host)
        return f"{self._scheme}://{host}:{self.port}"

    @property
    def asks_for_keys(self) -> bool:
        """Whether a caller needs a key."""
        return self._keys.in_use or not (self._insecure or self.local)

    def access(self, token: str | None) -> Access:
        """Return what the bearer of a token may do, None: of none; KeyRefused for one that does not count."""
        return self._keys.access(token)

    def resume(self, key_id: str | None) -> Access:
        """Return what one may do who has shown the key of that id before; KeyRefused once it counts no longer."""
        return self._keys.resume(key_id)

    def stop(self, deadline_s: float = DRAIN_S) -> bool:
        """End: let in no more streams, wait at most the deadline for what is going on, let go of the rest.

        What was accepted is durable, and what is not committed stays open and recoverable. Returns whether
        every thread of the transport ended; if not, only the end of the process ends it. An error of a door
        is raised when everything else has ended.
        """
        if not self._serving:
            return True
        self._serving = False
        until_s = time.monotonic() + deadline_s
        self.served.draining.set()
        self.traffic.refuse_streams()
        self.traffic.wait_idle(deadline_s)
        left_s = max(1.0, until_s - time.monotonic())
        ended: list[bool] = []
        with ExitStack() as ending:  # from the last line to the first, whatever one of them raises
            ending.callback(self._database.close)
            ending.callback(self.served.client.close)
            ending.callback(self._keys.stop)
            ending.callback(lambda: ended.append(self._cut()))
            ending.callback(self.traffic.close)
            for door in reversed(self._doors):
                ending.callback(door.stop, left_s)
        return ended == [True]

    def _cut_ended(self) -> None:
        """End the connections of callers who would not be let in now; what was accepted from them stays."""
        peers = self.traffic.peers_unless(self._keys.counts)
        if peers:
            close_connections(self.port, peers)

    def _cut(self) -> bool:
        """End the transport; a request that still hangs meets a closed connection."""
        port = self.port
        closing = threading.Thread(target=self._flight.shutdown, name="gapless serve end", daemon=True)
        closing.start()
        closing.join(_FLUSH_S)
        until_s = time.monotonic() + _CUT_S
        while closing.is_alive() and time.monotonic() < until_s:
            close_connections(port)
            closing.join(0.2)
        return not closing.is_alive()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def standing_doors() -> list[MakeDoor]:
    """Return the doors that every server has."""
    from gapless.serve.mosaico.door import Mosaico
    from gapless.serve.native.reading import NativeReading
    from gapless.serve.native.writing import NativeWriting

    return [NativeWriting, NativeReading, Mosaico]
