"""One run on its way from the local recording to the server, while it lasts and afterwards."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from gapless.bluesky.tiled_sink.delivered import Delivered
from gapless.bluesky.tiled_sink.run_delivery import RunDelivery
from gapless.bluesky.tiled_sink.table_node import RowsDiffer
from gapless.bluesky.tiled_sink.validation import problems_of
from gapless.errors import WriterClosed

if TYPE_CHECKING:
    from gapless.bluesky.tiled_sink.target import Target
    from gapless.client.sequence_writer import SequenceWriter

_AT_ONCE: Final = 10_000  # documents between two requests


class Progress(StrEnum):
    """Where a run is: sent as it comes, sent from its sequence once that is sealed, there, or given up."""

    LIVE = "live"
    AFTER_SEAL = "after seal"
    CONFIRMED = "confirmed"
    RELEASED = "released"
    REFUSED = "refused"


class RunSink:
    """Takes the normalised documents of one run after its sequence has them, and sends what is durable there.

    Called on the recording thread, where it only remembers, at most ``max_waiting`` documents that the server
    has not got; when more wait, it forgets all of them and sends the sequence when it is sealed. :meth:`step`
    runs on the sending thread.
    """

    def __init__(self, target: Target, name: str, start: Mapping[str, Any], sequence: SequenceWriter | None):
        self.uid = str(start["uid"])
        self.sequence_name = name
        self.progress = Progress.LIVE if sequence is not None else Progress.AFTER_SEAL
        self.delivered: Delivered | None = None
        self.reason: str | None = None  # why it is not, or not yet, on the server
        self.retry_at_s = 0.0
        self.failures = 0  # in a row
        self.is_sealed = sequence is None
        self.layers = 0  # of late documents, that were delivered
        self.sealed_at_s = time.monotonic()
        self._target, self._sequence = target, sequence
        self._waiting: deque[tuple[str, Mapping[str, Any]]] = deque()
        self._unsent = 0  # documents that the delivery has and no request has brought yet
        self._lock = threading.Lock()
        live = self.progress is Progress.LIVE
        self._delivery = RunDelivery(start, target.options()) if live else None

    # -- the recording thread ------------------------------------------------------------------

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take one document."""
        with self._lock:
            if self.progress is not Progress.LIVE:
                return
            self._waiting.append((name, doc))
            if len(self._waiting) + self._unsent > self._target.max_waiting:
                self._forget("more documents wait than the limit allows")
        if name == "stop" or len(self._waiting) == self._target.batch_rows:
            self._target.hurry()

    def _forget(self, reason: str) -> None:
        self.progress = Progress.AFTER_SEAL
        self.reason = reason
        self._drop()

    def _drop(self) -> None:
        self._waiting.clear()
        self._unsent = 0
        self._delivery = None

    def sealed(self) -> None:
        """Take note that the sequence is sealed."""
        self.sealed_at_s = time.monotonic()
        self.is_sealed = True
        self._target.hurry()

    # -- the sending thread --------------------------------------------------------------------

    def step(self) -> None:
        """Do the next thing that can be done; raises what the server or the way to it says."""
        if self.progress is Progress.LIVE:
            self._send_live()
        elif self.progress is Progress.AFTER_SEAL and self.is_sealed:
            self._deliver()

    def _send_live(self) -> None:
        with self._lock:
            delivery = self._delivery
            if delivery is None:  # too much waited, a moment ago
                return
            room = max(0, _AT_ONCE - self._unsent)  # none while the server does not answer
            taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), room))]
            self._unsent += len(taken)
        for name, doc in taken:
            delivery(name, doc)
        if not self._is_durable(delivery):
            return
        try:
            if delivery.stop is not None and not self._waiting:
                delivery.confirm()
                self._confirmed(delivery)
            else:
                delivery.send()
                with self._lock:
                    self._unsent = 0
        except RowsDiffer as differ:
            self.send_later(str(differ))

    def _is_durable(self, delivery: RunDelivery) -> bool:
        """Make what was taken durable in the sequence; False while its end is being written."""
        assert self._sequence is not None
        if self.is_sealed:
            if delivery.stop is None and not self._waiting:
                self.send_later("the run has no stop document")
            return self.progress is Progress.LIVE
        try:
            self._sequence.flush()
        except WriterClosed:  # it is being sealed on another thread, which makes it durable too
            return False
        return True

    def _confirmed(self, delivery: RunDelivery) -> None:
        problems = problems_of(delivery) if self._target.validate else []
        self.delivered = Delivered(
            delivery.uid, delivery.rows, has_stop=True, findings=delivery.findings, problems=problems
        )
        with self._lock:
            self.progress = Progress.CONFIRMED
            self._unsent = 0
        delivery.end_streaming()

    def say(self, end: Mapping[str, Any], findings: list[str]) -> None:
        """Write on the server what became of the sequence, if sending it from there did not."""
        if self._delivery is not None and self._delivery.is_confirmed:
            self._delivery.find(findings)
            self._delivery.say(dict(end))

    def _deliver(self) -> None:
        self.delivered = self._target.deliver(self.sequence_name)
        self.progress = Progress.CONFIRMED

    def send_later(self, reason: str) -> None:
        """Forget what waits; the sequence is sent when it is sealed."""
        with self._lock:
            self._forget(reason)

    def refuse(self, reason: str) -> None:
        """Give up: the server will not take the run; the sequence stays."""
        with self._lock:
            self.reason = reason
            self.progress = Progress.REFUSED
            self._drop()

    @property
    def is_idle(self) -> bool:
        """Whether everything that came is on the server, or will not be before the sequence is sealed."""
        with self._lock:
            if self.progress is Progress.LIVE:
                return not (self._waiting or self._unsent)
            return not (self.progress is Progress.AFTER_SEAL and self.is_sealed)
