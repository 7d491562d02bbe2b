"""Reports of an approved session, handed to the hub's client: for the simulation a failure is one log line."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from gapless.errors import GaplessError
from gapless.observe.hub_client import HubRecordingClient

_LOG = logging.getLogger("gapless.observe")


class EpisodeReportStreamer:
    """Takes the reports of one task; never waits for a network or a locked file, and never raises for one.

    ``failures``: what kept reports out of the outbox. They are lost for the hub, and for nobody else. What keeps
    one out that had to wait for a locked outbox is the client's ``failure``.
    """

    def __init__(self, task_id: str, client: HubRecordingClient) -> None:
        self.task_id = task_id
        self.failures: list[GaplessError] = []
        self._client = client

    def submit(self, execution_metadata: Mapping[str, Any]) -> None:
        """Report one episode."""
        try:
            self._client.submit(self.task_id, execution_metadata)
        except GaplessError as error:
            self._failed("an episode", error)

    def stop(self, summary: Mapping[str, Any]) -> None:
        """Report the end of the session; sent after all its episodes."""
        try:
            self._client.stop(self.task_id, summary)
        except GaplessError as error:
            self._failed("the end of the session", error)

    def _failed(self, what: str, error: GaplessError) -> None:
        self.failures.append(error)
        _LOG.error("%s is not reported to the hub: %s", what, error)
