"""A run as its control socket tells it: one connection, read by one thread, whoever watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from gapless.acquire.control.client import ControlClient
from gapless.errors import ControlFailed
from gapless.serve.http.live_sequences import LiveSequence
from gapless.serve.http.live_words import plain

RATE_HZ: Final = 10.0
_STATUS_S = 1.0
_TURN_S = 0.1


def run_messages(live: LiveSequence, leaving: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    """Yield what the run tells until it closes its socket or nobody watches: status, samples, events, gaps.

    The status comes each second, with the static facts of the rig in ``about``; values at most ten times a
    second. Raises ControlFailed when the socket cannot be asked at all.
    """
    assert live.control is not None
    with ControlClient(live.control) as run:
        about = _described(run)
        run.subscribe(None, RATE_HZ)
        due_s = 0.0
        while not leaving():
            if time.monotonic() >= due_s:
                status = _status(run)
                if status is None:
                    return
                due_s = time.monotonic() + _STATUS_S
                yield {"stream": "status", **plain(status), "about": about}
            yield from _updates(run)


def _described(run: ControlClient) -> dict[str, Any]:
    """Return what the rig is made of; a run of a release that cannot tell has nothing to tell."""
    try:
        about: dict[str, Any] = plain(run.describe())
    except ControlFailed:
        return {}
    return about


def _status(run: ControlClient) -> dict[str, Any] | None:
    try:
        return run.status()
    except ControlFailed:  # it closed the socket: the sequence says the rest
        return None


def _updates(run: ControlClient) -> Iterator[dict[str, Any]]:
    """Yield what comes within one turn; of a socket that was closed the next status tells it."""
    try:
        for message in run.updates(_TURN_S):
            yield plain(message)
    except ControlFailed:
        run.close()
