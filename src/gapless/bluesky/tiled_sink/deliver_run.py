"""Bringing a whole recorded run to a Tiled server, however much of it is there already."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from gapless.bluesky.document import Document
from gapless.bluesky.tiled_sink.delivered import Delivered
from gapless.bluesky.tiled_sink.node_options import BATCH_ROWS, MAX_ARRAY_SIZE, NodeOptions
from gapless.bluesky.tiled_sink.only_here import only_here
from gapless.bluesky.tiled_sink.run_delivery import RunDelivery
from gapless.bluesky.tiled_sink.server import Server, is_unanswered, refused
from gapless.bluesky.tiled_sink.table_node import RowsDiffer, marks
from gapless.bluesky.tiled_sink.validation import problems_of
from gapless.errors import DeliveryFailed

if TYPE_CHECKING:
    from gapless.client.sequence_handler import SequenceHandler

Emitted = tuple[str, Mapping[str, Any]]
TRIES = 4
_PAUSE_S = 0.5


def deliver_run(
    handler: SequenceHandler,
    server: Server,
    *,
    batch_rows: int = BATCH_ROWS,
    max_array_size: int = MAX_ARRAY_SIZE,
    validate: bool = False,
    tries: int = TRIES,
) -> Delivered:
    """Bring a sequence to a Tiled server, so that it holds each row once; again changes nothing.

    A run that the server holds in part is
    completed. One that was interrupted gets no stop document there: its outcome stands in the metadata.
    A request without an answer is made at most ``tries`` times, after a look at what it did.
    Raises DeliveryFailed; the sequence stays as it is in any case.
    """
    from gapless.bluesky.document_source import documents

    notes = handler.metadata.get("bluesky", {}).get("notes", [])
    return deliver_documents(
        lambda: documents(handler),
        server,
        batch_rows=batch_rows,
        max_array_size=max_array_size,
        validate=validate,
        tries=tries,
        end=last_words(handler),
        notes=[str(note) for note in notes],
        findings=only_here(handler),
    )


def last_words(handler: SequenceHandler) -> Document:
    """Return what the server keeps of a sequence beside its documents."""
    return {
        "sequence": handler.name,
        "outcome": handler.outcome,
        "content_digest": handler.content_digest,
        "layers": handler.layers,
    }


def deliver_documents(
    source: Callable[[], Iterable[Emitted]],
    server: Server,
    *,
    batch_rows: int = BATCH_ROWS,
    max_array_size: int = MAX_ARRAY_SIZE,
    validate: bool = False,
    tries: int = TRIES,
    end: Document | None = None,
    notes: Iterable[str] = (),
    findings: Iterable[str] = (),
) -> Delivered:
    """Bring the normalised documents of one run to the server; ``source()`` gives them from the start again.

    Rows that the server holds in another order, twice, or in columns that were guessed are deleted there and
    written again, once it is sure that the recording has all of them. ``findings``: what is known already to be
    only in the recording.
    """
    rewritten: set[str] = set()
    while True:
        options = NodeOptions(server, batch_rows, max_array_size, notes=list(notes))
        delivery = None
        try:
            for name, doc in source():
                if delivery is None:
                    delivery = RunDelivery(doc, options, look=True)
                    delivery.find(findings)
                delivery(name, doc)
                if delivery.waiting_rows >= batch_rows:
                    _insist(delivery.send, delivery.uid, tries)
            if delivery is None:
                raise DeliveryFailed("there is no document to deliver")
            _insist(partial(delivery.confirm, end=end), delivery.uid, tries)
        except RowsDiffer as differ:
            if delivery is None or differ.stream in rewritten:
                raise
            rewritten.add(differ.stream)
            _clear(delivery, differ.stream, source)
            continue
        _insist(delivery.end_streaming, delivery.uid)
        problems = problems_of(delivery) if validate else []
        return Delivered(delivery.uid, delivery.rows, delivery.stop is not None, delivery.findings, problems)


def _insist(call: Callable[[], None], uid: str, tries: int = TRIES) -> None:
    """Call until it is answered, a few times; raises DeliveryFailed for what the server does not take."""
    import httpx

    for attempt in range(1, tries + 1):
        try:
            call()
        except (httpx.HTTPError, KeyError, ValueError, OSError) as error:
            if attempt == tries or not is_unanswered(error):
                raise refused(error, uid) from error
            time.sleep(_PAUSE_S * 2**attempt)
        else:
            return


def _clear(delivery: RunDelivery, stream: str, source: Callable[[], Iterable[Emitted]]) -> None:
    """Delete a stream's rows on the server if every one of them is in the recording."""
    held: list[np.ndarray[Any, Any]] = []
    _insist(lambda: held.append(delivery.held_marks(stream)), delivery.uid)
    unknown = set(map(tuple, held[-1].tolist())) - _recorded_marks(stream, source)
    if unknown:
        raise DeliveryFailed(
            "the server holds rows of the run that this recording does not have",
            sequence=delivery.uid,
            topic=stream,
            found=f"{len(unknown)} rows, one of them seq_num {min(unknown)[0]}",
            next_step="compare the two; delete the run on the server to have it written again",
        )
    _insist(lambda: delivery.clear(stream), delivery.uid)


def _recorded_marks(stream: str, source: Callable[[], Iterable[Emitted]]) -> set[tuple[int, int]]:
    of_stream: set[str] = set()
    found: set[tuple[int, int]] = set()
    for name, doc in source():
        if name == "descriptor" and doc["name"] == stream:
            of_stream.add(doc["uid"])
        elif name in ("event", "event_page") and doc["descriptor"] in of_stream:
            numbers, times = (np.atleast_1d(doc[key]) for key in ("seq_num", "time"))
            found.update(map(tuple, marks(numbers, times).tolist()))
    return found
