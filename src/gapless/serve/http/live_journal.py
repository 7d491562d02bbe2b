"""A recording without a control socket as its journal tells it: what is durable, read from outside."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from gapless.errors import IntegrityError
from gapless.serve.http.live_fields import LiveField, live_fields
from gapless.serve.http.live_sequences import LiveSequence
from gapless.serve.http.live_words import plain
from gapless.store.layout import Bundle

if TYPE_CHECKING:
    import pyarrow as pa

    from gapless.store.journal_view import JournalView

LOOK_S: Final = 0.25
FIRST_EVENTS: Final = 20
MAX_CHANNELS: Final = 512
_STATUS_S = 1.0
_TASKS, _FRAMES = "tasks", "frames"


def journal_messages(live: LiveSequence, leaving: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    """Yield what the journal shows until it is gone or nobody watches: status, samples, events and gaps.

    A look each quarter of a second reads only the newest row of each topic, so it costs the same at any rate.
    """
    journal = _LiveJournal(live)
    due_s = 0.0
    while not leaving():
        recorded = live.is_recorded  # asked first: what was durable before its end is seen below
        if not journal.look():
            return
        yield from journal.told()
        yield journal.samples()
        if time.monotonic() >= due_s:
            due_s = time.monotonic() + _STATUS_S
            yield journal.status()
        if not recorded:
            return
        time.sleep(LOOK_S)


class _LiveJournal:
    """What has been seen of one journal, and the way to what has not."""

    def __init__(self, live: LiveSequence) -> None:
        self._live = live
        self._bundle = Bundle(live.path)
        self._view: JournalView | None = None
        self._fields: dict[str, list[LiveField]] = {}
        self._counted: dict[str, tuple[float, int]] = {}
        self._rates: dict[str, float] = {}
        self._next: dict[str, int] = {}
        self._last_ns: dict[str, int] = {}
        self._tasks: dict[int, str] = {}
        self._task: int | None = None
        self._late = 0

    def look(self) -> bool:
        """Bring the view up to date; False when the journal is gone: sealed or discarded."""
        from gapless.store.journal_view import JournalView

        try:
            if self._view is None:
                self._view = JournalView.open(self._bundle.journal)
            else:
                self._view.refresh()
        except (FileNotFoundError, IntegrityError):
            if self._bundle.journal.is_dir() and self._view is None:
                raise
            return False
        return True

    @property
    def _journal(self) -> JournalView:
        assert self._view is not None
        return self._view

    # -- values --------------------------------------------------------------------------------

    def samples(self) -> dict[str, Any]:
        """Return the newest durable value of each field that fits a line, as a run tells its channels."""
        samples: dict[str, Any] = {}
        for topic, ledger in self._journal.ledger.items():
            if topic.startswith("_") or not ledger.produced or len(samples) >= MAX_CHANNELS:
                continue
            row = self._newest(topic, ledger.produced)
            if row is not None:
                samples |= self._values(topic, row)
        return {"stream": "samples", "samples": samples, "dropped": 0}

    def _newest(self, topic: str, produced: int) -> pa.RecordBatch | None:
        """Return the newest row of a topic, if it was not seen yet."""
        if self._next.get(topic) == produced:
            return None
        newest = self._rows(topic, produced - 1)
        self._next[topic] = produced
        return newest[-1].slice(newest[-1].num_rows - 1) if newest else None

    def _rows(self, topic: str, first: int) -> list[pa.RecordBatch]:
        """Return the rows from an arrival number on that are still in the journal."""
        from gapless.store.journal_view import Position

        try:
            batches = [batch for _, batch in self._journal.batches(topic, after=Position(first))]
        except FileNotFoundError:  # a segment became a part: the next look sees what follows
            return []
        return [batch for batch in batches if batch.num_rows]

    def _values(self, topic: str, row: pa.RecordBatch) -> dict[str, Any]:
        if topic not in self._fields:
            self._fields[topic] = live_fields(self._journal.topics[topic].schema)
        shown = {field.steps[0] for field in self._fields[topic]} | {"timestamp_ns", "task_index"}
        # Only what is shown: Python's values of some other types need pandas.
        words = row.select([name for name in row.schema.names if name in shown]).to_pylist()[0]
        stamp_ns = int(words["timestamp_ns"])
        self._last_ns[topic] = stamp_ns
        self._note_episode(topic, words)
        return {
            _channel(topic, field, self._fields[topic]): {
                "value": plain(field.value(words)),
                "unit": field.unit,
                "status": 0,
                "timestamp_ns": str(stamp_ns),
                "uncertainty": None,
            }
            for field in self._fields[topic]
        }

    # -- events and gaps -----------------------------------------------------------------------

    def told(self) -> Iterator[dict[str, Any]]:
        """Yield the events and gaps that were not seen yet; of those before the first look the last few."""
        for event in self._fresh("_events"):
            data = event.pop("data", None)
            event.pop("_seq", None)
            yield plain({"stream": "event", **event, "data": None if data is None else json.loads(data)})
        for gap in self._fresh("_gaps"):
            gap.pop("_seq", None)
            if gap["cause"] == "late":
                self._late += int(gap["count"] or 0)
            yield plain({"stream": "gap", **gap, "start_ns": gap["timestamp_ns"]})

    def _fresh(self, topic: str) -> Iterator[dict[str, Any]]:
        ledger = self._journal.ledger.get(topic)
        if ledger is None:
            return
        first = self._next.get(topic, max(0, ledger.produced - FIRST_EVENTS))
        if first < ledger.produced:
            self._next[topic] = ledger.produced
            for batch in self._rows(topic, first):
                yield from batch.to_pylist()

    # -- status --------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return rows, rates and losses of the topics, and where an episode is."""
        now_s, now_ns = time.monotonic(), time.time_ns()
        topics = {}
        for name, ledger in self._journal.ledger.items():
            if name.startswith("_"):
                continue
            last_ns = self._last_ns.get(name)
            topics[name] = {
                "rows": ledger.written,
                "dropped": ledger.dropped,
                "rate_hz": self._rate(name, ledger.written, now_s),
                "lag_s": None if last_ns is None else _seconds(now_ns - last_ns),
            }
        return {
            "stream": "status",
            "sequence": self._live.name,
            "state": "recording",
            "outcome": None,
            "cause": None,
            "elapsed_s": _seconds(now_ns - self._live.started_ns),
            "topics": topics,
            "episode": self._episode(topics),
        }

    def _rate(self, name: str, rows: int, now_s: float) -> float | None:
        since_s, before = self._counted.get(name, (now_s, rows))
        if name in self._counted and now_s > since_s:
            self._rates[name] = round((rows - before) / (now_s - since_s), 2)
        self._counted[name] = (now_s, rows)
        return self._rates.get(name)

    def _note_episode(self, topic: str, words: dict[str, Any]) -> None:
        if self._live.episode is None:
            return
        if topic == _TASKS:
            for batch in self._rows(topic, 0):
                self._tasks |= {row["task_index"]: row["task"] for row in batch.to_pylist()}
        elif topic == _FRAMES:
            self._task = words.get("task_index")

    def _episode(self, topics: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
        told = self._live.episode
        if told is None:
            return None
        known = {key: told.get(key) for key in ("session", "index", "seed", "mode", "data_hz", "video_hz")}
        return {
            **known,
            "task": None if self._task is None else self._tasks.get(self._task),
            "frames": topics.get(_FRAMES, {}).get("rows", 0),
            "dropped": sum(topic["dropped"] for topic in topics.values()),
            "late": self._late,
        }


def _channel(topic: str, field: LiveField, fields: list[LiveField]) -> str:
    """Return the name of a field among all channels; a topic of nothing but a value goes by its own."""
    return topic if len(fields) == 1 and field.path == "value" else f"{topic}:{field.path}"


def _seconds(length_ns: int) -> float | None:
    length_s = round(length_ns / 1e9, 3)
    return length_s if math.isfinite(length_s) else None
