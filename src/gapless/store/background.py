"""Sealing while recording goes on: a thread turns closed segments into parts, so that the end is quick.

It never holds up the writer: what it has not done yet grows on disk, not in memory, and is a figure of
``_health``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from gapless.errors import DeadlinePassed
from gapless.store.declaration import TopicDeclaration
from gapless.store.layout import CUTS, Bundle, Cuts
from gapless.store.platform import Platform
from gapless.store.recover import keep_damaged, read_journal
from gapless.store.sealer import Sealer


class BackgroundSealer:
    """Owns the sealer and its thread, which starts with the first closed segment."""

    def __init__(
        self,
        bundle: Bundle,
        header: dict[str, Any],
        platform: Platform,
        on_failure: Callable[[BaseException], None],
        cuts: Cuts = CUTS,
        resumed: Sealer | None = None,
    ) -> None:
        self.sealer = resumed or Sealer(bundle, header, platform, cuts)
        self.error: BaseException | None = None  # what ended the thread before its time
        self._on_failure = on_failure
        self._queue: SimpleQueue[Path | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._name = f"gapless-sealer-{header['name']}"
        self._lock = threading.Lock()
        self._door = threading.Lock()  # guards the one below and the start of the thread
        self._stopped = False
        self._sealing = False

    @property
    def generation(self) -> int:
        """Counts the times that parts were published."""
        return self.sealer.generation

    @property
    def is_behind(self) -> bool:
        """True while a closed segment is not sealed yet."""
        return self._sealing or not self._queue.empty()

    @property
    def backlog_bytes(self) -> int:
        """Bytes of closed segments that wait for the thread."""
        return self._queue.qsize() * (self._segment_bytes or 0)

    _segment_bytes: int | None = None

    def declare(self, declaration: TopicDeclaration) -> None:
        """Make a topic known before its first frame."""
        with self._lock:
            self.sealer.declare(declaration)

    def add(self, path: Path) -> None:
        """Queue a closed segment; one that comes after :meth:`stop` stays in the journal."""
        self._segment_bytes = path.stat().st_size
        with self._door:
            if self._stopped:
                return
            self._queue.put(path)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def finish(self, last: Path, patience_s: float) -> Sealer:
        """Return a sealer that has read the whole journal, ``last``, its last segment, included.

        After an error in the thread that is a new one, as in a recovery: segments were left unread, and how far
        the old one came is known from the disk alone. Raises as :meth:`stop` does, and what reading raises.
        """
        sealer = self.stop(patience_s)
        if self.error is None:
            sealer.take(sealer.read_segment(last))
            return sealer
        for topic in sealer.topics.values():
            topic.abandon()
        self.sealer = read_journal(sealer.bundle, sealer.header, sealer.platform, sealer.cuts)
        for damage in self.sealer.damage:
            keep_damaged(sealer.bundle, damage, sealer.platform)
        return self.sealer

    def stop(self, patience_s: float) -> Sealer:
        """Return the sealer when the thread has done all that was queued, or ended with :attr:`error`.

        No thread is started afterwards: a writer that a hung disk holds up may still close a segment when
        somebody else owns the journal.

        Raises DeadlinePassed when nothing moved for ``patience_s``: the disk hangs.
        """
        with self._door:
            self._stopped = True
        if self._thread is None:
            return self.sealer
        self._queue.put(None)
        seen, since = self._progress(), time.monotonic()
        while self._thread.is_alive():
            self._thread.join(timeout=0.1)
            if self._progress() != seen:
                seen, since = self._progress(), time.monotonic()
            elif time.monotonic() - since > patience_s:
                raise DeadlinePassed(
                    "sealing in the background does not move",
                    sequence=self.sealer.header["name"],
                    found=f"{self._queue.qsize()} segments waiting",
                    expected=f"progress within {patience_s} s",
                )
        self._thread = None
        return self.sealer

    def _progress(self) -> tuple[int, int]:
        return self._queue.qsize(), sum(t.cut_seq for t in list(self.sealer.topics.values()))

    def _run(self) -> None:
        try:
            while (path := self._queue.get()) is not None:
                self._sealing = True
                self._seal(path)
                self._sealing = False
                if self._queue.empty():
                    self.sealer.platform.release_memory()
        except BaseException as error:  # noqa: BLE001 - the thread's boundary: it becomes the sequence's failure
            self.error = error
            self._on_failure(error)

    def _seal(self, path: Path) -> None:
        """Turn what is full into parts, this segment's rows among them, and let go of what is not needed."""
        rows = self.sealer.read_segment(path)
        with self._lock:
            self.sealer.take(rows)
        del rows  # the topics have their own
        if not self.sealer.advance():
            self.sealer.forget_segments()
