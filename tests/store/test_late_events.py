"""Events that another process leaves for a dead recording become rows of ``_events``, each once."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.store.live_recording import Recording

import gapless
from gapless.model.outcome import Outcome
from gapless.store.late_events import GUARD_LOCK, LATE_EVENTS, LateEvent, leave_late_events
from gapless.store.layout import Bundle
from gapless.store.platform import PLATFORM, Platform
from gapless.store.reader import SequenceReader
from gapless.store.recover import recover
from gapless.store.verify import verify

UNSAFE = LateEvent(20, "error", "device_unsafe", "heater", "heater may be unsafe: no answer")
SAFE = LateEvent(21, "info", "safe_state", "guard", "safe state", {"outcomes": [{"device": "a"}]})


def events_of(path: Path) -> list[dict[str, Any]]:
    """Return the rows of ``_events`` of a sealed bundle."""
    with SequenceReader(path) as reader:
        return [row for batch in reader.topic("_events").scan() for row in batch.to_pylist()]


def dead_recording(path: Path, events: int = 0) -> Bundle:
    """Leave a journal whose owner is gone, with a topic and some events of its own."""
    with gapless.connect(path.parent / "store") as client:
        sequence = client.sequence_create("s")
        sequence.__enter__()
        topic = sequence.topic_create("t", schema=SCHEMA)
        topic.push_row(1, x=1.0)
        for k in range(events):
            sequence.event("info", "own", f"event {k}", timestamp_ns=10 + k)
        sequence.flush()
        shutil.copytree(sequence.path, path)
        sequence.__exit__(None, None, None)
    return Bundle(path)
