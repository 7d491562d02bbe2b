"""A sequence that was never a Bluesky run, told as one: a stream for each topic, an event for each row."""

from __future__ import annotations

import heapq
import itertools
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from gapless.bluesky.json_safe import json_safe
from gapless.bluesky.topic_keys import TopicKeys, document_key
from gapless.model.outcome import Outcome

if TYPE_CHECKING:
    from gapless.client.sequence_handler import SequenceHandler

_BATCH_ROWS = 4_096
_EXIT_STATUS = {Outcome.COMPLETED: "success", Outcome.ABORTED: "abort"}
Emitted: TypeAlias = tuple[str, dict[str, Any]]


def topic_documents(
    sequence: SequenceHandler, *, pages: bool = False, synthesize_stop: bool = False
) -> Iterator[Emitted]:
    """Yield start, a descriptor for each topic, an event for each row in order of time, and stop.

    Uids are computed from the content: the digest of a sealed sequence, else its name. Keys may not hold
    ``.`` or ``/`` in documents: both become ``_``, and the data key tells the column. Reserved topics are
    no streams. A sequence that is not sealed has no stop, unless ``synthesize_stop`` makes one.
    """
    start = _start(sequence)
    yield "start", start
    streams = [_Stream(sequence, topic, start["uid"]) for topic in sequence.topics]
    for stream in streams:
        yield "descriptor", stream.descriptor(start)
    sources = [stream.emitted(pages) for stream in streams]
    for _, emitted in heapq.merge(*sources, key=lambda timed: timed[0]):
        yield emitted
    if sequence.state == "sealed" or synthesize_stop:
        yield "stop", _stop(sequence, start, {stream.name: stream.count for stream in streams})


def _start(sequence: SequenceHandler) -> dict[str, Any]:
    identity = f"gapless:{sequence.content_digest or sequence.name}:{':'.join(sequence.layers)}"
    words = {"name": sequence.name, "content_digest": sequence.content_digest, "layers": sequence.layers}
    start: dict[str, Any] = {
        "uid": str(uuid.uuid5(uuid.NAMESPACE_URL, identity)),
        "time": (sequence.start_ns or 0) / 1e9,
        "gapless": words,
        "metadata": _keyed(json_safe(sequence.metadata)),
    }
    if sequence.group is not None:
        start["data_session"] = sequence.group
    return start


def _stop(sequence: SequenceHandler, start: Mapping[str, Any], counts: dict[str, int]) -> dict[str, Any]:
    outcome = sequence.outcome
    status = _EXIT_STATUS.get(Outcome(outcome), "fail") if outcome is not None else "fail"
    record = sequence.reader.manifest["record"] if sequence.reader.manifest else {}
    reason = record.get("cause") or ("" if status == "success" else outcome or sequence.state)
    return {
        "uid": _uid(start["uid"], "stop"),
        "run_start": start["uid"],
        "time": (sequence.end_ns or 0) / 1e9,
        "exit_status": status,
        "reason": str(reason),
        "num_events": counts,
        "gapless": {"outcome": outcome, "ledger": dict(sequence.ledger)},
    }


class _Stream:
    """One topic as a stream."""

    def __init__(self, sequence: SequenceHandler, topic: str, run_uid: str) -> None:
        self.name = topic
        self.count = 0
        self._topic = sequence.topic(topic)
        self._uid = _uid(run_uid, f"descriptor:{topic}")
        self._keys = TopicKeys(self._topic.schema, f"gapless:{sequence.name}/{topic}")

    def descriptor(self, start: Mapping[str, Any]) -> dict[str, Any]:
        """Return the descriptor of the topic."""
        start_ns = self._topic.start_ns
        name = document_key(self.name)
        words = {"topic": self.name, "tag": self._topic.ontology_tag, "clock": self._topic.clock}
        data = {"metadata": _keyed(json_safe(self._topic.metadata)), **words}
        time = start["time"] if start_ns is None else start_ns / 1e9
        return {
            "uid": self._uid,
            "run_start": start["uid"],
            "time": time,
            "name": self.name,
            "data_keys": self._keys.data_keys(name),
            "object_keys": {name: list(self._keys.names)},
            "hints": {name: {"fields": self._keys.hinted}},
            "configuration": {name: {"data": data, "timestamps": dict.fromkeys(data, time), "data_keys": {
                key: {"source": "gapless", "dtype": "string", "shape": []} for key in data
            }}},
        }  # fmt: skip

    def emitted(self, pages: bool) -> Iterator[tuple[int, Emitted]]:
        """Yield the rows in order of time, each with its timestamp_ns."""
        for batch in self._topic.scan(batch_rows=_BATCH_ROWS):
            times = batch.column("timestamp_ns").to_pylist()
            columns = self._keys.values(batch)
            first = self.count + 1
            self.count += len(times)
            if pages:
                yield times[0], ("event_page", self._page(times, columns, first))
                continue
            for n, time_ns in enumerate(times):
                yield time_ns, ("event", self._event(time_ns, columns, n, first + n))

    def _event(
        self, time_ns: int, columns: Mapping[str, list[Any]], row: int, seq_num: int
    ) -> dict[str, Any]:
        time = time_ns / 1e9
        return {
            "uid": _uid(self._uid, str(seq_num)),
            "descriptor": self._uid,
            "seq_num": seq_num,
            "time": time,
            "data": {name: values[row] for name, values in columns.items()},
            "timestamps": dict.fromkeys(columns, time),
        }

    def _page(self, times_ns: list[int], columns: Mapping[str, list[Any]], first: int) -> dict[str, Any]:
        times = [time_ns / 1e9 for time_ns in times_ns]
        numbers = list(itertools.islice(itertools.count(first), len(times)))
        return {
            "uid": [_uid(self._uid, str(number)) for number in numbers],
            "descriptor": self._uid,
            "seq_num": numbers,
            "time": times,
            "data": dict(columns),
            "timestamps": {name: list(times) for name in columns},
        }


def _uid(parent: str, name: str) -> str:
    return str(uuid.uuid5(uuid.UUID(parent), name))


def _keyed(value: Any) -> Any:
    """Return JSON whose keys may stand in a document; two that become one are kept apart by ``_``."""
    if isinstance(value, list):
        return [_keyed(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {}
    for key, item in value.items():
        name = document_key(key)
        while name in kept:
            name += "_"
        kept[name] = _keyed(item)
    return kept
