"""How the nodes of one run are written, and what is to be said about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gapless.bluesky.tiled_sink.server import Server

BATCH_ROWS = 10_000
MAX_ARRAY_SIZE = 16  # elements of an array that a table still holds


@dataclass(slots=True)
class NodeOptions:
    """What all nodes of one run share.

    ``batch_rows``: rows of one request at most. ``max_array_size``: arrays with more elements get a node of
    their own; 0 for all, -1 for none. ``notes`` go to the run's metadata, as readers of Tiled expect them.
    """

    server: Server
    batch_rows: int = BATCH_ROWS
    max_array_size: int = MAX_ARRAY_SIZE
    clock: Callable[[], float] = time.monotonic
    access_tags: list[str] | None = None
    shown_violations: int = 20
    notes: list[str] = field(default_factory=list)
    _sizes: dict[str, dict[int, str]] = field(default_factory=dict)

    def note(self, text: str) -> None:
        """Keep a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def dims(self, stream: str, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return the names of an array's dimensions: equal sizes in one stream share a name."""
        names = self._sizes.setdefault(stream, {})
        return ("time", *(names.setdefault(size, f"dim_int_{len(names) + 1}") for size in shape))

    def run_specs(self, extra: list[Any]) -> list[Any]:
        """Return the specs by which readers know a run."""
        from tiled.structures.core import Spec

        own = [Spec(spec) if isinstance(spec, str) else Spec(**spec) for spec in extra]
        return [*own, Spec("BlueskyRun", version="3.0")]

    def stream_specs(self) -> list[Any]:
        """Return the specs by which readers know a stream."""
        from tiled.structures.core import Spec

        return [Spec("BlueskyEventStream", version="3.0"), Spec("composite")]
