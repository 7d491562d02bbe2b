"""Delivers what waits in an outbox: in the order of each task, as often as it takes, by one sender at a time."""

from __future__ import annotations

import logging
import time

from gapless.errors import HubFailed, NotAuthenticated
from gapless.observe.hub_endpoint import HubEndpoint
from gapless.observe.hub_request import Answer
from gapless.observe.outbox import Outbox, Report, ReportKind

_LOG = logging.getLogger("gapless.observe")
_ACTIONS = {ReportKind.SUBMIT: "episodes/submit", ReportKind.STOP: "stop"}
_NOT_FOR_EVER = (401, 403, 407, 408, 425, 429)  # 4xx that another token or a later time can mend
_CLAIMED_S = 0.1  # until the next look while another process sends


class Delivery:
    """Sends the reports for one hub, one with each :meth:`step`.

    A task whose report failed waits ``retry_s``, twice that, and so on up to ``retry_max_s``; other tasks do not
    wait for it. An answer 4xx that no later attempt can change leaves the report as refused, and the task goes on.
    """

    def __init__(self, outbox: Outbox, endpoint: HubEndpoint, *, retry_s: float, retry_max_s: float) -> None:
        self._outbox = outbox
        self._endpoint = endpoint
        self._retry_s, self._retry_max_s = retry_s, retry_max_s
        self._failures: dict[str, int] = {}  # of each task, in a row
        self._not_before: dict[str, float] = {}

    def step(self) -> float | None:
        """Send the oldest report that is due; return the seconds until there may be another, None if none waits."""
        heads = self._outbox.heads(self._endpoint.url)
        if not heads:
            return None
        wait_s = min(self._wait_s(report) for report in heads)
        if wait_s > 0:
            return wait_s
        with self._outbox.claim() as mine:
            if not mine:
                return _CLAIMED_S
            for report in self._outbox.heads(self._endpoint.url):  # again: another sender may have been here
                if self._wait_s(report) <= 0:
                    self._send(report)
                    break
        return 0.0

    def _wait_s(self, report: Report) -> float:
        return self._not_before.get(report.task, 0.0) - time.monotonic()

    def _send(self, report: Report) -> None:
        try:
            answer = self._endpoint.report(report.task, _ACTIONS[report.kind], report.body, report.key)
            if 200 <= answer.status < 300 and answer.text.strip():
                answer.json_object()  # a page of something that is not the hub is no receipt
        except (HubFailed, NotAuthenticated) as error:
            self._later(report, str(error))
            return
        if 200 <= answer.status < 300:
            self._outbox.sent(report)
            self._failures.pop(report.task, None)
            self._not_before.pop(report.task, None)
        elif _is_final(answer):
            self._outbox.failed(report, answer.excerpt, forever=True)
            _LOG.warning(
                "the hub refused a report (%s of task %s): %s", report.kind, report.task, answer.excerpt
            )
        else:
            self._later(report, answer.excerpt)

    def _later(self, report: Report, error: str) -> None:
        if self._endpoint.called_off.is_set():
            return  # it is this program that stopped, not the hub
        failures = self._failures.get(report.task, 0)
        self._failures[report.task] = failures + 1
        wait_s = min(self._retry_s * 2 ** min(failures, 30), self._retry_max_s)
        self._not_before[report.task] = time.monotonic() + wait_s
        if failures == 0:
            _LOG.warning(
                "a report waits in %s (%s of task %s): %s", self._outbox.path, report.kind, report.task, error
            )
        self._outbox.failed(report, error, forever=False)


def _is_final(answer: Answer) -> bool:
    return 400 <= answer.status < 500 and answer.status not in _NOT_FOR_EVER
