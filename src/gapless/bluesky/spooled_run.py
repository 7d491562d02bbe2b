"""A run that waits in the spool of a gapless server: what it holds, and what its server would say to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gapless.bluesky.late_documents import known_uids, recorded_documents, recorded_headers
from gapless.bluesky.stored_run import StoredRun, is_run
from gapless.client.remote import protocol
from gapless.client.remote.deliver import check_address
from gapless.client.remote.spool import has_arrived, name_there, noted_uid, requested
from gapless.client.sequence_handler import SequenceHandler
from gapless.errors import DeliveryFailed, NameTaken, NotFound
from gapless.store.recover import read_header

if TYPE_CHECKING:
    from gapless.client.remote.remote_client import RemoteClient
    from gapless.store.layout import Bundle


@dataclass(frozen=True, slots=True)
class RunDocuments:
    """What the store will hold of a run once it was delivered: as far as it waits, and as far as it is there."""

    uid: str
    sequence: str
    headers: list[tuple[str, Mapping[str, Any]]]
    known: set[str]
    has_stop: bool

    def with_layer(self, layer: RunDocuments) -> RunDocuments:
        """Return what the store will hold when another layer of the same sequence was delivered as well."""
        return RunDocuments(
            self.uid,
            self.sequence,
            [*self.headers, *layer.headers],
            self.known | layer.known,
            self.has_stop or layer.has_stop,
        )


@dataclass(frozen=True, slots=True)
class WaitingBundle:
    """One bundle of a spool, and what it becomes on the server: a sequence, or a layer of one."""

    bundle: Bundle
    act: str  # the uid of the recording
    sequence: str
    layer: str | None
    is_discarded: bool  # its recorder ended it so; the server is asked to discard it when it has everything

    @classmethod
    def of(cls, bundle: Bundle) -> WaitingBundle:
        """Read what a bundle says of itself; raises IntegrityError where it cannot, and OSError."""
        header, request = read_header(bundle), requested(bundle)
        name, base = name_there(bundle, header), header["base"]
        is_discarded = request is not None and request["action"] == protocol.DISCARD
        if base is None:
            return cls(bundle, header["uid"], name, None, is_discarded)
        return cls(bundle, header["uid"], base["name"], name, is_discarded)

    def check(self, client: RemoteClient) -> None:
        """Raise what keeps it from its server, as far as can be read there; nothing is changed.

        DeliveryFailed, NameTaken, NotFound, and what reading there raises.
        """
        check_address(self.bundle, client.url)
        if self.layer is not None:
            client.sequence_handler(self.sequence)
        elif client.sequence_exists(self.sequence):
            self._check_there(client)

    def _check_there(self, client: RemoteClient) -> None:
        try:
            there = client.sequence_handler(self.sequence)
        except NotFound as error:  # what exists has the name in other case
            raise self._taken() from error
        uid = noted_uid(self.bundle) or self.act
        if there.reader.uid != uid:
            raise self._taken()
        if there.state not in ("open", "sealed") and not has_arrived(self.bundle, uid):
            raise DeliveryFailed(
                "the sequence was ended on the server before the spooled rows came",
                sequence=self.sequence,
                found=there.state,
                expected="open, or sealed",
            )

    def _taken(self) -> NameTaken:
        return NameTaken("a sequence of that name exists", sequence=self.sequence)

    def documents(self, client: RemoteClient) -> RunDocuments | None:
        """Return what the server will hold of the run; None for a sequence that was not recorded from documents."""
        handlers = [SequenceHandler(self.bundle.path, client.registry)]
        if client.sequence_exists(self.sequence):
            handlers.insert(0, client.sequence_handler(self.sequence))
        if not is_run(handlers[0].reader):
            return None
        return RunDocuments(
            StoredRun(handlers[0].reader).uid,
            self.sequence,
            [header for handler in handlers for header in recorded_headers(handler)],
            {uid for handler in handlers for uid in known_uids(handler)},
            any(True for handler in handlers for _ in recorded_documents(handler, ["stop"])),
        )
