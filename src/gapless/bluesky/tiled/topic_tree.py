"""Topics with ``/`` in their names as containers in containers, the way Tiled writes a path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gapless.bluesky.tiled.branch import Branch

Make = Callable[[str], Any]


class TopicTree:
    """The first keys of some topic names, and below each either a topic or a container.

    A topic whose name another one continues (``sensors`` beside ``sensors/imu``) is found as ``rows`` in the
    container.
    """

    def __init__(self, topics: Iterable[str], make: Make, version: str = "") -> None:
        self._make = make
        self._version = version
        self._branches: dict[str, dict[str, str]] = {}
        for topic in topics:
            first, _, rest = topic.partition("/")
            self._branches.setdefault(first, {})[rest] = topic

    @property
    def keys(self) -> list[str]:
        """The first keys, in the order of the topics."""
        return list(self._branches)

    def child(self, key: str) -> Any:
        """Return what is at a key; KeyError if there is nothing."""
        return self._below(self._branches[key])

    def _below(self, found: Mapping[str, str]) -> Any:
        if list(found) == [""]:
            return self._make(found[""])
        rest = dict(found)
        own = rest.pop("", None)
        if own is not None:
            free = "rows"
            while any(name.partition("/")[0] == free for name in rest):
                free += "_"
            rest[free] = own
        inner = TopicTree(rest, lambda name: self._make(rest[name]), self._version)
        return Branch(lambda: inner.keys, inner.child, version=f"{self._version}\n{sorted(rest)}")
