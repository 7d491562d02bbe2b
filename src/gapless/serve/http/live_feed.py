"""One live sequence, read by one thread for every browser that watches it."""

from __future__ import annotations

import threading
import time
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gapless.catalog.bundle_facts import CLIENT_AWAY, OWNER_GONE
from gapless.errors import ControlFailed, NotFound
from gapless.serve.http.live_journal import journal_messages
from gapless.serve.http.live_mirror import MAX_EVENTS, LiveMirror
from gapless.serve.http.live_run import run_messages
from gapless.serve.http.live_words import plain

if TYPE_CHECKING:
    from gapless.client.client import Client
    from gapless.client.sequence_handler import SequenceHandler
    from gapless.serve.http.live_sequences import LiveSequence

_LOOK_S = 0.1
_SETTLE_S = 1.0
_AGAIN_S = 0.5
_FRESH_S = 3.0  # as long is a status told as that of now


class LiveFeed:
    """Reads a run's control socket, or a journal, while anybody watches, and spreads what it says.

    The thread waits for no mirror, so the run sees one reader that keeps up whatever browsers do. Who joins
    is told the newest of everything at once. Events and gaps carry an ``id`` that is the same however often
    the feed is begun anew.
    """

    def __init__(self, live: LiveSequence, client: Client) -> None:
        self.live = live
        self.failure: BaseException | None = None
        self._client = client
        self._lock = threading.Lock()
        self._mirrors: list[LiveMirror] = []
        self._values: dict[str, Any] = {"stream": "samples", "samples": {}, "frames": {}}
        self._status: dict[str, Any] | None = None
        self._status_s = 0.0
        self._told: deque[dict[str, Any]] = deque(maxlen=MAX_EVENTS)
        self._known: set[str] = set()  # ids of the events that the first status brought
        self._end: dict[str, Any] | None = None
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._main, name=f"gapless-live-{live.name}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end at its next turn; it is not waited for."""
        self._left.set()

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self._end is not None

    @property
    def watchers(self) -> int:
        """How many mirrors are filled."""
        with self._lock:
            return len(self._mirrors)

    def join(self, mirror: LiveMirror) -> None:
        """Fill a mirror from now on, beginning with the newest of everything; events are asked of :meth:`since`."""
        with self._lock:
            self._mirrors.append(mirror)
            if self._values["samples"]:
                mirror.put(self._values)
            if self._status is not None and time.monotonic() - self._status_s < _FRESH_S:
                mirror.put(self._status)
            if self._end is not None:
                mirror.put(self._end)
            for told in self._told:
                mirror.put(told)

    def leave(self, mirror: LiveMirror) -> int:
        """Fill a mirror no more; return how many are left."""
        with self._lock:
            self._mirrors.remove(mirror)
            return len(self._mirrors)

    # -- the thread ----------------------------------------------------------------------------

    def _main(self) -> None:
        ended: dict[str, Any] = {}
        try:
            for message in self._messages():
                self._spread(message)
            ended = self._ending()
        except BaseException as error:  # noqa: BLE001 - the thread's end: kept, and whoever watches is told
            self.failure = error
            ended = {"state": "unknown", "problem": f"{type(error).__name__}: {error}"}
        self._spread({"stream": "end", "sequence": self.live.name, **ended})

    def _messages(self) -> Iterator[dict[str, Any]]:
        """Yield what the run tells, or its journal where the run never answers.

        A run that hung up and goes on is asked again: it leaves a reader that was held up for some seconds.
        """
        heard = False
        while self.live.control is not None:
            try:
                for message in run_messages(self.live, self._left.is_set):
                    heard = True
                    yield message
            except ControlFailed as error:
                self.failure = error
            if not heard:  # its numbers are in the journal
                break
            if not self.live.is_recorded or self._left.wait(_AGAIN_S):
                return
        yield from journal_messages(self.live, self._left.is_set)

    def _ending(self) -> dict[str, Any]:
        """Wait until nobody records the sequence any more and return what became of it.

        One that is discarded is let go a moment before its folder is.
        """
        while self.live.is_recorded and not self._left.wait(_LOOK_S):
            continue
        settled_s = time.monotonic() + _SETTLE_S
        while (ended := ending_of(self._client, self.live))["state"] in (OWNER_GONE, CLIENT_AWAY):
            if time.monotonic() > settled_s or self._left.wait(_LOOK_S):
                break
        return ended

    def _spread(self, message: dict[str, Any]) -> None:
        kind = message["stream"]
        with self._lock:
            if kind == "samples":
                self._values["samples"].update(message["samples"])
                self._values["frames"].update(message.get("frames", {}))
            elif kind == "status":
                message = self._noted(message)
            elif kind == "end":
                self._end = message
            elif not self._tell(message):
                return
            for mirror in self._mirrors:
                mirror.put(message)

    def _noted(self, status: dict[str, Any]) -> dict[str, Any]:
        """Keep a status without its events, which go their own way.

        The first one's are the beginning of it, as its channels are that of the values: a slow channel may
        have no other for minutes.
        """
        events = status.pop("events", [])
        if self._status is None:
            values = {"stream": "samples", "samples": dict(status.get("channels", {}))}
            self._values["samples"] |= values["samples"]
            first = [{"stream": "event", **event} for event in events]
            fresh = [event for event in first if self._tell(event)]
            self._known = {event["id"] for event in fresh}
            for mirror in self._mirrors:
                for message in (values, *fresh):
                    mirror.put(message)
        self._status, self._status_s = status, time.monotonic()
        return status

    def _tell(self, message: dict[str, Any]) -> bool:
        """Give an event or gap its id and keep it; False for one that the first status brought already."""
        message["id"] = told_id(message)
        if message["id"] in self._known:
            self._known.discard(message["id"])
            return False
        self._told.append(message)
        return True


def told_id(message: dict[str, Any]) -> str:
    """Return the id of an event or gap: its time and a checksum of its words."""
    words = [
        message.get(key) for key in ("stream", "severity", "kind", "source", "message", "cause", "topic")
    ]
    return f"{message.get('timestamp_ns') or message.get('start_ns')}-{zlib.crc32(repr(words).encode()):08x}"


def ending_of(client: Client, live: LiveSequence) -> dict[str, Any]:
    """Return state, outcome, cause and digest of a sequence that nobody records any more."""
    try:
        handler = client.sequence_handler(live.name, layers=[])
    except NotFound:
        return {"state": "discarded", "outcome": None, "cause": None, "content_digest": None}
    manifest = handler.reader.manifest
    ended: dict[str, Any] = plain(
        {
            "state": _state_of(handler),
            "outcome": handler.outcome,
            "cause": None if manifest is None else manifest["record"].get("cause"),
            "content_digest": handler.content_digest,
        }
    )
    return ended


def _state_of(handler: SequenceHandler) -> str:
    if handler.state != "open" or handler.owner_alive:
        return handler.state
    return OWNER_GONE if handler.reader.base.awaited_until_ns is None else CLIENT_AWAY


class LiveFeeds:
    """The feeds of one server by sequence: made when the first browser watches, ended when the last one leaves."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._feeds: dict[str, LiveFeed] = {}

    @contextmanager
    def watching(self, live: LiveSequence, mirror: LiveMirror) -> Iterator[LiveFeed]:
        """Fill a mirror as long as the block lasts; never waits for the run."""
        feed = self._joined(live, mirror)
        try:
            yield feed
        finally:
            with self._lock:
                if not feed.leave(mirror):
                    feed.stop()
                    if self._feeds.get(live.name) is feed:
                        del self._feeds[live.name]

    def _joined(self, live: LiveSequence, mirror: LiveMirror) -> LiveFeed:
        with self._lock:
            feed = self._feeds.get(live.name)
            if feed is None or feed.over or feed.live != live:
                feed = self._feeds[live.name] = LiveFeed(live, self._client)
                feed.start()
            feed.join(mirror)
            return feed

    def watched(self, name: str) -> LiveSequence | None:
        """Return a sequence that is watched now, from memory alone; None for one that is not."""
        with self._lock:
            feed = self._feeds.get(name)
            return None if feed is None or feed.over else feed.live
