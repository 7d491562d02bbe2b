"""Documents as plain values that compare equal when they mean the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

Document = tuple[str, Mapping[str, Any]]


def plain(value: Any) -> Any:
    """Return the value of dict, list, text, int, float, bool and None; a NaN as text, for it equals nothing."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    if isinstance(value, str):
        return str(value)
    return value


def single(documents: Iterable[Document]) -> list[tuple[str, Any]]:
    """Return the documents with every page taken apart, each as plain values."""
    found: list[tuple[str, Any]] = []
    for name, doc in documents:
        if name != "event_page":
            found.append((name, plain(doc)))
            continue
        for row, uid in enumerate(doc["uid"]):
            event = {"descriptor": doc["descriptor"], "uid": uid}
            event |= {key: plain(doc[key][row]) for key in ("seq_num", "time")}
            for key in ("data", "timestamps", "filled"):
                if key in doc:
                    event[key] = {name: plain(column[row]) for name, column in doc[key].items()}
            found.append(("event", event))
    return found


def of_kind(documents: Iterable[Document], *kinds: str) -> list[Any]:
    """Return the documents of these kinds in their order."""
    return [doc for name, doc in documents if name in kinds]


def by_run(documents: Iterable[Document]) -> dict[str, list[Document]]:
    """Return the documents of each run, by the uid of its start, in the order of the starts."""
    runs: dict[str, list[Document]] = {}
    owner: dict[str, str] = {}
    for name, doc in documents:
        if name == "start":
            uid = doc["uid"]
            runs[uid] = []
        elif name in ("datum", "datum_page"):
            uid = owner[doc["resource"]]
        elif name in ("event", "event_page"):
            uid = owner[doc["descriptor"]]
        elif name == "stream_datum":
            uid = owner[doc["stream_resource"]]
        else:
            uid = doc["run_start"]
        if name in ("descriptor", "resource", "stream_resource"):
            owner[doc["uid"]] = uid
        runs[uid].append((name, doc))
    return runs
