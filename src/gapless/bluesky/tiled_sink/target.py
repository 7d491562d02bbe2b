"""Where runs are recorded, where they go from there, and how."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gapless.bluesky.tiled_sink.deliver_run import deliver_run, last_words
from gapless.bluesky.tiled_sink.delivered import Delivered
from gapless.bluesky.tiled_sink.node_options import BATCH_ROWS, MAX_ARRAY_SIZE, NodeOptions

if TYPE_CHECKING:
    from gapless.bluesky.tiled_sink.server import Server
    from gapless.client.client import Client


@dataclass(slots=True)
class Target:
    """A store, a server and the options of the way between; shared by all runs of one sink.

    ``batch_rows``: rows of one request at most. ``max_waiting``: documents of one run that may wait in memory.
    """

    client: Client
    server: Server
    batch_rows: int = BATCH_ROWS
    max_array_size: int = MAX_ARRAY_SIZE
    max_waiting: int = 100_000
    validate: bool = False
    wake: threading.Event = field(default_factory=threading.Event)

    def options(self) -> NodeOptions:
        """Return the options of one run's nodes."""
        return NodeOptions(self.server, self.batch_rows, self.max_array_size)

    def deliver(self, sequence: str) -> Delivered:
        """Bring a sealed sequence to the server, unless an earlier delivery says there that it did."""
        handler = self.client.sequence_handler(sequence)
        uid = str(handler.metadata["start"]["uid"])
        told = Delivered.told_by(uid, self.server.metadata_of(uid), last_words(handler))
        return told or deliver_run(
            handler,
            self.server,
            batch_rows=self.batch_rows,
            max_array_size=self.max_array_size,
            validate=self.validate,
            tries=1,
        )

    def hurry(self) -> None:
        """Let the sending thread look now."""
        self.wake.set()
