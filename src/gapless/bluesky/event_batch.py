"""Events of one descriptor as columns, whether they came one by one or as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gapless.errors import DocumentRefused

_FIELDS = frozenset(["uid", "descriptor", "seq_num", "time", "data", "timestamps"])
_LIMIT = 2**63
_ABSENT = object()  # a cell of a key that the event does not have


@dataclass(slots=True)
class EventBatch:
    """Uids, seq_nums, times and one column for each data key; ``ABSENT`` where an event lacks the key.

    Raises DocumentRefused for a uid that is no text and a seq_num that is no whole number of 64 bits.
    """

    uids: list[str]
    seq_nums: list[int]
    times: list[float]
    data: dict[str, list[Any]]
    stamps: dict[str, list[Any]]
    others: dict[int, dict[str, Any]] = field(default_factory=dict)  # what else an event holds, by its place

    ABSENT = _ABSENT

    @classmethod
    def of_events(cls, events: Sequence[Mapping[str, Any]]) -> EventBatch:
        """Return single events as one batch."""
        return cls(
            _uids([event["uid"] for event in events]),
            _numbers([event["seq_num"] for event in events]),
            [event["time"] for event in events],
            _columns([event["data"] for event in events]),
            _columns([event["timestamps"] for event in events]),
            {n: _others(event) for n, event in enumerate(events) if len(event) > len(_FIELDS)},
        )

    @classmethod
    def of_page(cls, page: Mapping[str, Any]) -> EventBatch:
        """Return an event_page as a batch; its columns are not copied."""
        return cls(
            _uids(list(page["uid"])),
            _numbers(list(page["seq_num"])),
            list(page["time"]),
            {key: list(values) for key, values in page["data"].items()},
            {key: list(values) for key, values in page["timestamps"].items()},
        )

    def __len__(self) -> int:
        return len(self.uids)

    def take(self, places: Sequence[int]) -> EventBatch:
        """Return the events at these places."""

        def pick(values: list[Any]) -> list[Any]:
            return [values[place] for place in places]

        return EventBatch(
            pick(self.uids),
            pick(self.seq_nums),
            pick(self.times),
            {key: pick(values) for key, values in self.data.items()},
            {key: pick(values) for key, values in self.stamps.items()},
            {n: self.others[place] for n, place in enumerate(places) if place in self.others},
        )


def _others(event: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key not in _FIELDS}


def _uids(values: list[Any]) -> list[str]:
    if set(map(type, values)) - {str}:
        odd = next(value for value in values if type(value) is not str)
        raise DocumentRefused("an event's uid is text", field="uid", found=repr(odd))
    return values


def _numbers(values: list[Any]) -> list[int]:
    if set(map(type, values)) == {int} and min(values) >= -_LIMIT and max(values) < _LIMIT:
        return values
    numbers = []
    for value in values:
        whole = isinstance(value, int | np.integer) or (isinstance(value, float) and value.is_integer())
        if not whole or isinstance(value, bool) or not -_LIMIT <= value < _LIMIT:
            raise DocumentRefused(
                "an event's seq_num is a whole number of 64 bits", field="seq_num", found=repr(value)
            )
        numbers.append(int(value))
    return numbers


def _columns(rows: list[Mapping[str, Any]]) -> dict[str, list[Any]]:
    keys = rows[0].keys()
    if len(rows) == 1 or all(row.keys() == keys for row in rows):
        return {key: [row[key] for row in rows] for key in keys}
    names = dict.fromkeys(key for row in rows for key in row)
    return {key: [row.get(key, _ABSENT) for row in rows] for key in names}
