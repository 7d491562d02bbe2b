"""A file in the spool for documents that wait for another one, so that they outlive the process."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from gapless.bluesky.router import RunRouter
from gapless.bluesky.spool import Spool
from gapless.errors import GaplessError

Doc = Mapping[str, Any]
_REASON: Final = "what it refers to had not come yet"


class ParkedFile:
    """Keeps what a router has parked, until all of it was routed and is durable where it went.

    The file is of one writer alone. Errors are told.
    """

    def __init__(self, router: RunRouter, spool: Spool, tell: Callable[[BaseException], None]) -> None:
        self._name = f"parked-{os.getpid()}-{secrets.token_hex(4)}"
        self._router = router
        self._spool = spool
        self._tell = tell
        self._seen = 0  # the router's parked_total when the file was written
        self._exists = False

    def update(self) -> None:
        """Add to the file what was parked since, and waits still."""
        if self._router.parked_total == self._seen:
            return
        waiting = self._router.parked_since(self._seen)
        self._seen = self._router.parked_total
        if waiting:
            try:
                self._spool.keep_all(self._name, waiting, reason=_REASON)
                self._exists = True
            except GaplessError as error:
                self._tell(error)

    def tidy(self, is_durable: bool) -> None:
        """Remove the file when nothing waits any more and what was routed ``is_durable``."""
        if self._exists and is_durable and not self._router.parked:
            try:
                self._spool.discard(self._name)
                self._exists = False
            except GaplessError as error:
                self._tell(error)
