"""What leaves the server as batches: rows, live rows, points of a curve, the bytes of an artifact.

Every stream is made while the client takes it, a few MiB at a time, and ends when the client leaves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from gapless.client.remote.row_filter import filter_from_json
from gapless.client.tail import follow
from gapless.errors import ServerClosing, UsageError
from gapless.serve.door import Outgoing
from gapless.serve.native.reading_watched import WatchedReader
from gapless.store.pyramid_read import downsample
from gapless.store.reader import BATCH_ROWS
from gapless.store.selection import Selection

if TYPE_CHECKING:
    from gapless.client.sequence_handler import SequenceHandler
    from gapless.serve.call import Call
    from gapless.serve.native.reading_question import Question
    from gapless.serve.served import Served

_BATCH_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 20
_MOST_ROWS = 1 << 20
_MOST_POINTS = 1_000_000
_POLL_S = 0.01
_SIGN_S = 1.0  # a stream without rows says this often that it is there
_CHUNKS = pa.schema([pa.field("data", pa.binary(), nullable=False)])


def scan(call: Call, handler: SequenceHandler, question: Question) -> Outgoing:
    """Return the rows that a ticket asks for, in time order; reading ends when the caller has gone."""
    reader = WatchedReader(handler.topic(question.text("topic")).reader, call.cancelled)
    told = question.document.get("filter")
    if told is not None and not isinstance(told, dict):
        raise UsageError("a row filter is a JSON object", found=type(told).__name__)
    columns, with_seq = question.texts("columns"), question.flag("with_seq")
    start_ns, end_ns = question.maybe_whole("start_ns"), question.maybe_whole("end_ns")
    chosen = None if told is None else filter_from_json(told)
    batch_rows = question.count("batch_rows", _MOST_ROWS, missing=BATCH_ROWS)
    schema = Selection.of(
        reader.schema, columns, start_ns, end_ns,
        with_seq=with_seq, filter=chosen, topic=reader.name, numbered=not reader.derived,
    ).output  # fmt: skip
    rows = reader.scan(columns, start_ns, end_ns, with_seq=with_seq, filter=chosen, batch_rows=batch_rows)
    return Outgoing(schema, pieces(rows))


def pieces(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield batches of some MiB at most, or of one row; none without rows."""
    for batch in batches:
        rows = batch.num_rows
        step = max(1, rows * _BATCH_BYTES // max(batch.nbytes, 1))
        for start in range(0, rows, step):
            yield batch.slice(start, step)


def tail(served: Served, call: Call, handler: SequenceHandler, question: Question) -> Outgoing:
    """Return the rows of an open sequence as they become durable; those after this call, or all."""
    topic = handler.topic(question.text("topic"))
    looks = follow(
        handler.path,
        topic.name,
        poll_s=min(_SIGN_S, max(_POLL_S, question.maybe_number("poll_s") or 0.0)),
        timeout_s=question.maybe_number("timeout_s"),
        from_start=question.flag("from_start"),
    )
    return Outgoing(topic.schema, _followed(served, call, looks, topic.schema.empty_table()))


def _followed(
    served: Served, call: Call, looks: Iterator[pa.RecordBatch | None], empty: pa.Table
) -> Iterator[pa.RecordBatch]:
    sign = pa.RecordBatch.from_arrays([pa.array([], f.type) for f in empty.schema], schema=empty.schema)
    sign_s = time.monotonic()
    for batch in looks:
        if call.cancelled():
            return
        if served.draining.is_set():
            raise ServerClosing("the server is going down; the recording goes on")
        if batch is not None:
            yield from pieces(iter([batch]))
        elif time.monotonic() - sign_s >= _SIGN_S:
            yield sign
        else:
            continue
        sign_s = time.monotonic()


def curve(call: Call, handler: SequenceHandler, question: Question) -> Outgoing:
    """Return a field in few points: a table of buckets, its unit in the schema's metadata."""
    found = downsample(
        WatchedReader(handler.topic(question.text("topic")).reader, call.cancelled),
        question.text("field"),
        _points(question),
        question.maybe_whole("start_ns"),
        question.maybe_whole("end_ns"),
    )
    table = found.to_arrow().replace_schema_metadata({"unit": found.unit} if found.unit is not None else None)
    return Outgoing(table.schema, iter(table.to_batches()))


def _points(question: Question) -> int:
    points = question.whole("points")
    if points > _MOST_POINTS:
        raise UsageError("a curve of that many points is not drawn", found=points, expected=_MOST_POINTS)
    return points


def artifact(handler: SequenceHandler, question: Question) -> Outgoing:
    """Return the bytes of an artifact."""
    return Outgoing(_CHUNKS, _chunks(handler.artifact_path(question.text("artifact"))))


def _chunks(path: Path) -> Iterator[pa.RecordBatch]:
    with path.open("rb") as file:
        while data := file.read(_CHUNK_BYTES):
            yield pa.record_batch([pa.array([data], pa.binary())], schema=_CHUNKS)
