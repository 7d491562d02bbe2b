"""The calls that are going on: counted, bounded, waited for."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from gapless.errors import LimitReached, ServerClosing

if TYPE_CHECKING:
    from gapless.serve.limits import Limits

T = TypeVar("T")


class Traffic:
    """Lets calls in up to the bounds of ``limits``, and none of those that could be long while it closes."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._changed = threading.Condition()
        self._calls = 0
        self._peers: Counter[str] = Counter()
        self._keys: Counter[tuple[str | None, str]] = Counter()  # (key id, peer) -> calls
        self._no_streams = False
        self._closed = False

    @property
    def calls(self) -> int:
        """How many are going on."""
        return self._calls

    @property
    def connections(self) -> int:
        """How many connections have a call going on."""
        return len(self._peers)

    def enter(self, *, stream: bool) -> None:
        """Let a call in, or raise LimitReached or ServerClosing."""
        with self._changed:
            if self._closed or (stream and self._no_streams):
                raise ServerClosing("the server is going down")
            if self._calls >= self._limits.max_calls:
                raise LimitReached(
                    "the server has as many calls as it takes", found=f"{self._calls} calls going on"
                )
            self._calls += 1

    def name(self, peer: str, key_id: str | None) -> None:
        """Say which connection a call that was let in has come by; LimitReached for one too many."""
        with self._changed:
            if peer not in self._peers and len(self._peers) >= self._limits.max_connections:
                raise LimitReached(
                    "the server has as many connections as it takes", found=f"{len(self._peers)} connections"
                )
            self._peers[peer] += 1
            self._keys[key_id, peer] += 1

    def leave(self, peer: str | None, key_id: str | None = None) -> None:
        """Count a call as ended; ``peer`` None: it was never named."""
        with self._changed:
            self._calls -= 1
            if peer is not None:
                _take(self._peers, peer)
                _take(self._keys, (key_id, peer))
            self._changed.notify_all()

    def peers_unless(self, counts: Callable[[str | None], bool]) -> set[str]:
        """Return the connections that have a call going on whose key id, None: without a key, does not count."""
        with self._changed:
            return {peer for key_id, peer in self._keys if not counts(key_id)}

    def refuse_streams(self) -> None:
        """From now on let no stream in; actions may still end what has begun."""
        with self._changed:
            self._no_streams = True

    def close(self) -> None:
        """From now on let nothing in."""
        with self._changed:
            self._closed = True

    def wait_idle(self, deadline_s: float) -> bool:
        """Wait until no call is going on; return whether that happened in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._calls, timeout=max(0.0, deadline_s))


def _take(counter: Counter[T], item: T) -> None:
    counter[item] -= 1
    if not counter[item]:
        del counter[item]
