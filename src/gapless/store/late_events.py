"""Events that another process leaves for a recording whose owner died: a guard's report.

The other process appends lines of JSON to ``journal/late_events.jsonl`` and syncs them; it holds
``journal/guard.lock`` while it may still do so. Recovery waits for that lock, then removes it, which tells
a late writer that nobody will look again; only then it reads. Its lines become rows of ``_events``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.errors import GaplessError
from gapless.model.metadata import canonical_json
from gapless.store.layout import EVENTS_INDEX, Bundle
from gapless.store.platform import Platform

if TYPE_CHECKING:
    from gapless.store.sealer import Sealer

LATE_EVENTS = "late_events.jsonl"
GUARD_LOCK = "guard.lock"
LATE_FRAMES = "late_events.frames"
_WAIT_S = 5.0
_POLL_S = 0.02
_WORDS = ("severity", "kind", "source", "message")


@dataclass(frozen=True)
class LateEvent:
    """One line of the file. ``data`` is a JSON value or None."""

    timestamp_ns: int
    severity: str
    kind: str
    source: str
    message: str
    data: Any = None

    def to_json(self) -> dict[str, Any]:
        """Return the line as a JSON object."""
        return {**dict(self.words()), "timestamp_ns": self.timestamp_ns, "data": self.data}

    def words(self) -> Iterable[tuple[str, str]]:
        """Yield the text columns by name."""
        return ((name, getattr(self, name)) for name in _WORDS)


def leave_late_events(bundle: Bundle, events: Iterable[LateEvent], platform: Platform) -> Path:
    """Append events durably where recovery finds them, and return the file that certainly keeps them.

    That is ``late_events.jsonl`` in the bundle itself when the sequence was sealed in the meantime.
    """
    lines = b"".join(canonical_json(event.to_json()) + b"\n" for event in events)
    report = bundle.journal / LATE_EVENTS
    try:
        _append(report, lines, platform)
    except FileNotFoundError:  # the journal is gone: sealed
        report = bundle.path / LATE_EVENTS
        _append(report, lines, platform)
        return report
    if not (bundle.journal / GUARD_LOCK).exists():  # recovery has looked, perhaps before these lines
        report = bundle.path / LATE_EVENTS
        _append(report, lines, platform)
    return report


def _append(path: Path, lines: bytes, platform: Platform) -> None:
    fd = platform.open_append(path)
    try:
        platform.write(fd, [lines])
        platform.data_sync(fd)
    finally:
        platform.close(fd)
    platform.sync_directory(path.parent)


def last_words_event(closing: dict[str, Any] | None) -> list[LateEvent]:
    """Return the event of a writer that failed, from the words it left in the space reserved for them."""
    if closing is None or "timestamp_ns" not in closing:
        return []
    words = str(closing.get("cause"))
    return [LateEvent(closing["timestamp_ns"], "error", "recording_failed", "writer", words)]


def take_late_events(
    bundle: Bundle, sealer: Sealer, platform: Platform, also: Iterable[LateEvent] = ()
) -> None:
    """Give the sealer the events that were left, and ``also``, as rows behind all others of ``_events``.

    A line that is torn or no event becomes a note of damage. Doing it again after a crash gives the same
    rows, and each once.
    """
    frames = bundle.journal / LATE_FRAMES
    if not frames.exists():
        _close_door(bundle, platform)
    left, damage = _parse(bundle.journal / LATE_EVENTS)
    events = [*left, *also]
    sealer.damage += [note for note in damage if note not in sealer.damage]
    if not events:
        return
    if not frames.exists():
        platform.write_atomically(frames, _encode(sealer, events))
    rows = sealer.read_segment(frames)
    sealer.take(rows)
    sealer.topics[EVENTS_INDEX].late = sum(frame.rows for frame in rows.get(EVENTS_INDEX, ()))


def _close_door(bundle: Bundle, platform: Platform) -> None:
    """Wait for a guard that is still at work, at most 5 s, and tell a later one that it is too late."""
    lock = bundle.journal / GUARD_LOCK
    give_up_s = time.monotonic() + _WAIT_S
    while platform.is_locked(lock) and time.monotonic() < give_up_s:
        time.sleep(_POLL_S)
    if lock.exists():
        platform.remove(lock)


def _parse(path: Path) -> tuple[list[LateEvent], list[dict[str, Any]]]:
    """Return the events of the whole lines, and a note of damage for each of the others."""
    raw = path.read_bytes() if path.exists() else b""
    events: list[LateEvent] = []
    damage: list[dict[str, Any]] = []
    start = 0
    for line in raw.splitlines(keepends=True):
        end = start + len(line)
        event = _event_of(line) if line.endswith(b"\n") else "a torn line"
        if isinstance(event, LateEvent):
            events.append(event)
        else:
            damage.append({"segment": path.name, "start": start, "end": end, "reason": event})
        start = end
    return events, damage


def _event_of(line: bytes) -> LateEvent | str:
    """Return the event of a line, or what is wrong with it."""
    try:
        found = json.loads(line)
        words = {word: found[word] for word in _WORDS}
        event = LateEvent(timestamp_ns=found["timestamp_ns"], data=found.get("data"), **words)
        canonical_json(event.to_json())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, GaplessError) as error:
        return f"no event: {type(error).__name__}"
    is_time = type(event.timestamp_ns) is int and -(2**63) < event.timestamp_ns < 2**63
    if not is_time or not all(isinstance(word, str) for _, word in event.words()):
        return "no event: a field has the wrong type"
    return event


def _encode(sealer: Sealer, events: list[LateEvent]) -> bytes:
    """Return frames as a segment holds them: the header, the declaration, the rows."""
    import pyarrow as pa

    from gapless.store.cells import batch_value_bytes
    from gapless.store.declaration import TopicDeclaration
    from gapless.store.frame import Kind, encode_header
    from gapless.store.reserved import EVENTS

    rows = [
        {**event.to_json(), "data": None if event.data is None else canonical_json(event.data).decode()}
        for event in events
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema=EVENTS)
    declaration = TopicDeclaration(EVENTS_INDEX, "_events", EVENTS, {})
    first = _first_seq(sealer)
    nonce = sealer.header["nonce"]
    value_bytes = int(batch_value_bytes(batch).sum())
    out = b""
    for kind, topic, count, payload, size in (
        (Kind.OPEN, 0, 0, canonical_json(sealer.header), 0),
        (Kind.TOPIC, EVENTS_INDEX, 0, canonical_json(declaration.to_json()), 0),
        (Kind.ARROW, EVENTS_INDEX, len(rows), batch.serialize().to_pybytes(), value_bytes),
    ):
        seq = first if count else 0
        out += encode_header(kind, nonce, 0, topic, seq, count, payload, size) + payload
    return out


def _first_seq(sealer: Sealer) -> int:
    """Return the arrival number behind everything the owner offered, what was lost of it included."""
    known = sealer.topics.get(EVENTS_INDEX)
    arrived = known.arrived if known is not None else 0
    words = (sealer.closing or {}).get("topics", {}).get(str(EVENTS_INDEX), {})
    return max(arrived, int(words.get("offered", 0)))


__all__ = ["GUARD_LOCK", "LATE_EVENTS", "LATE_FRAMES", "LateEvent", "leave_late_events", "take_late_events"]
