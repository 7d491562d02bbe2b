"""How one who asks for an emergency stop comes in, also while the keys cannot be read."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import Final

from starlette.datastructures import Headers

from gapless.errors import KeyRefused
from gapless.serve.http.credentials import check_token, let_in, shown_by
from gapless.serve.http.sessions import Session
from gapless.serve.http.site import Site
from gapless.serve.http.threads import OwnThreads
from gapless.serve.rights import Access

_CHECKS: Final = 4  # threads
_PATIENCE_S: Final = 1.0  # for a check that takes a millisecond
_REMEMBERED: Final = 1024


class UrgentEntry:
    """Lets callers in as others are, but waits a second at most, and not for a disk that is well.

    When the keys cannot be read, who was let in last time comes in again. That can be one whose key was taken
    back since: a stop too many does less harm than one that never comes. Used on one loop.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._threads = OwnThreads(_CHECKS)
        self._pending: set[asyncio.Future[tuple[Access, Session | None]]] = set()
        self._remembered: OrderedDict[str, tuple[Access, Session | None]] = OrderedDict()

    def note(self, headers: Headers, entry: tuple[Access, Session | None]) -> None:
        """Remember what a request was let in with; the one that was not seen for longest is forgotten."""
        name = self._name_of(headers)
        self._remembered[name] = entry
        self._remembered.move_to_end(name)
        if len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)

    def forget(self, headers: Headers) -> None:
        """Forget what a request was refused with."""
        self._remembered.pop(self._name_of(headers), None)

    async def let_in(self, headers: Headers, method: str) -> tuple[Access, Session | None]:
        """Return what the caller may do and their session; raises KeyRefused and CsrfRefused."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + _PATIENCE_S
        while len(self._pending) >= _CHECKS and loop.time() < until_s:
            await asyncio.wait(
                self._pending, timeout=until_s - loop.time(), return_when=asyncio.FIRST_COMPLETED
            )
        if len(self._pending) < _CHECKS:
            check = asyncio.ensure_future(self._threads.run(let_in, self._site, headers, method))
            self._pending.add(check)
            check.add_done_callback(self._settle)
            await asyncio.wait({check}, timeout=max(0.0, until_s - loop.time()))
            if check.done() and not _is_blind(check.exception()):
                return check.result()
        return self._from_memory(headers, method)

    def _settle(self, check: asyncio.Future[tuple[Access, Session | None]]) -> None:
        self._pending.discard(check)
        if not check.cancelled():
            check.exception()  # it is looked at: nobody may be waiting any more

    def _from_memory(self, headers: Headers, method: str) -> tuple[Access, Session | None]:
        entry = self._remembered.get(self._name_of(headers))
        if entry is None or (entry[0].key_id is None and self._site.asks_for_keys()):
            raise KeyRefused("the server cannot read its keys in time", next_step="mend state.db there")
        check_token(self._site, headers, method, entry[1])
        return entry

    def _name_of(self, headers: Headers) -> str:
        """Return a hash of what a request shows: who reads this process's memory has no key."""
        return hashlib.sha256(shown_by(self._site, headers).encode("utf-8", "surrogatepass")).hexdigest()


def _is_blind(error: BaseException | None) -> bool:
    """Tell whether somebody was refused because the keys cannot be read, not because of theirs."""
    return isinstance(error, KeyRefused) and error.__cause__ is not None
