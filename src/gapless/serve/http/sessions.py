"""Sessions of browsers: what stands behind a cookie, kept in memory and gone with the server."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

COOKIE: Final = "gapless_session"  # how the name of each cookie begins
IDLE_S: Final = 12 * 3600.0
LONGEST_S: Final = 7 * 24 * 3600.0
MOST: Final = 256  # of one key; the one that was quiet longest makes room


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that was let in with a key; ``csrf`` is what only its pages know."""

    key_id: str
    csrf: str
    began_s: float


def cookie_name(store_uid: str) -> str:
    """Return the name of a store's cookie: browsers send cookies to every port of a machine, so each has its own."""
    return f"{COOKIE}_{store_uid[:8]}"


def same(expected: str, shown: str | None) -> bool:
    """Tell whether a request shows the token that is expected, in the same time for each that is wrong."""
    return shown is not None and hmac.compare_digest(expected.encode(), shown.encode("utf-8", "replace"))


class Sessions:
    """Begins, finds and ends sessions, from any thread. ``clock``: seconds that never go back.

    A session ends after 12 hours without a request and 7 days in any case. Kept is a hash of the cookie: who
    reads this process's memory or a dump of it has no cookie. How many there are is bounded for each key, so
    that nobody pushes out the sessions of others.

    A store without keys has no sessions: whoever can connect may do everything, but no page of a stranger.
    ``open_csrf`` is what the pages know that this server sends then.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.open_csrf = secrets.token_hex(32)
        self._kept: dict[str, OrderedDict[str, tuple[Session, float]]] = {}
        self._keys: dict[str, str] = {}  # hash of a cookie -> id of its key

    def __len__(self) -> int:
        with self._lock:
            return len(self._keys)

    def begin(self, key_id: str) -> tuple[str, Session]:
        """Begin a session of a key; return the text of its cookie, which cannot be had again, and the session."""
        cookie = secrets.token_hex(32)
        now_s = self._clock()
        session = Session(key_id, secrets.token_hex(32), now_s)
        with self._lock:
            own = self._kept.setdefault(key_id, OrderedDict())
            own[_hash(cookie)] = session, now_s
            self._keys[_hash(cookie)] = key_id
            while len(own) > MOST:
                self._forget(next(iter(own)))
        return cookie, session

    def find(self, cookie: str) -> Session | None:
        """Return the session of a cookie, and note that it is in use; None for one that is over or never was."""
        name, now_s = _hash(cookie), self._clock()
        with self._lock:
            if name not in self._keys:
                return None
            own = self._kept[self._keys[name]]
            session, used_s = own[name]
            if now_s - used_s > IDLE_S or now_s - session.began_s > LONGEST_S:
                self._forget(name)
                return None
            own[name] = session, now_s
            own.move_to_end(name)
            return session

    def is_over(self, session: Session) -> bool:
        """Tell whether a session has ended: signed out, or as old as it may become."""
        with self._lock:
            known = any(kept is session for kept, _ in self._kept.get(session.key_id, {}).values())
            return not known or self._clock() - session.began_s > LONGEST_S

    def end(self, cookie: str) -> bool:
        """End a session; return whether there was one."""
        with self._lock:
            return self._forget(_hash(cookie))

    def _forget(self, name: str) -> bool:
        if name not in self._keys:
            return False
        key_id = self._keys.pop(name)
        own = self._kept[key_id]
        del own[name]
        if not own:
            del self._kept[key_id]
        return True


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).hexdigest()
