"""Runs that are not as they should be, in documents: one for each row of the table of both writers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tests.bluesky.recording.run_documents import (
    data_key,
    descriptor_document,
    event_document,
    start_document,
    stop_document,
)

Document = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """One input, what our writer makes of it in words, and the other writer's batch size."""

    documents: Callable[[], list[Document]]
    ours: str
    batch: int = 10_000


@dataclass(frozen=True)
class Parts:
    """The documents of a run of three good events, to be put together in another way."""

    start: Document
    descriptor: Document
    events: list[Document]
    stop: Document


def parts(values: list[Any], **key: Any) -> Parts:
    """Return a run whose events have these values of the one key ``v``, a number unless ``key`` says else."""
    start = start_document()
    descriptor = descriptor_document(
        start, {"v": data_key(**key)}, hints={}, object_keys={}, configuration={}
    )
    events = [event_document(descriptor, n + 1, {"v": value}) for n, value in enumerate(values)]
    return Parts(
        ("start", start),
        ("descriptor", descriptor),
        [("event", event) for event in events],
        ("stop", stop_document(start)),
    )


def whole(run: Parts, events: list[Document] | None = None) -> list[Document]:
    """Return all documents of a run in order, perhaps with other events."""
    return [run.start, run.descriptor, *(run.events if events is None else events), run.stop]


def of_values(values: list[Any], **key: Any) -> list[Document]:
    """Return a run with these values."""
    return whole(parts(values, **key))


def duplicate() -> list[Document]:
    """The second event comes twice."""
    run = parts([0.5, 1.0, 1.5])
    return whole(run, [run.events[0], run.events[1], run.events[1], run.events[2]])


def backwards() -> list[Document]:
    """The last event comes first."""
    run = parts([0.5, 1.0, 1.5])
    return whole(run, run.events[::-1])


def rewound() -> list[Document]:
    """The second seq_num comes again with another uid and value."""
    run = parts([0.5, 1.0, 1.5])
    again = event_document(run.descriptor[1], 2, {"v": 7.0})
    return whole(run, [run.events[0], run.events[1], ("event", again), run.events[2]])


def early() -> list[Document]:
    """The first event comes before its descriptor."""
    run = parts([0.5, 1.0, 1.5])
    return [run.start, run.events[0], run.descriptor, run.events[1], run.events[2], run.stop]


def without_descriptor() -> list[Document]:
    """No descriptor ever comes."""
    run = parts([0.5, 1.0])
    return [run.start, *run.events, run.stop]


def without_start() -> list[Document]:
    """No start document ever comes."""
    return whole(parts([0.5, 1.0]))[1:]


def late() -> list[Document]:
    """The last event comes after the stop document."""
    run = parts([0.5, 1.0, 1.5])
    return [run.start, run.descriptor, *run.events[:2], run.stop, run.events[2]]


def started_twice() -> list[Document]:
    """The start document comes twice."""
    run = parts([0.5, 1.0])
    return [run.start, run.start, run.descriptor, *run.events, run.stop]


def of_two_keys(data: list[dict[str, Any]]) -> list[Document]:
    """Return a run whose descriptor has the keys ``v`` and ``w``, with this data."""
    start = start_document()
    keys = {"v": data_key(), "w": data_key()}
    descriptor = descriptor_document(start, keys, hints={}, object_keys={}, configuration={})
    events = [("event", event_document(descriptor, n + 1, values)) for n, values in enumerate(data)]
    return [("start", start), ("descriptor", descriptor), *events, ("stop", stop_document(start))]


def unresolved() -> list[Document]:
    """Events name datums that never come."""
    start = start_document()
    keys = {"v": data_key(), "image": data_key("array", (2, 3), external="FILESTORE:")}
    descriptor = descriptor_document(start, keys, hints={}, object_keys={}, configuration={})
    resource = "lost"
    events: list[Document] = []
    for n, value in enumerate([0.5, 1.0]):
        data = {"v": value, "image": f"{resource}/{n}"}
        events.append(("event", event_document(descriptor, n + 1, data, filled={"image": False})))
    return [("start", start), ("descriptor", descriptor), *events, ("stop", stop_document(start))]


THREE = "seq_num [1, 2, 3] v [0.5, 1.0, 1.5]"
TWO = "seq_num [1, 2] v [0.5, 1.0]"

# What the other writer does with each is printed beside ours, not asserted: it may become better.
CASES: dict[str, Case] = {
    "a duplicate event": Case(duplicate, f"{THREE}, duplicates: 1, completed"),
    "events backwards": Case(backwards, f"{THREE}, reordered: 2, completed"),
    "a seq_num taken again": Case(rewound, "seq_num [1, 2, 3] v [0.5, 7.0, 1.5], superseded: 1, completed"),
    "an event before its descriptor": Case(early, f"{THREE}, parked: 1, completed"),
    "no descriptor": Case(without_descriptor, "completed, in the spool: 2 event"),
    "no start": Case(without_start, "in the spool: 1 descriptor and 2 event and 1 stop"),
    "an event after the stop": Case(late, f"{THREE}, layer late-1, completed"),
    "start twice": Case(started_twice, f"{TWO}, completed"),
    "a key missing in the first event": Case(
        lambda: of_two_keys([{"v": 0.5}, {"v": 1.0, "w": 2.0}, {"v": 1.5, "w": 3.0}]),
        f"{THREE} w [null, 2.0, 3.0], event 1: w missing, completed",
    ),
    "a key missing later": Case(
        lambda: of_two_keys([{"v": 0.5, "w": 1.0}, {"v": 1.0}]),
        f"{TWO} w [1.0, null], event 2: w missing, completed",
    ),
    "a key too many": Case(
        lambda: of_two_keys([{"v": 0.5, "w": 1.0}, {"v": 1.0, "w": 2.0, "x": 9}]),
        f"{TWO} w [1.0, 2.0], event 2: x extra {{'value': 9, 'timestamp': 1700000002.0}}, completed",
    ),
    "an int, then a float": Case(
        lambda: of_values([1, 2.5]), "seq_num [1, 2] v [1.0, 2.5], completed", batch=1
    ),
    "a bool, then ints": Case(
        lambda: of_values([True, 5, 6], dtype="boolean"),
        "seq_num [1, 2, 3] v [true, null, null], event 2: v type 5, event 3: v type 6, completed",
        batch=1,
    ),
    "None twice, then a float": Case(
        lambda: of_values([None, None, 1.5]), "seq_num [1, 2, 3] v [null, null, 1.5], completed", batch=2
    ),
    "an integer beyond 64 bits": Case(
        lambda: of_values([1, 2**63, 2], dtype="integer"),
        "seq_num [1, 2, 3] v [1, null, 2], event 2: v range 9223372036854775808, completed",
        batch=1,
    ),
    "mixed types": Case(
        lambda: of_values([0.5, "text", [1, 2]]),
        "seq_num [1, 2, 3] v [0.5, null, null], event 2: v type text, event 3: v type [1, 2], completed",
    ),
    "numpy scalars of two types": Case(
        lambda: of_values([np.int32(3), np.bool_(1)], dtype="integer"),
        "seq_num [1, 2] v [3, null], event 2: v type True, completed",
    ),
    "a datum that never comes": Case(
        unresolved,
        f"{TWO}, event 1: image unresolved lost/0, event 2: image unresolved lost/1, datum-unresolved: 2, completed",
    ),
}
