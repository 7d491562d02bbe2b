"""The keys as a running server knows them: read again twice a second, checked without touching the disk."""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gapless.catalog.state_database import StateDatabase
from gapless.errors import GaplessError, KeyRefused
from gapless.serve.keys import ApiKey, digest_of, key_id_of, list_keys, note_used
from gapless.serve.rights import Access, Right

_LOG = logging.getLogger("gapless.serve")
_LOOK_S: Final = 0.4
_OLDEST_S: Final = 10.0  # keys that could not be read again for so long are believed no longer
_USED_S: Final = 60.0
_NOBODY: Final = "0" * 64


class KeyRing:
    """Says what a caller may do.

    A new key counts at once, and one that is revoked or over no longer within a second.
    A store that ever had a key lets nobody in without one, also when its last key has been revoked;
    ``open_door`` says whether callers of a store that never had one may do everything.
    """

    def __init__(self, root: Path, database: StateDatabase, *, open_door: bool) -> None:
        self._root = root
        self._database = database
        self._open_door = open_door
        self._keys: dict[str, ApiKey] = {}
        self._read_s = 0.0
        self._blind = False
        self._reading = threading.Lock()
        self._lock = threading.Lock()
        self._used_ns: dict[str, int] = {}
        self._noted_s = time.monotonic()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        error = self._read()
        if error is not None:
            raise error

    @property
    def in_use(self) -> bool:
        """Whether the store ever had a key."""
        return bool(self._keys)

    def start(self, after_look: Callable[[], None]) -> None:
        """Begin to follow what `gapless keys` does; ``after_look`` is called each time the keys were read again."""
        self._thread = threading.Thread(
            target=self._follow, args=(after_look,), name="gapless keys", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and keep when each key was used last."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._note_used()

    def access(self, token: str | None) -> Access:
        """Return what the bearer of a token may do, None: of none; KeyRefused for one that does not count."""
        self._be_current()
        if token is None:
            if self.counts(None):
                return Access(Right.MANAGE)
            raise KeyRefused("the server wants an API key")
        key = self._known(key_id_of(token))
        same = hmac.compare_digest(digest_of(token), _NOBODY if key is None else key.digest)
        now_ns = time.time_ns()
        if key is None or not same or not key.counts(now_ns):
            raise KeyRefused("the API key does not count")
        return self._let_in(key, now_ns)

    def resume(self, key_id: str | None) -> Access:
        """Return what one may do who has shown the key of that id before, None: was let in without any.

        Raises KeyRefused for one who would not be let in now.
        """
        if key_id is None:
            return self.access(None)
        self._be_current()
        key, now_ns = self._keys.get(key_id), time.time_ns()
        if key is None or not key.counts(now_ns):
            raise KeyRefused("the API key does not count any longer")
        return self._let_in(key, now_ns)

    def _let_in(self, key: ApiKey, now_ns: int) -> Access:
        with self._lock:
            self._used_ns[key.key_id] = now_ns
        return Access(key.right, key.key_id, key.groups)

    def _known(self, key_id: str | None) -> ApiKey | None:
        """Return the key of an id; one that is not known may have been made a moment ago."""
        if key_id is not None and key_id not in self._keys:
            self._read()
        return self._keys.get(key_id or "")

    def _be_current(self) -> None:
        """Read the keys when the thread has not for too long; KeyRefused when that is not possible."""
        if time.monotonic() - self._read_s <= _OLDEST_S:
            return
        error = self._read()
        if error is not None:
            raise KeyRefused(
                "the server cannot read its keys", found=str(error), next_step="mend state.db there"
            ) from error

    def counts(self, key_id: str | None) -> bool:
        """Tell whether what was let in with that key, None: without one, would be let in now."""
        if key_id is None:
            return self._open_door and not self.in_use
        key = self._keys.get(key_id)
        return key is not None and key.counts(time.time_ns())

    def _follow(self, after_look: Callable[[], None]) -> None:
        while not self._ended.wait(_LOOK_S):
            error = self._read()
            if error is not None and not self._blind:
                _LOG.error("the keys could not be read again: %s", error)
            self._blind = error is not None
            after_look()
            if time.monotonic() - self._noted_s > _USED_S:
                self._note_used()

    def _read(self) -> GaplessError | None:
        """Read all keys; return what forbids it."""
        with self._reading:  # what is read later is never replaced by what was read before it
            try:
                found = {key.key_id: key for key in list_keys(self._root)}
            except GaplessError as error:
                return error
            if found or not self._keys:  # a state.db that vanished does not open the door
                self._keys = found
            self._read_s = time.monotonic()
            return None

    def _note_used(self) -> None:
        with self._lock:
            used_ns, self._used_ns = self._used_ns, {}
        self._noted_s = time.monotonic()
        if not used_ns:
            return
        try:
            note_used(self._database, used_ns)
        except GaplessError as error:
            _LOG.warning("when keys were used last could not be kept: %s", error)
            with self._lock:
                self._used_ns = {**used_ns, **self._used_ns}
