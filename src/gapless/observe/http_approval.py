"""Approval by a hub over HTTP."""

from __future__ import annotations

from dataclasses import asdict

from gapless.errors import GaplessError
from gapless.observe.approval import Decision, EpisodeReports, SessionRequest
from gapless.observe.hub_client import HubRecordingClient
from gapless.observe.hub_task import HubTask
from gapless.observe.report_streamer import EpisodeReportStreamer


class HttpApproval:
    """One request at a hub. ``error``: why it was refused; ``reports``: set once it is approved."""

    def __init__(self, task: HubTask, client: HubRecordingClient) -> None:
        self.error: GaplessError | None = None
        self.reports: EpisodeReports | None = None
        self._task = task
        self._client = client

    def poll(self) -> Decision:
        """Return the decision so far; never waits."""
        decision = self._task.poll()
        self.error = self._task.error
        if decision is Decision.APPROVED and self.reports is None:
            assert self._task.id is not None
            self.reports = EpisodeReportStreamer(self._task.id, self._client)
        return decision

    def cancel(self) -> None:
        """Stop asking; the hub is told to stop the task. A later decision changes nothing."""
        self._task.cancel()
        self.error = self._task.error


class HttpApprover:
    """Asks a hub. ``client`` stays open as long as sessions are recorded, and is closed by its owner."""

    def __init__(self, client: HubRecordingClient) -> None:
        self._client = client

    def request(self, session: SessionRequest) -> HttpApproval:
        """Begin to ask and return at once; raises NotAuthenticated before anything is sent."""
        return HttpApproval(self._client.ask(asdict(session)), self._client)
