"""What a server hands to each of its doors."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

from gapless.client.client import Client
from gapless.serve.audit import Audit
from gapless.serve.limits import Limits
from gapless.serve.metrics import Metrics
from gapless.serve.places import Places


@dataclass(slots=True)
class Served:
    """The store that is served, and what all doors of one server share.

    ``draining`` is set when the server begins to go down: from then on a door takes no new writer, and a
    stream that would go on for ever ends.
    """

    client: Client
    store_uid: str
    limits: Limits
    audit: Audit
    metrics: Metrics = field(default_factory=Metrics)
    draining: threading.Event = field(default_factory=threading.Event)
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("gapless.serve"))
    places: Places = field(init=False)

    def __post_init__(self) -> None:
        self.places = Places(self.limits.max_writers)

    @property
    def root(self) -> Path:
        """The folder of the store."""
        return self.client.path
