"""Where a store is, what of it lies on this machine, and what waits here for a server."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gapless.bluesky.delivery_warning import warn_of_waiting
from gapless.client.client import Client, local_path
from gapless.errors import DeliveryFailed, GaplessError, ServingFailed
from gapless.store.folder import FolderStore
from gapless.store.platform import PLATFORM, Platform

if TYPE_CHECKING:
    from gapless.client.remote.remote_client import RemoteClient

_SCHEMES: Final = ("grpc", "grpc+tls")
_DEFAULT: Final = "./gapless-data"
_LOOK_S: Final = 0.05


def is_server(url: str) -> bool:
    """Return whether a URL means a gapless server."""
    return urlsplit(url).scheme in _SCHEMES


def local_store() -> Path:
    """Return the folder for what must lie on this machine: ``$GAPLESS_STORE`` where it is one."""
    named = os.environ.get("GAPLESS_STORE") or _DEFAULT
    return local_path(_DEFAULT if is_server(named) else named)


def remote(client: Client) -> RemoteClient | None:
    """Return the client itself where its store is on a server."""
    from gapless.client.remote.remote_finding import RemoteFinding

    found: object = client
    if not isinstance(found, RemoteFinding):  # so that a folder never loads what a server needs
        return None
    from gapless.client.remote.remote_client import RemoteClient

    assert isinstance(found, RemoteClient)
    return found


class StorePlace:
    """The store of a client: ``shown`` as a person names it, ``folder`` for what lies on this machine.

    The folder of a server's client is that of its ``spool=``, else :func:`local_store`. A spool's folder is made
    now, not when a plan runs and the server is gone. Raises OSError where it cannot be.
    """

    def __init__(self, client: Client) -> None:
        self._remote = remote(client)
        self.unreadable: DeliveryFailed | None = None  # what the last look into the spool met
        self.platform: Platform = PLATFORM
        if self._remote is None:
            self.shown, self.folder = str(client.path), client.path
            self.platform = client._store.platform
        else:
            self.shown, self.folder = self._remote.url, self._remote._spool or local_store()
            if self._remote._spool is not None:
                FolderStore(self.folder)

    # -- runs that wait for the server -----------------------------------------------------------

    def waiting(self) -> list[str]:
        """Return the sequences and layers that were recorded for this server, have ended and are not there yet.

        None of a spool that cannot be read, which ``unreadable`` tells then.
        """
        self.unreadable = None
        if self._remote is None or self._remote._spool is None or not (self.folder / "spool").is_dir():
            return []
        from gapless.client.remote.spool import SpoolStore

        try:
            return SpoolStore(self.folder).waiting_for(self._remote.url)
        except (GaplessError, OSError) as error:
            self.unreadable = DeliveryFailed(
                "nobody can tell which runs wait in the spool of this machine",
                found=str(error),
                next_step=f"mend {self.folder}, then: {self._later}",
            )
            self.unreadable.__cause__ = error
            return []

    def await_delivery(self, timeout_s: float) -> None:
        """Return when the client has delivered what waits, when it cannot, or at ``timeout_s``."""
        give_up = time.monotonic() + timeout_s
        while self._remote is not None and time.monotonic() < give_up:
            hindered = self._remote.undelivered
            is_away = any(isinstance(error, ServingFailed) for error in hindered.values())
            if is_away or set(self.waiting()) <= set(hindered):
                return
            time.sleep(_LOOK_S)

    def undelivered(self) -> list[DeliveryFailed]:
        """Return an error for each sequence and layer that waits, with what hinders it.

        One, and that alone, of a spool that cannot be read.
        """
        if self._remote is None:
            return []
        waiting = self.waiting()
        if self.unreadable is not None:
            return [self.unreadable]
        hindered = dict(self._remote.undelivered)
        reasons = {name: error.message for name, error in hindered.items()}
        common = next(iter(reasons.values()), "it was not delivered in time")
        return [
            DeliveryFailed(
                "a run waits in the spool of this machine",
                sequence=name,
                found=reasons.get(name, common),
                next_step=f"when the server answers: {self._later}",
            )
            for name in waiting
        ]

    def take_over_telling(self) -> None:
        """Let the client be silent about what waits now: whoever calls this tells it in its own way."""
        if self._remote is not None:
            self._remote.leave_telling(self.waiting())

    def warn(self) -> None:
        """Tell the person at the RunEngine of the runs that wait, if there are any.

        Of a spool that cannot be read the client warns when it is closed.
        """
        self.take_over_telling()
        left = self.undelivered()
        if left and self.unreadable is None:
            warn_of_waiting(len(left), f"server {self.shown}", str(left[0].found), self._later)

    @property
    def _later(self) -> str:
        return f"gapless bluesky deliver {self.folder} --to {self.shown}"
