"""The client of a server: ``gapless.connect("grpc://host:6726")``."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.client.client import Client
from gapless.client.remote.connection import Endpoint
from gapless.client.remote.connection_pool import ConnectionPool
from gapless.client.remote.remote_finding import RemoteFinding
from gapless.errors import GaplessError, StateError
from gapless.model.names import check_sequence_name, fold
from gapless.model.ontology.registry import OntologyRegistry
from gapless.model.outcome import OnErrorPolicy, State, choice
from gapless.store.durability import Durability
from gapless.store.platform import PLATFORM, Platform

if TYPE_CHECKING:
    from gapless.client.remote.deliver import Delivered
    from gapless.client.sequence_writer import SequenceWriter

_AGAIN_S = 5.0  # between attempts to deliver while the server is away


class RemoteClient(RemoteFinding, Client):
    """Writes, finds and reads the sequences of a server's store. Use it as a context manager, or close it.

    ``spool``: a local folder that takes a recording on when the server is away. What it holds is delivered
    in the background while a client of that spool is open; ``undelivered`` tells what hinders it, by name.
    Of what waits there still when the client is closed, or when a recording ends after that, it warns once, with
    a :class:`~gapless.client.remote.spool_warning.SpoolWarning`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        durability: Durability,
        spool: Path | None,
        max_connections: int,
        max_encoders: int | None,
        cache: Path | None = None,
    ) -> None:
        self.encoder_gate = None if max_encoders is None else threading.BoundedSemaphore(max_encoders)
        self.registry = OntologyRegistry()
        self.undelivered: dict[str, GaplessError] = {}
        self.spool_error: GaplessError | OSError | None = None  # the spool itself could not be read
        self._durability = durability
        self._spool = spool
        self._pool = ConnectionPool(endpoint, max_connections=max_connections, call_s=durability.deadline_s)
        self._writing: list[SequenceWriter] = []
        self._ended = threading.Event()
        self._wanted = threading.Event()  # something was spooled, or may have been left there before
        self._delivering: threading.Thread | None = None
        self._told: set[str] = set()  # of what waits in the spool, what the program was told of
        RemoteFinding.__init__(self, self._pool.lend(), cache)
        if spool is not None:
            self._deliver_soon()

    @property
    def url(self) -> str:
        """The server's address."""
        return self._pool.endpoint.url

    def close(self) -> None:
        """End the delivery and every connection. Sequences being written end with their own with-blocks."""
        self._ended.set()
        self._wanted.set()
        if self._delivering is not None:
            self._delivering.join(self._durability.deadline_s)
        self.close_reading()
        self._pool.close()
        self._tell_waiting()

    # -- writing -------------------------------------------------------------------------------

    def sequence_create(
        self,
        sequence_name: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        group: str | None = None,
        on_error: OnErrorPolicy = OnErrorPolicy.Delete,
    ) -> SequenceWriter:
        """Return the writer of a new sequence, to be used in a with-block; entering it asks the server.

        Entering raises NameTaken, KeyRefused, RightMissing, Unreachable. See ``Client.sequence_create``.
        """
        name = check_sequence_name(sequence_name)
        return self._writer(self._header(name, group, dict(metadata or {}), None), on_error, {})

    def sequence_update(
        self,
        sequence_name: str,
        layer: str = "update",
        *,
        metadata: Mapping[str, Any] | None = None,
        on_error: OnErrorPolicy = OnErrorPolicy.Delete,
    ) -> SequenceWriter:
        """Return the writer of a new layer on a sealed sequence of the server; the base never changes."""
        base = self.sequence_handler(sequence_name)
        if base.state != State.SEALED:
            raise StateError(
                "only a sealed sequence takes a layer",
                sequence=sequence_name,
                found=base.state,
                next_step="seal it first",
            )
        known = {fold(topic): (topic, reader.schema) for topic, reader in base.reader.topics.items()}
        words = {"name": sequence_name, "content_digest": str(base.content_digest)}
        header = self._header(layer, None, dict(metadata or {}), words)
        return self._writer(header, on_error, known)

    def _writer(
        self, header: dict[str, Any], on_error: OnErrorPolicy, known: dict[str, Any]
    ) -> SequenceWriter:
        from gapless.client.remote.uplink import RemoteRecording
        from gapless.client.sequence_writer import SequenceWriter

        def begin() -> RemoteRecording:
            return RemoteRecording(
                self._pool,
                header,
                durability=self._durability,
                spool=self._spool,
                on_spooled=self._deliver_soon,
            )

        return SequenceWriter(
            self,
            header["name"],
            header,
            begin,
            on_error=choice(OnErrorPolicy, on_error, "on_error"),
            deadline_s=self._durability.deadline_s,
            base_topics=known,
        )

    @property
    def _platform(self) -> Platform:
        return PLATFORM

    def _header(
        self, name: str, group: str | None, metadata: dict[str, Any], base: dict[str, str] | None
    ) -> dict[str, Any]:
        header = super()._header(name, group, metadata, base)
        return header | {"spooled": self._spool is not None}

    # -- the spool -----------------------------------------------------------------------------

    def deliver(self) -> list[Delivered]:
        """Deliver now what waits in the spool for this server; return what was. The rest is in ``undelivered``."""
        from gapless.client.remote.deliver import deliver_all

        if self._spool is None:
            return []
        done, self.undelivered = deliver_all(
            self._spool,
            self._pool,
            timeout_s=self._durability.deadline_s,
            from_anywhere=False,
            stopped=self._ended,
        )
        return done

    def _deliver_soon(self) -> None:
        """Let the background look into the spool; a client that is closed has none, and tells what waits."""
        if self._ended.is_set():
            self._tell_waiting()
        self._wanted.set()
        if self._delivering is None and not self._ended.is_set():
            self._delivering = threading.Thread(
                target=self._deliver_wanted, name="gapless-delivery", daemon=True
            )
            self._delivering.start()

    def leave_telling(self, names: Iterable[str]) -> None:
        """Do not warn of these, which wait in the spool: the caller tells of them in its own way."""
        self._told.update(names)

    def _tell_waiting(self) -> None:
        """Warn of what waits for this server and was not told of yet."""
        if self._spool is None:
            return
        from gapless.client.remote.spool_warning import warn_of_unreadable, warn_of_waiting

        spool = self._spool.absolute()
        try:
            untold = self._waiting(spool) - self._told
        except (GaplessError, OSError) as error:
            warn_of_unreadable(spool, error)
            return
        self._told |= untold
        if untold:
            warn_of_waiting({name: self.undelivered.get(name) for name in untold}, spool, self.url)

    def _waiting(self, spool: Path) -> set[str]:
        from gapless.client.remote.spool import SpoolStore

        if not (spool / "spool").is_dir():  # a store would make the folder
            return set()
        return set(SpoolStore(spool).waiting_for(self.url))

    def _deliver_wanted(self) -> None:
        while not self._ended.is_set():
            self._wanted.wait()
            self._wanted.clear()
            if self._ended.is_set():
                return
            try:
                self.deliver()
            except (GaplessError, OSError) as error:  # the next recording, or the next client, tries again
                self.spool_error = error
            if self.undelivered and not self._ended.wait(_AGAIN_S):
                self._wanted.set()

    def __repr__(self) -> str:
        return f"gapless.connect({self.url!r})"
