"""A sequence as a stream of Bluesky documents again, for whatever consumes documents."""

from __future__ import annotations

import heapq
import itertools
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from gapless.bluesky.event_values import EventValues, Violations
from gapless.bluesky.stored_run import StoredRun, is_run
from gapless.bluesky.stream_schema import VIOLATIONS
from gapless.bluesky.topic_documents import topic_documents

if TYPE_CHECKING:
    from gapless.bluesky.stored_stream import StoredStream
    from gapless.client.sequence_handler import SequenceHandler
    from gapless.store.reader import BundleReader

_BATCH_ROWS = 4_096  # Python values of so few rows stay in the processor's cache
Emitted: TypeAlias = tuple[str, dict[str, Any]]
_Timed: TypeAlias = tuple[int, Emitted]


def documents(
    sequence: SequenceHandler | StoredRun, *, pages: bool = False, synthesize_stop: bool = False
) -> Iterator[Emitted]:
    """Return the ``(name, document)`` of a sequence, recorded from documents or not, in bounded memory.

    A run gives back its documents as its normaliser had them: start; each descriptor and stream_resource
    before its first use; events in order of arrival, superseded ones too; stream_datums where they arrived;
    stop. Violating cells have their raw values again. Another sequence becomes a run with one stream for
    each topic; its uids are computed from its content, so they are the same each time.

    ``pages=True``: events as event_pages. A run without a stop document ends without one, unless
    ``synthesize_stop`` makes one that says it failed.
    """
    if isinstance(sequence, StoredRun):
        return _run_documents(sequence, pages, synthesize_stop)
    if is_run(sequence.reader):
        return _run_documents(StoredRun(sequence), pages, synthesize_stop)
    return topic_documents(sequence, pages=pages, synthesize_stop=synthesize_stop)


def _run_documents(run: StoredRun, pages: bool, synthesize_stop: bool) -> Iterator[Emitted]:
    counts: dict[str, int] = {}
    last_s = 0.0
    yield "start", run.start
    for name, doc in _before_use(run, _in_time(run, pages)):
        if name in ("event", "event_page"):
            stream = run.stream_of(doc["descriptor"])
            taken = doc["seq_num"] if name == "event_page" else [doc["seq_num"]]
            counts[stream] = max(counts.get(stream, 0), *taken)
            last_s = _latest(last_s, doc["time"])
        yield name, doc
    stop = run.stop
    if stop is not None:
        yield "stop", stop
    elif synthesize_stop:
        yield "stop", _stop(run, counts, last_s)


def _latest(before: float, times: Any) -> float:
    found = times if isinstance(times, list) else [times]
    return max([before, *(float(t) for t in found if isinstance(t, int | float))])


def _stop(run: StoredRun, counts: Mapping[str, int], last_s: float) -> dict[str, Any]:
    """Return a stop document for a run that has none."""
    known = run.reader.manifest["record"].get("cause") if run.reader.manifest else None
    start_s = run.start.get("time")
    return {
        "uid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"gapless:stop:{run.uid}")),
        "run_start": run.uid,
        "time": max(last_s, float(start_s)) if isinstance(start_s, int | float) else last_s,
        "exit_status": "fail",
        "reason": str(known or f"no stop document: {run.outcome or run.state}"),
        "num_events": dict(counts),
    }


# -- order ----------------------------------------------------------------------------------------


def _in_time(run: StoredRun, pages: bool) -> Iterator[Emitted]:
    """Yield what lies between start and stop: the base's, then each layer's, merged by time.

    What one stream has stays in order of arrival, whatever its times are.
    """
    for number in range(len(run.parts)):
        kept = [k for k in run.kept if k.part == number and k.name in ("descriptor", "stream_resource")]
        known = ((k.timestamp_ns, (k.name, k.document)) for k in kept if k.document is not None)
        sources: list[Iterator[_Timed]] = [known]
        for stream in run.streams.values():
            values = _values_of(stream)
            sources.append(_events(run, stream, values, number, pages))
            sources.append(_datums(stream, values, number))
        for _, emitted in heapq.merge(*sources, key=lambda timed: timed[0]):
            yield emitted


def _before_use(run: StoredRun, emitted: Iterable[Emitted]) -> Iterator[Emitted]:
    """Put each descriptor and stream_resource before the first document that names it, once."""
    waiting = {("descriptor", doc["uid"]): doc for doc in run.descriptors}
    waiting |= {("stream_resource", uid): doc for uid, doc in run.stream_resources.items()}
    for name, doc in emitted:
        if name in ("descriptor", "stream_resource"):
            if waiting.pop((name, doc["uid"]), None) is not None:
                yield name, doc
            continue
        for kind in ("descriptor", "stream_resource"):
            needed = waiting.pop((kind, doc.get(kind)), None)
            if needed is not None:
                yield kind, needed
        yield name, doc


def _values_of(stream: StoredStream) -> EventValues:
    uids = [str(doc["uid"]) for doc in stream.descriptors]
    return EventValues(stream.columns, stream.data_keys, uids)


# -- events ---------------------------------------------------------------------------------------


def _events(
    run: StoredRun, stream: StoredStream, values: EventValues, part: int, pages: bool
) -> Iterator[_Timed]:
    reader = run.parts[part]
    for batch in stream.event_rows.by_arrival(part=part, batch_rows=_BATCH_ROWS):
        violations = _violations(reader, stream.name, batch)
        if pages:
            yield from _pages(values, batch, violations)
            continue
        times = batch.column("timestamp_ns").to_pylist()
        for time_ns, event in zip(times, values.events(batch, violations), strict=True):
            yield time_ns, ("event", event)


def _pages(values: EventValues, batch: pa.RecordBatch, violations: Violations) -> Iterator[_Timed]:
    """Yield the rows as pages of one descriptor each; an event with a violation fits no page and comes alone."""
    times = batch.column("timestamp_ns").to_pylist()
    uids, ordinals = batch.column("uid").to_pylist(), batch.column("descriptor").to_pylist()
    kinds = [
        (ordinal, uid if uid in violations else None) for uid, ordinal in zip(uids, ordinals, strict=True)
    ]
    start = 0
    for (_, alone), run in itertools.groupby(kinds):
        rows = batch.slice(start, len(list(run)))
        if alone is None:
            yield times[start], ("event_page", values.page(rows))
        else:
            for event in values.events(rows, violations):
                yield times[start], ("event", event)
        start += rows.num_rows


def _violations(reader: BundleReader, stream: str, batch: pa.RecordBatch) -> Violations:
    """Return the violations of the rows of a batch, by event uid."""
    if VIOLATIONS not in reader.topics or not reader.topic(VIOLATIONS).rows:
        return {}
    times = batch.column("timestamp_ns").to_numpy()
    found: dict[str, list[tuple[str, str, str | None]]] = {}
    names = ["stream", "uid", "key", "kind", "value"]
    for rows in reader.topic(VIOLATIONS).scan(names, int(times.min()), int(times.max()) + 1):
        for row in rows.to_pylist():
            if row["stream"] == stream:
                found.setdefault(row["uid"], []).append((row["key"], row["kind"], row["value"]))
    return found


# -- external -------------------------------------------------------------------------------------


def _datums(stream: StoredStream, values: EventValues, part: int) -> Iterator[_Timed]:
    for batch in stream.external_rows.by_arrival(part=part, batch_rows=_BATCH_ROWS):
        for row in batch.to_pylist():
            yield (
                row["timestamp_ns"],
                (
                    "stream_datum",
                    {
                        "uid": row["uid"],
                        "stream_resource": row["stream_resource"],
                        "descriptor": values.descriptor_uid(row["descriptor"]),
                        "indices": {"start": row["index_start"], "stop": row["index_stop"]},
                        "seq_nums": {"start": row["seq_start"], "stop": row["seq_stop"]},
                    },
                ),
            )
