"""Rows of the reserved topics that a sequence writes for itself: events and refused rows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from gapless.client.recording import Recording
from gapless.errors import UsageError
from gapless.model.metadata import event_data
from gapless.store.declaration import TopicDeclaration
from gapless.store.layout import EVENTS_INDEX
from gapless.store.reserved import EVENTS, QUARANTINE
from gapless.store.writer import TopicState

_INDEX_AND_SCHEMA = {"_events": (EVENTS_INDEX, EVENTS), "_quarantine": (3, QUARANTINE)}


class ReservedRows:
    """Pushes rows of a reserved topic from any thread, declaring it on first use."""

    def __init__(self, writer: Callable[[], Recording]) -> None:
        self._writer = writer
        self._lock = threading.Lock()
        self._states: dict[str, TopicState] = {}

    def push(self, name: str, timestamp_ns: int | None, *values: Any) -> None:
        """Push one row; without a time the sequence's clock stamps it."""
        writer = self._writer()
        with self._lock:
            state = self._states.get(name)
            if state is None:
                index, schema = _INDEX_AND_SCHEMA[name]
                state = writer.declare(TopicDeclaration(index, name, schema, {}))
                writer.lane(state)
                self._states[name] = state
            lane = state.lanes[0]
            lane.owner = threading.get_ident()  # the lock makes the threads take turns
            lane.push_row(timestamp_ns, *values)

    def flush(self, name: str) -> None:
        """Return when the rows pushed to the topic before the call are durable where the sequence is."""
        self._writer().flush_topic(self._states[name])

    def push_event(
        self,
        sequence: str,
        timestamp_ns: int | None,
        severity: str,
        kind: str,
        message: str,
        source: str,
        data: Any,
    ) -> None:
        """Push one event; UsageError for what is not words, MetadataRefused for data that is not JSON."""
        for what, word in (("severity", severity), ("kind", kind), ("message", message), ("source", source)):
            if not isinstance(word, str):
                raise UsageError("an event is made of words", sequence=sequence, field=what, found=repr(word))
        text = None if data is None else event_data(data, sequence)
        self.push("_events", timestamp_ns, severity, kind, source, message, text)
