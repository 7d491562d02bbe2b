"""Runs as lists of documents, and what of them is found in a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.bluesky.recording.run_documents import (
    data_key,
    descriptor_document,
    event_document,
    start_document,
    stop_document,
)

from gapless.client.client import Client

Doc = dict[str, Any]
Documents = list[tuple[str, Doc]]


def run_of(events: int = 3, **words: Any) -> Documents:
    """Return start, descriptor, events with x = 1, 2, … and stop of one run."""
    start = start_document(**words)
    descriptor = descriptor_document(start, {"x": data_key()})
    return [
        ("start", start),
        ("descriptor", descriptor),
        *(("event", event_document(descriptor, n, {"x": float(n)})) for n in range(1, events + 1)),
        ("stop", stop_document(start)),
    ]


def feed(writer: Callable[[str, Doc], None], documents: Iterable[tuple[str, Doc]]) -> None:
    """Call the writer with each document."""
    for name, doc in documents:
        writer(name, doc)


def values(client: Client, name: str, column: str = "x", topic: str = "primary") -> list[Any]:
    """Return a column of a topic, in the order of time."""
    handler = client.sequence_handler(name)
    return [value for batch in handler.topic(topic).scan() for value in batch.column(column).to_pylist()]
