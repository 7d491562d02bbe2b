"""Runs as documents, and what a Tiled server is asked of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from tests.bluesky.recording.run_documents import (
    Doc,
    data_key,
    descriptor_document,
    event_document,
    start_document,
    stop_document,
)

Named = tuple[str, Doc]
KEYS = {
    "x": data_key(dtype_numpy="<f8", units="mm"),
    "n": data_key("integer"),
    "s": data_key("string"),
    "b": data_key("boolean"),
    "small": data_key("array", (3,), dtype_numpy="<i4"),
    "large": data_key("array", (5, 6), dtype_numpy="<f4"),
    "words": data_key("array", (2,), dtype_numpy="<U5"),
    "ragged": data_key("array", (None,)),  # type: ignore[arg-type]
}


def values(n: int) -> Doc:
    """Return the data of event ``n`` of a run with every kind of key."""
    return {
        "x": 1.5 * n,
        "n": n,
        "s": f"text {n}",
        "b": n % 2 == 0,
        "small": [n, 1, 2],
        "large": np.full((5, 6), n, "<f4"),
        "words": ["a", f"b{n}"],
        "ragged": [float(k) for k in range(n % 4)],
    }


def full_run(count: int, **words: Any) -> list[Named]:
    """Return a run with every kind of internal key."""
    start = start_document(**words)
    descriptor = descriptor_document(start, KEYS)
    events: list[Named] = [("event", event_document(descriptor, n, values(n))) for n in range(1, count + 1)]
    return [("start", start), ("descriptor", descriptor), *events, ("stop", stop_document(start))]


def scalar_run(count: int, **words: Any) -> list[Named]:
    """Return a run with one number."""
    start = start_document(**words)
    descriptor = descriptor_document(start, {"x": data_key()})
    events: list[Named] = [
        ("event", event_document(descriptor, n, {"x": n / 2})) for n in range(1, count + 1)
    ]
    return [("start", start), ("descriptor", descriptor), *events, ("stop", stop_document(start))]


def uid_of(run: Iterable[Named]) -> str:
    """Return the uid of a run."""
    return next(str(doc["uid"]) for name, doc in run if name == "start")


def seq_nums(client: Any, uid: str, stream: str = "primary") -> list[int]:
    """Return the seq_nums that the server holds, in its order."""
    return [int(n) for n in client[uid][stream].base["internal"].read(["seq_num"])["seq_num"]]


def eventually(holds: Callable[[], bool], deadline_s: float = 60.0) -> None:
    """Wait until something holds; fail when it does not in time."""
    give_up = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < give_up, "it did not happen in time"
        time.sleep(0.05)
