"""What a stream tells of a recording beside its values: who it is, what it is at, what happened, how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gapless.serve.http.event_stream import Told
from gapless.serve.http.live_operator import operator_of
from gapless.serve.http.live_words import said

if TYPE_CHECKING:
    from gapless.serve.http.asking import HttpCall
    from gapless.serve.http.live_feed import LiveFeed
    from gapless.serve.http.live_mirror import LiveMirror
    from gapless.serve.http.live_sequences import LiveSequence


def facts_of(live: LiveSequence) -> dict[str, Any]:
    """Return what does not change while it is recorded."""
    return {
        "name": live.name,
        "group": live.group,
        "kind": live.kind,
        "has_control": live.control is not None,
        "started_ns": str(live.started_ns),
    }


def hello_of(call: HttpCall, live: LiveSequence) -> dict[str, Any]:
    """Return the facts, what the caller may do, and the name under which they act; reads the keys."""
    return {**facts_of(live), "may": call.access.right.word, "by": operator_of(call)}


class LiveTold:
    """Empties the mirror of one stream, turn by turn; ``over`` after the turn that told the end."""

    def __init__(self, hello: dict[str, Any], feed: LiveFeed, mirror: LiveMirror) -> None:
        self.over = False
        self._first: list[Told] = [Told("hello", hello)]
        self._feed = feed
        self._mirror = mirror
        self._about: dict[str, Any] | None = None

    def turn(self) -> list[Told]:
        """Return what is new: ``hello`` once, ``about`` once, ``status``, each ``event`` and ``gap``, ``end``."""
        end = self._mirror.end  # asked first: what came before it is taken below
        told, self._first = self._first, []
        told += [Told(one["stream"], said(one), one["id"]) for one in self._mirror.take_told()]
        status = self._mirror.take_status()
        if status is not None:
            told += self._standing(status)
        if end is not None:
            told.append(Told("end", said(end)))
            self.over = True
        return told

    def _standing(self, status: dict[str, Any]) -> list[Told]:
        """Return a status without the values, which have their own line, and what it is about when that is new."""
        about = status.get("about")
        fresh = [] if about == self._about else [Told("about", about)]
        self._about = about
        words = {key: value for key, value in said(status).items() if key not in ("about", "channels")}
        counts = {"watchers": self._feed.watchers, "missed": self._mirror.dropped}
        return [*fresh, Told("status", {**counts, "status": words})]
